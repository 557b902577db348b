// Messages of OpenAI's chat completions -> the package's.
import type { ChatMessage } from "../index.ts";
import { invalid, Params, unsupported } from "./params.ts";

const roles = ["system", "developer", "user", "assistant", "tool"] as const;

/** The text of a content field: a string, or parts of type text (and refusal, in what an assistant once said). */
export function textOf(value: unknown, name: string, types: readonly string[] = ["text"]): string {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) throw invalid(name, "a text or a list of parts", value);
  return value
    .map((raw: unknown, i) => {
      const part = new Params(raw, `${name}[${i}]`);
      const type = part.text("type");
      if (type === undefined || !types.includes(type))
        throw unsupported(part.name("type"), `${JSON.stringify(type ?? null)}: these models read text alone`);
      const text = part.text(type === "refusal" ? "refusal" : "text");
      if (text === undefined) throw invalid(part.name("text"), "a text", null);
      return text;
    })
    .join("");
}

function callOf(raw: unknown, name: string): unknown {
  const call = new Params(raw, name);
  call.ignore("index");
  const [id, type, inner] = [call.text("id"), call.text("type") ?? "function", call.object("function")];
  if (type !== "function" || !inner) throw unsupported(call.name("type"), "only calls of functions");
  call.end();
  const called = { name: inner.text("name"), arguments: inner.raw("arguments") ?? "{}" };
  if (called.name === undefined) throw invalid(inner.name("name"), "a function's name", null);
  inner.end();
  return { ...(id === undefined ? {} : { id }), type, function: called };
}

function messageOf(raw: unknown, name: string): ChatMessage {
  const message = new Params(raw, name);
  const role = message.oneOf("role", roles);
  if (role === undefined) throw invalid(message.name("role"), roles.map((r) => `"${r}"`).join(" or "), null);
  const [content, label] = [message.raw("content"), message.text("name")];
  const calls = role === "assistant" ? message.list("tool_calls") : undefined;
  const text =
    content === undefined
      ? undefined
      : textOf(content, message.name("content"), role === "assistant" ? ["text", "refusal"] : ["text"]);
  if (text === undefined && !calls?.length) throw invalid(message.name("content"), "a text", null);
  const thought = role === "assistant" ? (message.text("reasoning_content") ?? message.text("reasoning")) : undefined;
  const answered = role === "tool" ? message.text("tool_call_id") : undefined;
  if (role === "assistant") {
    message.ignore("refusal", "annotations");
    message.only("audio", [], "these models neither hear nor speak");
    message.only("function_call", [], "use tool_calls");
  }
  message.end();
  return {
    role: role === "developer" ? "system" : role,
    ...(text === undefined ? { content: null } : { content: text }),
    ...(label === undefined ? {} : { name: label }),
    ...(thought === undefined ? {} : { reasoning_content: thought }),
    ...(calls?.length ? { tool_calls: calls.map((call, i) => callOf(call, `${name}.tool_calls[${i}]`)) } : {}),
    ...(answered === undefined ? {} : { tool_call_id: answered }),
  };
}

/** @throws Problem 400 naming the message and the field. */
export function readMessages(params: Params): readonly ChatMessage[] {
  const list = params.list("messages");
  if (!list?.length) throw invalid(params.name("messages"), "a list of at least one message", list ?? null);
  return list.map((raw, i) => messageOf(raw, `messages[${i}]`));
}
