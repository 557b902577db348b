// The parts of the AI SDK's provider specification V4 that this provider speaks (@ai-sdk/provider 4), written out so that nobody
// needs that package to compile against this one. test/clients/types.ts holds them to the published types.

export interface Warning {
  type: "unsupported";
  feature: string;
  details?: string;
}

export type Output =
  | { type: "text" | "error-text"; value: string }
  | { type: "json" | "error-json"; value: unknown }
  | { type: "execution-denied"; reason?: string }
  | { type: "content"; value: readonly { type: string; text?: string }[] };

export interface Part {
  type: string;
  text?: string;
  toolCallId?: string;
  toolName?: string;
  input?: unknown;
  output?: Output;
}

export type Message = { role: "system"; content: string } | { role: "user" | "assistant" | "tool"; content: readonly Part[] };

export interface CallOptions {
  prompt: readonly Message[];
  maxOutputTokens?: number | undefined;
  temperature?: number | undefined;
  stopSequences?: readonly string[] | undefined;
  topP?: number | undefined;
  topK?: number | undefined;
  presencePenalty?: number | undefined;
  frequencyPenalty?: number | undefined;
  responseFormat?: { type: "text" } | { type: "json"; schema?: unknown; name?: string; description?: string } | undefined;
  seed?: number | undefined;
  tools?: readonly { type: string; name: string; description?: string; inputSchema?: unknown }[] | undefined;
  toolChoice?: { type: "auto" | "none" | "required" } | { type: "tool"; toolName: string } | undefined;
  includeRawChunks?: boolean | undefined;
  abortSignal?: AbortSignal | undefined;
  headers?: Readonly<Record<string, string | undefined>> | undefined;
  reasoning?: string | undefined;
  providerOptions?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
}

export interface FinishReason {
  unified: "stop" | "length" | "tool-calls";
  raw: string | undefined;
}

export interface CallUsage {
  inputTokens: { total: number; noCache: number; cacheRead: number; cacheWrite: undefined };
  outputTokens: { total: number; text: number; reasoning: number };
}

/** `input`: JSON text. */
export interface ToolCallContent {
  type: "tool-call";
  toolCallId: string;
  toolName: string;
  input: string;
}

export type Content = { type: "text"; text: string } | { type: "reasoning"; text: string } | ToolCallContent;

export interface CallResult {
  content: Content[];
  finishReason: FinishReason;
  usage: CallUsage;
  warnings: Warning[];
  response: { id: string; timestamp: Date; modelId: string };
}

export type StreamPart =
  | { type: "stream-start"; warnings: Warning[] }
  | { type: "response-metadata"; id: string; timestamp: Date; modelId: string }
  | { type: "text-start" | "text-end" | "reasoning-start" | "reasoning-end"; id: string }
  | { type: "text-delta" | "reasoning-delta"; id: string; delta: string }
  | { type: "tool-input-start"; id: string; toolName: string }
  | { type: "tool-input-delta"; id: string; delta: string }
  | { type: "tool-input-end"; id: string }
  | ToolCallContent
  | { type: "finish"; usage: CallUsage; finishReason: FinishReason }
  | { type: "error"; error: unknown };

export interface LanguageModel {
  readonly specificationVersion: "v4";
  readonly provider: string;
  readonly modelId: string;
  readonly supportedUrls: Record<string, RegExp[]>;
  doGenerate(options: CallOptions): Promise<CallResult>;
  doStream(options: CallOptions): Promise<{ stream: ReadableStream<StreamPart> }>;
}

export interface EmbedOptions {
  values: readonly string[];
  abortSignal?: AbortSignal | undefined;
}

export interface EmbeddingModel {
  readonly specificationVersion: "v4";
  readonly provider: string;
  readonly modelId: string;
  readonly maxEmbeddingsPerCall: number;
  readonly supportsParallelCalls: boolean;
  doEmbed(options: EmbedOptions): Promise<{ embeddings: number[][]; usage: { tokens: number }; warnings: Warning[] }>;
}
