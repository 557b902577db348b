// Importance matrices as llama.cpp has them: sums of squared inputs per column of each weight, legacy .dat and GGUF.
// Sources: llama.cpp's tools/imatrix (both formats); NAME.in_sum2 and NAME.counts in GGUF.
import { viewOf } from "../brands.ts";
import { CpmError, modelError } from "../errors.ts";
import { readGguf } from "../file/gguf.ts";
import type { Source } from "../file/source.ts";
import { type GgufMetadata, type GgufTensorPlan, writeGguf } from "../file/write/gguf.ts";
import type { Output } from "../file/write/output.ts";
import { shown } from "../shown.ts";

export interface Imatrix {
  /** Mean of x^2 per column, by the name of the weight in a GGUF. */
  readonly entries: ReadonlyMap<string, Float64Array>;
  /** Rows of inputs that were seen. */
  readonly rows: number;
  /** What it was made from, and in chunks of so many tokens. */
  readonly dataset?: string | undefined;
  readonly chunkSize?: number | undefined;
}

const MOST_BYTES = 1 << 30;

/** Reads either format. @throws CpmError "bad-model" for files that are neither or contradict themselves. */
export async function readImatrix(source: Source, signal?: AbortSignal): Promise<Imatrix> {
  if (source.size > MOST_BYTES)
    throw modelError(
      { file: source.name, expected: `at most ${MOST_BYTES} bytes`, found: String(source.size) },
      "importance matrix",
    );
  const head = source.size >= 4 ? new TextDecoder("latin1").decode(await source.read(0, 4, signal)) : "";
  return head === "GGUF" ? await readGgufImatrix(source, signal) : await readLegacy(source, signal);
}

const fail = (source: Source, offset: number, field: string, expected: string, found: unknown): CpmError =>
  modelError(
    { file: source.name, offset, field, expected, found: shown(found) },
    "importance matrix",
    "make it again with cpm imatrix or llama-imatrix",
  );

/** i32 entries; each i32 length, name, i32 calls, i32 values, float32 sums of means; then i32 chunks, and the data set's name. */
async function readLegacy(source: Source, signal?: AbortSignal): Promise<Imatrix> {
  const bytes = await source.read(0, source.size, signal);
  const view = viewOf(bytes);
  let at = 0;
  const i32 = (field: string, low: number, high: number): number => {
    if (at + 4 > bytes.length) throw fail(source, at, field, "4 more bytes", bytes.length - at);
    const value = view.getInt32(at, true);
    if (value < low || value > high) throw fail(source, at, field, `${low} to ${high}`, value);
    at += 4;
    return value;
  };
  const entries = new Map<string, Float64Array>();
  const count = i32("number of entries", 1, 1 << 20);
  let most = 0;
  for (let i = 0; i < count; i++) {
    const length = i32(`length of name ${i}`, 1, 512);
    if (at + length > bytes.length) throw fail(source, at, `name ${i}`, `${length} bytes`, bytes.length - at);
    const name = new TextDecoder().decode(bytes.subarray(at, at + length));
    at += length;
    const calls = i32(name, 0, 2 ** 31 - 1);
    const values = i32(name, 1, 1 << 28);
    if (at + 4 * values > bytes.length) throw fail(source, at, name, `${values} numbers`, `${(bytes.length - at) / 4}`);
    // The numbers are means times calls.
    const sums = Float64Array.from({ length: values }, (_, k) => view.getFloat32(at + 4 * k, true) / Math.max(1, calls));
    check(source, at, name, sums);
    at += 4 * values;
    entries.set(name, sums);
    most = Math.max(most, calls);
  }
  let [chunks, dataset] = [0, undefined as string | undefined];
  if (at + 8 <= bytes.length) {
    chunks = i32("chunks", 0, 2 ** 31 - 1);
    const length = i32("length of the data set's name", 0, bytes.length - at - 4);
    dataset = new TextDecoder().decode(bytes.subarray(at, at + length));
  }
  return { entries, rows: Math.max(most, chunks), dataset };
}

async function readGgufImatrix(source: Source, signal?: AbortSignal): Promise<Imatrix> {
  const { metadata, tensors } = await readGguf(source, signal);
  const type = metadata.get("general.type");
  if (type !== "imatrix") throw fail(source, 0, "general.type", '"imatrix"', type);
  const numbers = async (name: string): Promise<Float32Array | undefined> => {
    const tensor = tensors.find((t) => t.name === name);
    if (!tensor) return undefined;
    if (tensor.type !== "F32") throw fail(source, tensor.offset, name, "F32", tensor.type);
    const bytes = await source.read(tensor.offset, tensor.bytes, signal);
    const view = viewOf(bytes);
    return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  };
  const entries = new Map<string, Float64Array>();
  let rows = 0;
  for (const { name, offset, shape } of tensors) {
    if (!name.endsWith(".in_sum2")) continue;
    const weight = name.slice(0, -".in_sum2".length);
    const [sums, counts] = [await numbers(name), await numbers(`${weight}.counts`)];
    if (!sums || !counts) throw fail(source, offset, `${weight}.counts`, "beside in_sum2", "nothing");
    const cols = shape.at(-1)!;
    // Of mixtures of experts: one set of sums each.
    const values = Float64Array.from(sums, (v, i) => {
      const n = counts[Math.floor(i / cols) % counts.length]!;
      return n > 0 ? v / n : 0;
    });
    check(source, offset, weight, values);
    entries.set(weight, values);
    for (const n of counts) rows = Math.max(rows, n);
  }
  if (entries.size === 0) throw fail(source, 0, "tensors", "NAME.in_sum2 and NAME.counts", `${tensors.length} others`);
  const names = metadata.get("imatrix.datasets");
  const chunkSize = metadata.get("imatrix.chunk_size");
  return {
    entries,
    rows,
    dataset: Array.isArray(names) && typeof names[0] === "string" ? names[0] : undefined,
    chunkSize: typeof chunkSize === "number" ? chunkSize : undefined,
  };
}

function check(source: Source, at: number, name: string, values: Float64Array): void {
  const bad = values.findIndex((v) => !(v >= 0 && v < Infinity));
  if (bad >= 0) throw fail(source, at, name, "numbers of at least 0", `${values[bad]} at ${bad}`);
}

/** Weights of one tensor, undefined where the matrix has none for it. @throws CpmError "bad-input" where the columns differ. */
export function fuse(imatrix: Imatrix, name: string, cols: number): Float64Array | undefined {
  const values = imatrix.entries.get(name);
  if (!values) return undefined;
  if (values.length !== cols)
    throw new CpmError(
      "bad-input",
      `importance matrix: ${name} has ${values.length} columns there and ${cols} in the model; it was made of another model`,
      { field: name, expected: String(cols), found: String(values.length) },
    );
  return values;
}

/** Writes llama.cpp's GGUF form. */
export async function writeImatrix(output: Output, imatrix: Imatrix): Promise<void> {
  const metadata: GgufMetadata = new Map([
    ["general.type", { kind: "string", value: "imatrix" }],
    ["imatrix.datasets", { array: "string", value: [imatrix.dataset ?? "calibration"] }],
    ["imatrix.chunk_count", { kind: "u32", value: Math.max(1, Math.round(imatrix.rows / (imatrix.chunkSize ?? 512))) }],
    ["imatrix.chunk_size", { kind: "u32", value: imatrix.chunkSize ?? 512 }],
  ]);
  const names = [...imatrix.entries.keys()].sort();
  const plans = names.flatMap((name): GgufTensorPlan[] => [
    { name: `${name}.in_sum2`, type: "F32", shape: [1, imatrix.entries.get(name)!.length] },
    { name: `${name}.counts`, type: "F32", shape: [1, 1] },
  ]);
  const writer = await writeGguf(output, metadata, plans);
  for (const name of names) {
    await writer.write(
      `${name}.in_sum2`,
      Float32Array.from(imatrix.entries.get(name)!, (v) => v * imatrix.rows),
    );
    await writer.write(`${name}.counts`, new Float32Array([imatrix.rows]));
  }
  await writer.finish();
}

/** The bytes of the legacy form, which older tools read. */
export function legacyImatrix(imatrix: Imatrix): Uint8Array {
  const text = new TextEncoder();
  const dataset = text.encode(imatrix.dataset ?? "calibration");
  const names = [...imatrix.entries.keys()].sort();
  const size = names.reduce((sum, name) => sum + 12 + text.encode(name).length + 4 * imatrix.entries.get(name)!.length, 4);
  const out = new Uint8Array(size + 8 + dataset.length);
  const view = viewOf(out);
  let at = 0;
  const i32 = (value: number) => {
    view.setInt32(at, value, true);
    at += 4;
  };
  i32(names.length);
  const calls = Math.max(1, Math.round(imatrix.rows / (imatrix.chunkSize ?? 512)));
  for (const name of names) {
    const bytes = text.encode(name);
    const values = imatrix.entries.get(name)!;
    i32(bytes.length);
    out.set(bytes, at);
    at += bytes.length;
    i32(calls);
    i32(values.length);
    for (const value of values) {
      view.setFloat32(at, value * calls, true);
      at += 4;
    }
  }
  i32(calls);
  i32(dataset.length);
  out.set(dataset, at);
  return out;
}
