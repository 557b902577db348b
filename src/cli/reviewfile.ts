// What cpm review reads and writes: the samples of a JSONL file, one at a time, and verdicts in a file that only grows.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { fromShareGpt, linesOf, type MessagesRecord, type ShareGptRecord } from "cpm-wasm/data";
import { isRecord } from "../brands.ts";
import { CpmError } from "../index.ts";

/** Bytes of a sample, at most. */
const LONGEST = 1 << 26;

export const verdicts = ["keep", "drop", "unsure"] as const;
export type ReviewVerdict = (typeof verdicts)[number];

/** A line of the verdicts' file. The last of a sample counts; null takes it back. */
export interface ReviewEntry {
  /** Of the sample's line, so that a file that was made anew does not take over verdicts of other samples. */
  readonly hash: string;
  readonly id?: string | number | undefined;
  /** In the file, from 1. */
  readonly line: number;
  readonly verdict: ReviewVerdict | null;
  readonly note?: string | undefined;
  readonly time: string;
}

interface Place {
  readonly line: number;
  readonly offset: number;
  readonly length: number;
  readonly hash: string;
}

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex").slice(0, 16);

/** Samples by their places; texts stay in the file. */
export class SampleFile {
  readonly path: string;
  readonly places: readonly Place[];
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle, places: readonly Place[]) {
    this.path = path;
    this.#handle = handle;
    this.places = places;
  }

  /** Rejects with CpmError "io" for what cannot be read, "bad-input" for a file without samples, and for lines that are too long. */
  static async open(path: string): Promise<SampleFile> {
    const failed = (cause: unknown) =>
      new CpmError("io", `${path}: ${(cause as Error).message}; give a .jsonl file of samples`, { file: path }, { cause });
    const handle = await open(path).catch((cause: unknown) => Promise.reject(failed(cause)));
    try {
      const places: Place[] = [];
      let offset = 0;
      const stream = createReadStream(path) as AsyncIterable<Uint8Array>;
      for await (const { number, bytes, length } of linesOf(stream, LONGEST, true)) {
        if (bytes === undefined) throw new CpmError("bad-input", `${path}:${number}: a line of ${length} bytes`, { file: path });
        if (bytes.some((byte) => byte > 32)) places.push({ line: number, offset, length, hash: hashOf(bytes) });
        offset += length + 1;
      }
      if (places.length === 0) throw new CpmError("bad-input", `${path}: there are no samples in it`, { file: path });
      return new SampleFile(path, handle, places);
    } catch (error) {
      await handle.close();
      throw error instanceof CpmError ? error : failed(error);
    }
  }

  /** A sample's line as it stands in the file. Rejects with CpmError "io" when it is another one now. */
  async text(index: number): Promise<string> {
    const { offset, length, hash, line } = this.places[index]!;
    const bytes = new Uint8Array(length);
    await this.#handle.read(bytes, 0, length, offset);
    if (hashOf(bytes) !== hash)
      throw new CpmError("io", `${this.path}:${line}: the file has changed; start the review again`, { file: this.path });
    return new TextDecoder().decode(bytes);
  }

  /** A sample; of other forms than messages what there is. */
  async record(index: number): Promise<Readonly<Record<string, unknown>>> {
    const text = await this.text(index);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return { unreadable: text.slice(0, 100_000) };
    }
    if (!isRecord(value)) return { value };
    if (!Array.isArray(value["conversations"])) return value;
    try {
      return fromShareGpt(value as unknown as ShareGptRecord) as MessagesRecord;
    } catch {
      return value;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Verdicts by the hash of their sample. What add() has resolved for is on the disk. */
export class VerdictFile {
  readonly path: string;
  readonly entries = new Map<string, ReviewEntry>();
  readonly #handle: FileHandle;
  #writes: Promise<void> = Promise.resolve();

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  static async open(path: string): Promise<VerdictFile> {
    const handle = await open(path, "a+").catch((cause: unknown) => {
      throw new CpmError("io", `${path}: ${(cause as Error).message}; check --verdicts`, { file: path }, { cause });
    });
    const log = new VerdictFile(path, handle);
    const text = await readFile(path, "utf8");
    for (const line of text.split("\n")) log.#take(line);
    // The end of a line that a kill cut off: it never counts as one.
    if (text !== "" && !text.endsWith("\n")) await handle.appendFile("\n");
    return log;
  }

  #take(line: string): void {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return;
    }
    if (!isRecord(value) || typeof value["hash"] !== "string") return;
    const { hash, verdict } = value as unknown as ReviewEntry;
    if (verdict === null) this.entries.delete(hash);
    else if (verdicts.includes(verdict)) this.entries.set(hash, value as unknown as ReviewEntry);
  }

  add(entry: ReviewEntry): Promise<void> {
    const line = JSON.stringify(entry);
    const write = async () => {
      await this.#handle.appendFile(`${line}\n`);
      await this.#handle.datasync();
      this.#take(line);
    };
    const written = this.#writes.then(write);
    this.#writes = written.catch(() => {});
    return written;
  }

  async close(): Promise<void> {
    await this.#writes;
    await this.#handle.close();
  }
}
