// Conversations in this browser's database. Messages form a tree: an edit or another answer is a sibling, nothing is overwritten.
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Ended, Sampling } from "./backend.ts";

export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly created: number;
  readonly changed: number;
  /** The message at the end of the path that is shown. */
  readonly leaf: string | undefined;
  readonly system: string;
  readonly draft: string;
}

export interface Message {
  readonly id: string;
  readonly conversation: string;
  readonly parent: string | undefined;
  readonly role: "user" | "assistant";
  readonly text: string;
  readonly reasoning: string;
  /** How long it thought, in milliseconds. */
  readonly thoughtMs: number | undefined;
  /** "running" in a database that is opened anew means that the page was closed meanwhile. */
  readonly status: "running" | "done" | "stopped" | "failed";
  readonly error: { readonly words: string; readonly detail: string } | undefined;
  readonly model: string;
  readonly ended: Ended | undefined;
  readonly created: number;
}

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
  messages: { key: string; value: Message; indexes: { conversation: string } };
}

export const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

/** Where there is no database (private windows of some browsers), everything lives as long as the page. */
export class Store {
  readonly #db: IDBPDatabase<Schema> | undefined;
  readonly #conversations = new Map<string, Conversation>();
  readonly #messages = new Map<string, Message>();

  private constructor(db: IDBPDatabase<Schema> | undefined) {
    this.#db = db;
  }

  static async open(): Promise<Store> {
    try {
      const db = await openDB<Schema>("cpm-chat", 1, {
        upgrade(fresh) {
          fresh.createObjectStore("conversations", { keyPath: "id" });
          fresh.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
        },
        blocking(_from, _to, event) {
          (event.target as IDBDatabase).close();
        },
      });
      return new Store(db);
    } catch {
      return new Store(undefined);
    }
  }

  get lasting(): boolean {
    return this.#db !== undefined;
  }

  async conversations(): Promise<Conversation[]> {
    const all = this.#db ? await this.#db.getAll("conversations") : [...this.#conversations.values()];
    return all.sort((a, b) => b.changed - a.changed);
  }

  async messages(conversation: string): Promise<Message[]> {
    if (this.#db) return this.#db.getAllFromIndex("messages", "conversation", conversation);
    return [...this.#messages.values()].filter((message) => message.conversation === conversation);
  }

  async putConversation(value: Conversation): Promise<void> {
    if (this.#db) await this.#db.put("conversations", value);
    else this.#conversations.set(value.id, value);
  }

  async putMessage(value: Message): Promise<void> {
    if (this.#db) await this.#db.put("messages", value);
    else this.#messages.set(value.id, value);
  }

  async removeMessage(id: string): Promise<void> {
    if (this.#db) await this.#db.delete("messages", id);
    else this.#messages.delete(id);
  }

  /** Whether one of these is a message's id. */
  async taken(ids: readonly string[]): Promise<boolean> {
    for (const id of ids)
      if (this.#db ? (await this.#db.getKey("messages", id)) !== undefined : this.#messages.has(id)) return true;
    return false;
  }

  /** Writes all of them, or none. */
  async putAll(conversations: readonly Conversation[], messages: readonly Message[]): Promise<void> {
    if (!this.#db) {
      for (const one of conversations) this.#conversations.set(one.id, one);
      for (const one of messages) this.#messages.set(one.id, one);
      return;
    }
    const work = this.#db.transaction(["conversations", "messages"], "readwrite");
    await Promise.all([
      ...conversations.map((one) => work.objectStore("conversations").put(one)),
      ...messages.map((one) => work.objectStore("messages").put(one)),
      work.done,
    ]);
  }

  async remove(conversation: string): Promise<void> {
    const messages = await this.messages(conversation);
    if (!this.#db) {
      this.#conversations.delete(conversation);
      for (const { id } of messages) this.#messages.delete(id);
      return;
    }
    const work = this.#db.transaction(["conversations", "messages"], "readwrite");
    await Promise.all([
      work.objectStore("conversations").delete(conversation),
      ...messages.map(({ id }) => work.objectStore("messages").delete(id)),
      work.done,
    ]);
  }
}

export const defaultSampling: Sampling = {
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0,
  repetitionPenalty: 1,
  seed: undefined,
  maxTokens: undefined,
  thinking: "model",
  whenFull: "stop",
};

/** Sampling settings, which belong to this browser and not to one conversation. */
export function readSampling(): Sampling {
  try {
    return { ...defaultSampling, ...(JSON.parse(localStorage.getItem("cpm-sampling") ?? "{}") as Partial<Sampling>) };
  } catch {
    return { ...defaultSampling };
  }
}

export function writeSampling(sampling: Sampling): void {
  try {
    localStorage.setItem("cpm-sampling", JSON.stringify(sampling));
  } catch {}
}
