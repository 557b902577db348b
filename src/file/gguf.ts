// GGUF v2 and v3. A reader of our own: files are untrusted, errors name the byte, and sources are read in ranges.
// Source: the GGUF specification (ggml). Every length is checked against the file before anything is allocated.
import { modelError } from "../errors.ts";
import type { ModelFiles, Source } from "./source.ts";
import { type FileTensor, TENSOR_TYPES, type TensorType } from "./tensor.ts";

export type GgufValue = number | bigint | boolean | string | GgufArray;
export type GgufArray = Float32Array | Float64Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array | (number | bigint)[] | boolean[] | string[] | GgufArray[];

export interface Gguf {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly FileTensor[];
}

const TYPE_NAMES: Readonly<Record<number, string>> = {
  0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K",
  15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32",
  27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
};
const VALUE_BYTES: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 9: 12, 10: 8, 11: 8, 12: 8 };
const STRING = 8;
const ARRAY = 9;
/** Published headers have about 10 MB. `items` is for arrays that become JavaScript arrays, 8 bytes an element and more. */
const MAX = { pairs: 65536, tensors: 65536, name: 512, text: 64 << 20, header: 128 << 20, items: 1 << 24, depth: 4 };

/** Reads forward through a window that grows on demand. */
class Reader {
  readonly source: Source;
  readonly #signal: AbortSignal | undefined;
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #start = 0;
  at = 0;
  // A piece may be U+FEFF itself.
  readonly #text = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(source: Source, signal: AbortSignal | undefined) {
    this.source = source;
    this.#signal = signal;
  }

  fail(field: string, what: string, expected: string, found: string | number | bigint, at = this.at): never {
    throw modelError({ file: this.source.name, offset: at, field, expected, found: String(found) }, what);
  }

  /** Makes `bytes` bytes from `at` available synchronously. */
  async need(bytes: number, field: string): Promise<void> {
    if (this.at + bytes > this.source.size) this.fail(field, "the file ends early", `${bytes} more bytes`, this.source.size - this.at);
    if (this.at + bytes > MAX.header) this.fail(field, "the header is too long", `at most ${MAX.header} bytes`, this.at + bytes);
    if (this.at - this.#start + bytes <= this.#bytes.length) return;
    const length = Math.min(Math.max(bytes, 1 << 20), this.source.size - this.at);
    this.#bytes = (await this.source.read(this.at, length, this.#signal)) as Uint8Array<ArrayBuffer>;
    this.#signal?.throwIfAborted();
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    this.#start = this.at;
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
    switch (type) {
      case 0: return v.getUint8(at);
      case 1: return v.getInt8(at);
      case 2: return v.getUint16(at, true);
      case 3: return v.getInt16(at, true);
      case 4: return v.getUint32(at, true);
      case 5: return v.getInt32(at, true);
      case 6: return v.getFloat32(at, true);
      case 7: return v.getUint8(at) !== 0;
      case 10: return small(v.getBigUint64(at, true));
      case 11: return small(v.getBigInt64(at, true));
      default: return v.getFloat64(at, true);
    }
  }

  text(bytes: number): string {
    const at = this.#take(bytes);
    return this.#text.decode(this.#bytes.subarray(at, at + bytes));
  }

  /** A copy of raw bytes, for typed arrays. */
  raw(bytes: number): ArrayBuffer {
    const at = this.#take(bytes);
    return this.#bytes.slice(at, at + bytes).buffer as ArrayBuffer;
  }
}

async function readString(r: Reader, field: string, limit: number): Promise<string> {
  await r.need(8, field);
  const length = r.count(field, "string length", Math.min(limit, r.source.size));
  await r.need(length, field);
  return r.text(length);
}

async function readValue(r: Reader, type: number, field: string, depth = 0): Promise<GgufValue> {
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
  if (count > MAX.items) r.fail(field, "array length", `at most ${MAX.items}`, count, r.at - 8);
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

interface TensorEntry {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: number[];
  readonly offset: number;
  readonly bytes: number;
  readonly at: number;
}

async function readTensorEntry(r: Reader): Promise<TensorEntry> {
  const at = r.at;
  const name = await readString(r, "tensor name", MAX.name);
  await r.need(4, name);
  const dims = r.u32();
  if (dims < 1 || dims > 4) r.fail(name, "number of dimensions", "1 to 4", dims, r.at - 4);
  await r.need(8 * dims + 12, name);
  const shape: number[] = [];
  let elements = 1;
  for (let i = 0; i < dims; i++) {
    const size = r.count(name, `dimension ${i}`, 2 ** 40);
    if (size === 0) r.fail(name, `dimension ${i}`, "at least 1", 0, r.at - 8);
    shape.unshift(size);
    elements *= size;
  }
  if (elements > 2 ** 50) r.fail(name, "number of elements", "at most 2^50", elements);
  const id = r.u32();
  const label = TYPE_NAMES[id];
  if (!label || !Object.hasOwn(TENSOR_TYPES, label)) {
    const known = Object.keys(TENSOR_TYPES).join(", ");
    throw modelError({ file: r.source.name, offset: r.at - 4, field: name, expected: `one of ${known}`, found: label ?? `type ${id}` }, "tensor type", "convert the model to one of these types");
  }
  const type = label as TensorType;
  const { block, bytes: blockBytes } = TENSOR_TYPES[type];
  if (shape.at(-1)! % block) r.fail(name, `row length of type ${type}`, `a multiple of ${block}`, shape.at(-1)!);
  const offset = r.count(name, "data offset", r.source.size);
  return { name, type, shape, offset, bytes: (elements / block) * blockBytes, at };
}

/** Reads one file's header. Throws CpmError "bad-model" with the byte offset of whatever is wrong. */
export async function readGguf(source: Source, signal?: AbortSignal): Promise<Gguf> {
  const r = new Reader(source, signal);
  await r.need(24, "header");
  const magic = r.u32();
  if (magic !== 0x46554747) r.fail("magic", "not a GGUF file", '"GGUF"', `0x${magic.toString(16).padStart(8, "0")}`, 0);
  const version = r.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version === 0x02000000 || version === 0x03000000;
    r.fail("version", swapped ? "big-endian files are not supported" : "GGUF version", "2 or 3", swapped ? "big-endian" : version, 4);
  }
  const tensorCount = r.count("tensor count", "number of tensors", Math.min(MAX.tensors, source.size));
  const pairs = r.count("metadata count", "number of metadata pairs", Math.min(MAX.pairs, source.size));
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < pairs; i++) {
    const at = r.at;
    const key = await readString(r, "metadata key", MAX.name);
    if (metadata.has(key)) r.fail(key, "metadata key appears twice", "one", "two", at);
    await r.need(4, key);
    metadata.set(key, await readValue(r, r.u32(), key));
  }
  const entries: TensorEntry[] = [];
  for (let i = 0; i < tensorCount; i++) entries.push(await readTensorEntry(r));
  return { version, metadata, tensors: placeTensors(r, entries, metadata.get("general.alignment") ?? 32) };
}

/** Turns entries into tensors with absolute offsets; all lie in the file, aligned, apart from each other. */
function placeTensors(r: Reader, entries: readonly TensorEntry[], alignment: GgufValue): FileTensor[] {
  if (typeof alignment !== "number" || alignment < 1 || alignment > 1 << 20 || alignment & (alignment - 1))
    r.fail("general.alignment", "alignment", "a power of two", String(alignment), 0);
  const start = Math.ceil(r.at / alignment) * alignment;
  const names = new Set<string>();
  for (const e of entries) {
    if (names.has(e.name)) r.fail(e.name, "tensor name appears twice", "one", "two", e.at);
    names.add(e.name);
    if (e.offset % alignment) r.fail(e.name, "data offset", `a multiple of ${alignment}`, e.offset, e.at);
    if (start + e.offset + e.bytes > r.source.size)
      r.fail(e.name, "tensor data reaches past the end of the file", `at most ${r.source.size} bytes`, start + e.offset + e.bytes, e.at);
  }
  const sorted = [...entries].sort((a, b) => a.offset - b.offset);
  for (const [i, e] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next && e.offset + e.bytes > next.offset) r.fail(next.name, `tensor data overlaps that of ${e.name}`, `offset ${e.offset + e.bytes} or more`, next.offset, next.at);
  }
  return entries.map(({ name, type, shape, offset, bytes }) => ({ name, type, shape, offset: start + offset, bytes, source: r.source }));
}

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** Opens a GGUF by its entry name; of a split file, any part opens all. */
export async function openGguf(files: ModelFiles, source: Source, signal?: AbortSignal): Promise<Gguf> {
  const first = await readGguf(source, signal);
  const count = first.metadata.get("split.count");
  if (typeof count !== "number" || count <= 1) return first;
  const name = PART.exec(files.entry);
  if (!name || Number(name[3]) !== count || count > 10000)
    throw modelError({ file: source.name, field: "split.count", expected: "a name like model-00001-of-00003.gguf that agrees with it", found: `${count} parts, name "${files.entry}"` }, "split file", "keep the names that the parts were published with");
  const parts: Gguf[] = [];
  for (let i = 1; i <= count; i++) {
    const part = `${name[1]}-${String(i).padStart(5, "0")}-of-${name[3]}.gguf`;
    const opened = part === files.entry ? source : await files.open(part, signal);
    if (!opened) throw modelError({ file: part, expected: `all ${count} parts beside each other`, found: "this one is missing" }, "split file", "put all parts into one folder");
    const gguf = part === files.entry ? first : await readGguf(opened, signal);
    const [number, total] = [gguf.metadata.get("split.no"), gguf.metadata.get("split.count")];
    if (number !== i - 1 || total !== count) throw modelError({ file: part, field: "split.no", expected: `${i - 1} of ${count}`, found: `${number} of ${total}` }, "split file");
    parts.push(gguf);
  }
  const tensors = parts.flatMap((p) => p.tensors);
  const names = new Set(tensors.map((t) => t.name));
  const expected = first.metadata.get("split.tensors.count");
  if (names.size !== tensors.length || (expected !== undefined && expected !== tensors.length))
    throw modelError({ file: source.name, field: "split.tensors.count", expected: `${expected} different tensors`, found: String(names.size) }, "split file");
  return { version: first.version, metadata: parts[0]!.metadata, tensors };
}
