// The messages of a chat, and the answer being given.
import process from "node:process";
import { isRecord } from "../brands.ts";
import { type ChatMessage, CpmError, type GeneratedPart, type GenerateOptions, type Model } from "../index.ts";
import { interrupt } from "./interrupt.ts";
import { PromptProgress } from "./model.ts";
import { explain } from "./options.ts";
import { dim, note, plural, short, write, writeSaid } from "./output.ts";
import { type Setting, settingOf, withSetting } from "./settings.ts";
import { visible } from "./visible.ts";

/** What a conversation survives: the message was too long, or the template refused it. */
const recoverable = ["context-overflow", "bad-input"];

/** A conversation in a file. */
interface Saved {
  readonly messages: readonly ChatMessage[];
}

export class Conversation {
  /** Undefined: as the model's template has it. */
  thinking: boolean | undefined;
  readonly #model: Model;
  #options: GenerateOptions;
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

  get length(): number {
    return this.#messages.length;
  }

  /** Forgets everything but the system message. */
  clear(): void {
    this.#messages = this.#messages.filter((m) => m.role === "system");
  }

  /** Forgets everything; a system message may open the new conversation. */
  begin(system: string | undefined): void {
    this.#messages = system ? [{ role: "system", content: system }] : [];
  }

  saved(): Saved {
    return { messages: this.#messages };
  }

  /** Goes on with a saved conversation: { messages }, or a list of messages as other programs write it. Throws "bad-input". */
  restore(saved: unknown, file: string): void {
    const list = Array.isArray(saved) ? saved : (saved as Partial<Saved> | null)?.messages;
    if (!Array.isArray(list))
      throw new CpmError("bad-input", `${file}: expected { "messages": […] }, as /save writes it`, { file });
    const bad = list.findIndex((m: unknown) => !isRecord(m) || typeof m["role"] !== "string" || typeof m["content"] !== "string");
    if (bad >= 0)
      throw new CpmError("bad-input", `${file}: messages[${bad}]: expected { "role": "…", "content": "…" }`, { file });
    this.#messages = list as ChatMessage[];
  }

  setting(name: Setting): number | undefined {
    return settingOf(this.#options, name);
  }

  /** Changes how answers are chosen from here on. Throws "bad-option". */
  set(name: Setting, value: string | undefined): void {
    this.#options = withSetting(this.#options, name, value);
  }

  /** Stops the answer being given; false when there is none, or it is being stopped already. */
  stop(): boolean {
    if (!this.#answer || this.#answer.signal.aborted) return false;
    this.#answer.abort(new DOMException("stopped", "AbortError"));
    return true;
  }

  /** Answers the last message of the user again, instead of the answer that it had. */
  async regenerate(): Promise<void> {
    const last = this.#messages.findLastIndex((m) => m.role === "user");
    if (last < 0) return note("/regenerate: there is no message to answer yet");
    if (this.#options.seed !== undefined || this.#options.temperature === 0)
      note(dim(`${this.#options.seed === undefined ? "temperature 0" : "the seed"} gives the same text again; /set changes it`));
    await this.#respond(this.#messages.slice(0, last + 1));
  }

  /** Answers `text` on stdout. What was said of a stopped answer stays in the conversation. */
  async reply(text: string): Promise<void> {
    await this.#respond([...this.#messages, { role: "user", content: text }]);
  }

  async #respond(messages: ChatMessage[]): Promise<void> {
    const answer = new AbortController();
    this.#answer = answer;
    const screen = new Screen();
    const stop = () => answer.abort(interrupt.signal.reason);
    interrupt.signal.addEventListener("abort", stop, { once: true });
    const { signal } = answer;
    try {
      const { onPrefill } = screen.progress;
      const generation = this.#model.chat(messages, { ...this.#options, signal, onPrefill, enableThinking: this.thinking });
      for await (const part of generation) await screen.show(part);
      await screen.end();
      const { timings, tokens, finishReason } = await generation;
      const why = finishReason === "stop" ? "" : `, ended by ${finishReason}`;
      const speed = `${short(timings.decodeTokensPerSecond)} tokens/s`;
      if (this.#terminal) note(dim(`${plural(tokens.length, "token")}, ${speed}${why}`));
    } catch (error) {
      screen.progress.close();
      if (error instanceof CpmError && recoverable.includes(error.code)) {
        note(visible(`${explain(error)}; /clear forgets the conversation`));
        if (!this.#terminal) process.exitCode = 1;
        return;
      }
      if (!signal.aborted || interrupt.signal.aborted) throw error;
      await screen.end();
      note(dim("stopped"));
    } finally {
      interrupt.signal.removeEventListener("abort", stop);
      this.#answer = undefined;
    }
    const { content, reasoning } = screen;
    if (content || reasoning)
      this.#messages = [...messages, { role: "assistant", content, ...(reasoning ? { reasoning_content: reasoning } : {}) }];
  }
}

/** An answer as it comes: reasoning dim on a terminal, else on stderr, so that a pipe gets answers only. */
class Screen {
  readonly progress = new PromptProgress();
  content = "";
  reasoning = "";

  async show({ type, text }: GeneratedPart): Promise<void> {
    this.progress.close();
    if (type === "reasoning") {
      this.reasoning += text;
      if (process.stdout.isTTY) await write(dim(visible(text), process.stdout));
      else process.stderr.write(dim(process.stderr.isTTY ? visible(text) : text));
      return;
    }
    if (!this.content && text) await this.#closeReasoning();
    this.content += text;
    await writeSaid(text);
  }

  async #closeReasoning(): Promise<void> {
    if (!this.reasoning) return;
    if (process.stdout.isTTY) await write("\n\n");
    else process.stderr.write("\n");
  }

  /** Ends the line. */
  async end(): Promise<void> {
    this.progress.close();
    if (!this.content) await this.#closeReasoning();
    await write("\n");
  }
}
