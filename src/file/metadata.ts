// The values of a GGUF header, read forward through a window over the file.
import { copyOf, viewOf } from "../brands.ts";
import { modelError } from "../errors.ts";
import type { Source } from "./source.ts";

export type GgufValue = number | bigint | boolean | string | GgufArray;
export type GgufArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | (number | bigint)[]
  | boolean[]
  | string[]
  | GgufArray[];

/** Bytes of a value, or its least: 0 to 12 are u8, i8, u16, i16, u32, i32, f32, bool, text, array, u64, i64, f64. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
const STRING = 8;
const ARRAY = 9;
/**
 * Published headers have about 10 MB. `items` counts the elements of all arrays of a file that become JavaScript arrays, 8 bytes an element
 * and more (an element can be one byte of the file); `arrays` counts arrays within arrays, some 200 bytes each, which no published file has.
 * Together they keep what a header becomes below 8 times its bytes and 64 MiB.
 */
export const MAX = {
  pairs: 65536,
  tensors: 65536,
  name: 512,
  text: 64 << 20,
  header: 128 << 20,
  items: 1 << 24,
  arrays: 4096,
  depth: 4,
};

/** Reads forward through a window that grows on demand. */
export class Reader {
  readonly source: Source;
  readonly #signal: AbortSignal | undefined;
  #bytes = new Uint8Array(0);
  #view = viewOf(this.#bytes);
  #start = 0;
  #items = 0;
  #arrays = 0;
  at = 0;
  // A piece may be U+FEFF itself.
  readonly #text = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(source: Source, signal: AbortSignal | undefined) {
    this.source = source;
    this.#signal = signal;
  }

  fail(field: string, what: string, expected: string, found: string | number | bigint, at = this.at): never {
    throw modelError({ file: this.source.name, offset: at, field, expected, found: `${found}` }, what);
  }

  /** Makes `bytes` bytes from `at` available synchronously. */
  async need(bytes: number, field: string): Promise<void> {
    if (this.at + bytes > this.source.size)
      this.fail(field, "the file ends early", `${bytes} more bytes`, this.source.size - this.at);
    if (this.at + bytes > MAX.header) this.fail(field, "the header is too long", `at most ${MAX.header} bytes`, this.at + bytes);
    if (this.at - this.#start + bytes <= this.#bytes.length) return;
    const length = Math.min(Math.max(bytes, 1 << 20), this.source.size - this.at);
    this.#bytes = (await this.source.read(this.at, length, this.#signal)) as Uint8Array<ArrayBuffer>;
    this.#signal?.throwIfAborted();
    this.#view = viewOf(this.#bytes);
    this.#start = this.at;
  }

  /** Counts what is about to be made of a header, before it is. */
  charge(field: string, items: number, arrays: number): void {
    this.#items += items;
    this.#arrays += arrays;
    const where = this.at - 8;
    if (this.#items > MAX.items)
      this.fail(field, "array length", `at most ${MAX.items} texts, flags and 64-bit integers in all arrays`, this.#items, where);
    if (this.#arrays > MAX.arrays)
      this.fail(field, "arrays inside arrays", `at most ${MAX.arrays} in a file`, this.#arrays, where);
  }

  available(bytes: number): boolean {
    return this.at - this.#start + bytes <= this.#bytes.length;
  }

  #take(bytes: number): number {
    const at = this.at - this.#start;
    this.at += bytes;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** A u64 that must be at most `limit`; the 8 bytes are available. */
  count(field: string, what: string, limit: number): number {
    const value = this.u64();
    if (value > BigInt(limit)) this.fail(field, what, `at most ${limit}`, value, this.at - 8);
    return Number(value);
  }

  scalar(type: number): number | bigint | boolean {
    const at = this.#take(VALUE_BYTES[type]!);
    const v = this.#view;
    const small = (value: bigint) => (value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value);
    if (type === 0) return v.getUint8(at);
    if (type === 1) return v.getInt8(at);
    if (type === 2) return v.getUint16(at, true);
    if (type === 3) return v.getInt16(at, true);
    if (type === 4) return v.getUint32(at, true);
    if (type === 5) return v.getInt32(at, true);
    if (type === 6) return v.getFloat32(at, true);
    if (type === 7) return v.getUint8(at) !== 0;
    if (type === 12) return v.getFloat64(at, true);
    return small(type === 10 ? v.getBigUint64(at, true) : v.getBigInt64(at, true));
  }

  text(bytes: number): string {
    const at = this.#take(bytes);
    return this.#text.decode(this.#bytes.subarray(at, at + bytes));
  }

  /** A copy of raw bytes, for typed arrays. */
  raw(bytes: number): ArrayBuffer {
    const at = this.#take(bytes);
    return copyOf(this.#bytes.subarray(at, at + bytes)).buffer;
  }
}

/** A text of at most `limit` bytes, behind its length. */
export async function readString(r: Reader, field: string, limit: number): Promise<string> {
  await r.need(8, field);
  const length = r.count(field, "string length", Math.min(limit, r.source.size));
  await r.need(length, field);
  return r.text(length);
}

/** A value of metadata. */
export async function readValue(r: Reader, type: number, field: string, depth = 0): Promise<GgufValue> {
  if (type === STRING) return readString(r, field, MAX.text);
  const bytes = VALUE_BYTES[type];
  if (bytes === undefined) r.fail(field, "value type", "0 to 12", type, r.at - 4);
  await r.need(bytes, field);
  return type === ARRAY ? readArray(r, field, depth) : r.scalar(type);
}

const TYPED: Readonly<Record<number, (buffer: ArrayBuffer) => GgufArray>> = {
  0: (b) => new Uint8Array(b),
  1: (b) => new Int8Array(b),
  2: (b) => new Uint16Array(b),
  3: (b) => new Int16Array(b),
  4: (b) => new Uint32Array(b),
  5: (b) => new Int32Array(b),
  6: (b) => new Float32Array(b),
  12: (b) => new Float64Array(b),
};

async function readArray(r: Reader, field: string, depth: number): Promise<GgufArray> {
  const type = r.u32();
  const bytes = VALUE_BYTES[type];
  if (bytes === undefined) r.fail(field, "array element type", "0 to 12", type, r.at - 4);
  if (depth >= MAX.depth) r.fail(field, "arrays inside arrays", `at most ${MAX.depth} deep`, "more");
  // Every element takes at least `bytes`, so a count beyond the rest of the file is refused before it costs anything.
  const count = r.count(field, "array length", Math.floor((r.source.size - r.at - 8) / bytes));
  const typed = TYPED[type];
  if (typed) {
    await r.need(count * bytes, field);
    return typed(r.raw(count * bytes));
  }
  r.charge(field, count, type === ARRAY ? count : 0);
  if (type === STRING) return readStrings(r, field, count);
  const values: unknown[] = [];
  for (let i = 0; i < count; i++) {
    if (type === ARRAY) await r.need(bytes, field);
    else if (!r.available(bytes)) await r.need(bytes, field);
    values.push(type === ARRAY ? await readArray(r, field, depth + 1) : r.scalar(type));
  }
  return values as GgufArray;
}

/** Vocabularies have 10^5 strings: awaits happen once a window, not once a string. */
async function readStrings(r: Reader, field: string, count: number): Promise<string[]> {
  const values: string[] = [];
  for (let i = 0; i < count; i++) {
    if (!r.available(8)) await r.need(8, field);
    const length = r.count(field, `length of string ${i}`, Math.min(MAX.text, r.source.size));
    if (!r.available(length)) await r.need(length, field);
    values.push(r.text(length));
  }
  return values;
}
