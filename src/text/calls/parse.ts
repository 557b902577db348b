// A model's text -> what it says and what it calls, as it comes or whole.
import { CpmError } from "../../errors.ts";
import { Cursor, Incomplete, Wrong } from "./cursor.ts";
import { type Dialect, type DialectName, dialectNames } from "./dialect.ts";
import { granite, hermes, llama3, mistral, plain } from "./jsoncalls.ts";
import { minicpm4, olmo3, pythonicList } from "./pythoncalls.ts";
import { Thoughts } from "./thoughts.ts";
import { ToolTable } from "./tools.ts";
import { minicpm5, qwen3Coder } from "./xmlcalls.ts";

const dialects: readonly Dialect[] = [
  minicpm4,
  minicpm5,
  hermes,
  granite,
  llama3,
  mistral,
  qwen3Coder,
  pythonicList,
  olmo3,
  plain,
];

/** @throws CpmError "bad-option" for other names. */
export function dialectOf(name: DialectName): Dialect {
  const found = dialects.find((dialect) => dialect.name === name);
  if (!found)
    throw new CpmError("bad-option", `toolFormat: expected one of ${dialectNames.join(", ")}, found ${JSON.stringify(name)}`, {
      field: "toolFormat",
    });
  return found;
}

/**
 * How a model writes its calls, told from its chat template: the markers that the template writes for calls of earlier turns. "json"
 * where it knows none.
 */
export function dialectOfTemplate(template: string | undefined): DialectName {
  const has = (text: string) => template?.includes(text) ?? false;
  if (has("<|tool_call_start|>")) return has("```python") ? "minicpm4-python" : "pythonic-list";
  if (has("<function_calls>")) return "olmo3-python";
  if (has("<function name=")) return "minicpm5-xml";
  if (has("<function=") && has("<parameter=")) return "qwen3-coder-xml";
  // Phi-4-mini's template shows tools and no call.
  if (has("<|tool_call|>") || has("<|/tool|>") || (has("<tool_call>") && has("JSON list"))) return "granite-json";
  if (has("<tool_call>")) return "hermes-json";
  if (has("[TOOL_CALLS]")) return "mistral";
  if (has("<|python_tag|>") || (has("ipython") && has('"parameters"'))) return "llama3-json";
  return "json";
}

/** A call that a model made. */
export interface ToolCall {
  /** Unique within its conversation. */
  readonly id: string;
  readonly name: string;
  /** JSON of an object, every digit of its numbers as the model wrote them. */
  readonly arguments: string;
}

/** What a text turned out to hold, in order. */
export type CallPart =
  | { readonly type: "text"; readonly text: string }
  /** Between the markers that the format has for it. */
  | { readonly type: "reasoning"; readonly text: string }
  | { readonly type: "call-begin"; readonly id: string; readonly name: string }
  | { readonly type: "call-delta"; readonly id: string; readonly delta: string }
  | { readonly type: "call-end"; readonly call: ToolCall }
  /** What is wrong with a block that stays text, or with a call that its tool may not take. */
  | { readonly type: "problem"; readonly message: string };

/** "call_" and nine letters and digits: formats that name their calls want exactly nine. */
function randomId(): string {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => letters[byte % letters.length]).join("");
}

export interface CallStreamOptions {
  readonly dialect: DialectName;
  readonly tools: readonly unknown[];
  /**
   * The text was written under the tools' grammar: calls are told from their beginning. Otherwise a block is told when it is whole, since
   * it may yet turn out to be text.
   */
  readonly strict?: boolean;
  /** Names calls. Default: nine random letters and digits. */
  readonly newId?: () => string;
}

/** Characters that can complete something: only then is an open block read again. */
const COMPLETES = /[)\]}>`;,\n]/;

interface Told {
  id: string | undefined;
  name: string;
  text: string;
  sent: number;
  ended: boolean;
}

/**
 * Reads calls from a text that grows. Text before, between and behind blocks is told as text; what looks like the beginning of a
 * block is held back until it is clear. Work grows with the length of the text and of its longest call times the number of its parts.
 */
export class CallStream {
  readonly #dialect: Dialect;
  readonly #tools: ToolTable;
  readonly #strict: boolean;
  readonly #newId: () => string;
  #held = "";
  /** The calls of the block that is open, as far as they were told. */
  #told: Told[] = [];
  readonly #thoughts: Thoughts;
  /** Nothing but blanks has come since the last call. */
  #afterCall = false;
  /** Text between two calls that belongs to neither is dropped when a call follows. */
  #blank = "";
  /** Within a block that cannot be read: all is text until its closer has come. */
  #lost = false;

  constructor({ dialect, tools, strict = false, newId = randomId }: CallStreamOptions) {
    this.#dialect = dialectOf(dialect);
    this.#thoughts = new Thoughts(this.#dialect.thinking);
    this.#tools = new ToolTable(tools);
    this.#strict = strict;
    this.#newId = newId;
  }

  push(text: string): CallPart[] {
    const { thought, answer } = this.#thoughts.push(text, false);
    const open = this.#held !== "";
    this.#held += answer;
    const parts: CallPart[] = thought === "" ? [] : [{ type: "reasoning", text: thought }];
    if (this.#held === "" || (open && !COMPLETES.test(answer) && this.#opener(false) === 0)) return parts;
    return [...parts, ...this.#read(false)];
  }

  /** The text is over: what is still held is told. */
  end(): CallPart[] {
    const { thought, answer } = this.#thoughts.push("", true);
    this.#held += answer;
    const parts: CallPart[] = thought === "" ? [] : [{ type: "reasoning", text: thought }];
    parts.push(...this.#read(true));
    const rest = this.#blank;
    this.#blank = "";
    return rest === "" ? parts : [...parts, { type: "text", text: rest }];
  }

  /** Where a block begins, or may begin when more text comes; the text's length when nowhere. */
  #opener(final: boolean): number {
    const text = this.#held;
    let least = text.length;
    for (const opener of this.#dialect.openers) {
      const at = text.indexOf(opener);
      if (at >= 0) least = Math.min(least, at);
      for (let tail = final ? least : Math.max(0, text.length - opener.length + 1); tail < least; tail++)
        if (opener.startsWith(text.slice(tail))) least = tail;
    }
    return least;
  }

  #text(text: string): CallPart[] {
    if (text === "") return [];
    const all = this.#blank + text;
    const between = this.#afterCall ? (this.#dialect.between ?? /^\s*$/) : undefined;
    if (between?.test(all)) {
      this.#blank = all;
      return [];
    }
    this.#blank = "";
    this.#afterCall = false;
    return [{ type: "text", text: all }];
  }

  #read(final: boolean): CallPart[] {
    const parts: CallPart[] = [];
    for (;;) {
      if (this.#lost) {
        const end = this.#closer(0, final);
        parts.push(...this.#text(this.#held.slice(0, end)));
        this.#held = this.#held.slice(end);
        if (this.#lost) return parts;
      }
      const at = this.#opener(final);
      parts.push(...this.#text(this.#held.slice(0, at)));
      this.#held = this.#held.slice(at);
      if (this.#held === "") return parts;
      const block = this.#block(final, parts);
      if (block === "wait") return parts;
      parts.push(...this.#text(this.#held.slice(block.skip, block.text)));
      this.#held = this.#held.slice(block.text);
    }
  }

  /** Reads the block at the beginning of what is held. Gives the range of it that is text, and from where to go on. */
  #block(final: boolean, parts: CallPart[]): "wait" | { readonly skip: number; readonly text: number } {
    const cursor = new Cursor(this.#held);
    const calls: { name: string; members: string[]; names: string[]; whole: boolean }[] = [];
    const dropped: string[] = [];
    const listener = {
      begin: (name: string) => void calls.push({ name, members: [], names: [], whole: false }),
      argument(name: string, value: string) {
        calls.at(-1)!.members.push(`${name}:${value}`);
        calls.at(-1)!.names.push(JSON.parse(name) as string);
      },
      end() {
        calls.at(-1)!.whole = true;
      },
      drop(why: string) {
        if (calls.at(-1)?.whole === false) calls.pop();
        dropped.push(why);
      },
    };
    const written = () =>
      calls.map(({ name, members, whole }) => ({ name, text: `{${members.join(",")}${whole ? "}" : ""}`, whole }));
    try {
      this.#dialect.read(cursor, listener, this.#tools, final);
    } catch (error) {
      if (error instanceof Incomplete && !final) {
        if (this.#strict) parts.push(...this.#tell(written()));
        return "wait";
      }
      if (!(error instanceof Incomplete || error instanceof Wrong)) throw error;
      this.#told = [];
      parts.push({
        type: "problem",
        message: error instanceof Wrong ? error.message : `the text ended within a call: ${error.message}`,
      });
      return {
        skip: this.#dialect.openerIsToken ? this.#dialect.openers[0]!.length : 0,
        text: this.#behind(error, cursor, final),
      };
    }
    const problems = calls.map(({ name, names }) => this.#tools.problems(name, names));
    const refused =
      calls.length === 0 || problems.some(({ unknown, missing }) => unknown || (this.#dialect.checked && missing.length > 0));
    for (const { messages } of problems) for (const message of messages) parts.push({ type: "problem", message });
    for (const message of dropped) parts.push({ type: "problem", message });
    // The format's own parser takes a call without the arguments that its tool does not have.
    if (this.#dialect.checked)
      for (const [i, call] of calls.entries())
        call.members = call.members.filter((_, at) => !problems[i]!.surplus.includes(call.names[at]!));
    if (refused && !this.#strict) return { skip: 0, text: cursor.at };
    parts.push(...this.#tell(written()));
    this.#told = [];
    this.#afterCall = true;
    this.#blank = "";
    return { skip: cursor.at, text: cursor.at };
  }

  /** Where text goes on behind a block that cannot be read. */
  #behind(error: Error, cursor: Cursor, final: boolean): number {
    const failed = error instanceof Wrong ? error.at : cursor.text.length;
    const { closer, openers } = this.#dialect;
    if (closer === undefined) return Math.max(failed, Math.min(cursor.text.length, Math.min(...openers.map((o) => o.length))));
    return this.#closer(failed, final);
  }

  /**
   * Behind the next closer from `from` on; where it has not come, where it may yet begin (the end, when the text is over), and what
   * follows is lost until it comes: so that a text in pieces is read as the whole is.
   */
  #closer(from: number, final: boolean): number {
    const text = this.#held;
    const { closer } = this.#dialect;
    if (closer === undefined) return text.length;
    const at = text.indexOf(closer, from);
    this.#lost = at < 0 && !final;
    if (at >= 0) return at + closer.length;
    let tail = final ? text.length : Math.max(from, text.length - closer.length + 1);
    while (tail < text.length && !closer.startsWith(text.slice(tail))) tail++;
    return tail;
  }

  /** Parts for what of these calls was not told yet. */
  #tell(calls: readonly { readonly name: string; readonly text: string; readonly whole: boolean }[]): CallPart[] {
    const parts: CallPart[] = [];
    for (const [i, { name, text, whole }] of calls.entries()) {
      let told = this.#told[i];
      if (!told) {
        told = { id: this.#newId(), name, text: "", sent: 0, ended: false };
        this.#told.push(told);
        parts.push({ type: "call-begin", id: told.id!, name });
      }
      if (told.ended) continue;
      const id = told.id!;
      if (text.length > told.sent) parts.push({ type: "call-delta", id, delta: text.slice(told.sent) });
      told.sent = text.length;
      if (!whole) continue;
      told.ended = true;
      parts.push({ type: "call-end", call: { id, name, arguments: text } });
    }
    return parts;
  }
}

/** A whole text, read. */
export interface ParsedCalls {
  /** What was thought before, where the format marks it in a way of its own; else "". */
  readonly reasoning: string;
  /** What is no call; without white space at its ends when there are calls. */
  readonly content: string;
  readonly calls: readonly ToolCall[];
  /** Why blocks that look like calls are text, and what tools may say to calls. */
  readonly problems: readonly string[];
}

/**
 * Reads the calls of a text that is complete. Never throws for what a model wrote.
 * @example
 * ```ts
 * import { parseCalls } from "cpm-wasm";
 *
 * const text = 'Let me see. <tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>';
 * const tools = [{ type: "function", function: { name: "weather", parameters: { properties: { city: {} } } } }];
 * const { content, calls, problems } = parseCalls(text, { dialect: "hermes-json", tools });
 * console.log(content, calls[0]!.name, calls[0]!.arguments, problems.length);
 * // => Let me see. weather {"city":"Rome"} 0
 * ```
 */
export function parseCalls(text: string, options: CallStreamOptions): ParsedCalls {
  const stream = new CallStream(options);
  const parts = [...stream.push(text), ...stream.end()];
  const calls = parts.flatMap((part) => (part.type === "call-end" ? [part.call] : []));
  const content = parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  return {
    reasoning: parts.map((part) => (part.type === "reasoning" ? part.text : "")).join(""),
    content: calls.length ? content.trim() : content,
    calls,
    problems: parts.flatMap((part) => (part.type === "problem" ? [part.message] : [])),
  };
}
