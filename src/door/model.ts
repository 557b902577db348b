// A loaded model.
import type { EngineApi, EngineInfo } from "../engine/types.ts";
import { CpmError } from "../errors.ts";
import { type ChatMessage, renderChat, type TemplateOptions } from "../text/template.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { Generation } from "./generation.ts";
import { checkNames, type GenerateOptions } from "./options.ts";
import { type ChatOptions, Session } from "./session.ts";

/** A model in memory, with its threads. `dispose()` it, or hold it with `await using`. */
export class Model implements AsyncDisposable {
  readonly #engine: EngineApi;
  #tokenizer: Tokenizer | undefined;
  /** Serves generate() and chat(), so that a growing conversation is not computed again. */
  #session: Session | undefined;
  #closed = false;

  /** @internal Models come from `load()`. */
  constructor(engine: EngineApi) {
    this.#engine = engine;
  }

  /** What was loaded and how: shape, format, threads, kernel variant, memory plan, load time. */
  get info(): EngineInfo {
    return this.#engine.info;
  }

  /** Text to token ids and back, synchronously and in the caller's thread. Built on first use. */
  get tokenizer(): Tokenizer {
    this.#tokenizer ??= new Tokenizer(this.info.tokenizer);
    return this.#tokenizer;
  }

  #own(): Session {
    if (this.#closed) throw new CpmError("closed", "this model is closed; load it again");
    this.#session ??= new Session(this.#engine, this.#engine.open());
    return this.#session;
  }

  /**
   * Continues `prompt` (text or token ids): await the result, or iterate over its parts.
   * Throws CpmError "bad-option" and "bad-input" at once; rejects with "context-overflow" when the prompt does not fit.
   */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): Generation {
    return this.#own().generate(prompt, options);
  }

  /** Answers the last message; the conversation's common prefix with the last call is kept in the KV cache. */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    return this.#own().chat(messages, options);
  }

  /** The prompt that chat() would run: messages through the model's template (ChatML when it has none). */
  formatChat(messages: readonly ChatMessage[], options: TemplateOptions = {}): string {
    return renderChat(this.info.tokenizer, messages, options).text;
  }

  /** A new empty session with a KV cache of its own: `contextSize` tokens (default and most: the model's). */
  async session(options: { readonly contextSize?: number | undefined } = {}): Promise<Session> {
    checkNames("options", options, ["contextSize"]);
    const id = await this.#engine.open(options.contextSize);
    return new Session(this.#engine, Promise.resolve(id));
  }

  /** A session from what `session.save()` gave. Rejects with "bad-input" for another model, KV type or ABI, or damaged bytes. */
  async restore(saved: Uint8Array): Promise<Session> {
    if (!(saved instanceof Uint8Array))
      throw new CpmError("bad-input", `saved session: expected a Uint8Array, found ${typeof saved}`);
    const id = await this.#engine.restore(saved);
    return new Session(this.#engine, Promise.resolve(id));
  }

  /** Stops what is being generated, frees the memory and ends the workers. Harmless to call twice. */
  async dispose(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#engine.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
