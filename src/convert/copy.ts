// One tensor's way from file to file: its bytes as they are, rows of rotated heads in the other order, vectors in the other width.
import { copyOf, viewOf } from "../brands.ts";
import type { FileTensor, TensorType } from "../file/tensor.ts";
import type { TensorWriter } from "../file/write/output.ts";

/** Float types that a norm may have. */
export type FloatType = Extract<TensorType, "F32" | "F16" | "BF16">;
export const isFloat = (type: TensorType): type is FloatType => type === "F32" || type === "F16" || type === "BF16";

export interface Copy {
  /** In the new file. */
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  readonly tensor: FileTensor;
  /** How rows of each head are laid anew: 2i, 2i + 1 from i, i + d/2 ("interleaved", GGUF's order), or back ("halves"). */
  readonly rows?: { readonly order: "interleaved" | "halves"; readonly heads: number };
  /** Added to every value of a vector: folders hold some norms less one. */
  readonly plus?: number;
  /** The tensor's name in the source. */
  readonly from?: string;
}

const WIDTH = { F32: 4, F16: 2, BF16: 2 } as const;

/** Bytes of a tensor as it will be written. */
export const bytesOfType = ({ tensor, type }: Copy): number =>
  type === tensor.type ? tensor.bytes : (tensor.bytes / WIDTH[tensor.type as FloatType]) * WIDTH[type as FloatType];

/** Rows (or the elements of a vector) with those of each of `heads` heads in the other order. */
export function headsReordered(
  bytes: Uint8Array,
  count: number,
  heads: number,
  order: "interleaved" | "halves",
): Uint8Array<ArrayBuffer> {
  const perHead = count / heads;
  const head = bytes.length / heads;
  const out = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at += head) out.set(reordered(bytes.subarray(at, at + head), perHead, order), at);
  return out;
}

/** Bytes of one piece. */
const PIECE = 8 << 20;

/** The rows of one head in the other order. */
export function reordered(bytes: Uint8Array, rows: number, order: "interleaved" | "halves"): Uint8Array<ArrayBuffer> {
  const row = bytes.length / rows;
  const out = new Uint8Array(bytes.length);
  for (let i = 0; i < rows / 2; i++)
    for (const half of [0, 1]) {
      const [apart, together] = [i + (half * rows) / 2, 2 * i + half];
      const [from, to] = order === "interleaved" ? [apart, together] : [together, apart];
      out.set(bytes.subarray(from * row, (from + 1) * row), to * row);
    }
  return out;
}

/** float16 -> number. */
export function halfValue(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** The bits of a half of exactly this value; undefined where there is none. */
export function halfBits(value: number): number | undefined {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (!(size <= 65504)) return size === Number.POSITIVE_INFINITY ? sign | 0x7c00 : undefined;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -24)));
  const units = size * 2 ** (10 - exponent);
  if (!Number.isInteger(units) || units >= 2048) return undefined;
  return sign | (units < 1024 ? units : ((exponent + 15) << 10) | (units - 1024));
}

/** The values of a short float tensor. */
export function floatsOf(bytes: Uint8Array, type: FloatType): Float32Array {
  const view = viewOf(bytes);
  if (type === "F32") return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  if (type === "F16") return Float32Array.from({ length: bytes.length / 2 }, (_, i) => halfValue(view.getUint16(2 * i, true)));
  const bits = Uint32Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true) << 16);
  return new Float32Array(bits.buffer, 0, bits.length);
}

/** Values as bytes of a type; undefined where one of them is no value of that type. */
export function bytesAs(values: Float32Array, type: FloatType): Uint8Array<ArrayBuffer> | undefined {
  if (type === "F32") return copyOf(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  const whole = new Uint32Array(values.slice().buffer, 0, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const bits = type === "F16" ? halfBits(values[i]!) : whole[i]! & 0xffff ? undefined : whole[i]! >>> 16;
    if (bits === undefined) return undefined;
    out[i] = bits;
  }
  return new Uint8Array(out.buffer, 0, out.byteLength);
}

/** A short float tensor, read. */
export async function readShort(tensor: FileTensor, signal?: AbortSignal): Promise<Float32Array> {
  return floatsOf(await tensor.source.read(tensor.offset, tensor.bytes, signal), tensor.type as FloatType);
}

/** Writes a tensor, piece by piece; `onBytes` is told the bytes of each. Rejects with CpmError "io", or the signal's reason. */
export async function writeCopy(
  writer: TensorWriter,
  { name, type, shape, tensor, rows, plus = 0 }: Copy,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<void> {
  if (type !== tensor.type || plus !== 0) {
    const values = await readShort(tensor, signal);
    const bytes = bytesAs(plus === 0 ? values : values.map((v) => v + plus), type as FloatType)!;
    await writer.write(name, rows ? headsReordered(bytes, shape[0]!, rows.heads, rows.order) : bytes);
    return onBytes(bytes.length);
  }
  const perHead = rows && shape[0]! / rows.heads;
  const piece = perHead ? (tensor.bytes / shape[0]!) * perHead : PIECE;
  for (let at = 0; at < tensor.bytes; at += piece) {
    signal?.throwIfAborted();
    const bytes = await tensor.source.read(tensor.offset + at, Math.min(piece, tensor.bytes - at), signal);
    await writer.write(name, perHead ? reordered(bytes, perHead, rows.order) : bytes, at);
    onBytes(bytes.length);
  }
}
