// Checkpoints: everything that a run goes on from, in one file with a checksum for every section. Nothing in it depends on the clock.
import { copyOf, isRecord, viewOf } from "../brands.ts";
import { modelError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import type { Output } from "../file/write/output.ts";
import { CHECKSUM_BYTES, Checksum, checksumOf, hex } from "./checksum.ts";
import { type FeedState, isFeedState } from "./feed.ts";
import type { TrainVariant } from "./machine.ts";

const MAGIC = "CPMRUN\u0000\u0001";
/** Magic, bytes of the table, bytes of the file, the table's checksum, this header's. */
const HEADER = 64;
const ALIGN = 64;

export interface RunState {
  readonly version: 1;
  /** Tells the configuration and the data. */
  readonly config: string;
  /** Tells the weights that are not trained. */
  readonly base: string;
  /** How it was rounded so far; absent in checkpoints that were written before this was told. */
  readonly variant?: TrainVariant | undefined;
  readonly stage: number;
  /** Updates of the stage, and of all. */
  readonly step: number;
  readonly updates: number;
  /** Tokens that were read. */
  readonly tokens: number;
  readonly feed: FeedState;
  /** Last losses of the stage, and the lowest mean of eight. */
  readonly recent: readonly number[];
  readonly lowest: number | null;
}

/** Bytes that a run changes, under a name. */
export interface Section {
  readonly name: string;
  readonly bytes: Uint8Array;
}

interface Entry {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
  readonly sum: string;
}

const aligned = (n: number): number => Math.ceil(n / ALIGN) * ALIGN;
const PIECE = 8 << 20;
const STATE = "state";

/** Writes a checkpoint; it has its name when this resolves. `size` is asked for before anything is written. */
export async function writeCheckpoint(
  create: (size: number) => Promise<Output>,
  state: object,
  sections: readonly Section[],
): Promise<number> {
  const all: Section[] = [{ name: STATE, bytes: new TextEncoder().encode(JSON.stringify(state)) }, ...sections];
  const sums = all.map(({ bytes }) => hex(checksumOf(bytes)));
  // The table's length does not depend on where sections lie: offsets count from its end.
  let next = 0;
  const entries = all.map(({ name, bytes }, i): Entry => {
    const offset = next;
    next = aligned(next + bytes.length);
    return { name, offset, bytes: bytes.length, sum: sums[i]! };
  });
  const table = new TextEncoder().encode(JSON.stringify(entries));
  const first = aligned(HEADER + table.length);
  const size = first + next;
  const header = new Uint8Array(first);
  const view = viewOf(header);
  header.set(new TextEncoder().encode(MAGIC));
  view.setBigUint64(8, BigInt(table.length), true);
  view.setBigUint64(16, BigInt(size), true);
  header.set(checksumOf(table), 24);
  header.set(checksumOf(header.subarray(0, 40)), 40);
  header.set(table, HEADER);
  const output = await create(size);
  try {
    await output.write(0, header);
    for (const [i, { bytes }] of all.entries()) {
      const at = first + entries[i]!.offset;
      for (let from = 0; from < bytes.length; from += PIECE)
        await output.write(at + from, copyOf(bytes.subarray(from, from + PIECE)));
      const end = at + bytes.length;
      if (aligned(end) > end) await output.write(end, new Uint8Array(aligned(end) - end));
    }
    await output.sync();
    await output.commit();
  } catch (error) {
    await output.discard().catch(() => {});
    throw error;
  }
  return size;
}

/** A checkpoint that was opened: its state is checked, its sections are when they are read. */
export class Checkpoint<State = RunState> {
  readonly state: State;
  readonly #source: Source;
  readonly #first: number;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(source: Source, first: number, entries: ReadonlyMap<string, Entry>, state: State) {
    this.#source = source;
    this.#first = first;
    this.#entries = entries;
    this.state = state;
  }

  /** Rejects with CpmError "bad-model" for what is no checkpoint, is cut off or damaged; "io"; the signal's reason. */
  static open(source: Source, signal?: AbortSignal): Promise<Checkpoint> {
    return Checkpoint.openAs(source, isState, signal);
  }

  /** As open(), of another kind of run: `is` checks its state. */
  static async openAs<State>(
    source: Source,
    is: (value: unknown) => value is State,
    signal?: AbortSignal,
  ): Promise<Checkpoint<State>> {
    const fail = failure(source);
    if (source.size < HEADER) fail(0, "length", `at least ${HEADER} bytes`, String(source.size));
    const header = await source.read(0, HEADER, signal);
    const magic = new TextDecoder("latin1").decode(header.subarray(0, 8));
    if (magic !== MAGIC) fail(0, "magic", JSON.stringify(MAGIC), JSON.stringify(magic));
    const sum = (at: number) => hex(header.subarray(at, at + CHECKSUM_BYTES));
    if (hex(checksumOf(header.subarray(0, 40))) !== sum(40)) fail(0, "header", "its checksum", "another");
    const view = viewOf(header);
    const [length, size] = [Number(view.getBigUint64(8, true)), Number(view.getBigUint64(16, true))];
    if (size !== source.size) fail(source.size, "length", `${size} bytes`, String(source.size));
    if (HEADER + length > size) fail(8, "table", `at most ${size - HEADER} bytes`, String(length));
    const table = await source.read(HEADER, length, signal);
    if (hex(checksumOf(table)) !== sum(24)) fail(HEADER, "table", "the checksum in the header", "another");
    const first = aligned(HEADER + length);
    const list = jsonOf(table);
    if (!Array.isArray(list) || !list.every((entry) => isEntry(entry, size - first)))
      return fail(HEADER, "table", "names with places in the file", "something else");
    const entries = new Map(list.map((entry) => [entry.name, entry]));
    const stated = entries.get(STATE);
    if (!stated) return fail(HEADER, "table", "a state", "none");
    const bytes = new Uint8Array(stated.bytes);
    const opened = new Checkpoint(source, first, entries, undefined);
    await opened.read(STATE, bytes, signal);
    const state = jsonOf(bytes);
    if (!is(state)) return fail(first + stated.offset, "state", "a run's state", "something else");
    return new Checkpoint(source, first, entries, state);
  }

  /** Names of the sections beside the state. */
  get names(): string[] {
    return [...this.#entries.keys()].filter((name) => name !== STATE);
  }

  /** Fills `into` with a section. Rejects with CpmError "bad-model" where it is missing, of another length, or damaged. */
  async read(name: string, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const fail = failure(this.#source);
    const entry = this.#entries.get(name);
    if (entry?.bytes !== into.length)
      return fail(this.#first, name, `a section of ${into.length} bytes`, entry ? `one of ${entry.bytes}` : "none");
    const sum = new Checksum();
    for (let at = 0; at < entry.bytes; at += PIECE) {
      const piece = await this.#source.read(this.#first + entry.offset + at, Math.min(PIECE, entry.bytes - at), signal);
      sum.update(piece);
      into.set(piece, at);
    }
    if (hex(sum.digest()) !== entry.sum) fail(this.#first + entry.offset, name, "the checksum in the table", "another");
  }
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

function isEntry(value: unknown, most: number): value is Entry {
  if (!isRecord(value)) return false;
  const { name, offset, bytes, sum } = value;
  const named = typeof name === "string" && typeof sum === "string";
  return named && isCount(offset) && isCount(bytes) && offset + bytes <= most;
}

function isState(value: unknown): value is RunState {
  if (!isRecord(value) || value["version"] !== 1) return false;
  const counts = ["stage", "step", "updates", "tokens"].every((name) => isCount(value[name]));
  const texts = ["config", "base"].every((name) => typeof value[name] === "string");
  const { recent, lowest, feed, variant } = value;
  if (variant !== undefined && variant !== "base" && variant !== "relaxed") return false;
  const losses = Array.isArray(recent) && recent.every(Number.isFinite) && (lowest === null || Number.isFinite(lowest));
  return counts && texts && losses && isFeedState(feed);
}

const failure =
  (source: Source) =>
  (offset: number, field: string, expected: string, found: string): never => {
    throw modelError(
      { file: source.name, offset, field, expected, found },
      "a damaged checkpoint",
      "remove it: the run goes on from the one before, or from its beginning",
    );
  };
