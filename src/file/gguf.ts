// GGUF v2 and v3. A reader of our own: files are untrusted, errors name the byte, and sources are read in ranges.
// Source: the GGUF specification (ggml). Every length is checked against the file before anything is allocated.
import { modelError } from "../errors.ts";
import { shown } from "../shown.ts";
import { refusePointer } from "./json.ts";
import { type GgufValue, MAX, Reader, readString, readValue } from "./metadata.ts";
import type { Source } from "./source.ts";
import { type FileTensor, TENSOR_TYPES, type TensorType } from "./tensor.ts";

export interface Gguf {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Where each value lies in the (first) file, behind its type: what writes it into another file copies these bytes. */
  readonly places: ReadonlyMap<string, { readonly type: number; readonly offset: number; readonly bytes: number }>;
  readonly tensors: readonly FileTensor[];
}

/** ggml type ids. */
// biome-ignore format: a table
const TYPE_NAMES: Readonly<Record<number, string>> = {
  0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
  13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
  22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0",
  35: "TQ2_0", 39: "MXFP4",
};

/** Types' names to the ids of the file. */
export const TYPE_IDS = Object.fromEntries(Object.entries(TYPE_NAMES).map(([id, name]) => [name, Number(id)])) as Readonly<
  Record<TensorType, number>
>;

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
    throw modelError(
      { file: r.source.name, offset: r.at - 4, field: name, expected: `one of ${known}`, found: label ?? `type ${id}` },
      "tensor type",
      "convert the model to one of these types",
    );
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
  refusePointer(await source.read(0, Math.min(64, source.size), signal), source.name);
  await r.need(24, "header");
  const magic = r.u32();
  if (magic !== 0x46554747) r.fail("magic", "not a GGUF file", '"GGUF"', `0x${magic.toString(16).padStart(8, "0")}`, 0);
  const version = r.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version === 0x02000000 || version === 0x03000000;
    r.fail(
      "version",
      swapped ? "big-endian files are not supported" : "GGUF version",
      "2 or 3",
      swapped ? "big-endian" : version,
      4,
    );
  }
  const tensorCount = r.count("tensor count", "number of tensors", Math.min(MAX.tensors, source.size));
  const pairs = r.count("metadata count", "number of metadata pairs", Math.min(MAX.pairs, source.size));
  const metadata = new Map<string, GgufValue>();
  const places = new Map<string, { type: number; offset: number; bytes: number }>();
  for (let i = 0; i < pairs; i++) {
    const at = r.at;
    const key = await readString(r, "metadata key", MAX.name);
    if (metadata.has(key)) r.fail(key, "metadata key appears twice", "one", "two", at);
    await r.need(4, key);
    const type = r.u32();
    const offset = r.at;
    metadata.set(key, await readValue(r, type, key));
    places.set(key, { type, offset, bytes: r.at - offset });
  }
  const entries: TensorEntry[] = [];
  for (let i = 0; i < tensorCount; i++) entries.push(await readTensorEntry(r));
  return { version, metadata, places, tensors: placeTensors(r, entries, metadata.get("general.alignment") ?? 32) };
}

/** Turns entries into tensors with absolute offsets; all lie in the file, aligned, apart from each other. */
function placeTensors(r: Reader, entries: readonly TensorEntry[], alignment: GgufValue): FileTensor[] {
  if (typeof alignment !== "number" || alignment < 1 || alignment > 1 << 20 || alignment & (alignment - 1))
    r.fail("general.alignment", "alignment", "a power of two", shown(alignment), 0);
  const start = Math.ceil(r.at / alignment) * alignment;
  const names = new Set<string>();
  for (const e of entries) {
    if (names.has(e.name)) r.fail(e.name, "tensor name appears twice", "one", "two", e.at);
    names.add(e.name);
    if (e.offset % alignment) r.fail(e.name, "data offset", `a multiple of ${alignment}`, e.offset, e.at);
    if (start + e.offset + e.bytes > r.source.size)
      r.fail(
        e.name,
        "tensor data reaches past the end of the file",
        `at most ${r.source.size} bytes`,
        start + e.offset + e.bytes,
        e.at,
      );
  }
  const sorted = [...entries].sort((a, b) => a.offset - b.offset);
  for (const [i, e] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next && e.offset + e.bytes > next.offset)
      r.fail(next.name, `tensor data overlaps that of ${e.name}`, `offset ${e.offset + e.bytes} or more`, next.offset, next.at);
  }
  return entries.map(({ name, type, shape, offset, bytes }) => ({
    name,
    type,
    shape,
    offset: start + offset,
    bytes,
    source: r.source,
  }));
}
