// Messages -> a prompt, through the model's own Jinja chat template, or ChatML when it has none.
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";
import { TemplateRefusal } from "./jinja/globals.ts";
import { fromJson } from "./jinja/json.ts";
import { JinjaTemplate } from "./jinja/template.ts";
import { PyDict, PyList } from "./jinja/values.ts";
import { marksOf, type ThinkingMarks, thinkMarks } from "./marks.ts";
import type { TokenizerData } from "./vocabulary.ts";

/** A message, with the names that OpenAI-compatible APIs and chat templates use. Further fields reach the template, too. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool" | (string & {});
  /** May be null or absent for an assistant that only calls tools. */
  readonly content?: string | null | undefined;
  /** What the assistant thought before this answer. Templates that know it keep or drop it themselves. */
  readonly reasoning_content?: string | undefined;
  /** `{ type: "function", function: { name, arguments } }`; arguments as an object or as JSON text. */
  readonly tool_calls?: readonly unknown[] | undefined;
  /** In a "tool" message: the call it answers. */
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
  /** Further variables of the template: plain data. */
  readonly templateArguments?: Readonly<Record<string, unknown>> | undefined;
}

export const templateOptionNames = ["enableThinking", "tools", "addGenerationPrompt", "templateArguments"] as const;

export interface RenderedChat {
  readonly text: string;
  /** "open": the prompt ends inside reasoning, so the reply begins with it; "split": it may open some itself. */
  readonly thinking: "split" | "open";
  /** What marks reasoning, where that is not `<think>`. */
  readonly marks?: ThinkingMarks | undefined;
  /** Whether BOS and EOS are the model's own template's business, or ("chat", no template) only EOS is left out. */
  readonly ends: "template" | "chat";
}

/** Source: ChatML, as MiniCPM4's published template writes it. */
const chatMl = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}`;

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
    // Defined without a value, as transformers calls templates.
    tools: null,
    documents: null,
    // Granite's name for it.
    ...(thinking === undefined ? {} : { thinking }),
    ...data.templateTokens,
    ...options.templateArguments,
    messages: messages.map((message) => ({
      ...message,
      ...(message.tool_calls ? { tool_calls: message.tool_calls.map(withParsedArguments) } : {}),
    })),
    add_generation_prompt: options.addGenerationPrompt ?? true,
    bos_token: pieceOf(data, data.bos),
    eos_token: pieceOf(data, data.eos ?? data.stop[0]),
    ...(thinking === undefined ? {} : { enable_thinking: thinking }),
    ...(options.tools ? { tools: options.tools } : {}),
  };
  // Where a model has a template for tools, they go there and all else to the default one.
  const named = options.tools ? data.chatTemplates?.["tool_use"] : undefined;
  const template = named ?? data.chatTemplate ?? data.chatTemplates?.["tool_use"];
  const text = render(template ?? chatMl, { ...toolNames(template, options), ...variables });
  const marks = marksOf(template);
  return {
    text,
    thinking: text.trimEnd().endsWith(marks.open) ? "open" : "split",
    ...(marks === thinkMarks ? {} : { marks }),
    ends: template === undefined ? "chat" : "template",
  };
}

/** Other names that templates have for tools: SmolLM3's and Granite's. */
function toolNames(template: string | undefined, { tools, templateArguments }: TemplateOptions): Record<string, unknown> {
  if (!tools || templateArguments?.["python_tools"]) return {};
  const names = ["xml_tools", "available_tools"].filter((name) => template?.includes(name));
  return Object.fromEntries(names.map((name) => [name, tools]));
}

function refuse(code: "bad-input" | "bad-option", field: string, expected: string, value: unknown): never {
  const found =
    typeof value === "string" ? JSON.stringify(value) : value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
  throw new CpmError(code, `${field}: expected ${expected}, found ${found}`, { field, expected, found });
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (!Array.isArray(messages)) refuse("bad-input", "messages", "a list of messages", messages);
  if (messages.length === 0)
    throw new CpmError("bad-input", "messages: expected at least one, found none", { field: "messages" });
  for (const [i, message] of messages.entries()) {
    const field = `messages[${i}]`;
    if (typeof message !== "object" || message === null) refuse("bad-input", field, "an object with role and content", message);
    const { role, content, tool_calls } = message;
    if (typeof role !== "string" || role === "")
      refuse("bad-input", `${field}.role`, '"system", "user", "assistant" or "tool"', role);
    if ((tool_calls ?? undefined) !== undefined && !Array.isArray(tool_calls))
      refuse("bad-input", `${field}.tool_calls`, "a list", tool_calls);
    const callsOnly = role === "assistant" && Array.isArray(tool_calls) && (content ?? null) === null;
    if (typeof content !== "string" && !callsOnly) refuse("bad-input", `${field}.content`, "a text", content);
    checkPlain("bad-input", field, message);
  }
}

function checkOptions({ enableThinking, tools, addGenerationPrompt, templateArguments }: TemplateOptions): void {
  for (const [field, value] of Object.entries({ enableThinking, addGenerationPrompt }))
    if (value !== undefined && typeof value !== "boolean") refuse("bad-option", field, "true or false", value);
  if (tools !== undefined && !Array.isArray(tools)) refuse("bad-option", "tools", "a list of tool definitions", tools);
  const isRecord = typeof templateArguments === "object" && templateArguments !== null && !Array.isArray(templateArguments);
  if (templateArguments !== undefined && (!isRecord || Object.hasOwn(templateArguments, "namespace")))
    refuse("bad-option", "templateArguments", 'an object without the name "namespace"', templateArguments);
  checkPlain("bad-option", "tools", tools);
  checkPlain("bad-option", "templateArguments", templateArguments);
}

/** Templates take what JSON can hold. The depth also ends circles. */
function checkPlain(code: "bad-input" | "bad-option", field: string, value: unknown, depth = 0): void {
  if (depth > 100) throw new CpmError(code, `${field}: nested more than 100 deep, or a circle`, { field });
  if (typeof value === "function" || typeof value === "symbol" || typeof value === "bigint")
    refuse(code, field, "plain data", value);
  if (typeof value === "object" && value !== null)
    for (const inner of Object.values(value)) checkPlain(code, field, inner, depth + 1);
}

/**
 * A call whose arguments, where they are JSON text, are an object to templates that go through them and that text to templates
 * that print or join it: APIs pass text, most templates expect an object.
 */
function withParsedArguments(call: unknown): unknown {
  if (typeof call !== "object" || call === null) return call;
  const { function: inner, arguments: text } = call as { readonly function?: unknown; readonly arguments?: unknown };
  if (inner !== undefined) return { ...call, function: withParsedArguments(inner) };
  const parsed = typeof text === "string" ? fromJson(text) : undefined;
  return parsed instanceof PyDict || parsed instanceof PyList ? { ...call, arguments: parsed } : call;
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
  const { added_tokens: added, model } = vocabulary.tokenizer as {
    added_tokens?: { id: number; content: string }[];
    model?: { vocab?: Record<string, number> };
  };
  return (
    added?.find((t) => t.id === id)?.content ?? Object.entries(model?.vocab ?? {}).find(([, value]) => value === id)?.[0] ?? ""
  );
}

/** The last template parsed: a conversation renders the same one every turn. */
let parsed: { readonly source: string; readonly template: JinjaTemplate } | undefined;

function render(source: string, variables: Readonly<Record<string, unknown>>): string {
  try {
    if (parsed?.source !== source) parsed = { source, template: new JinjaTemplate(source) };
  } catch (cause) {
    throw templateError("bad-model", "does not parse", cause);
  }
  try {
    return parsed.template.render(variables);
  } catch (cause) {
    if (cause instanceof TemplateRefusal) throw templateError("bad-input", "refuses these messages", cause);
    throw templateError("bad-model", "failed", cause);
  }
}

function templateError(code: "bad-model" | "bad-input", what: string, cause: unknown): CpmError {
  const why = reasonOf(cause);
  const todo = code === "bad-input" ? "change the messages" : "pass text rendered by other means to generate()";
  return new CpmError(code, `the model's chat template ${what}: ${why} (${todo})`, { field: "chat_template" }, { cause });
}
