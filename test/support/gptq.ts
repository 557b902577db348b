// The layout of a GPTQ checkpoint's linears.
import type { StoredTensor } from "./folder.ts";

/** The checkpoint's layout: words of 8 codes along the inputs, zero points of 8 outputs a word, everything (inputs, outputs). */
export function gptqTensors(
  name: string,
  codes: Uint8Array,
  scales: Uint16Array,
  rows: number,
  cols: number,
  group: number,
  zero: ((row: number) => number) | undefined,
): StoredTensor[] {
  const [qweight, qzeros, turned, groups] = [
    new Int32Array((cols / 8) * rows),
    new Int32Array((cols / group) * (rows / 8)),
    new Uint16Array(scales.length),
    cols / group,
  ];
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < cols; k++) qweight[(k >> 3) * rows + r]! |= codes[r * cols + k]! << (4 * (k % 8));
    for (let g = 0; g < groups; g++) {
      turned[g * rows + r] = scales[r * groups + g]!;
      qzeros[g * (rows / 8) + (r >> 3)]! |= (zero?.(r) ?? 0) << (4 * (r % 8));
    }
  }
  const raw = (values: Int32Array | Uint16Array): Uint8Array => new Uint8Array(values.buffer);
  return [
    { name: `${name}qweight`, dtype: "I32", shape: [cols / 8, rows], bytes: raw(qweight) },
    { name: `${name}scales`, dtype: "F16", shape: [groups, rows], bytes: raw(turned) },
    {
      name: `${name}g_idx`,
      dtype: "I32",
      shape: [cols],
      bytes: raw(Int32Array.from({ length: cols }, (_, k) => Math.floor(k / group))),
    },
    ...(zero ? [{ name: `${name}qzeros`, dtype: "I32" as const, shape: [groups, rows / 8], bytes: raw(qzeros) }] : []),
  ];
}
