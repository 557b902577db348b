// The journal: a line for every item that is done, each with a checksum. It only grows, so that a kill costs at most the last line.
import { isRecord } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { hashOf } from "./random.ts";
import type { Entry } from "./types.ts";

/** A line with its checksum before it. */
export const journalLine = (value: unknown): string => {
  const json = JSON.stringify(value);
  return `${hashOf(json)} ${json}\n`;
};

/** The value of a line, or undefined where the line is not whole. */
export function journalValue(line: string): unknown {
  const json = line.slice(13);
  if (line[12] !== " " || hashOf(json) !== line.slice(0, 12)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

export const isEntry = (value: unknown): value is Entry =>
  isRecord(value) && Number.isSafeInteger(value["item"]) && Array.isArray(value["outcomes"]);

/** Of an item that is done. */
export type Done = Pick<Entry, "item" | "requests" | "promptTokens" | "completionTokens">;

/** Items of one family that are done. What append() has resolved for is there after a kill. */
export interface Journal {
  /** Items that are done, with what they took. */
  readonly done: ReadonlyMap<number, Done>;
  append(entry: Entry): Promise<void>;
  /** The item's entry. Rejects for one that is not done. */
  read(item: number): Promise<Entry>;
}

/** A journal that lasts as long as the process. */
export function memoryJournal(): Journal {
  const entries = new Map<number, Entry>();
  return {
    done: entries,
    async append(entry) {
      if (!entries.has(entry.item)) entries.set(entry.item, entry);
    },
    async read(item) {
      const entry = entries.get(item);
      if (!entry) throw new CpmError("bad-input", `item ${item} is not done`);
      return entry;
    },
  };
}
