// A loaded model.
import { asyncDispose, bytesOf, kindOf } from "../brands.ts";
import type { ConstraintInput } from "../constrain/compile.ts";
import { constraintKinds } from "../constrain/limits.ts";
import { ANY_SESSION, type EngineApi, type EngineInfo } from "../engine/types.ts";
import { CpmError } from "../errors.ts";
import type { Bytes } from "../file/bytes.ts";
import { type ChatMessage, renderChat, type TemplateOptions, templateOptionNames } from "../text/template.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { Constraint, SchemaReading } from "./constraint.ts";
import { type Embeddings, type EmbedInput, embedRequest } from "./embed.ts";
import type { Forms } from "./forms.ts";
import type { Generation } from "./generation.ts";
import { given, messagesOf, noForms } from "./given.ts";
import { type LoraChoice, loraUses } from "./lora.ts";
import type { GenerateOptions } from "./options.ts";
import { type ChatOptions, Session } from "./session.ts";

/** A model in memory, with its threads. `dispose()` it, or hold it with `await using`. */
export class Model implements AsyncDisposable {
  readonly #engine: EngineApi;
  readonly #forms: Forms | undefined;
  #tokenizer: Tokenizer | undefined;
  #closed: Promise<void> | undefined;

  /** @internal Models come from `load()`. */
  constructor(engine: EngineApi, forms: Forms | undefined) {
    this.#engine = engine;
    this.#forms = forms;
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

  /** What generate() and chat() run in: a sequence that the engine finds for each call. */
  #own(): Session {
    if (this.#closed) throw new CpmError("closed", "this model is closed; load it again");
    return new Session(this.#engine, this.#forms, Promise.resolve(ANY_SESSION));
  }

  /**
   * Continues `prompt` (text or token ids): await the result, or iterate over its parts. Any number of calls may be made at once: as
   * many as `parallel` run side by side, each with the text that it would have alone; `queue` more wait, and one more rejects at once
   * with "busy". The longest prefix that a finished text shares with the prompt is not computed again: usage.cachedTokens.
   * Throws CpmError "bad-option" and "bad-input" at once; rejects with "context-overflow" when the prompt does not fit.
   * @example
   * ```ts
   * import { defaultModel, load } from "cpm-wasm";
   *
   * await using model = await load(defaultModel);
   * let text = "";
   * for await (const part of model.generate("The dog", { maxTokens: 8, seed: 1 })) text += part.text;
   * console.log(text.length > 0);
   * // => true
   * ```
   */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): Generation {
    return this.#own().generate(prompt, options);
  }

  /**
   * Compiles what a text must be, for generate() and chat() of this model: { constraint }. One of schema, regex, grammar and choices,
   * as there. Throws UnsupportedSchemaError (a CpmError "unsupported", with path and keyword) for what a schema asks for and cannot
   * be enforced, unless lenient; "bad-input" for what is no grammar or matches nothing; "bad-option"; "unsupported" in
   * cpm-wasm/plain.
   * @example
   * ```ts
   * import { defaultModel, load } from "cpm-wasm";
   *
   * await using model = await load(defaultModel);
   * const constraint = model.constraint({ regex: "[0-9]{4}-[0-9]{2}" });
   * const { text } = await model.generate("It was in ", { constraint, seed: 3 });
   * console.log(/^[0-9]{4}-[0-9]{2}$/.test(text));
   * // => true
   * ```
   */
  constraint(input: ConstraintInput, options: SchemaReading = {}): Constraint {
    if (!this.#forms) noForms("constraint");
    return this.#forms.newConstraint(given(input, constraintKinds), options, this.info.tokenizer);
  }

  /**
   * Answers the last message, as generate() would; what earlier calls computed of the conversation is not computed again.
   * @example
   * ```ts
   * import { defaultModel, load } from "cpm-wasm";
   *
   * await using model = await load(defaultModel);
   * const schema = {
   *   type: "object",
   *   properties: { color: { enum: ["red", "blue"] } },
   *   required: ["color"],
   *   additionalProperties: false,
   * };
   * const { parsed } = await model.chat([{ role: "user", content: "What color is the ball?" }], { schema, temperature: 0 });
   * console.log(["red", "blue"].includes((parsed as { color: string }).color));
   * // => true
   * ```
   */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    return this.#own().chat(messages, options);
  }

  /** The prompt that chat() would run: messages through the model's template (ChatML when it has none). */
  formatChat(messages: readonly ChatMessage[], options: TemplateOptions = {}): string {
    return renderChat(this.info.tokenizer, messagesOf(messages), given(options, templateOptionNames)).text;
  }

  /**
   * Embeddings: the final hidden states of each text's tokens (BOS included, where the model has one), pooled. `pooling`: "mean"
   * (default) or "last"; `normalize` (default true): to length 1. Vectors have info.config.hidden numbers, in the order of the texts,
   * and do not depend on what is computed beside them. A call counts as one generation of `parallel` and `queue`.
   * Throws "bad-input" and "bad-option" at once; rejects with "context-overflow" for a text that does not fit, "busy", or the signal's
   * reason.
   * @example
   * ```ts
   * import { defaultModel, load } from "cpm-wasm";
   *
   * await using model = await load(defaultModel);
   * const { embeddings } = await model.embed(["a cat", "a dog"]);
   * console.log(embeddings.length, embeddings[0]!.length === model.info.config.hidden);
   * // => 2 true
   * ```
   */
  async embed(texts: string | readonly (string | readonly number[])[], options: EmbedInput = {}): Promise<Embeddings> {
    if (this.#closed) throw new CpmError("closed", "this model is closed; load it again");
    const { list, full, signal } = embedRequest(texts, options, this.info.lora);
    let promptTokens = 0;
    const onBegin = (usage: { readonly promptTokens: number }) => {
      promptTokens = usage.promptTokens;
    };
    const flat = await this.#engine.embed(list, full, { signal, onBegin });
    const size = this.info.config.hidden;
    const embeddings = list.map((_, i) => flat.slice(size * i, size * (i + 1)));
    return { embeddings, usage: { promptTokens } };
  }

  /**
   * A new empty session with a KV cache of its own: `contextSize` tokens (default and most: the model's), computed with `lora` (default:
   * all adapters that were loaded, at their scales).
   * @example
   * ```ts
   * import { defaultModel, load } from "cpm-wasm";
   *
   * await using model = await load(defaultModel);
   * const session = await model.session({ contextSize: 64 });
   * const logits = await session.forward(model.tokenizer.encode("Once upon a"));
   * const best = logits.indexOf(Math.max(...logits));
   * console.log(model.tokenizer.decode([best]));
   * // => time
   * ```
   */
  async session(
    options: { readonly contextSize?: number | undefined; readonly lora?: LoraChoice | undefined } = {},
  ): Promise<Session> {
    const { contextSize, lora } = given(options, ["contextSize", "lora"]);
    const id = await this.#engine.open(contextSize, loraUses(lora, this.info.lora));
    return new Session(this.#engine, this.#forms, Promise.resolve(id));
  }

  /**
   * A session from what `session.save()` gave, as any kind of bytes, which stay the caller's. Rejects with "bad-input" for another model, KV type or ABI, or damaged bytes.
   * @example
   * ```ts
   * import { defaultModel, load } from "cpm-wasm";
   *
   * await using model = await load(defaultModel);
   * const session = await model.session({ contextSize: 64 });
   * await session.generate("Lily had a", { maxTokens: 4, temperature: 0 });
   * const again = await model.restore(await session.save());
   * console.log((await again.tokens()).join() === (await session.tokens()).join());
   * // => true
   * ```
   */
  async restore(saved: Bytes): Promise<Session> {
    const bytes = bytesOf(saved);
    if (!bytes) throw new CpmError("bad-input", `saved session: expected bytes, found ${kindOf(saved)}`, { field: "saved" });
    const id = await this.#engine.restore(bytes);
    return new Session(this.#engine, this.#forms, Promise.resolve(id));
  }

  /** Stops what is being generated, frees the memory and ends the workers. Called again, it resolves when the first call does. */
  dispose(): Promise<void> {
    this.#closed ??= this.#engine.close();
    return this.#closed;
  }

  [asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
