// Conversations as files: out as JSON or Markdown, in from JSON, checked whole before anything is written.
import { type Conversation, type Message, newId } from "./store.ts";

interface Kept extends Conversation {
  readonly messages: readonly Message[];
}

export interface Imported {
  readonly conversations: readonly Conversation[];
  readonly messages: readonly Message[];
  /** Conversations that were here already, the same. */
  readonly skipped: number;
}

/** What is here already. */
export interface Here {
  /** Messages of a conversation; undefined: there is no such one. */
  messages(conversation: string): Promise<readonly Message[] | undefined>;
  /** Whether one of these is a message's id. */
  taken(ids: readonly string[]): Promise<boolean>;
}

/** A file that is none of ours, or does not hold together. */
export class BadFile extends Error {}

export const toJson = (all: readonly Kept[]): string =>
  `${JSON.stringify({ format: "cpm-chat", version: 1, conversations: all }, null, 2)}\n`;

/** What is shown of a conversation, as text. */
export function toMarkdown(title: string, system: string, path: readonly Message[]): string {
  const parts = path.map(({ role, text }) => `## ${role === "user" ? "You" : "Answer"}\n\n${text.trim()}\n`);
  return [`# ${title}\n`, ...(system.trim() ? [`> ${system.trim().replaceAll("\n", "\n> ")}\n`] : []), ...parts].join("\n");
}

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);
const MOST = 100_000;

function text(of: Fields, name: string, where: string): string {
  const value = of[name];
  if (typeof value !== "string") throw new BadFile(`${where}: ${name} is no text`);
  return value;
}

const optional = (of: Fields, name: string, where: string): string | undefined =>
  of[name] === undefined || of[name] === null ? undefined : text(of, name, where);

function time(of: Fields, name: string, where: string): number {
  const value = of[name];
  if (typeof value !== "number" || !Number.isFinite(value)) throw new BadFile(`${where}: ${name} is no time`);
  return value;
}

function messageOf(value: unknown, conversation: string, where: string): Message {
  if (!isFields(value)) throw new BadFile(`${where} is no message`);
  const role = text(value, "role", where);
  if (role !== "user" && role !== "assistant") throw new BadFile(`${where}: unknown role "${role.slice(0, 40)}"`);
  const status = text(value, "status", where);
  if (!["running", "done", "stopped", "failed"].includes(status))
    throw new BadFile(`${where}: unknown status "${status.slice(0, 40)}"`);
  const { ended, error, thoughtMs } = value;
  if (error !== undefined && (!isFields(error) || typeof error["words"] !== "string" || typeof error["detail"] !== "string"))
    throw new BadFile(`${where}: its error is none`);
  const numbers = ["promptTokens", "cachedTokens", "completionTokens", "tokensPerSecond"];
  if (
    ended !== undefined &&
    (!isFields(ended) || typeof ended["finishReason"] !== "string" || numbers.some((name) => typeof ended[name] !== "number"))
  )
    throw new BadFile(`${where}: its figures are none`);
  return {
    id: text(value, "id", where),
    conversation,
    parent: optional(value, "parent", where),
    role,
    text: text(value, "text", where),
    reasoning: text(value, "reasoning", where),
    thoughtMs: typeof thoughtMs === "number" ? thoughtMs : undefined,
    // Nobody writes it any more.
    status: (status === "running" ? "stopped" : status) as Message["status"],
    error: error as Message["error"],
    model: text(value, "model", where),
    ended: ended as Message["ended"],
    created: time(value, "created", where),
  };
}

/** Every message hangs on another one of its conversation, or on none, and no chain bites its tail. */
function checkTree(messages: readonly Message[], leaf: string | undefined, where: string): void {
  const byId = new Map(messages.map((message) => [message.id, message]));
  if (byId.size !== messages.length) throw new BadFile(`${where}: two messages have one id`);
  if (leaf !== undefined && !byId.has(leaf)) throw new BadFile(`${where}: its last message is missing`);
  const whole = new Set<string>();
  for (const message of messages) {
    const chain = new Set<string>();
    for (let at: Message | undefined = message; at && !whole.has(at.id); ) {
      if (chain.has(at.id)) throw new BadFile(`${where}: messages answer each other in a circle`);
      chain.add(at.id);
      if (at.parent === undefined) break;
      const next = byId.get(at.parent);
      if (!next) throw new BadFile(`${where}: a message answers one that is missing`);
      at = next;
    }
    for (const id of chain) whole.add(id);
  }
}

function conversationOf(value: unknown, where: string): { conversation: Conversation; messages: readonly Message[] } {
  if (!isFields(value)) throw new BadFile(`${where} is none`);
  const id = text(value, "id", where);
  const list = value["messages"];
  if (!Array.isArray(list) || list.length > MOST) throw new BadFile(`${where}: its messages are no list`);
  const messages = list.map((one, i) => messageOf(one, id, `${where}, message ${i + 1}`));
  const leaf = optional(value, "leaf", where);
  checkTree(messages, leaf, where);
  const conversation = {
    id,
    title: text(value, "title", where).slice(0, 200),
    created: time(value, "created", where),
    changed: time(value, "changed", where),
    leaf,
    system: text(value, "system", where),
    draft: optional(value, "draft", where) ?? "",
  };
  return { conversation, messages };
}

const sorted = (messages: readonly Message[]) => JSON.stringify([...messages].sort((a, b) => (a.id < b.id ? -1 : 1)));

/**
 * Reads a file of conversations. What is here already, the same, is skipped; what is here otherwise comes in beside it under new ids.
 * @throws BadFile for anything that is not whole; then nothing is to be written
 */
export async function fromJson(source: string, here: Here): Promise<Imported> {
  let json: unknown;
  try {
    json = JSON.parse(source);
  } catch {
    throw new BadFile("The file is no JSON");
  }
  if (!isFields(json) || json["format"] !== "cpm-chat") throw new BadFile("The file holds no conversations of this page");
  if (json["version"] !== 1)
    throw new BadFile(`The file is of version ${String(json["version"]).slice(0, 20)}, this page reads version 1`);
  const list = json["conversations"];
  if (!Array.isArray(list) || list.length > MOST) throw new BadFile("The file's conversations are no list");
  const read = list.map((one, i) => conversationOf(one, `Conversation ${i + 1}`));
  if (new Set(read.map(({ conversation }) => conversation.id)).size !== read.length)
    throw new BadFile("Two conversations have one id");
  const taken = new Map<string, string>();
  const conversations: Conversation[] = [];
  const messages: Message[] = [];
  let skipped = 0;
  for (const one of read) {
    const known = await here.messages(one.conversation.id);
    if (known && sorted(known.map((m) => ({ ...messageOf(m, m.conversation, "") }))) === sorted(one.messages)) {
      skipped++;
      continue;
    }
    const ids = one.messages.map((message) => message.id);
    const clash = known !== undefined || ids.some((id) => taken.has(id)) || (await here.taken(ids));
    for (const { id } of one.messages) taken.set(id, clash ? newId() : id);
    const rename = (id: string | undefined) => (id === undefined || !clash ? id : taken.get(id)!);
    const id = clash ? newId() : one.conversation.id;
    conversations.push({ ...one.conversation, id, leaf: rename(one.conversation.leaf) });
    for (const message of one.messages)
      messages.push({ ...message, id: rename(message.id)!, parent: rename(message.parent), conversation: id });
  }
  return { conversations, messages, skipped };
}
