// Tools in a chat: the grammar that an answer is held to, and the calls that are read from it.
import { type ToolChoice, type ToolGrammarOptions, toolGrammar } from "../constrain/tools.ts";
import type { GeneratedPart, GenerateResult, ToolCall } from "../engine/types.ts";
import { type DialectName, dialectNames } from "../text/calls/dialect.ts";
import { CallStream, dialectOf, dialectOfTemplate } from "../text/calls/parse.ts";
import type { ToolDefinition } from "../text/calls/tools.ts";
import type { ChatMessage } from "../text/template.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import { Constraint } from "./constraint.ts";
import { bad } from "./given.ts";

export interface ToolOptions {
  /** Functions that the answer may call, in OpenAI's shape; `parameters` are JSON Schema, and what they cannot be held to is refused. */
  readonly tools?: readonly ToolDefinition[] | undefined;
  /** "auto" (default): text, calls or both; "none": text alone; "required": calls alone; or the one tool that must be called. */
  readonly toolChoice?: ToolChoice | undefined;
  /** More than one call in an answer. Default true. */
  readonly parallelToolCalls?: boolean | undefined;
  /** How the model writes calls. Default: as its chat template does; "json" where that knows none. */
  readonly toolFormat?: DialectName | undefined;
}

/** What a chat with tools does beside other chats. */
export interface ToolPlan {
  readonly constraint: Constraint;
  /** The vocabulary has the format's marks as special tokens, which must be written. */
  readonly special: boolean;
  readonly messages: readonly ChatMessage[];
  /** Whether the template is given the tools; otherwise the messages tell of them. */
  readonly template: boolean;
  reader(): ToolReader;
}

/** Marks that formats write and that vocabularies may have as tokens. */
const marks = [
  "<|tool_call_start|>",
  "<tool_call>",
  "[TOOL_CALLS]",
  "<|tool_call|>",
  "<function",
  "<|python_tag|>",
  "<|thought_start|>",
];

/** The plan for these options; undefined where there are no tools. @throws CpmError as toolGrammar() does */
export function toolPlan(options: ToolOptions, messages: readonly ChatMessage[], tokenizer: TokenizerData): ToolPlan | undefined {
  const { tools = [], toolChoice = "auto", parallelToolCalls = true, toolFormat } = options;
  const choices = ["auto", "none", "required"];
  const named = typeof toolChoice === "object" && toolChoice !== null && typeof toolChoice.name === "string";
  if (!named && !choices.includes(toolChoice as string)) bad("toolChoice", '"auto", "none", "required" or { name }', toolChoice);
  if (typeof parallelToolCalls !== "boolean") bad("parallelToolCalls", "true or false", parallelToolCalls);
  if (toolFormat !== undefined && !dialectNames.includes(toolFormat))
    bad("toolFormat", `one of ${dialectNames.join(", ")}`, toolFormat);
  if (tools.length === 0) {
    if (named || toolChoice === "required") bad("toolChoice", "tools to call beside it", toolChoice);
    return undefined;
  }
  const template = tokenizer.chatTemplates?.["tool_use"] ?? tokenizer.chatTemplate;
  const dialect = toolFormat ?? dialectOfTemplate(template);
  const { constraint, special } = compiled(tokenizer, {
    dialect,
    tools,
    choice: toolChoice,
    parallel: parallelToolCalls,
    template,
  });
  const known = template !== undefined && /\b(?:xml_|available_)?tools\b/.test(template) && !inMessage(template);
  return {
    constraint,
    special,
    messages: known ? messages : told(messages, tools, template),
    template: known,
    reader: () => new ToolReader(dialect, toolChoice === "none" ? [] : tools, toolChoice !== "none"),
  };
}

type Compiled = Pick<ToolPlan, "constraint" | "special">;

/** A conversation brings the same tools every turn, and a server the same to every request: these are the last sets of each vocabulary. */
const kept = new WeakMap<TokenizerData, { readonly words: Tokenizer; readonly plans: Map<string, Compiled> }>();
const MOST_KEPT = 16;

function compiled(tokenizer: TokenizerData, options: Omit<ToolGrammarOptions, "special">): Compiled {
  let own = kept.get(tokenizer);
  if (!own) kept.set(tokenizer, (own = { words: new Tokenizer(tokenizer), plans: new Map() }));
  const { words, plans } = own;
  const key = keyOf(options);
  const found = key === undefined ? undefined : plans.get(key);
  if (found) return found;
  const special = (text: string): number | undefined => {
    const id = words.id(text);
    if (id === undefined) return undefined;
    const plain = words.encode(text, { special: false, bos: false, eos: false });
    return plain.length === 1 && plain[0] === id ? undefined : id;
  };
  const made = {
    constraint: new Constraint({ part: toolGrammar({ ...options, special }) }, {}, tokenizer),
    special: marks.some((mark) => special(mark) !== undefined),
  };
  if (key !== undefined) plans.set(key, made);
  for (const oldest of plans.keys()) {
    if (plans.size <= MOST_KEPT) break;
    plans.delete(oldest);
  }
  return made;
}

/** The options as a text; undefined for what is no plain data, which is refused where it is read. */
function keyOf(options: Omit<ToolGrammarOptions, "special">): string | undefined {
  try {
    return JSON.stringify(options);
  } catch {
    return undefined;
  }
}

/** Tools in words, for a model whose template does not know any. */
function told(messages: readonly ChatMessage[], tools: readonly unknown[], template: string | undefined): readonly ChatMessage[] {
  const functions = tools.map((tool) => (tool as ToolDefinition).function ?? tool);
  if (inMessage(template)) return inSystem(messages, { tools: JSON.stringify(functions) });
  const list = functions.map((inner) => JSON.stringify(inner)).join("\n");
  const text = `You may call these functions:\n${list}\nTo call one, answer with nothing but {"name": its name, "arguments": {…}}, or with a list of such objects.`;
  const [first, ...rest] = messages;
  // Gemma 2's template takes no system message.
  if (template?.includes("System role not supported") && first?.role === "user")
    return [{ ...first, content: `${text}\n\n${first.content ?? ""}` }, ...rest];
  if (first?.role !== "system") return [{ role: "system", content: text }, ...messages];
  return [{ ...first, content: `${typeof first.content === "string" ? first.content : ""}\n\n${text}` }, ...rest];
}

/** Phi-4-mini's template has the tools in the system message, as a text of JSON. */
const inMessage = (template: string | undefined): boolean => /['"]tools['"] in message\b/.test(template ?? "");

function inSystem(messages: readonly ChatMessage[], more: Readonly<Record<string, string>>): readonly ChatMessage[] {
  const [first, ...rest] = messages;
  if (first?.role === "system") return [{ ...first, ...more } as ChatMessage, ...rest];
  const content = "You are a helpful assistant with some tools.";
  return [{ role: "system", content, ...more } as ChatMessage, ...messages];
}

/** Turns the parts of an answer into text and calls. Every token stays with exactly one part. */
export class ToolReader {
  readonly #stream: CallStream;
  readonly #active: boolean;
  #tokens: number[] = [];
  #logprobs: NonNullable<GeneratedPart["logprobs"]>[number][] = [];
  readonly #calls: ToolCall[] = [];
  #text = "";
  #reasoning = "";

  constructor(dialect: DialectName, tools: readonly unknown[], active: boolean) {
    dialectOf(dialect);
    this.#stream = new CallStream({ dialect, tools, strict: true });
    this.#active = active;
  }

  push(part: GeneratedPart): GeneratedPart[] {
    if (!this.#active || part.type !== "text") {
      if (part.type === "text") this.#text += part.text;
      return [part];
    }
    this.#tokens.push(...part.tokens);
    this.#logprobs.push(...(part.logprobs ?? []));
    return this.#parts(this.#stream.push(part.text));
  }

  #parts(found: ReturnType<CallStream["push"]>): GeneratedPart[] {
    const parts: GeneratedPart[] = [];
    for (const one of found) {
      if (one.type === "problem") continue;
      if (one.type === "text") this.#text += one.text;
      if (one.type === "reasoning") this.#reasoning += one.text;
      if (one.type === "text" || one.type === "reasoning") parts.push({ type: one.type, text: one.text, ...this.#taken() });
      else if (one.type === "call-begin")
        parts.push({ type: "tool-call", text: "", ...this.#taken(), call: { id: one.id, name: one.name, delta: "" } });
      else if (one.type === "call-delta")
        parts.push({ type: "tool-call", text: "", ...this.#taken(), call: { id: one.id, name: "", delta: one.delta } });
      else {
        const { id, name, arguments: text } = one.call;
        const whole = { id, name, arguments: text, input: JSON.parse(text) as Record<string, unknown> };
        this.#calls.push(whole);
        parts.push({ type: "tool-call", text: "", ...this.#taken(), call: { id, name, delta: "", whole } });
      }
    }
    return parts;
  }

  #taken(): Pick<GeneratedPart, "tokens" | "logprobs"> {
    const [tokens, logprobs] = [this.#tokens, this.#logprobs];
    this.#tokens = [];
    this.#logprobs = [];
    return { tokens, ...(logprobs.length ? { logprobs } : {}) };
  }

  /** What was held back to the end, and the result with its calls. */
  end(result: GenerateResult): { readonly parts: readonly GeneratedPart[]; readonly result: GenerateResult } {
    if (!this.#active) return { parts: [], result };
    const parts = this.#parts(this.#stream.end());
    if (this.#tokens.length) parts.push({ type: "text", text: "", ...this.#taken() });
    const calls = this.#calls;
    return {
      parts,
      result: {
        ...result,
        text: calls.length ? this.#text.trim() : this.#text,
        reasoning: result.reasoning + this.#reasoning,
        ...(calls.length ? { toolCalls: calls } : {}),
        finishReason: calls.length && result.finishReason === "stop" ? "tool-calls" : result.finishReason,
      },
    };
  }
}
