// A session: tokens with their KV cache, and what can be done with them.
import type { BlockTrace, EngineApi, GenerateResult, Profile } from "../engine/types.ts";
import { CpmError } from "../errors.ts";
import { type ChatMessage, renderChat, type TemplateOptions, templateOptionNames } from "../text/template.ts";
import { Generation } from "./generation.ts";
import { checkNames, type GenerateOptions, generateRequest } from "./options.ts";

export interface ForwardOptions {
  /** Whose logits: "last" (default) gives (vocab), "all" (tokens × vocab), "none" nothing. */
  readonly logits?: "none" | "last" | "all" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Generation options and what the chat template takes. */
export interface ChatOptions extends GenerateOptions, TemplateOptions {}

/**
 * A sequence of tokens and its KV cache. Calls of one model take turns; a session is not used by two at a time.
 * Every method rejects with CpmError "closed" after `dispose`, and with "engine-failed" when the engine died.
 */
export class Session implements AsyncDisposable {
  readonly #engine: EngineApi;
  readonly #id: Promise<number>;
  #closed = false;

  /** @internal Sessions come from `model.session()`, `model.restore()` and `session.copy()`. */
  constructor(engine: EngineApi, id: Promise<number>) {
    this.#engine = engine;
    this.#id = id;
    id.catch(() => {});
  }

  async #open(): Promise<number> {
    if (this.#closed) throw new CpmError("closed", "this session is closed; open another with model.session()");
    return this.#id;
  }

  /**
   * Appends tokens. Resolves with logits before any sampling option: Float32Array (vocab), or (tokens × vocab) for "all".
   * Rejects with "context-overflow" when they do not fit, "bad-input" for ids outside the vocabulary.
   */
  async forward(tokens: readonly number[] | Int32Array, options: ForwardOptions = {}): Promise<Float32Array> {
    checkNames("options", options, ["logits", "signal"]);
    const { logits = "last", signal } = options;
    if (!["none", "last", "all"].includes(logits))
      throw new CpmError("bad-option", `logits: expected "none", "last" or "all", found ${JSON.stringify(logits)}`, {
        field: "logits",
      });
    return this.#engine.forward(await this.#open(), Array.from(tokens), logits, signal);
  }

  /**
   * Appends tokens and tells which blocks of the cache they attended to, in each layer and KV head: of every `every`-th token
   * (default 1). A dense sequence attends to all blocks up to its own. Rejects as forward() does.
   */
  async trace(
    tokens: readonly number[] | Int32Array,
    options: { readonly every?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<BlockTrace> {
    checkNames("options", options, ["every", "signal"]);
    return this.#engine.trace(await this.#open(), Array.from(tokens), options.every ?? 1, options.signal);
  }

  /**
   * Tells where the time of decoding a token goes at this session's length, from `steps` (default 16) steps of one token: every
   * kind of operation is run by itself, on all lanes. The session stays as it is. Rejects with "context-overflow" when it is full,
   * "bad-option" for a number of steps out of range. On edge runtimes, whose clock stands still, all times are 0.
   */
  async profile(
    options: { readonly steps?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Profile> {
    checkNames("options", options, ["steps", "signal"]);
    return this.#engine.profile(await this.#open(), options.steps ?? 16, options.signal);
  }

  /**
   * Continues from `prompt` (text or token ids), which replaces what the session holds; the longest common prefix is
   * kept, not computed again. Throws "bad-option" at once for options out of range.
   */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): Generation {
    const request = generateRequest(options, this.#engine.info.config.vocab, "text");
    return this.#generation(prompt, { ...request, thinking: "none" }, options);
  }

  /** Answers the last message, with the model's own chat template. Reasoning arrives as parts of type "reasoning". */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    const request = generateRequest(options, this.#engine.info.config.vocab, "chat", templateOptionNames);
    const { text, thinking } = renderChat(this.#engine.info.tokenizer, messages, options);
    return this.#generation(text, { ...request, thinking }, options);
  }

  #generation(
    prompt: string | readonly number[],
    request: Omit<Parameters<EngineApi["generate"]>[1], "prompt">,
    options: GenerateOptions,
  ): Generation {
    if (typeof prompt !== "string" && !Array.isArray(prompt) && !ArrayBuffer.isView(prompt))
      throw new CpmError("bad-input", `prompt: expected text or token ids, found ${typeof prompt}`, { field: "prompt" });
    const full = { ...request, prompt: typeof prompt === "string" ? prompt : Array.from(prompt) };
    const { onPrefill } = options;
    const start = async (
      signal: AbortSignal,
      onPart: Parameters<EngineApi["generate"]>[2]["onPart"],
    ): Promise<GenerateResult> => {
      const id = await this.#open();
      return this.#engine.generate(id, full, { signal, onPart, ...(onPrefill ? { onPrefill } : {}) });
    };
    return new Generation(start, options.signal);
  }

  /** The tokens in the cache. */
  async tokens(): Promise<Int32Array> {
    return this.#engine.tokens(await this.#open());
  }

  /** Drops everything from `length` tokens on. */
  async truncate(length: number): Promise<void> {
    await this.#engine.truncate(await this.#open(), length);
  }

  /** Another session with the same tokens and cache. */
  async copy(): Promise<Session> {
    const id = await this.#engine.copy(await this.#open());
    return new Session(this.#engine, Promise.resolve(id));
  }

  /** Tokens and cache as bytes, for `model.restore()` of the same model, KV type and package ABI. */
  async save(): Promise<Uint8Array> {
    return this.#engine.save(await this.#open());
  }

  /** Gives the cache back. Harmless to call twice, or after the model is closed. */
  async dispose(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#engine.closeSession(await this.#id);
    } catch (error) {
      if (!(error instanceof CpmError && (error.code === "closed" || error.code === "engine-failed"))) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
