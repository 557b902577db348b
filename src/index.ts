// The public names that every runtime's door shares; src/host/ adds load, inspect and loadTokenizer.

export type { ConstraintInput } from "./constrain/compile.ts";
export { UnsupportedSchemaError } from "./constrain/limits.ts";
export type { ToolChoice } from "./constrain/tools.ts";
export { Constraint, type ConstraintChoice, type SchemaReading } from "./door/constraint.ts";
export type { Door, Platform, ReadOptions } from "./door/door.ts";
export type { DraftInput, DraftTreeInput, EagleInput, MtpInput, SmallModelInput } from "./door/draft.ts";
export type { Embeddings, EmbedInput } from "./door/embed.ts";
export { Generation, type PartialResult } from "./door/generation.ts";
export type { HeadersInput } from "./door/given.ts";
export type { InspectedTensor, Inspection, InspectOptions } from "./door/inspect.ts";
export type { LoraChoice, LoraInput } from "./door/lora.ts";
export { Model } from "./door/model.ts";
export type { GenerateOptions, LoadOptions } from "./door/options.ts";
export { type ChatOptions, type ForwardOptions, Session } from "./door/session.ts";
export type { ToolOptions } from "./door/tools.ts";
export type {
  BlockTrace,
  DraftStats,
  EngineInfo,
  FinishReason,
  GeneratedPart,
  GenerateResult,
  KvType,
  LoadProgress,
  LoraInfo,
  MemoryPlan,
  Profile,
  ProfileEntry,
  Timings,
  TokenLogprob,
  ToolCall,
  Usage,
  Variant,
} from "./engine/types.ts";
export { CpmError, type ErrorCode, type ErrorDetail } from "./errors.ts";
export type { Bytes } from "./file/bytes.ts";
export type { ModelInput } from "./file/kind.ts";
export type { ModelFiles, Source } from "./file/source.ts";
export type { NetworkOptions } from "./file/url.ts";
export type { ModelConfig } from "./model/config.ts";
export type { RopeFactors } from "./model/longrope.ts";
export type { SparseConfig, SparseOption } from "./model/sparse.ts";
export { type DialectName, dialectNames } from "./text/calls/dialect.ts";
export { type ParsedCalls, parseCalls } from "./text/calls/parse.ts";
export type { ToolDefinition } from "./text/calls/tools.ts";
export type { ChatMessage, TemplateOptions } from "./text/template.ts";
export { type DecodeOptions, type EncodeOptions, Tokenizer } from "./text/tokenizer.ts";
