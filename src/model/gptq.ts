// GPTQ linears whose groups are not runs of columns (g_idx in activation order).
import { modelError } from "../errors.ts";
import { checkRange } from "../file/bytes.ts";
import type { Source } from "../file/source.ts";
import type { FileTensor } from "../file/tensor.ts";
import type { WeightFile } from "./config.ts";

type Packed = Extract<WeightFile, { kind: "gptq" }>;

/**
 * The weight as the kernels can have it: itself where column k is of group floor(k / group), else plain float32, made from
 * the packed parts while it is read (exact, at eight times the memory; the packed kinds know only runs of columns).
 * @throws CpmError "bad-model" for a group that does not exist.
 */
export async function inOrder(weight: WeightFile, signal?: AbortSignal): Promise<WeightFile> {
  if (weight.kind !== "gptq" || weight.order === undefined) return weight;
  const { order, cols, group } = weight;
  const groups = await words(order, signal);
  const most = cols / group;
  const bad = groups.findIndex((g) => g < 0 || g >= most);
  if (bad >= 0)
    throw modelError(
      { file: order.source.name, field: order.name, expected: `groups below ${most}`, found: `${groups[bad]} for column ${bad}` },
      "GPTQ groups",
    );
  if (groups.every((g, k) => g === Math.floor(k / group))) return weight;
  return { kind: "plain", ropeHeads: 0, tensor: dequantized(weight, groups) };
}

/** A packed weight as plain float32, made while it is read. */
export const plainOf = (weight: Packed): FileTensor =>
  dequantized(
    weight,
    Int32Array.from({ length: weight.cols }, (_, k) => Math.floor(k / weight.group)),
  );

/**
 * Rows [first, first + rows) of a packed weight: columns of its parts. @throws CpmError "bad-model" for rows that share words with others.
 */
export function packedRows(weight: Packed, first: number, rows: number): Packed {
  if (first % 8 || rows % 8)
    throw modelError(
      {
        file: weight.qweight.source.name,
        field: weight.qweight.name,
        expected: "parts of a multiple of 8 rows",
        found: `${first} and ${rows}`,
      },
      "GPTQ shape",
    );
  const { qweight, scales, zeros } = weight;
  return {
    ...weight,
    rows,
    qweight: columns(qweight, first, rows),
    scales: columns(scales, first, rows),
    zeros: zeros && columns(zeros, first / 8, rows / 8),
  };
}

/** Columns [first, first + count) of a tensor [rows, cols]; whole rows are read. */
function columns(tensor: FileTensor, first: number, count: number): FileTensor {
  const [rows, cols] = tensor.shape as [number, number];
  const element = tensor.bytes / rows / cols;
  const [from, to] = [cols * element, count * element];
  const source: Source = {
    name: tensor.source.name,
    size: rows * to,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      const [begin, end] = [Math.floor(offset / to), Math.ceil((offset + length) / to)];
      const whole = await tensor.source.read(tensor.offset + begin * from, (end - begin) * from, signal);
      const out = new Uint8Array((end - begin) * to);
      for (let r = 0; r < end - begin; r++)
        out.set(whole.subarray(r * from + first * element, r * from + (first + count) * element), r * to);
      return out.subarray(offset - begin * to, offset - begin * to + length);
    },
    async close() {},
  };
  return { ...tensor, shape: [rows, count], source, offset: 0, bytes: source.size };
}

async function words(tensor: FileTensor, signal?: AbortSignal): Promise<Int32Array> {
  const bytes = await tensor.source.read(tensor.offset, tensor.bytes, signal);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getInt32(4 * i, true));
}

/** A float32 tensor [rows, cols] whose bytes are computed when they are read. The packed parts are held from the first read to the last row. */
function dequantized(w: Packed, groups: Int32Array): FileTensor {
  const { rows, cols, qweight } = w;
  const name = qweight.name;
  const size = 4 * rows * cols;
  let parts: Promise<{ codes: Int32Array; scales: Float32Array; zeros: Int32Array | undefined }> | undefined;
  const open = async (signal?: AbortSignal) => ({
    codes: await words(qweight, signal),
    scales: halves(await w.scales.source.read(w.scales.offset, w.scales.bytes, signal)),
    zeros: w.zeros && (await words(w.zeros, signal)),
  });
  const source: Source = {
    name: qweight.source.name,
    size,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      parts ??= open(signal);
      const held = parts;
      const { codes, scales, zeros } = await held.catch((cause: unknown) => {
        parts = undefined;
        throw cause;
      });
      const first = Math.floor(offset / 4 / cols);
      const last = Math.ceil((offset + length) / 4 / cols);
      const values = new Float32Array((last - first) * cols);
      for (let r = first; r < last; r++)
        for (let k = 0; k < cols; k++) {
          const g = groups[k]!;
          const code = (codes[(k >> 3) * rows + r]! >>> (4 * (k & 7))) & 15;
          // The first version of the layout stores one less than the zero point.
          const stored = zeros ? (zeros[g * (rows >> 3) + (r >> 3)]! >>> (4 * (r & 7))) + (w.zeroPlusOne ? 1 : 0) : 8;
          values[(r - first) * cols + k] = (code - (stored & 15)) * scales[g * rows + r]!;
        }
      if (last === rows) parts = undefined;
      return new Uint8Array(values.buffer, offset - 4 * first * cols, length);
    },
    async close() {},
  };
  return { name, type: "F32", shape: [rows, cols], source, offset: 0, bytes: size };
}

/** float16 -> float32. */
function halves(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const h = view.getUint16(2 * i, true);
    const [sign, exponent, fraction] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023];
    if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  });
}
