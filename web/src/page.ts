// The page as its own home: the runtime in a worker of this page. Imported only where it is used.
import { CpmError, defaultModel, type ErrorCode, load, type Model } from "cpm-wasm";
import { type Backend, type Ended, type Info, type LoadState, type Sampling, Trouble, type Turn } from "./backend.ts";

export const STORY = "stories (2.3 MB, made for tests)";

const words: Readonly<Record<ErrorCode, string>> = {
  "bad-model": "This file is damaged or is no model. Download it again.",
  unsupported: "This kind of model is not supported.",
  "out-of-memory": "The model needs more memory than there is. Choose a smaller model or context.",
  "bad-option": "A setting has a value that the model does not take.",
  "bad-input": "The model cannot read this text.",
  "context-overflow": "This conversation does not fit into the model's context.",
  busy: "The model is busy. Wait for its answer.",
  closed: "The engine ended. Load the model again.",
  io: "Reading the model failed. Check the connection.",
  "engine-failed": "The engine ended. Load the model again.",
};

function trouble(error: unknown): unknown {
  return error instanceof CpmError ? new Trouble(words[error.code], error.message) : error;
}

export class PageBackend implements Backend {
  readonly home = "page";
  #model: Model | undefined;

  async models(): Promise<readonly string[]> {
    return [STORY];
  }

  async load(
    name: string,
    source: File | string | undefined,
    onState: (state: LoadState) => void,
    signal: AbortSignal,
  ): Promise<Info> {
    const old = this.#model;
    this.#model = undefined;
    await old?.dispose();
    try {
      // Whole and not by ranges: so it is kept with the page, and is there without a network.
      const model = await load(source ?? (await (await fetch(defaultModel, { signal })).blob()), {
        signal,
        onProgress: ({ phase, bytes, totalBytes }) => onState({ phase, bytes, totalBytes }),
      });
      this.#model = model;
      const { contextSize, threads, variant, memory, threadsNote } = model.info;
      const mebibytes = Math.round(memory.total / 2 ** 20);
      return {
        model: name,
        contextSize,
        detail: `${threads} thread${threads === 1 ? "" : "s"}, ${variant} kernels, ${mebibytes} MiB`,
        note: threadsNote,
      };
    } catch (error) {
      throw trouble(error);
    }
  }

  async chat(
    turns: readonly Turn[],
    sampling: Sampling,
    onPiece: Parameters<Backend["chat"]>[2],
    onReading: Parameters<Backend["chat"]>[3],
    signal: AbortSignal,
  ): Promise<Ended> {
    if (!this.#model) throw new Trouble("No model is loaded. Choose one first.", "no model");
    const { temperature, topK, topP, minP, repetitionPenalty, seed, maxTokens, thinking } = sampling;
    try {
      const generation = this.#model.chat(turns, {
        temperature,
        topK,
        topP,
        minP,
        repetitionPenalty,
        seed,
        maxTokens,
        signal,
        onPrefill: onReading,
        ...(thinking === "model" ? {} : { enableThinking: thinking === "on" }),
      });
      for await (const part of generation) if (part.type !== "tool-call") onPiece({ type: part.type, text: part.text });
      const { finishReason, usage, timings } = await generation;
      return {
        finishReason: finishReason === "length" || finishReason === "context" ? finishReason : "stop",
        ...usage,
        tokensPerSecond: timings.decodeTokensPerSecond,
      };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw trouble(error);
    }
  }
}
