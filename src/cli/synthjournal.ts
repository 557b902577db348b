// The journal of cpm synth: a file that only grows. Each line has a checksum; a line that a kill cut off is no line.
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { linesOf } from "cpm-wasm/data";
import { type Done, type Entry, isEntry, type Journal, journalLine, journalValue } from "cpm-wasm/synth";
import { isRecord } from "../brands.ts";
import { CpmError } from "../index.ts";

/** Bytes of an entry, at most. */
const LONGEST = 1 << 28;
/** Milliseconds between two times that the disk is waited for: what a power failure costs. */
const SYNC = 1000;

interface Placed extends Done {
  readonly offset: number;
  readonly length: number;
}

interface Scanned {
  readonly settings: string | undefined;
  readonly entries: ReadonlyMap<number, Placed>;
  /** Whether the file ends in a line that is not whole. */
  readonly torn: boolean;
}

export class FileJournal implements Journal {
  readonly done = new Map<number, Done>();
  readonly #path: string;
  readonly #handle: FileHandle;
  #places: ReadonlyMap<number, Placed> | undefined;
  #writes: Promise<void> = Promise.resolve();
  #synced = performance.now();

  private constructor(path: string, handle: FileHandle, { entries }: Scanned) {
    this.#path = path;
    this.#handle = handle;
    this.#places = entries;
    for (const [item, entry] of entries) this.done.set(item, entry);
  }

  /**
   * Opens or begins a journal. Rejects with CpmError "bad-input" for one of other settings: what it holds took tokens, so it is not
   * overwritten.
   */
  static async open(path: string, settings: string): Promise<FileJournal> {
    const handle = await open(path, "a+");
    try {
      const found = await scan(path);
      if (found.settings !== undefined && found.settings !== settings)
        throw new CpmError(
          "bad-input",
          `${path}: it holds samples of another configuration (or seeds, model, shard); give another folder, or --anew`,
          { file: path },
        );
      if (found.settings === undefined && found.entries.size > 0)
        throw new CpmError(
          "bad-input",
          `${path}: this is no journal of cpm synth, or its beginning is lost; give another folder`,
          {
            file: path,
          },
        );
      if (found.torn) await handle.appendFile("\n");
      if (found.settings === undefined) await handle.appendFile(journalLine({ cpm: "synth", settings }));
      return new FileJournal(path, handle, found);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  append(entry: Entry): Promise<void> {
    const write = async () => {
      // One call, so that another process that appends here does not come between.
      await this.#handle.appendFile(journalLine(entry));
      this.#places = undefined;
      if (!this.done.has(entry.item)) this.done.set(entry.item, entry);
      if (performance.now() - this.#synced < SYNC) return;
      await this.#handle.datasync();
      this.#synced = performance.now();
    };
    const written = this.#writes.then(write);
    this.#writes = written.catch(() => {});
    return written;
  }

  async read(item: number): Promise<Entry> {
    // Entries are found by reading the file anew: it says what was written, by whomever. The first of an item counts.
    this.#places ??= (await scan(this.#path)).entries;
    const place = this.#places.get(item);
    const bytes = new Uint8Array(place?.length ?? 0);
    if (place) await this.#handle.read(bytes, 0, bytes.length, place.offset);
    const value = journalValue(new TextDecoder().decode(bytes));
    if (!isEntry(value))
      throw new CpmError("io", `${this.#path}: item ${item} is gone; run the command again`, { file: this.#path });
    return value;
  }

  async close(): Promise<void> {
    await this.#writes;
    await this.#handle.datasync();
    await this.#handle.close();
  }
}

/** Whole entries of a file, and what is wrong with its end. */
async function scan(path: string): Promise<Scanned> {
  const entries = new Map<number, Placed>();
  const decoder = new TextDecoder();
  let settings: string | undefined;
  let [offset, size, last] = [0, 0, 10];
  const stream = createReadStream(path) as AsyncIterable<Uint8Array>;
  const counted = async function* () {
    for await (const piece of stream) {
      size += piece.length;
      last = piece.at(-1) ?? last;
      yield piece;
    }
  };
  for await (const { bytes, length } of linesOf(counted(), LONGEST, true)) {
    const value = bytes === undefined ? undefined : journalValue(decoder.decode(bytes));
    if (isEntry(value)) {
      const { item, requests, promptTokens, completionTokens } = value;
      if (!entries.has(item)) entries.set(item, { item, requests, promptTokens, completionTokens, offset, length });
    } else if (isRecord(value) && value["cpm"] === "synth" && typeof value["settings"] === "string")
      settings ??= value["settings"];
    offset += length + 1;
  }
  return { settings, entries, torn: size > 0 && last !== 10 };
}
