// cpm-wasm/server: an OpenAI-compatible fetch handler over loaded models. A wing: nothing of the core imports it.
export type { ChatBody, ChatChunk } from "./chat.ts";
export type { TextBody, TextChunk } from "./completions.ts";
export { createHandler, type Handler, type HandlerContext, type HandlerOptions, type LogEntry } from "./handler.ts";
export type { ErrorBody } from "./problem.ts";
export type { ModelSource, ServedAdapter, ServedModels } from "./shelf.ts";
export type { EmbeddingsBody, ModelBody } from "./small.ts";
