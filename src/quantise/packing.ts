// Codes and scales as checkpoints have them: GPTQ (v1, v2), AWQ, and the package's own ternary layout.
// Sources: AutoGPTQ's and GPTQModel's checkpoint formats, AWQ's GEMM format.
import { CpmError } from "../errors.ts";

/** Codes (rows, cols) with scales and zero points (rows, cols / group), on this side of the memory. */
export interface PlainCodes {
  readonly rows: number;
  readonly cols: number;
  readonly group: number;
  readonly codes: Uint8Array;
  readonly scales: Float64Array;
  readonly zeros: Float64Array;
}

/** Nearest float16 of a number, ties to even. */
export function halfBits(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (!(a < 65520)) return sign | (Number.isNaN(a) ? 0x7e00 : 0x7c00);
  const exponent = Math.max(-14, Math.floor(Math.log2(a || 1e-9)));
  // log2 may be one off beside a power of two: the steps tell.
  let at = exponent;
  if (a < 2 ** at && at > -14) at--;
  if (a >= 2 ** (at + 1)) at++;
  const steps = a / 2 ** (at - 10);
  const low = Math.floor(steps);
  const rest = steps - low;
  const whole = low + (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? 1 : 0);
  return sign | (whole + ((at + 14) << 10));
}

/** (rows, groups) numbers as (groups, rows) halves. */
function halvesAcross(values: Float64Array, rows: number, groups: number): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let r = 0; r < rows; r++) for (let g = 0; g < groups; g++) out[g * rows + r] = halfBits(values[r * groups + g]!);
  return out;
}

export interface GptqTensors {
  /** (cols / 8, rows) */
  readonly qweight: Int32Array;
  /** (groups, rows / 8) */
  readonly qzeros: Int32Array;
  /** (groups, rows) float16 */
  readonly scales: Uint16Array;
  /** (cols) */
  readonly g_idx: Int32Array;
}

/** Zero points packed along outputs. `less`: what version 1 subtracts; `places`: which output each nibble holds. */
function packedZeros(z: PlainCodes, less: number, places: readonly number[]): Int32Array {
  const groups = z.cols / z.group;
  const out = new Int32Array((groups * z.rows) / 8);
  for (let g = 0; g < groups; g++)
    for (let w = 0; w < z.rows / 8; w++) {
      let word = 0;
      for (let p = 0; p < 8; p++) word |= ((z.zeros[(8 * w + places[p]!) * groups + g]! - less) & 15) << (4 * p);
      out[(g * z.rows) / 8 + w] = word;
    }
  return out;
}

const IN_ORDER = [0, 1, 2, 3, 4, 5, 6, 7];
/** The output that each nibble of an AWQ word holds. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7];

const refuse = (what: string, found: number): CpmError =>
  new CpmError("bad-option", `GPTQ: ${what} must be a multiple of 8, found ${found}; keep this tensor as it is`, {
    field: what,
    found: String(found),
  });

/** The four tensors of a 4-bit GPTQ linear: version 1 stores Z - 1 (0 wraps to 15), version 2 stores Z. */
export function gptqTensors(z: PlainCodes, version: 1 | 2 = 1): GptqTensors {
  const { rows, cols, group, codes } = z;
  if (rows % 8) throw refuse("outputs", rows);
  if (cols % 8) throw refuse("inputs", cols);
  const qweight = new Int32Array((cols / 8) * rows);
  for (let r = 0; r < rows; r++)
    for (let w = 0; w < cols / 8; w++) {
      let word = 0;
      for (let i = 0; i < 8; i++) word |= codes[r * cols + 8 * w + i]! << (4 * i);
      qweight[w * rows + r] = word;
    }
  return {
    qweight,
    qzeros: packedZeros(z, version === 1 ? 1 : 0, IN_ORDER),
    scales: halvesAcross(z.scales, rows, cols / group),
    g_idx: Int32Array.from({ length: cols }, (_, k) => Math.floor(k / group)),
  };
}

/** The same linear in AWQ's layout: qweight (cols, rows / 8), packed along outputs. */
export function awqTensors(z: PlainCodes): Omit<GptqTensors, "g_idx"> {
  const { rows, cols, group, codes } = z;
  if (rows % 8) throw refuse("outputs", rows);
  const qweight = new Int32Array((cols * rows) / 8);
  for (let k = 0; k < cols; k++)
    for (let w = 0; w < rows / 8; w++) {
      let word = 0;
      for (let p = 0; p < 8; p++) word |= codes[(8 * w + AWQ_ORDER[p]!) * cols + k]! << (4 * p);
      qweight[(k * rows) / 8 + w] = word;
    }
  return { qweight, qzeros: packedZeros(z, 0, AWQ_ORDER), scales: halvesAcross(z.scales, rows, cols / group) };
}

/** All scales float16 (rows, groups), then 16 bytes per 64 weights: byte j holds weights j, j + 16, j + 32, j + 48, low bits first. */
export function int2Bytes({ codes, scales }: Pick<PlainCodes, "codes" | "scales">): Uint8Array {
  const halves = Uint16Array.from(scales, halfBits);
  const out = new Uint8Array(2 * halves.length + codes.length / 4);
  for (const [i, half] of halves.entries()) {
    out[2 * i] = half & 255;
    out[2 * i + 1] = half >> 8;
  }
  for (let b = 0; b < codes.length / 64; b++)
    for (let j = 0; j < 16; j++) {
      let byte = 0;
      for (let i = 0; i < 4; i++) byte |= codes[64 * b + 16 * i + j]! << (2 * i);
      out[2 * halves.length + 16 * b + j] = byte;
    }
  return out;
}

/** quantize_config.json, and what config.json has as quantization_config. */
export const quantizeConfig = (group: number, damp: number, version: 1 | 2 = 1): Readonly<Record<string, unknown>> => ({
  bits: 4,
  group_size: group,
  desc_act: false,
  sym: true,
  static_groups: true,
  lm_head: false,
  true_sequential: true,
  damp_percent: damp,
  checkpoint_format: version === 1 ? "gptq" : "gptq_v2",
  quant_method: "gptq",
});
