// Numbers as files have them: float16, bfloat16 and float32, rounded to nearest, ties to even.

import { copyOf } from "../brands.ts";

export type FloatType = "F32" | "F16" | "BF16";
export const FLOAT_BYTES = { F32: 4, F16: 2, BF16: 2 } as const;

let table: Float32Array | undefined;

/** float32 of every float16. */
function halves(): Float32Array {
  if (table) return table;
  table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    const special = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    table[bits] =
      exponent === 31 ? special : sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  }
  return table;
}

/** Bytes of a type as float32; every value is exact. */
export function floatsOf(bytes: Uint8Array, type: FloatType): Float32Array {
  const own = bytes.byteOffset % 4 === 0 ? bytes : copyOf(bytes);
  if (type === "F32") return new Float32Array(own.buffer, own.byteOffset, own.length / 4).slice();
  const bits = new Uint16Array(own.buffer, own.byteOffset, own.length / 2);
  if (type === "F16") {
    const value = halves();
    return Float32Array.from(bits, (b) => value[b]!);
  }
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return new Float32Array(wide.buffer, 0, wide.length);
}

/** The float16 nearest to the float32 of these bits; beyond the largest: infinity. */
export function halfOf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal halves count in units of 2^-24.
    const shift = 126 - (magnitude >>> 23);
    if (shift > 24) return sign;
    const whole = (magnitude & 0x7fffff) | 0x800000;
    const low = whole >>> shift;
    const rest = whole & ((1 << shift) - 1);
    const half = 1 << (shift - 1);
    return sign | (low + (rest > half || (rest === half && low & 1) ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** float32 numbers as bytes of a type. Numbers beyond F16's range become infinite. */
export function floatBytes(values: Float32Array, type: FloatType): Uint8Array<ArrayBuffer> {
  const own = new Float32Array(values.length);
  own.set(values);
  if (type === "F32") return new Uint8Array(own.buffer, 0, 4 * own.length);
  const bits = new Uint32Array(own.buffer, 0, own.length);
  const out = new Uint16Array(own.length);
  for (let i = 0; i < out.length; i++) {
    const b = bits[i]!;
    if (type === "F16") out[i] = halfOf(b);
    else if ((b & 0x7fffffff) > 0x7f800000) out[i] = (b >>> 16) | 0x40;
    else out[i] = (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(out.buffer, 0, 2 * out.length);
}
