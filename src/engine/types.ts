// What crosses between the public door and the engine, which may live in a worker: plain data only.

import type { SamplingOptions } from "../decode/options.ts";
import type { TokenLogprob } from "../decode/sampler.ts";
import type { Flow } from "../flow.ts";
import type { ModelConfig } from "../model/config.ts";
import type { KvType, MemoryPlan } from "../model/options.ts";
import type { SparseConfig } from "../model/sparse.ts";
import type { ThinkingMarks } from "../text/marks.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import type { Form } from "../wasm/abi.ts";
import type { Variant } from "../wasm/host.ts";
import type { AdapterUse } from "./adapters.ts";
import type { ConstraintRequest } from "./constraints.ts";

export type { SamplingOptions } from "../decode/options.ts";
export type { TokenLogprob } from "../decode/sampler.ts";
export type {
  DraftOptions,
  EagleOptions,
  EngineOptions,
  KvType,
  LoadProgress,
  MemoryPlan,
  MtpStates,
  TreeOptions,
} from "../model/options.ts";
export type { Variant } from "../wasm/host.ts";

/** What embed() makes of the states of a text's tokens. */
export interface EmbedOptions {
  /** "mean" of all tokens' states, or the "last" token's. */
  readonly pooling: "mean" | "last";
  /** To length 1. */
  readonly normalize: boolean;
  /** As of GenerateRequest. */
  readonly lora?: readonly AdapterUse[] | undefined;
}

export interface EngineInfo {
  readonly config: ModelConfig;
  readonly tokenizer: TokenizerData;
  readonly format: string;
  readonly contextSize: number;
  readonly kvType: KvType;
  /** How long sequences attend; undefined: densely. */
  readonly sparse: SparseConfig | undefined;
  readonly threads: number;
  /** Why fewer threads than asked for, if so. */
  readonly threadsNote: string | undefined;
  readonly variant: Variant;
  /** How products with each packed type of integer weights are computed: see LoadOptions.form. */
  readonly forms: Readonly<Record<string, Form>>;
  readonly turbo: boolean;
  /** Computed in 64-bit memory. */
  readonly memory64: boolean;
  readonly memory: MemoryPlan;
  readonly loadMs: number;
  /** Weight bytes by packed type. */
  readonly packed: Readonly<Record<string, number>>;
  /** LoRA adapters that were loaded beside it. */
  readonly lora: readonly LoraInfo[];
}

export interface LoraInfo {
  readonly name: string;
  /** How much of it is added where nothing else is said. */
  readonly scale: number;
  /** The highest rank of a linear. */
  readonly rank: number;
  /** Bytes in memory. */
  readonly bytes: number;
  readonly format: "GGUF" | "PEFT";
}

export interface GenerateRequest {
  /** Token ids, or text that the engine encodes (special tokens recognised, BOS as the model asks). */
  readonly prompt: string | readonly number[];
  readonly maxTokens: number;
  readonly sampling: SamplingOptions;
  readonly stopTokens: readonly number[];
  readonly stop: readonly string[];
  /** Split `<think>…</think>` off as reasoning; "open": the prompt already ended inside <think>. */
  readonly thinking: "none" | "split" | "open";
  /** What marks reasoning, where that is not `<think>`. */
  readonly marks?: ThinkingMarks | undefined;
  /** How a text begins and ends: as the model asks (undefined), as it stands ("template"), or without EOS only ("chat"). */
  readonly ends?: "template" | "chat" | undefined;
  /** When the context is full: stop, or forget the middle and go on. Undefined: stop. */
  readonly whenFull?: "stop" | "slide" | undefined;
  /** Emit special tokens as text. */
  readonly special: boolean;
  /** Only tokens that this grammar takes are drawn, reasoning included. */
  readonly constraint?: ConstraintRequest | undefined;
  /** Tokens of reasoning, at most: at the bound its end is written, and the answer follows. */
  readonly maxReasoningTokens?: number | undefined;
  /** What becomes of text that the constraint forces: guessed and verified (undefined), or written without asking the model. */
  readonly forcedText?: "draft" | "write" | undefined;
  /** LoRA adapters by their number, and how much of each. Absent: a session's own, or all that are loaded at their scales. */
  readonly lora?: readonly AdapterUse[] | undefined;
  /** What kind of text this is to a drafter ("text" when absent): prompt lookup is by default for chats alone. Never changes the text. */
  readonly draft?: "off" | "text" | "chat" | undefined;
}

/** One piece of the stream: text that is complete, never half a character. */
export interface GeneratedPart {
  /** "tool-call": something of a call, which `call` tells; such parts have no text. */
  readonly type: "text" | "reasoning" | "tool-call";
  readonly text: string;
  readonly call?: CallProgress;
  /** Tokens that this part's text came from. */
  readonly tokens: readonly number[];
  readonly logprobs?: readonly (TokenLogprob & { readonly top: readonly TokenLogprob[] })[];
}

/** What a part adds to a call: first its name, then its arguments' JSON piece by piece, at last the whole. */
export interface CallProgress {
  readonly id: string;
  /** In the first part and the last. */
  readonly name: string;
  readonly delta: string;
  readonly whole?: ToolCall;
}

/** A call that a model made. */
export interface ToolCall {
  /** Unique within its conversation. */
  readonly id: string;
  readonly name: string;
  /** JSON of an object, as the model wrote it. */
  readonly arguments: string;
  /** The same, parsed. */
  readonly input: Readonly<Record<string, unknown>>;
}

/**
 * stop: an end-of-text token or one of stopTokens; stop-string; length: maxTokens; context: the context is full; tool-calls: the
 * answer is whole and has calls.
 */
export type FinishReason = "stop" | "stop-string" | "length" | "context" | "tool-calls";

export interface Usage {
  readonly promptTokens: number;
  /** Prompt tokens that were already in the session's KV cache. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Those of completionTokens that were reasoning, its tags included; absent where reasoning is not told apart. */
  readonly reasoningTokens?: number;
}

export interface Timings {
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecond: number;
}

/** What drafting did. acceptedPerRound: tokens that a round with a draft gave in the mean, the target's own included. */
export interface DraftStats {
  readonly drafter: string;
  /** Steps that verified a draft. */
  readonly rounds: number;
  /** Draft tokens verified, and those of them that the target drew too. */
  readonly drafted: number;
  readonly accepted: number;
  readonly acceptedPerRound: number;
  /** Of a drafter that is drafted for: its steps, the guesses that it checked in them, and those that it would have said itself. */
  readonly front?: { readonly steps: number; readonly drafted: number; readonly accepted: number };
}

export interface GenerateResult {
  readonly text: string;
  readonly reasoning: string;
  readonly tokens: readonly number[];
  readonly finishReason: FinishReason;
  /** Which of `stop` ended the text; absent unless finishReason is "stop-string". */
  readonly stopString?: string;
  /** The token that ended the text and is none of `tokens`; where log-probabilities are asked for and finishReason is "stop" by a token. */
  readonly stopToken?: TokenLogprob;
  readonly usage: Usage;
  readonly timings: Timings;
  /** Absent when nothing drafted. */
  readonly draft?: DraftStats;
  /** The calls of a chat with tools; absent where there are none. */
  readonly toolCalls?: readonly ToolCall[];
  /** The text as a value, where a schema held it and it is whole. */
  readonly parsed?: unknown;
}

/** A prefill in progress, for long prompts. */
export interface GenerateHooks {
  readonly signal?: AbortSignal | undefined;
  /** Holds the generation back while its parts find no reader. */
  readonly flow?: Flow | undefined;
  onPart(part: GeneratedPart): void;
  /** Once, when the prompt is known and computing begins. */
  onBegin?(usage: Omit<Usage, "completionTokens">): void;
  onPrefill?(done: number, total: number): void;
}

/** Which blocks of the cache positions attended to. */
export interface BlockTrace {
  readonly layers: number;
  readonly kvHeads: number;
  /** Tokens of a block, and how many blocks there are. */
  readonly blockSize: number;
  readonly blocks: number;
  /** The positions that were kept. */
  readonly positions: Int32Array;
  /** Bits (layers, kvHeads, positions, blocks rounded up to whole bytes), low bit first; dense positions have all up to their own. */
  readonly chosen: Uint8Array;
}

/** One kind of operation of a step; times are milliseconds a step, medians. */
export interface ProfileEntry {
  readonly name: string;
  readonly ms: number;
  /** How its weights are packed, for products with weights. */
  readonly kind?: string;
  /** Bytes of weights or of KV cache that it reads, and operations (two a multiply-add); absent where neither is what it costs. */
  readonly bytes?: number;
  readonly operations?: number;
}

/** Where the time of decoding one token goes. */
export interface Profile {
  readonly steps: number;
  /** Tokens in the cache. */
  readonly context: number;
  readonly threads: number;
  /** A whole step, sampling included, as decoding runs it. */
  readonly stepMs: number;
  /** The parts, each run by itself, in order; "dispatch" is what the whole took beyond them. */
  readonly entries: readonly ProfileEntry[];
  /** What this machine reads (GB/s) and multiplies (8-bit dot products, GOP/s) in these threads at best. */
  readonly readGBs: number;
  readonly dotGOPs: number;
}

/** For generate(): no session of the caller's. */
export const ANY_SESSION = 0;

/** Of forward(): all final states, each behind the residual stream as it enters these layers. */
export interface States {
  readonly states: readonly number[];
}

/** What the engine offers; implemented by the engine itself and by the port that reaches it in a worker. */
export interface EngineApi {
  readonly info: EngineInfo;
  /** A new empty sequence with its own KV cache of `contextSize` tokens (default: the model's), computed with `lora` (default: all at their scales). */
  open(contextSize?: number, lora?: readonly AdapterUse[]): Promise<number>;
  /** Appends tokens; logits of none, the last, or all of them ([tokens × vocab]), or all states ([tokens × (layers + 1) × hidden]). */
  forward(
    session: number,
    tokens: readonly number[],
    logits: "none" | "last" | "all" | States,
    signal?: AbortSignal,
  ): Promise<Float32Array>;
  /** Appends tokens and tells which blocks every `every`-th of them attended to, in each layer and KV head. */
  trace(session: number, tokens: readonly number[], every: number, signal?: AbortSignal): Promise<BlockTrace>;
  /** Times `steps` decoding steps after the session's tokens, operation by operation; the session stays as it is. */
  profile(session: number, steps: number, signal?: AbortSignal): Promise<Profile>;
  /** `session`: ANY_SESSION takes a sequence of the engine's own, with the longest prefix of the prompt that a finished text left. */
  generate(session: number, request: GenerateRequest, hooks: GenerateHooks): Promise<GenerateResult>;
  /** Embeddings of texts or of their tokens, (texts, hidden), in order. `onBegin` is told the tokens of all of them. */
  embed(
    texts: readonly (string | readonly number[])[],
    options: EmbedOptions,
    hooks: Pick<GenerateHooks, "signal" | "onBegin">,
  ): Promise<Float32Array>;
  /** Tokens now in the cache. */
  tokens(session: number): Promise<Int32Array>;
  truncate(session: number, length: number): Promise<void>;
  copy(session: number): Promise<number>;
  save(session: number): Promise<Uint8Array>;
  restore(bytes: Uint8Array): Promise<number>;
  closeSession(session: number): Promise<void>;
  close(): Promise<void>;
}
