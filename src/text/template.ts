// Messages -> a prompt, through the model's own Jinja chat template, or ChatML when it has none.
import * as library from "@huggingface/jinja";
import { CpmError } from "../errors.ts";
import type { TokenizerData } from "./vocabulary.ts";

// The library's own declarations do not resolve under NodeNext; these are the parts used here.
interface Value {
  readonly value: unknown;
}
interface Node {
  readonly type: string;
}
interface Scope {
  set(name: string, value: unknown): Value;
  lookupVariable(name: string): Value;
}
interface Evaluator {
  run(program: Node): Value;
  evaluate(statement: Node | undefined, scope: Scope): Value;
}
const { Environment, Interpreter, Template } = library as unknown as {
  readonly Environment: new () => Scope;
  readonly Interpreter: new (scope: Scope) => Evaluator;
  readonly Template: new (source: string) => { readonly parsed: Node };
};

/** A message as OpenAI-compatible APIs spell it; templates read these names. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool" | (string & {});
  /** May be null or absent for an assistant that only calls tools. */
  readonly content?: string | null | undefined;
  readonly reasoning_content?: string | undefined;
  readonly tool_calls?: readonly unknown[] | undefined;
  readonly tool_call_id?: string | undefined;
  readonly name?: string | undefined;
}

export interface TemplateOptions {
  /** Hybrid reasoning on or off. Default: a `/think` or `/no_think` that ends the last user message, else the template's own. */
  readonly enableThinking?: boolean | undefined;
  /** Tool definitions, as the template expects them (OpenAI's shape). */
  readonly tools?: readonly unknown[] | undefined;
  /** End with the header of an assistant message. Default true. */
  readonly addGenerationPrompt?: boolean | undefined;
  /** Further variables of the template. */
  readonly templateArguments?: Readonly<Record<string, unknown>> | undefined;
}

export const templateOptionNames = ["enableThinking", "tools", "addGenerationPrompt", "templateArguments"] as const;

export interface RenderedChat {
  readonly text: string;
  /** "open": the prompt ends inside `<think>`, so the reply begins with reasoning; "split": it may open one itself. */
  readonly thinking: "split" | "open";
}

/** Source: ChatML, as MiniCPM4's published template writes it. */
const chatMl = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}`;

/**
 * Renders a conversation.
 * @throws CpmError "bad-input" for messages without role or content and for what the template itself refuses; "bad-model" for a
 * template that does not parse, fails, or takes more than its share of steps or text; "bad-option" for options of a wrong type.
 */
export function renderChat(data: TokenizerData, messages: readonly ChatMessage[], options: TemplateOptions = {}): RenderedChat {
  checkMessages(messages);
  checkOptions(options);
  const thinking = options.enableThinking ?? askedFor(messages);
  const variables = {
    ...options.templateArguments,
    messages: messages.map((m) => ({ ...m, content: m.content ?? "" })),
    add_generation_prompt: options.addGenerationPrompt ?? true,
    bos_token: pieceOf(data, data.bos),
    eos_token: pieceOf(data, data.stop[0]),
    ...(thinking === undefined ? {} : { enable_thinking: thinking }),
    ...(options.tools ? { tools: options.tools } : {}),
  };
  const text = render(data.chatTemplate ?? chatMl, variables);
  return { text, thinking: /<think>\s*$/.test(text) ? "open" : "split" };
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const refuse = (field: string, expected: string, found: unknown): never => {
    const shown = typeof found === "string" ? JSON.stringify(found) : found === null ? "null" : typeof found;
    throw new CpmError("bad-input", `${field}: expected ${expected}, found ${shown}`, { field, expected, found: shown });
  };
  if (!Array.isArray(messages) || messages.length === 0) refuse("messages", "a list of at least one message", Array.isArray(messages) ? "an empty list" : messages);
  for (const [i, message] of messages.entries()) {
    if (typeof message !== "object" || message === null) refuse(`messages[${i}]`, "an object with role and content", message);
    if (typeof message.role !== "string" || message.role === "") refuse(`messages[${i}].role`, '"system", "user", "assistant" or "tool"', message.role);
    const bare = message.role === "assistant" && message.tool_calls !== undefined && (message.content === undefined || message.content === null);
    if (typeof message.content !== "string" && !bare) refuse(`messages[${i}].content`, "a text", message.content);
  }
}

function checkOptions({ enableThinking, tools, addGenerationPrompt, templateArguments }: TemplateOptions): void {
  const refuse = (field: string, expected: string): never => {
    throw new CpmError("bad-option", `${field}: expected ${expected}`, { field, expected });
  };
  if (enableThinking !== undefined && typeof enableThinking !== "boolean") refuse("enableThinking", "true or false");
  if (addGenerationPrompt !== undefined && typeof addGenerationPrompt !== "boolean") refuse("addGenerationPrompt", "true or false");
  if (tools !== undefined && !Array.isArray(tools)) refuse("tools", "a list of tool definitions");
  if (templateArguments !== undefined && (typeof templateArguments !== "object" || templateArguments === null)) refuse("templateArguments", "an object");
}

/** What the last user message asks for by ending in `/think` or `/no_think`. The text stays: models are trained on it. */
function askedFor(messages: readonly ChatMessage[]): boolean | undefined {
  const last = messages.findLast((m) => m.role === "user")?.content;
  const mark = /(?:^|\s)\/(no_)?think\s*$/.exec(last ?? "");
  return mark ? mark[1] === undefined : undefined;
}

/** How the vocabulary spells a token; "" when there is none. */
function pieceOf({ vocabulary }: TokenizerData, id: number | undefined): string {
  if (id === undefined) return "";
  if (vocabulary.kind === "pieces") return vocabulary.pieces[id] ?? "";
  const { added_tokens: added, model } = vocabulary.tokenizer as { added_tokens?: { id: number; content: string }[]; model?: { vocab?: Record<string, number> } };
  return added?.find((t) => t.id === id)?.content ?? Object.entries(model?.vocab ?? {}).find(([, value]) => value === id)?.[0] ?? "";
}

/** The last template parsed: a conversation renders the same one every turn. */
let parsed: { readonly source: string; readonly program: Node } | undefined;

function render(source: string, variables: Readonly<Record<string, unknown>>): string {
  try {
    if (parsed?.source !== source) parsed = { source, program: new Template(source).parsed };
  } catch (cause) {
    throw templateError("bad-model", "does not parse", cause);
  }
  const environment = new Environment();
  for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
  try {
    return String(new BoundedInterpreter(environment).run(parsed.program).value);
  } catch (cause) {
    if (cause instanceof Refusal) throw templateError("bad-input", "refuses these messages", cause);
    throw templateError("bad-model", "failed", cause);
  }
}

function templateError(code: "bad-model" | "bad-input", what: string, cause: unknown): CpmError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const todo = code === "bad-input" ? "change the messages" : "pass text rendered by other means to generate()";
  return new CpmError(code, `the model's chat template ${what}: ${why} (${todo})`, { field: "chat_template" }, { cause });
}

/** What a template says by raise_exception. */
class Refusal extends Error {}

const maxSteps = 4_000_000;
const maxText = 64 << 20;
const maxRange = 1_000_000;

/** Templates are untrusted: steps and sizes are counted. Also knows the filters `min` and `max`, which the library lacks. */
class BoundedInterpreter extends Interpreter {
  #steps = 0;

  override evaluate(statement: Node | undefined, scope: Scope): Value {
    if (++this.#steps > maxSteps) throw new Error(`it takes more than ${maxSteps} steps`);
    const value = this.#extremum(statement, scope) ?? super.evaluate(statement, scope);
    const size = typeof value.value === "string" || Array.isArray(value.value) ? value.value.length : 0;
    if (size > maxText) throw new Error(`it makes more than ${maxText} characters`);
    return value;
  }

  #extremum(statement: Node | undefined, scope: Scope): Value | undefined {
    if (statement?.type !== "FilterExpression") return undefined;
    const { operand, filter } = statement as Node & { operand: Node; filter: Node & { value: string } };
    if (filter.type !== "Identifier" || (filter.value !== "min" && filter.value !== "max")) return undefined;
    const list = this.evaluate(operand, scope).value;
    if (!Array.isArray(list) || list.length === 0) throw new Error(`the filter ${filter.value} needs a list with elements`);
    const smaller = (a: Value, b: Value) => ((a.value as number) <= (b.value as number) ? a : b);
    const larger = (a: Value, b: Value) => ((a.value as number) >= (b.value as number) ? a : b);
    return (list as Value[]).reduce(filter.value === "min" ? smaller : larger);
  }
}

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (!(count <= maxRange)) throw new Error(`range() of ${count} numbers`);
  return Array.from({ length: count }, (_, i) => from + i * step);
}

/** Python's strftime for what templates use: the day the conversation happens. */
function strftimeNow(format: string): string {
  const now = new Date();
  const two = (n: number) => String(n).padStart(2, "0");
  const name = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat("en-US", options).format(now);
  const fields: Readonly<Record<string, () => string>> = {
    Y: () => String(now.getFullYear()),
    y: () => two(now.getFullYear() % 100),
    m: () => two(now.getMonth() + 1),
    d: () => two(now.getDate()),
    H: () => two(now.getHours()),
    M: () => two(now.getMinutes()),
    S: () => two(now.getSeconds()),
    B: () => name({ month: "long" }),
    b: () => name({ month: "short" }),
    A: () => name({ weekday: "long" }),
    a: () => name({ weekday: "short" }),
    "%": () => "%",
  };
  return format.replace(/%([a-zA-Z%])/g, (all, field: string) => fields[field]?.() ?? all);
}

/** What every template may use. Python spells constants both ways. */
const globals: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  strftime_now: strftimeNow,
  raise_exception: (message: unknown) => {
    throw new Refusal(String(message));
  },
};
