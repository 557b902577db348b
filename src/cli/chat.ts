// cpm chat: a conversation in the terminal.
import process from "node:process";
import { createInterface } from "node:readline/promises";
import type { ChatMessage, Model } from "../index.ts";
import type { Command } from "./args.ts";
import { interrupt, openModel } from "./model.ts";
import { generateOptions, loadArgs, loadOptions, modelArg, samplingArgs } from "./options.ts";
import { dim, note, short, write } from "./output.ts";

const HELP = `/clear    forget the conversation
/system TEXT    begin anew with a system message
/think, /no_think    reasoning on or off from here on
/exit    leave (also Ctrl-D)
Ctrl-C stops an answer; at an empty prompt it leaves.`;

export const chat: Command = {
  name: "chat",
  description: "Talk to a model",
  args: { ...modelArg, system: { type: "string", valueHint: "TEXT", description: "A system message" }, ...samplingArgs, ...loadArgs },
  repeated: ["stop", "header"],
  async run(args) {
    await using model = await openModel(args.positionals[0], loadOptions(args), false);
    const settings = Object.fromEntries(Object.entries(generateOptions(args)).filter(([, value]) => value !== undefined));
    await new Conversation(model, settings, args.text("system")).run();
  },
};

class Conversation {
  readonly #model: Model;
  readonly #settings: object;
  #messages: ChatMessage[] = [];
  #thinking: boolean | undefined;
  /** The answer being given, if one is. */
  #answer: AbortController | undefined;

  constructor(model: Model, settings: object, system: string | undefined) {
    this.#model = model;
    this.#settings = settings;
    if (system !== undefined) this.#messages.push({ role: "system", content: system });
  }

  /** Reads messages until the input ends. */
  async run(): Promise<void> {
    const terminal = process.stdin.isTTY === true;
    const lines = createInterface({ input: process.stdin, ...(terminal ? { output: process.stderr, prompt: "> " } : {}), terminal });
    const stop = () => (this.#answer ? this.#answer.abort(new DOMException("stopped", "AbortError")) : lines.close());
    lines.on("SIGINT", stop);
    interrupt.signal.addEventListener("abort", stop);
    if (terminal) note(dim(`${this.#model.info.config.name}: /help tells what else there is`));
    lines.prompt();
    for await (const line of lines) {
      const text = line.trim();
      if (text === "/exit") break;
      if (text.startsWith("/") && this.#command(text)) {
        lines.prompt();
        continue;
      }
      if (text !== "") await this.#reply(text, terminal);
      if (interrupt.signal.aborted) break;
      lines.prompt();
    }
    lines.close();
  }

  /** True when the line was a command. */
  #command(text: string): boolean {
    const [name, ...rest] = text.split(/\s+/);
    if (name === "/help") note(HELP);
    else if (name === "/clear") this.#messages = this.#messages.filter((m) => m.role === "system");
    else if (name === "/system") this.#messages = rest.length ? [{ role: "system", content: rest.join(" ") }] : [];
    else if (text === "/think") this.#thinking = true;
    else if (text === "/no_think") this.#thinking = false;
    else {
      note(`${name}: no such command; /help tells what there is`);
      return true;
    }
    return true;
  }

  async #reply(text: string, terminal: boolean): Promise<void> {
    const messages = [...this.#messages, { role: "user", content: text }];
    const answer = new AbortController();
    this.#answer = answer;
    let content = "";
    try {
      const generation = this.#model.chat(messages, { ...this.#settings, signal: answer.signal, ...(this.#thinking === undefined ? {} : { enableThinking: this.#thinking }) });
      for await (const part of generation) {
        if (part.type === "text") content += part.text;
        await write(part.type === "reasoning" && process.stdout.isTTY ? `\u001b[2m${part.text}\u001b[22m` : part.type === "reasoning" && !terminal ? "" : part.text);
      }
      const { timings, tokens, finishReason } = await generation;
      await write("\n");
      if (terminal) note(dim(`${tokens.length} tokens, ${short(timings.decodeTokensPerSecond)} tokens/s${finishReason === "stop" ? "" : `, ended by ${finishReason}`}`));
    } catch (error) {
      if (!answer.signal.aborted) throw error;
      await write("\n");
      note(dim("stopped"));
    } finally {
      this.#answer = undefined;
    }
    this.#messages = [...messages, { role: "assistant", content }];
  }
}
