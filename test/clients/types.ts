// What the server and the provider write is what the clients' own types say: checked by the compiler alone.
import type { EmbeddingModelV4, LanguageModelV4, ProviderV4 } from "@ai-sdk/provider";
import type { CpmProvider, EmbeddingModel, LanguageModel } from "cpm-wasm/ai-sdk";
import type { ChatBody, ChatChunk, EmbeddingsBody, ErrorBody, ModelBody, TextBody, TextChunk } from "cpm-wasm/server";
import type OpenAI from "openai";

declare const written: {
  chat: ChatBody;
  chatChunk: ChatChunk;
  text: TextBody;
  textChunk: TextChunk;
  embeddings: EmbeddingsBody;
  model: ModelBody;
  error: ErrorBody;
  language: LanguageModel;
  embedding: EmbeddingModel;
  provider: CpmProvider;
};

written.chat satisfies OpenAI.Chat.ChatCompletion;
written.chatChunk satisfies OpenAI.Chat.ChatCompletionChunk;
written.text satisfies OpenAI.Completion;
// Streams of this route have null until their end; the published type speaks of whole answers alone.
type Streamed = Omit<OpenAI.Completion, "choices" | "usage"> & {
  usage?: OpenAI.CompletionUsage | null;
  choices: (Omit<OpenAI.CompletionChoice, "finish_reason"> & {
    finish_reason: OpenAI.CompletionChoice["finish_reason"] | null;
  })[];
};
written.textChunk satisfies Streamed;
written.embeddings satisfies OpenAI.CreateEmbeddingResponse;
written.model satisfies OpenAI.Model;
written.error.error satisfies OpenAI.ErrorObject;
written.language satisfies LanguageModelV4;
written.embedding satisfies EmbeddingModelV4;
written.provider satisfies ProviderV4;
