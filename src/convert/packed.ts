// GPTQ weights as blocks of a GGUF, value by value. Layouts: ggml's Q4_0 and Q4_1; AutoGPTQ's checkpoint formats.
import { checkRange } from "../file/bytes.ts";
import type { Source } from "../file/source.ts";
import { type FileTensor, TENSOR_TYPES } from "../file/tensor.ts";
import type { WeightFile } from "../model/config.ts";
import { plainOf } from "../model/gptq.ts";
import { halfBits, halfValue } from "./copy.ts";

type Packed = Extract<WeightFile, { kind: "gptq" }>;

interface Parts {
  /** Scales as halves, (groups, rows). */
  readonly scales: Uint16Array;
  /** Zero points, (groups, rows). */
  readonly zeros: Uint8Array;
}

async function partsOf({ rows, scales, zeros, zeroPlusOne }: Packed, signal?: AbortSignal): Promise<Parts> {
  const halves = view(await scales.source.read(scales.offset, scales.bytes, signal));
  const count = scales.bytes / 2;
  const points = zeros && view(await zeros.source.read(zeros.offset, zeros.bytes, signal));
  return {
    scales: Uint16Array.from({ length: count }, (_, i) => halves.getUint16(2 * i, true)),
    zeros: Uint8Array.from({ length: count }, (_, i) => {
      if (!points) return 8;
      const [g, r] = [Math.floor(i / rows), i % rows];
      const word = points.getInt32(4 * (g * (rows >> 3) + (r >> 3)), true);
      return ((word >>> (4 * (r & 7))) + (zeroPlusOne ? 1 : 0)) & 15;
    }),
  };
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * The weight as a tensor of the smallest block type that holds each of its values: Q4_0 (d = scale) where all zero points are 8, Q4_1
 * (d = scale, m = -scale * zero) where every m is a half; else F32, the values themselves.
 */
export async function asBlocks(weight: Packed, name: string, signal?: AbortSignal): Promise<FileTensor> {
  const parts = await partsOf(weight, signal);
  const minima = Array.from(parts.zeros, (zero, i) => halfBits(-zero * halfValue(parts.scales[i]!)));
  const symmetric = parts.zeros.every((zero) => zero === 8);
  if (!symmetric && minima.includes(undefined)) return { ...plainOf(weight), name };
  return blocked(weight, name, parts, symmetric ? undefined : Uint16Array.from(minima as number[]));
}

/** Blocks that are made while they are read; the words are held from the first read to the last row. */
function blocked(w: Packed, name: string, { scales }: Parts, minima: Uint16Array | undefined): FileTensor {
  const { rows, cols, group, qweight } = w;
  const type = minima ? "Q4_1" : "Q4_0";
  const { block, bytes } = TENSOR_TYPES[type];
  const row = (cols / block) * bytes;
  let words: Promise<DataView> | undefined;
  const source: Source = {
    name: qweight.source.name,
    size: rows * row,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      words ??= qweight.source.read(qweight.offset, qweight.bytes, signal).then(view);
      const held = await words.catch((cause: unknown) => {
        words = undefined;
        throw cause;
      });
      const [first, last] = [Math.floor(offset / row), Math.ceil((offset + length) / row)];
      const out = new Uint8Array((last - first) * row);
      for (let r = first; r < last; r++)
        for (let b = 0; b < cols / block; b++) {
          const at = (r - first) * row + b * bytes;
          const scale = Math.floor((b * block) / group) * rows + r;
          const header = minima ? [scales[scale]!, minima[scale]!] : [scales[scale]!];
          for (const [i, half] of header.entries()) {
            out[at + 2 * i] = half & 255;
            out[at + 2 * i + 1] = half >> 8;
          }
          // Byte j holds the codes of columns j and j + 16.
          for (let k = 0; k < block; k += 8) {
            const word = held.getInt32(4 * (((b * block + k) / 8) * rows + r), true);
            for (let i = 0; i < 8; i++) {
              const j = at + 2 * header.length + ((k + i) % 16);
              out[j] = out[j]! | (((word >>> (4 * i)) & 15) << (k < 16 ? 0 : 4));
            }
          }
        }
      if (last === rows) words = undefined;
      return out.subarray(offset - first * row, offset - first * row + length);
    },
    async close() {},
  };
  return { name, type, shape: [rows, cols], source, offset: 0, bytes: source.size };
}
