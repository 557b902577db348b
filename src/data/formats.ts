// Fine-tuning data in the forms that trainers read: messages as OpenAI has them, ShareGPT, LLaMA-Factory's columns.
import { CpmError } from "../errors.ts";
import type { ChatMessage, WireCall } from "./verify/types.ts";

/** A record of messages JSONL: `messages`, `tools` where there are, and whatever else belongs to it. */
export interface MessagesRecord {
  readonly messages: readonly ChatMessage[];
  readonly tools?: readonly unknown[] | undefined;
  readonly [field: string]: unknown;
}

/** A turn of ShareGPT. `cpm` holds what its two fields have no room for, so that nothing is lost. */
export interface ShareGptTurn {
  readonly from: string;
  readonly value: string;
  readonly cpm?: { readonly set?: Readonly<Record<string, unknown>>; readonly absent?: readonly string[] } | undefined;
}

/** A record of ShareGPT as LLaMA-Factory reads it; `tools` is JSON in a text. */
export interface ShareGptRecord {
  readonly conversations: readonly ShareGptTurn[];
  readonly system?: string | undefined;
  readonly tools?: string | undefined;
  readonly [field: string]: unknown;
}

const roles: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  assistant: "assistant",
  function_call: "assistant",
  observation: "tool",
  tool: "tool",
  system: "system",
};
const senders: Readonly<Record<string, string>> = { user: "human", assistant: "gpt", tool: "observation", system: "system" };
const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;

/** The same JSON, member by member in order. */
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What a turn says without its `cpm`. */
function plainMessage({ from, value }: ShareGptTurn): Record<string, unknown> {
  const role = own(roles, from) ?? from;
  if (from === "function_call") {
    const calls = callsOf(value);
    if (calls) return { role, content: null, tool_calls: calls };
  }
  const thought = role === "assistant" ? /^<think>\n([\s\S]*?)\n<\/think>\n\n([\s\S]*)$/.exec(value) : null;
  return thought ? { role, content: thought[2], reasoning_content: thought[1] } : { role, content: value };
}

/** Calls as a function_call turn writes them: an object or a list of them; undefined for another text. */
function callsOf(value: string): WireCall[] | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    const list = (Array.isArray(parsed) ? parsed : [parsed]) as { name?: unknown; arguments?: unknown }[];
    if (!list.every((call) => typeof call?.name === "string")) return undefined;
    return list.map(({ name, arguments: given = {} }) => ({
      type: "function",
      function: { name: name as string, arguments: typeof given === "string" ? given : JSON.stringify(given) },
    }));
  } catch {
    return undefined;
  }
}

function written(message: ChatMessage): string {
  const { content, reasoning_content: reasoning } = message;
  const text = typeof content === "string" ? content : "";
  return typeof reasoning === "string" && reasoning !== "" ? `<think>\n${reasoning}\n</think>\n\n${text}` : text;
}

/** Arguments as a value where their JSON is exactly what it would be written as; else their text. */
function argumentsOf(given: WireCall["function"]["arguments"]): unknown {
  if (typeof given !== "string") return given;
  try {
    const value: unknown = JSON.parse(given);
    return JSON.stringify(value) === given && typeof value === "object" ? value : given;
  } catch {
    return given;
  }
}

function turnOf(message: ChatMessage): ShareGptTurn {
  const calls = message.role === "assistant" && message.tool_calls?.length ? message.tool_calls : undefined;
  const made = calls?.map((call) => ({ name: call.function?.name, arguments: argumentsOf(call.function?.arguments) }));
  const turn: ShareGptTurn = made
    ? { from: "function_call", value: JSON.stringify(made.length === 1 ? made[0] : made) }
    : { from: own(senders, message.role) ?? message.role, value: written(message) };
  const plain = plainMessage(turn);
  const given = message as unknown as Readonly<Record<string, unknown>>;
  const changed = Object.entries(given).filter(
    ([key, value]) => value !== undefined && !(Object.hasOwn(plain, key) && same(plain[key], value)),
  );
  const absent = Object.keys(plain).filter((key) => given[key] === undefined);
  if (changed.length === 0 && absent.length === 0) return turn;
  const set = changed.length ? { set: Object.fromEntries(changed) } : {};
  return { ...turn, cpm: { ...set, ...(absent.length ? { absent } : {}) } };
}

function messageOf(turn: ShareGptTurn): ChatMessage {
  if (typeof turn?.from !== "string" || typeof turn.value !== "string")
    throw new CpmError("bad-input", `conversations: expected turns with from and value, found ${JSON.stringify(turn)}`, {
      field: "conversations",
    });
  const message: Record<string, unknown> = { ...plainMessage(turn), ...turn.cpm?.set };
  for (const key of turn.cpm?.absent ?? []) delete message[key];
  return message as unknown as ChatMessage;
}

/**
 * A record as ShareGPT: roles human, gpt, function_call, observation; reasoning between think marks; `system` and `tools` in columns of
 * their own. `fromShareGpt` gives the same record back, member for member; what plain ShareGPT has no room for (names of calls, text
 * beside a call) stands in `cpm` of its turn, which other readers pass over.
 * @throws CpmError "bad-input" for a record without messages
 */
export function toShareGpt(record: MessagesRecord): ShareGptRecord {
  const { messages, tools, ...rest } = record;
  if (!Array.isArray(messages)) throw new CpmError("bad-input", "messages: expected a list", { field: "messages" });
  const [first] = messages as readonly ChatMessage[];
  const system =
    first?.role === "system" && typeof first.content === "string" && same(first, { role: "system", content: first.content });
  return {
    ...rest,
    conversations: (messages as readonly ChatMessage[]).slice(system ? 1 : 0).map(turnOf),
    ...(system ? { system: first.content as string } : {}),
    ...(tools === undefined ? {} : { tools: JSON.stringify(tools) }),
  };
}

/** A record of ShareGPT, of ours or of another's making, as messages. @throws CpmError "bad-input" for a record that is none */
export function fromShareGpt(record: ShareGptRecord): MessagesRecord {
  const { conversations, system, tools, ...rest } = record;
  if (!Array.isArray(conversations))
    throw new CpmError("bad-input", "conversations: expected a list", { field: "conversations" });
  const messages = (conversations as readonly ShareGptTurn[]).map(messageOf);
  let list: unknown = tools;
  try {
    if (typeof tools === "string") list = tools.trim() === "" ? undefined : JSON.parse(tools);
  } catch (cause) {
    throw new CpmError("bad-input", `tools: no JSON (${(cause as Error).message})`, { field: "tools" }, { cause });
  }
  return {
    ...rest,
    messages: typeof system === "string" ? [{ role: "system", content: system }, ...messages] : messages,
    ...(list === undefined ? {} : { tools: list as readonly unknown[] }),
  };
}

/** LLaMA-Factory's columns of a conversation without tools. */
export interface AlpacaRecord {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
  readonly system?: string;
  readonly history?: readonly (readonly [string, string])[];
}

/**
 * A conversation in LLaMA-Factory's columns instruction, input, output, system and history.
 * @throws CpmError "unsupported" for tools and for turns that do not take turns: those go as ShareGPT
 */
export function toAlpaca({ messages }: MessagesRecord): AlpacaRecord {
  const system = messages[0]?.role === "system" ? messages[0].content : undefined;
  const turns = messages.slice(system === undefined ? 0 : 1);
  const fits =
    turns.length > 0 &&
    turns.length % 2 === 0 &&
    turns.every(({ role, tool_calls: calls }, i) => role === (i % 2 ? "assistant" : "user") && !calls?.length);
  if (!fits)
    throw new CpmError("unsupported", "these columns hold users and assistants by turns, without tools; use toShareGpt", {
      field: "messages",
    });
  const pairs = turns.flatMap((turn, i) => (i % 2 ? [] : [[written(turn), written(turns[i + 1]!)] as const]));
  const [instruction, output] = pairs.at(-1)!;
  return {
    instruction,
    input: "",
    output,
    ...(typeof system === "string" ? { system } : {}),
    ...(pairs.length > 1 ? { history: pairs.slice(0, -1) } : {}),
  };
}
