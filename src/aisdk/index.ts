// cpm-wasm/ai-sdk: models of this process as providers of the AI SDK (specification V4). A wing: nothing of the core imports it.
import { CpmError } from "../errors.ts";
import type { FinishReason as Ended, GenerateResult, Model, ToolCall } from "../index.ts";
import { callOf } from "./prompt.ts";
import type { CallUsage, EmbeddingModel, FinishReason, LanguageModel, StreamPart, ToolCallContent } from "./types.ts";

export type { CallOptions, CallResult, EmbeddingModel, LanguageModel, StreamPart, Warning } from "./types.ts";

const provider = "cpm-wasm";

const reasonOf = (raw: Ended): FinishReason => ({
  unified: raw === "tool-calls" ? "tool-calls" : raw === "length" || raw === "context" ? "length" : "stop",
  raw,
});

const callContent = ({ id, name, arguments: input }: ToolCall): ToolCallContent => ({
  type: "tool-call",
  toolCallId: id,
  toolName: name,
  input,
});

function usageOf({ usage }: GenerateResult, reasoning: number): CallUsage {
  const { promptTokens, cachedTokens, completionTokens } = usage;
  return {
    inputTokens: { total: promptTokens, noCache: promptTokens - cachedTokens, cacheRead: cachedTokens, cacheWrite: undefined },
    outputTokens: { total: completionTokens, text: completionTokens - reasoning, reasoning },
  };
}

/**
 * A loaded model as a language model of the AI SDK: `generateText({ model: languageModel(model) })`. It runs in this process, so
 * settings about requests have no effect and are told as warnings. `providerOptions: { cpm: … }` takes what the SDK has no name
 * for. Rejects with CpmError: "unsupported" for files in messages, the codes of chat() otherwise.
 */
export function languageModel(model: Model, modelId = "model"): LanguageModel {
  return {
    specificationVersion: "v4",
    provider,
    modelId,
    supportedUrls: {},
    async doGenerate(call) {
      const { messages, options, warnings } = callOf(call);
      const generation = model.chat(messages, options);
      let reasoningTokens = 0;
      for await (const part of generation) if (part.type === "reasoning") reasoningTokens += part.tokens.length;
      const result = await generation;
      return {
        content: [
          ...(result.reasoning === "" ? [] : [{ type: "reasoning" as const, text: result.reasoning }]),
          ...(result.toolCalls && result.text === "" ? [] : [{ type: "text" as const, text: result.text }]),
          ...(result.toolCalls ?? []).map(callContent),
        ],
        finishReason: reasonOf(result.finishReason),
        usage: usageOf(result, reasoningTokens),
        warnings,
        response: { id: crypto.randomUUID(), timestamp: new Date(), modelId },
      };
    },
    async doStream(call) {
      const { messages, options, warnings } = callOf(call);
      const parts = streamParts(model, messages, options, warnings, modelId);
      // The first event comes with the first token: a prompt that is refused rejects the call itself.
      const first = await parts.next();
      let pending: typeof first | undefined = first;
      const stream = new ReadableStream<StreamPart>(
        {
          async pull(controller) {
            const next = pending ?? (await parts.next());
            pending = undefined;
            if (next.done) controller.close();
            else controller.enqueue(next.value);
          },
          async cancel() {
            await parts.return();
          },
        },
        { highWaterMark: 0 },
      );
      return { stream };
    },
  };
}

async function* streamParts(
  model: Model,
  messages: Parameters<Model["chat"]>[0],
  options: Parameters<Model["chat"]>[1],
  warnings: (StreamPart & { type: "stream-start" })["warnings"],
  modelId: string,
): AsyncGenerator<StreamPart, void> {
  const generation = model.chat(messages, options);
  let begun = false;
  let open: { readonly kind: "text" | "reasoning"; readonly id: string } | undefined;
  let [blocks, reasoningTokens] = [0, 0];
  const begin = function* (): Generator<StreamPart> {
    if (begun) return;
    begun = true;
    yield { type: "stream-start", warnings };
    yield { type: "response-metadata", id: crypto.randomUUID(), timestamp: new Date(), modelId };
  };
  try {
    for await (const part of generation) {
      yield* begin();
      if (part.call) {
        if (open) yield { type: `${open.kind}-end`, id: open.id };
        open = undefined;
        const { id, name, delta, whole } = part.call;
        if (whole) {
          yield { type: "tool-input-end", id };
          yield callContent(whole);
        } else if (delta === "") yield { type: "tool-input-start", id, toolName: name };
        else yield { type: "tool-input-delta", id, delta };
        continue;
      }
      const kind = part.type === "reasoning" ? "reasoning" : "text";
      if (part.text === "") continue;
      if (open?.kind !== kind) {
        if (open) yield { type: `${open.kind}-end`, id: open.id };
        open = { kind, id: String(blocks++) };
        yield { type: `${kind}-start`, id: open.id };
      }
      if (kind === "reasoning") reasoningTokens += part.tokens.length;
      yield { type: `${kind}-delta`, id: open.id, delta: part.text };
    }
    const result = await generation;
    yield* begin();
    if (open) yield { type: `${open.kind}-end`, id: open.id };
    yield { type: "finish", usage: usageOf(result, reasoningTokens), finishReason: reasonOf(result.finishReason) };
  } catch (error) {
    if (!begun) throw error;
    yield { type: "error", error };
  }
}

/** A loaded model as an embedding model of the AI SDK: `embedMany({ model: embeddingModel(model), values })`. */
export function embeddingModel(model: Model, modelId = "model"): EmbeddingModel {
  return {
    specificationVersion: "v4",
    provider,
    modelId,
    maxEmbeddingsPerCall: 2048,
    supportsParallelCalls: true,
    async doEmbed({ values, abortSignal }) {
      const { embeddings, usage } = await model.embed(values, abortSignal ? { signal: abortSignal } : {});
      return { embeddings: embeddings.map((vector) => Array.from(vector)), usage: { tokens: usage.promptTokens }, warnings: [] };
    },
  };
}

/** Models by name as a provider: `createCpm({ story: model })("story")`, `.languageModel(id)`, `.embeddingModel(id)`. */
export interface CpmProvider {
  (modelId: string): LanguageModel;
  readonly specificationVersion: "v4";
  languageModel(modelId: string): LanguageModel;
  embeddingModel(modelId: string): EmbeddingModel;
  /** Throws: there are none. */
  imageModel(modelId: string): never;
}

/** @throws CpmError "bad-option", when a model is asked for, for names that `models` does not have. */
export function createCpm(models: Readonly<Record<string, Model>>): CpmProvider {
  const find = (id: string): Model => {
    if (Object.hasOwn(models, id)) return models[id]!;
    throw new CpmError("bad-option", `there is no model ${JSON.stringify(id)}; there are ${Object.keys(models).join(", ")}`, {
      field: "modelId",
    });
  };
  const language = (id: string) => languageModel(find(id), id);
  return Object.assign((id: string) => language(id), {
    specificationVersion: "v4" as const,
    languageModel: language,
    embeddingModel: (id: string) => embeddingModel(find(id), id),
    imageModel(id: string): never {
      throw new CpmError("unsupported", `${id}: these models make no images`);
    },
  });
}
