// A session: tokens with their KV cache, and what can be done with them.
import { asyncDispose } from "../brands.ts";
import type { BlockTrace, EngineApi, GeneratedPart, Profile } from "../engine/types.ts";
import { CpmError } from "../errors.ts";
import { withSignals } from "../signals.ts";
import { type ChatMessage, renderChat, type TemplateOptions, templateOptionNames } from "../text/template.ts";
import type { Forms } from "./forms.ts";
import { Generation, type StartGeneration } from "./generation.ts";
import { bad, choiceNames, given, messagesOf, noForms, tokensOf, toolOptionNames, withoutNulls } from "./given.ts";
import { checkSignal, type GenerateOptions, generateRequest } from "./options.ts";
import type { ToolOptions, ToolPlan } from "./tools.ts";

export interface ForwardOptions {
  /** Whose logits: "last" (default) gives (vocab), "all" (tokens × vocab), "none" nothing. */
  readonly logits?: "none" | "last" | "all" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Generation options and what the chat template takes. */
export interface ChatOptions extends GenerateOptions, Omit<TemplateOptions, "tools">, ToolOptions {}

const closed = (): CpmError => new CpmError("closed", "this session is closed; open another with model.session()");

/**
 * A sequence of tokens and its KV cache. Calls of one model take turns; a session is not used by two at a time.
 * Every method rejects with CpmError "closed" after `dispose`, and with "engine-failed" when the engine died.
 */
export class Session implements AsyncDisposable {
  readonly #engine: EngineApi;
  readonly #forms: Forms | undefined;
  readonly #id: Promise<number>;
  /** Ends what is being computed for this session when it is disposed. */
  readonly #end = new AbortController();
  #closed: Promise<void> | undefined;

  /** @internal Sessions come from `model.session()`, `model.restore()` and `session.copy()`. */
  constructor(engine: EngineApi, forms: Forms | undefined, id: Promise<number>) {
    this.#engine = engine;
    this.#forms = forms;
    this.#id = id;
    id.catch(() => {});
  }

  async #open(): Promise<number> {
    if (this.#closed) throw closed();
    return this.#id;
  }

  /** Runs a call of the engine that ends with `outer`, or when the session is disposed. */
  async #call<T>(outer: AbortSignal | undefined, work: (id: number, signal: AbortSignal) => Promise<T>): Promise<T> {
    const id = await this.#open();
    const end = this.#end.signal;
    return outer ? withSignals([outer, end], (signal) => work(id, signal)) : work(id, end);
  }

  /**
   * Appends tokens. Resolves with logits before any sampling option: Float32Array (vocab), or (tokens × vocab) for "all".
   * Rejects with "context-overflow" when they do not fit, "bad-input" for ids outside the vocabulary.
   */
  async forward(tokens: readonly number[] | Int32Array, options: ForwardOptions = {}): Promise<Float32Array> {
    const { logits = "last", signal } = given(options, ["logits", "signal"]);
    checkSignal(signal);
    const list = tokensOf("tokens", tokens);
    if (!["none", "last", "all"].includes(logits))
      throw new CpmError("bad-option", `logits: expected "none", "last" or "all", found ${JSON.stringify(logits)}`, {
        field: "logits",
      });
    return this.#call(signal, (id, end) => this.#engine.forward(id, list, logits, end));
  }

  /**
   * Appends tokens. Resolves with their final hidden states, after the model's last norm: Float32Array (tokens × hidden), what the head
   * and draft heads read. `layers`: numbers of layers from 1 on, at most 8; what the residual stream is as it enters each of them goes before a
   * token's final state: (tokens × (layers + 1) × hidden). Rejects as forward() does, and with "bad-option" for layers that there are not.
   */
  async states(
    tokens: readonly number[] | Int32Array,
    options: { readonly layers?: readonly number[] | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Float32Array> {
    const { layers = [], signal } = given(options, ["layers", "signal"]);
    checkSignal(signal);
    if (!Array.isArray(layers)) bad("layers", "a list of layers' numbers", layers);
    const list = tokensOf("tokens", tokens);
    return this.#call(signal, (id, end) => this.#engine.forward(id, list, { states: [...layers] }, end));
  }

  /**
   * Appends tokens and tells which blocks of the cache they attended to, in each layer and KV head: of every `every`-th token
   * (default 1). A dense sequence attends to all blocks up to its own. Rejects as forward() does.
   */
  async trace(
    tokens: readonly number[] | Int32Array,
    options: { readonly every?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<BlockTrace> {
    const { every = 1, signal } = given(options, ["every", "signal"]);
    checkSignal(signal);
    const list = tokensOf("tokens", tokens);
    return this.#call(signal, (id, end) => this.#engine.trace(id, list, every, end));
  }

  /**
   * Tells where the time of decoding a token goes at this session's length, from `steps` (default 16) steps of one token: every
   * kind of operation is run by itself, on all lanes. The session stays as it is. Rejects with "context-overflow" when it is full,
   * "bad-option" for a number of steps out of range. On edge runtimes, whose clock stands still, all times are 0.
   */
  async profile(
    options: { readonly steps?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Profile> {
    const { steps = 16, signal } = given(options, ["steps", "signal"]);
    checkSignal(signal);
    return this.#call(signal, (id, end) => this.#engine.profile(id, steps, end));
  }

  /**
   * Continues from `prompt` (text or token ids), which replaces what the session holds; the longest common prefix is
   * kept, not computed again. Throws "bad-option" at once for options out of range.
   */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): Generation {
    const { config, lora } = this.#engine.info;
    const request = generateRequest(options, config.vocab, "text", [], lora);
    return this.#generation(prompt, { ...request, thinking: "none" }, options);
  }

  /** Answers the last message, with the model's own chat template. Reasoning arrives as parts of type "reasoning". */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    const { tokenizer, config, lora } = this.#engine.info;
    const request = generateRequest(options, config.vocab, "chat", [...templateOptionNames, ...toolOptionNames], lora);
    const { tools, ...template } = withoutNulls(options);
    const list = messagesOf(messages);
    const plan = this.#given(options, ["tools", ...toolOptionNames])?.toolPlan(withoutNulls(options), list, tokenizer);
    const given = plan?.template ? { ...template, tools } : template;
    const { text, thinking, marks, ends } = renderChat(tokenizer, plan?.messages ?? list, given as TemplateOptions);
    return this.#generation(
      text,
      { ...request, thinking, marks, ends, special: request.special || (plan?.special ?? false) },
      options,
      plan,
    );
  }

  /** Constraints and tools, where one of these options asks for them. Throws "unsupported" where this entry has none. */
  #given(options: ChatOptions, names: readonly (keyof ChatOptions)[]): Forms | undefined {
    const asked = names.find((name) => options[name] !== undefined && options[name] !== null);
    return asked === undefined ? undefined : (this.#forms ?? noForms(asked));
  }

  #generation(
    prompt: string | readonly number[],
    request: Omit<Parameters<EngineApi["generate"]>[1], "prompt">,
    options: GenerateOptions,
    plan?: ToolPlan,
  ): Generation {
    const own = this.#given(options, choiceNames)?.constraintOf(withoutNulls(options), this.#engine.info.tokenizer);
    if (own && plan) bad("tools", "no other constraint beside them", "both");
    const constraint = own ?? plan?.constraint;
    const full = {
      ...request,
      prompt: typeof prompt === "string" ? prompt : tokensOf("prompt", prompt),
      constraint: constraint?.request(request.thinking),
    };
    const start: StartGeneration = async (signal, hooks) => {
      const reader = plan?.reader();
      const onPart = reader ? (part: GeneratedPart) => reader.push(part).forEach(hooks.onPart) : hooks.onPart;
      const result = await this.#call(signal, (id, end) => this.#engine.generate(id, full, { ...hooks, onPart, signal: end }));
      if (reader) {
        const ended = reader.end(result);
        ended.parts.forEach(hooks.onPart);
        return ended.result;
      }
      return constraint?.json && result.finishReason === "stop"
        ? { ...result, parsed: JSON.parse(result.text) as unknown }
        : result;
    };
    return new Generation(start, withoutNulls(options));
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
    return new Session(this.#engine, this.#forms, Promise.resolve(id));
  }

  /** Tokens and cache as bytes, for `model.restore()` of the same model, KV type and package ABI. */
  async save(): Promise<Uint8Array> {
    return this.#engine.save(await this.#open());
  }

  /**
   * Ends what is being computed for this session, which rejects with CpmError "closed", and gives the cache back. Called again, it
   * resolves when the first call does. Harmless after the model is closed.
   */
  dispose(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#end.abort(closed());
    // A session that never opened has nothing to give back.
    const id = await this.#id.catch(() => undefined);
    if (id === undefined) return;
    try {
      await this.#engine.closeSession(id);
    } catch (error) {
      if (!(error instanceof CpmError && (error.code === "closed" || error.code === "engine-failed"))) throw error;
    }
  }

  [asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
