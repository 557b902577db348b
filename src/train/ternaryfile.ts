// A GGUF whose layers hold ternary numbers -> the same with them in TQ1_0 or TQ2_0.
// Sources: ggml's block_tq1_0 and block_tq2_0: 256 weights and one float16 scale; five trits a byte, or four codes of two bits.
import { CpmError } from "../errors.ts";
import { readGguf } from "../file/gguf.ts";
import type { Source } from "../file/source.ts";
import type { FileTensor } from "../file/tensor.ts";
import { copiedMetadata, type GgufTensorPlan, layoutGguf } from "../file/write/gguf.ts";
import { type Output, TensorWriter } from "../file/write/output.ts";
import { type FLOAT_BYTES, type FloatType, floatBytes, floatsOf, halfOf } from "./floats.ts";

export type TernaryType = "TQ1_0" | "TQ2_0";
const BLOCK = 256;
const BLOCK_BYTES = { TQ1_0: 54, TQ2_0: 66 } as const;
/** general.file_type. Source: llama.h, llama_ftype. */
const FILE_TYPES = { TQ1_0: 36, TQ2_0: 37 } as const;

/** A byte of five trits: the number below one that they are in base 3, in 256ths, rounded up. */
const fifths = (number: number): number => Math.floor((number * 256 + 242) / 243);

function putTq1(codes: Uint8Array, out: Uint8Array): void {
  let number: number;
  for (const [first, width, at] of [
    [0, 32, 0],
    [160, 16, 32],
  ] as const)
    for (let j = 0; j < width; j++) {
      number = 0;
      for (let n = 0; n < 5; n++) number = number * 3 + codes[first + n * width + j]!;
      out[at + j] = fifths(number);
    }
  for (let j = 0; j < 4; j++) {
    number = 0;
    for (let n = 0; n < 4; n++) number = number * 3 + codes[240 + n * 4 + j]!;
    out[48 + j] = fifths(number * 3);
  }
}

function putTq2(codes: Uint8Array, out: Uint8Array): void {
  for (let half = 0; half < 2; half++)
    for (let j = 0; j < 32; j++) {
      let byte = 0;
      for (let n = 0; n < 4; n++) byte |= codes[128 * half + 32 * n + j]! << (2 * n);
      out[32 * half + j] = byte;
    }
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer, 0, 1);

/**
 * Blocks of 256 numbers of {-s, 0, s}: the codes are exact, the scale becomes the nearest float16.
 * @throws CpmError "unsupported" for numbers with more than one magnitude in a block.
 */
export function ternaryBlocks(values: Float32Array, type: TernaryType, name: string): Uint8Array<ArrayBuffer> {
  const bytes = BLOCK_BYTES[type];
  const out = new Uint8Array((values.length / BLOCK) * bytes);
  const codes = new Uint8Array(BLOCK);
  for (let block = 0; block < values.length / BLOCK; block++) {
    let scale = 0;
    for (let i = 0; i < BLOCK; i++) {
      const x = values[block * BLOCK + i]!;
      codes[i] = x > 0 ? 2 : x < 0 ? 0 : 1;
      if (x === 0) continue;
      if (scale === 0) scale = Math.abs(x);
      else if (Math.abs(x) !== scale)
        throw new CpmError(
          "unsupported",
          `${name}: block ${block} has the magnitudes ${scale} and ${Math.abs(x)}, and a block of ${type} (256 weights) has one scale; train with groups of 256 (or a multiple, or 0: rows), or export a folder of floats`,
          { field: name, expected: "one magnitude in 256 weights", found: `${scale} and ${Math.abs(x)}` },
        );
    }
    const to = out.subarray(block * bytes, (block + 1) * bytes);
    (type === "TQ1_0" ? putTq1 : putTq2)(codes, to);
    scratch[0] = scale;
    const half = halfOf(scratchBits[0]!);
    to[bytes - 2] = half & 255;
    to[bytes - 1] = half >> 8;
  }
  return out;
}

const isLayerMatrix = ({ name, shape }: FileTensor): boolean => shape.length === 2 && name.startsWith("blk.");

/**
 * Writes `file`, a GGUF of F32 tensors, with its layers' matrices as `type` and its other matrices as `rest` (default F16).
 * Rejects with CpmError "unsupported" where rows are no multiples of 256 or blocks have several scales; "io"; the signal's reason.
 */
export async function ternaryGguf(
  file: Source,
  type: TernaryType,
  open: (size: number) => Promise<Output>,
  { rest = "F16", signal }: { readonly rest?: FloatType | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<{ readonly tensors: number; readonly bytes: number }> {
  const gguf = await readGguf(file, signal);
  const metadata = await copiedMetadata(file, gguf, signal);
  metadata.set("general.file_type", { kind: "u32", value: FILE_TYPES[type] });
  const plans = gguf.tensors.map((t): GgufTensorPlan => {
    const ternary = isLayerMatrix(t);
    if (ternary && t.shape.at(-1)! % BLOCK)
      throw new CpmError(
        "unsupported",
        `${t.name}: rows of ${t.shape.at(-1)} are no whole blocks of ${type} (256 weights); export a folder of floats, or train a model whose hidden and intermediate sizes are multiples of 256`,
        { field: t.name, expected: "rows of a multiple of 256", found: String(t.shape.at(-1)) },
      );
    return { name: t.name, shape: t.shape, type: ternary ? type : t.shape.length === 2 ? rest : "F32" };
  });
  const layout = layoutGguf(metadata, plans);
  const output = await open(layout.size);
  try {
    const writer = await TensorWriter.begin(output, layout);
    for (const [i, tensor] of gguf.tensors.entries()) {
      const plan = plans[i]!;
      const width = tensor.shape.at(-1)!;
      const rows = tensor.bytes / 4 / width;
      const step = Math.max(1, Math.floor((1 << 21) / width));
      for (let row = 0, at = 0; row < rows; row += step) {
        const some = Math.min(step, rows - row);
        const values = floatsOf(await file.read(tensor.offset + 4 * row * width, 4 * some * width, signal), "F32");
        const bytes =
          plan.type === type
            ? ternaryBlocks(values, type, tensor.name)
            : floatBytes(values, plan.type as keyof typeof FLOAT_BYTES);
        await writer.write(tensor.name, bytes, at);
        at += bytes.length;
      }
    }
    await writer.finish();
  } catch (error) {
    await output.discard().catch(() => {});
    throw error;
  }
  return { tensors: plans.length, bytes: layout.size };
}
