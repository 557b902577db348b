// A conversation of cpm agent: what is shown of calls and results, and how calls are allowed.
import process from "node:process";
import type { AgentEvent, AgentOptions, AgentResult, ChatModel, PendingCall, ToolServers } from "../agent/api.ts";
import { type ChatMessage, CpmError } from "../index.ts";
import { interrupt } from "./interrupt.ts";
import { explain } from "./options.ts";
import { dim, note, plural, write, writeSaid } from "./output.ts";
import { visible, visibleJson, visibleLine } from "./visible.ts";

interface Settings {
  readonly system: string | undefined;
  /** Tools that run without asking. */
  readonly allowed: readonly string[] | "all";
  /** Asks whoever sits at the terminal; absent: nobody does. */
  readonly ask: ((question: string) => Promise<string | undefined>) | undefined;
  readonly quiet: boolean;
}

/** Characters of a call's arguments that are shown before it is allowed. */
const MOST_SHOWN = 2000;

export class AgentTalk {
  readonly #model: ChatModel;
  readonly #tools: ToolServers;
  readonly #options: AgentOptions;
  readonly #settings: Settings;
  readonly #always = new Set<string>();
  #messages: ChatMessage[];
  #running: AbortController | undefined;
  #written = Promise.resolve();
  #column = 0;

  constructor(model: ChatModel, tools: ToolServers, options: AgentOptions, settings: Settings) {
    this.#model = model;
    this.#tools = tools;
    this.#options = options;
    this.#settings = settings;
    this.#messages = settings.system === undefined ? [] : [{ role: "system", content: settings.system }];
  }

  clear(): void {
    this.#messages = this.#messages.filter(({ role }) => role === "system");
  }

  /** Stops the task; false when there is none. */
  stop(): boolean {
    if (!this.#running || this.#running.signal.aborted) return false;
    this.#running.abort(new DOMException("stopped", "AbortError"));
    return true;
  }

  /** One task. Rejects as runTools() does. */
  async task(text: string): Promise<AgentResult> {
    const { runTools } = await import("cpm-wasm/agent");
    const control = new AbortController();
    this.#running = control;
    const abort = () => control.abort(interrupt.signal.reason);
    interrupt.signal.addEventListener("abort", abort, { once: true });
    try {
      const asked: ChatMessage[] = [...this.#messages, { role: "user", content: text }];
      const result = await runTools(this.#model, asked, {
        ...this.#options,
        servers: this.#tools,
        signal: control.signal,
        approve: (call) => this.#approve(call),
        onEvent: (event) => this.#show(event),
      });
      this.#messages = [...asked, ...result.messages];
      if (result.finishReason !== "stop" && !this.#settings.quiet) this.#note(dim(`ended by ${result.finishReason}`));
      return result;
    } finally {
      interrupt.signal.removeEventListener("abort", abort);
      this.#running = undefined;
      await this.#lineEnd();
    }
  }

  /** A task of a conversation: what it survives is told. */
  async say(text: string): Promise<void> {
    try {
      await this.task(text);
    } catch (error) {
      if (interrupt.signal.aborted) throw error;
      if (error instanceof DOMException && error.name === "AbortError") note(dim("stopped"));
      else if (error instanceof CpmError && error.code !== "engine-failed" && error.code !== "closed")
        note(visible(`${explain(error)}; /clear forgets the conversation`));
      else throw error;
    }
  }

  async #approve(call: PendingCall): Promise<boolean> {
    const { allowed, ask, quiet } = this.#settings;
    if (allowed === "all" || allowed.includes(call.name) || allowed.includes(call.tool) || this.#always.has(call.name))
      return true;
    if (!ask) {
      if (!quiet)
        this.#note(
          `${visibleLine(call.name)} was not run: nobody is at a terminal to allow it; --allow ${visibleLine(call.tool)} does`,
        );
      return false;
    }
    await this.#lineEnd();
    const all = visibleJson(JSON.stringify(call.input, null, 2));
    const shown = all.length > MOST_SHOWN ? `${all.slice(0, MOST_SHOWN)}\n… ${all.length - MOST_SHOWN} more characters` : all;
    note(`${visibleLine(call.tool)}${call.server === undefined ? "" : ` of ${visibleLine(call.server)}`} ${visible(shown)}`);
    const answer = (await ask("Run it? [y]es, [a]lways this tool, [N]o: "))?.trim().toLowerCase();
    if (answer === "a" || answer === "always") this.#always.add(call.name);
    return answer === "y" || answer === "yes" || answer === "a" || answer === "always";
  }

  #show(event: AgentEvent): void {
    const quiet = this.#settings.quiet && event.type !== "warning";
    if (quiet) return;
    if (event.type === "text" || event.type === "reasoning") this.#say(event.text, event.type === "reasoning");
    else if (event.type === "warning") this.#note(visibleLine(event.message, 400));
    else this.#note(dim(toldOf(event)));
  }

  #say(text: string, dimmed: boolean): void {
    this.#column = text.endsWith("\n") ? 0 : 1;
    this.#written = this.#written.then(() => (dimmed ? void process.stderr.write(dim(visible(text))) : writeSaid(text)));
  }

  /** A note stands in lines of its own. */
  #note(text: string): void {
    const open = this.#column > 0;
    this.#column = 0;
    this.#written = this.#written.then(async () => {
      if (open) await write("\n");
      note(text);
    });
  }

  async #lineEnd(): Promise<void> {
    if (this.#column > 0) this.#written = this.#written.then(() => write("\n"));
    this.#column = 0;
    await this.#written;
  }
}

type Told = Exclude<AgentEvent, { readonly type: "text" } | { readonly type: "reasoning" } | { readonly type: "warning" }>;

/** What happened, in a line. */
function toldOf(event: Told): string {
  if (event.type === "tools") {
    const names = (list: readonly string[]) => list.map((name) => visibleLine(name, 64)).join(", ") || "none";
    return `the tools have changed: new ${names(event.added)}; gone ${names(event.removed)}`;
  }
  if (event.type === "answer") {
    const { promptTokens, cachedTokens, completionTokens } = event.usage;
    return `${plural(promptTokens, "token")} read, ${cachedTokens} of them known, ${completionTokens} written`;
  }
  const { tool, server, input } = event.call;
  const name = `${visibleLine(tool, 64)}${server === undefined ? "" : ` of ${visibleLine(server, 40)}`}`;
  if (event.type === "call") return `→ ${name} ${visibleLine(JSON.stringify(input), 120)}`;
  const { text, isError, clipped } = event.result;
  return `← ${name}: ${isError ? "failed: " : ""}${visibleLine(text, 120)}${clipped ? " (clipped)" : ""}`;
}
