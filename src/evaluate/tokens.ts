// Texts as tokens, in slices of time.
import type { Model } from "../door/model.ts";
import type { EncodeOptions, Tokenizer } from "../text/tokenizer.ts";
import type { Breath } from "./breath.ts";

/** As tokenizer.encode(), with rests. */
export async function encoded(tokenizer: Tokenizer, text: string, options: EncodeOptions, breath: Breath): Promise<number[]> {
  const steps = tokenizer.encodeSteps(text, options);
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    await breath.take();
  }
}

/** A prompt as a model is asked: plain text, or the turn of a user through the model's template; `lead` begins the answer. */
export interface Prompt {
  readonly text: string;
  readonly tokens: readonly number[];
}

/** How prompts are put: `chat` through the template, without reasoning. Default: where the model has a template. */
export class Prompts {
  readonly #model: Model;
  readonly #chat: boolean;
  readonly #breath: Breath;

  constructor(model: Model, chat: boolean | undefined, breath: Breath) {
    this.#model = model;
    this.#chat = chat ?? model.info.tokenizer.chatTemplate !== undefined;
    this.#breath = breath;
  }

  get chat(): boolean {
    return this.#chat;
  }

  /** The text that a model is given; `between` stands between question and lead where there is no template. */
  textOf(text: string, lead = "", between = lead === "" ? "" : "\n"): string {
    if (!this.#chat) return `${text}${between}${lead}`;
    return this.#model.formatChat([{ role: "user", content: text }], { enableThinking: false }) + lead;
  }

  /** Its tokens: special ones are recognised where a template wrote them; a template writes BOS itself. */
  async tokensOf(text: string): Promise<number[]> {
    const { tokenizer, info } = this.#model;
    const templated = this.#chat && info.tokenizer.chatTemplate !== undefined;
    const options = { special: this.#chat, eos: false, ...(templated ? { bos: false } : {}) };
    return encoded(tokenizer, text, options, this.#breath);
  }
}
