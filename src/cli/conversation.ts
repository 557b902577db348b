// The messages of a chat, and the answer being given.
import process from "node:process";
import { type ChatMessage, CpmError, type GeneratedPart, type GenerateOptions, type Model } from "../index.ts";
import { interrupt } from "./interrupt.ts";
import { explain } from "./options.ts";
import { dim, note, short, write } from "./output.ts";

/** What a conversation survives: the message was too long, or the template refused it. */
const recoverable = ["context-overflow", "bad-input"];

export class Conversation {
  /** Undefined: as the model's template has it. */
  thinking: boolean | undefined;
  readonly #model: Model;
  readonly #options: GenerateOptions;
  /** Whether a person watches. */
  readonly #terminal: boolean;
  #messages: ChatMessage[] = [];
  #answer: AbortController | undefined;

  constructor(model: Model, options: GenerateOptions, system: string | undefined, terminal: boolean) {
    this.#model = model;
    this.#options = options;
    this.#terminal = terminal;
    this.begin(system);
  }

  /** Forgets everything but the system message. */
  clear(): void {
    this.#messages = this.#messages.filter((m) => m.role === "system");
  }

  /** Forgets everything; a system message may open the new conversation. */
  begin(system: string | undefined): void {
    this.#messages = system ? [{ role: "system", content: system }] : [];
  }

  /** Stops the answer being given; false when there is none, or it is being stopped already. */
  stop(): boolean {
    if (!this.#answer || this.#answer.signal.aborted) return false;
    this.#answer.abort(new DOMException("stopped", "AbortError"));
    return true;
  }

  /** Answers `text` on stdout. What was said of a stopped answer stays in the conversation. */
  async reply(text: string): Promise<void> {
    const messages = [...this.#messages, { role: "user", content: text }];
    const answer = new AbortController();
    this.#answer = answer;
    const screen = new Screen();
    try {
      const signal = AbortSignal.any([answer.signal, interrupt.signal]);
      const generation = this.#model.chat(messages, { ...this.#options, signal, enableThinking: this.thinking });
      for await (const part of generation) await screen.show(part);
      await screen.end();
      const { timings, tokens, finishReason } = await generation;
      const why = finishReason === "stop" ? "" : `, ended by ${finishReason}`;
      if (this.#terminal) note(dim(`${tokens.length} tokens, ${short(timings.decodeTokensPerSecond)} tokens/s${why}`));
    } catch (error) {
      if (error instanceof CpmError && recoverable.includes(error.code)) {
        note(`${explain(error)}; /clear forgets the conversation`);
        if (!this.#terminal) process.exitCode = 1;
        return;
      }
      if (!answer.signal.aborted) throw error;
      await screen.end();
      note(dim("stopped"));
    } finally {
      this.#answer = undefined;
    }
    const { content, reasoning } = screen;
    if (content || reasoning)
      this.#messages = [...messages, { role: "assistant", content, ...(reasoning ? { reasoning_content: reasoning } : {}) }];
  }
}

/** An answer as it comes: reasoning dim on a terminal, else on stderr, so that a pipe gets answers only. */
class Screen {
  content = "";
  reasoning = "";

  async show({ type, text }: GeneratedPart): Promise<void> {
    if (type === "reasoning") {
      this.reasoning += text;
      if (process.stdout.isTTY) await write(dim(text, process.stdout));
      else process.stderr.write(dim(text));
      return;
    }
    if (!this.content && text) await this.#closeReasoning();
    this.content += text;
    await write(text);
  }

  async #closeReasoning(): Promise<void> {
    if (!this.reasoning) return;
    if (process.stdout.isTTY) await write("\n\n");
    else process.stderr.write("\n");
  }

  /** Ends the line. */
  async end(): Promise<void> {
    if (!this.content) await this.#closeReasoning();
    await write("\n");
  }
}
