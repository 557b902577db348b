// The dictionary of a training text: words and labels with their counts, in fastText's order.
import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { introsort } from "./introsort.ts";
import { DataInstance, slotsFor } from "./module.ts";

export interface Dictionary {
  /** Words, then labels, the most frequent first; each ended by NUL. */
  readonly entries: Uint8Array;
  readonly words: number;
  readonly labels: readonly string[];
  /** Of words, then of labels. */
  readonly counts: Float64Array;
  /** Words and labels of the text. */
  readonly tokens: number;
}

const CHUNK = 1 << 18;
/** fastText begins to drop rare words here. */
const MOST_ENTRIES = 22_500_000;
const LABEL = new TextEncoder().encode("__label__");

/** Counts a text. @throws CpmError "bad-input" for a text without labels or words, "unsupported" for too many words. */
export async function countWords(
  module: WebAssembly.Module,
  source: Source,
  { minCount, minCountLabel }: { minCount: number; minCountLabel: number },
  signal?: AbortSignal,
): Promise<Dictionary> {
  let counter = await Counter.create(module, 1 << 16, undefined);
  let held = new Uint8Array(0);
  for (let at = 0; at < source.size; ) {
    const bytes = await source.read(at, Math.min(CHUNK, source.size - at), signal);
    signal?.throwIfAborted();
    at += bytes.length;
    const piece = held.length > 0 ? joined(held, bytes) : bytes;
    if (piece.length > 64 * CHUNK)
      throw new CpmError("bad-input", `${source.name}: a word of 16 MiB; is this a text?`, { file: source.name, offset: at });
    if (counter.needs(piece.length)) counter = await Counter.create(module, 2 * counter.room + piece.length, counter);
    held = piece.slice(counter.take(piece, at === source.size));
    if (counter.entries > MOST_ENTRIES)
      throw new CpmError("unsupported", `${source.name}: more than ${MOST_ENTRIES} distinct words; train on a part of it`, {
        file: source.name,
      });
  }
  const dictionary = sorted(counter, minCount, minCountLabel);
  if (dictionary.labels.length === 0 || dictionary.words === 0)
    throw new CpmError(
      "bad-input",
      `${source.name}: ${dictionary.labels.length} labels and ${dictionary.words} words that occur ${minCount} times; lines begin with __label__NAME`,
      { file: source.name, field: "minCount" },
    );
  return dictionary;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** Counts in an instance of the module with room for so many entries; a larger one takes over from a full one. */
class Counter {
  readonly room: number;
  readonly #data: DataInstance;
  readonly #counts: number;
  readonly #text: number;
  #chunk = 0;

  private constructor(data: DataInstance, room: number, counts: number) {
    this.#data = data;
    this.room = room;
    this.#counts = counts;
    this.#text = data.allocate(0);
  }

  static async create(module: WebAssembly.Module, room: number, before: Counter | undefined): Promise<Counter> {
    const data = await DataInstance.create(module);
    const slots = slotsFor(room);
    const table = data.allocate(16 * slots);
    const counts = data.allocate(8 * room);
    data.exports.dictionary_open(table, slots);
    data.exports.dictionary_clear();
    const counter = new Counter(data, room, counts);
    if (before) {
      const text = before.text();
      data.reserve(counter.#text + text.length);
      data.u8(counter.#text, text.length).set(text);
      data.exports.dictionary_fill(counter.#text, before.entries);
      data.f64(counts, before.entries).set(before.counts());
      counter.#tokens = before.tokens;
      data.exports.count_open(counts, counter.#text);
      data.exports.count_resume(counts, counter.#text, text.length, before.entries);
    } else data.exports.count_open(counts, counter.#text);
    return counter;
  }

  #tokens = 0;

  get entries(): number {
    return this.#data.exports.count_entries();
  }

  get tokens(): number {
    return this.#tokens + this.#data.exports.count_tokens();
  }

  text(): Uint8Array {
    return this.#data.u8(this.#text, this.#data.exports.count_bytes() >>> 0);
  }

  counts(): Float64Array {
    return this.#data.f64(this.#counts, this.entries);
  }

  needs(bytes: number): boolean {
    return this.entries + (bytes >> 1) + 2 > this.room;
  }

  take(bytes: Uint8Array, last: boolean): number {
    // The bytes lie behind the words, with room for the words that they bring.
    const used = this.#data.exports.count_bytes() >>> 0;
    const needed = this.#text + used + 2 * bytes.length + 16;
    if (this.#chunk < needed) this.#chunk = needed + Math.max(1 << 20, used >> 1);
    this.#data.reserve(this.#chunk + bytes.length);
    this.#data.u8(this.#chunk, bytes.length).set(bytes);
    return this.#data.exports.count_take(this.#chunk, this.#chunk + bytes.length, last ? 1 : 0) >>> 0;
  }
}

function sorted(counter: Counter, minCount: number, minCountLabel: number): Dictionary {
  const [text, counts, size] = [counter.text(), counter.counts(), counter.entries];
  const begins = new Uint32Array(size + 1);
  for (let i = 0, at = 0; i < size; i++) {
    begins[i] = at;
    at = text.indexOf(0, at) + 1;
    begins[i + 1] = at;
  }
  const isLabel = Uint8Array.from({ length: size }, (_, i) => {
    const from = begins[i]!;
    return begins[i + 1]! - 1 - from >= LABEL.length && LABEL.every((byte, j) => text[from + j] === byte) ? 1 : 0;
  });
  const order = Int32Array.from({ length: size }, (_, i) => i);
  introsort(order, (a, b) => (isLabel[a] !== isLabel[b] ? isLabel[a]! < isLabel[b]! : counts[a]! > counts[b]!));
  const kept = order.filter((i) => counts[i]! >= (isLabel[i] ? minCountLabel : minCount));
  const entries = new Uint8Array(kept.reduce((sum, i) => sum + begins[i + 1]! - begins[i]!, 0));
  const labels: string[] = [];
  let at = 0;
  for (const i of kept) {
    const word = text.subarray(begins[i]!, begins[i + 1]!);
    entries.set(word, at);
    at += word.length;
    if (isLabel[i]) labels.push(new TextDecoder().decode(word.subarray(0, -1)));
  }
  return {
    entries,
    words: kept.length - labels.length,
    labels,
    counts: Float64Array.from(kept, (i) => counts[i]!),
    tokens: counter.tokens,
  };
}
