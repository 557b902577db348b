// The page as its own home: the runtime in a worker of this page. Imported only where it is used.
import { CpmError, defaultModel, type ErrorCode, load, type Model } from "cpm-wasm";
import {
  type Backend,
  type Ended,
  type Info,
  type LoadState,
  type LoadWishes,
  type Offer,
  type Sampling,
  type Source,
  Trouble,
  type Turn,
} from "./backend.ts";
import * as library from "./library.ts";

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

const kinds: Readonly<Partial<Record<ErrorCode, Trouble["kind"]>>> = {
  "context-overflow": "overflow",
  "engine-failed": "ended",
  closed: "ended",
};

function trouble(error: unknown): unknown {
  return error instanceof CpmError ? new Trouble(words[error.code], error.message, kinds[error.code]) : error;
}

/** The engine of one page at a time: models are large. */
const LOCK = "cpm-chat engine";

export class PageBackend implements Backend {
  readonly home = "page";
  readonly #offers: readonly Offer[];
  readonly #endpoint: string | undefined;
  #model: Model | undefined;
  /** Lets go of the engine's lock. */
  #release: (() => void) | undefined;

  /** `offers`, `endpoint`: of the page's configuration. */
  constructor(offers: readonly Offer[], endpoint: string | undefined) {
    this.#offers = offers;
    this.#endpoint = endpoint;
  }

  /** Loads what was used last, or the model that comes with the page. */
  begin(): Promise<void> {
    return library.begin(this.#offers, this.#endpoint);
  }

  async models(): Promise<readonly string[]> {
    return [STORY];
  }

  /** Holds the lock until another tab takes it. Throws Trouble "elsewhere" where another one has it. */
  async #claim(take: boolean, onLost: () => void): Promise<void> {
    if (this.#release || !navigator.locks) return;
    await new Promise<void>((resolve, reject) => {
      navigator.locks
        .request(LOCK, take ? { steal: true } : { ifAvailable: true }, (lock) => {
          if (!lock) return reject(new Trouble("The model runs in another tab.", "", "elsewhere"));
          return new Promise<void>((release) => {
            this.#release = release;
            resolve();
          });
        })
        .catch(() => {
          this.#release = undefined;
          void this.#close().then(onLost);
        });
    });
  }

  async #close(): Promise<void> {
    const old = this.#model;
    this.#model = undefined;
    await old?.dispose();
  }

  async load(
    name: string,
    source: Source | undefined,
    { contextSize, take = false }: LoadWishes,
    onState: (state: LoadState) => void,
    onLost: () => void,
    signal: AbortSignal,
  ): Promise<Info> {
    await this.#claim(take, onLost);
    await this.#close();
    try {
      // Whole and not by ranges: so it is kept with the page, and is there without a network.
      const model = await load(source ?? (await (await fetch(defaultModel, { signal })).blob()), {
        signal,
        contextSize,
        onProgress: ({ phase, bytes, totalBytes }) => onState({ phase, bytes, totalBytes }),
      });
      this.#model = model;
      const { threads, variant, memory, threadsNote, config } = model.info;
      const size = model.info.contextSize;
      const larger = Math.min(config.contextLength, 2 * size);
      return {
        model: name,
        contextSize: size,
        detail: `${threads} thread${threads === 1 ? "" : "s"}, ${variant} kernels, ${Math.round(memory.total / 2 ** 20)} MiB`,
        note: threadsNote,
        memoryBytes: memory.total,
        ...(larger > size
          ? { larger: { contextSize: larger, bytes: Math.round((memory.kvCache / size) * (larger - size)) } }
          : {}),
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
    if (!this.#model) throw new Trouble("No model is loaded. Choose one first.", "no model", "ended");
    const { temperature, topK, topP, minP, repetitionPenalty, seed, maxTokens, thinking, whenFull } = sampling;
    try {
      const generation = this.#model.chat(turns, {
        temperature,
        topK,
        topP,
        minP,
        repetitionPenalty,
        seed,
        maxTokens,
        whenFull,
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
        prefillMs: timings.prefillMs,
      };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw trouble(error);
    }
  }
}
