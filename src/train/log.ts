// What a run tells of itself, a line for every update, evaluation and sample: what its report is drawn from.
import { type RunStore, storedText, storeText } from "./store.ts";

export interface UpdateEntry {
  readonly kind: "update";
  /** Of the whole run, from 1. */
  readonly update: number;
  readonly stage: number;
  readonly loss: number;
  readonly parts: readonly [number, number];
  /** Of all gradients, before clipping. */
  readonly norm: number;
  readonly rate: number;
  /** Read so far. */
  readonly tokens: number;
  /** This update's. */
  readonly tokensPerSecond: number;
  /** Spent in the run so far. */
  readonly seconds: number;
}

export interface HeldOutEntry {
  readonly kind: "heldOut";
  readonly update: number;
  readonly loss: number;
}

export interface SampleEntry {
  readonly kind: "samples";
  readonly update: number;
  readonly samples: readonly { readonly prompt: string; readonly text: string }[];
}

export type LogEntry = UpdateEntry | HeldOutEntry | SampleEntry;

const NAME = "log.jsonl";

export class RunLog {
  readonly entries: LogEntry[];
  readonly #store: RunStore;

  private constructor(store: RunStore, entries: LogEntry[]) {
    this.#store = store;
    this.entries = entries;
  }

  /** The log up to `updates` updates: what a killed run wrote after its checkpoint is forgotten, as is a line that was cut off. */
  static async open(store: RunStore, updates: number): Promise<RunLog> {
    const text = (await storedText(store, NAME)) ?? "";
    const entries: LogEntry[] = [];
    for (const line of text.split("\n")) {
      try {
        const entry = JSON.parse(line) as LogEntry;
        if (entry.update <= updates) entries.push(entry);
      } catch {}
    }
    await storeText(store, NAME, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
    return new RunLog(store, entries);
  }

  async add(entry: LogEntry): Promise<void> {
    this.entries.push(entry);
    await this.#store.append(NAME, JSON.stringify(entry));
  }

  get seconds(): number {
    const last = this.entries.findLast((entry): entry is UpdateEntry => entry.kind === "update");
    return last?.seconds ?? 0;
  }
}
