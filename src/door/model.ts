// A loaded model.
import { bytesOf, kindOf } from "../brands.ts";
import type { EngineApi, EngineInfo } from "../engine/types.ts";
import { CpmError } from "../errors.ts";
import type { Bytes } from "../file/bytes.ts";
import { type ChatMessage, renderChat, type TemplateOptions, templateOptionNames } from "../text/template.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { Generation } from "./generation.ts";
import { given, messagesOf } from "./given.ts";
import type { GenerateOptions } from "./options.ts";
import { type ChatOptions, Session } from "./session.ts";

/** A model in memory, with its threads. `dispose()` it, or hold it with `await using`. */
export class Model implements AsyncDisposable {
  readonly #engine: EngineApi;
  #tokenizer: Tokenizer | undefined;
  /** Serves generate() and chat(), so that a growing conversation is not computed again. */
  #session: Session | undefined;
  #closed: Promise<void> | undefined;

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
    if (!this.#session) {
      const id = this.#engine.open();
      const session = new Session(this.#engine, id);
      // Memory that was refused may be there when other sessions are closed.
      id.catch(() => {
        if (this.#session === session) this.#session = undefined;
      });
      this.#session = session;
    }
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
    return renderChat(this.info.tokenizer, messagesOf(messages), given(options, templateOptionNames)).text;
  }

  /** A new empty session with a KV cache of its own: `contextSize` tokens (default and most: the model's). */
  async session(options: { readonly contextSize?: number | undefined } = {}): Promise<Session> {
    const { contextSize } = given(options, ["contextSize"]);
    const id = await this.#engine.open(contextSize);
    return new Session(this.#engine, Promise.resolve(id));
  }

  /** A session from what `session.save()` gave, as any kind of bytes, which stay the caller's. Rejects with "bad-input" for another model, KV type or ABI, or damaged bytes. */
  async restore(saved: Bytes): Promise<Session> {
    const bytes = bytesOf(saved);
    if (!bytes) throw new CpmError("bad-input", `saved session: expected bytes, found ${kindOf(saved)}`, { field: "saved" });
    const id = await this.#engine.restore(bytes);
    return new Session(this.#engine, Promise.resolve(id));
  }

  /** Stops what is being generated, frees the memory and ends the workers. Called again, it resolves when the first call does. */
  dispose(): Promise<void> {
    this.#closed ??= this.#engine.close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
