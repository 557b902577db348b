// Tensors as they lie in a file.
import type { Source } from "./source.ts";

/** Elements per block and bytes per block of every type that can be read. Source: GGUF and safetensors formats. */
export const TENSOR_TYPES = {
  F32: { block: 1, bytes: 4 },
  F16: { block: 1, bytes: 2 },
  BF16: { block: 1, bytes: 2 },
  Q4_0: { block: 32, bytes: 18 },
  Q4_1: { block: 32, bytes: 20 },
  Q5_0: { block: 32, bytes: 22 },
  Q5_1: { block: 32, bytes: 24 },
  Q8_0: { block: 32, bytes: 34 },
  Q2_K: { block: 256, bytes: 84 },
  Q3_K: { block: 256, bytes: 110 },
  Q4_K: { block: 256, bytes: 144 },
  Q5_K: { block: 256, bytes: 176 },
  Q6_K: { block: 256, bytes: 210 },
  TQ1_0: { block: 256, bytes: 54 },
  TQ2_0: { block: 256, bytes: 66 },
  I32: { block: 1, bytes: 4 },
  I64: { block: 1, bytes: 8 },
} as const;
export type TensorType = keyof typeof TENSOR_TYPES;
/** What weights can be. */
export type WeightType = Exclude<TensorType, "I32" | "I64">;
export const isInteger = (type: TensorType): type is "I32" | "I64" => type === "I32" || type === "I64";

/** One tensor in a file: `bytes` bytes at `offset` of `source`, row-major, blocks along the last axis. */
export interface FileTensor {
  readonly name: string;
  readonly type: TensorType;
  /** Outermost first: a linear is [out, in], as in PyTorch (GGUF's dims reversed). */
  readonly shape: readonly number[];
  readonly source: Source;
  readonly offset: number;
  readonly bytes: number;
}
