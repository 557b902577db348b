// A model's shape, whichever container it came in.
import type { FileTensor } from "../file/tensor.ts";
import type { TokenizerData } from "../text/vocabulary.ts";

/** Everything the forward pass needs to know besides the weights. Source: MiniCPM4 report, llama.cpp's GGUF keys. */
export interface ModelConfig {
  readonly architecture: "minicpm" | "llama";
  readonly name: string;
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  /** Trained context length in tokens. */
  readonly contextLength: number;
  readonly rmsEps: number;
  readonly ropeTheta: number;
  /** LongRoPE divisors per frequency (headDim / 2), used up to / beyond `ropeOriginalContext` tokens of context. */
  readonly ropeShort: Float32Array | undefined;
  readonly ropeLong: Float32Array | undefined;
  readonly ropeOriginalContext: number;
  /** Multiplies cos and sin. */
  readonly ropeScale: number;
  /** Multiplies embeddings (12 in MiniCPM4, 1 in llama). */
  readonly embeddingScale: number;
  /** Multiplies what attention and MLP add to the residual stream. */
  readonly residualScale: number;
  /** Multiplies the final hidden state before the head. */
  readonly logitScale: number;
  readonly tied: boolean;
  /** Raw sparse_config (InfLLM v2) when the model carries one. */
  readonly sparse: Readonly<Record<string, number | boolean>> | undefined;
}

/** The divisors for a model loaded for `contextSize` tokens: chosen once, so that every key in a cache is rotated alike. */
export const ropeFactors = (config: ModelConfig, contextSize: number): Float32Array | undefined =>
  contextSize > config.ropeOriginalContext ? config.ropeLong : config.ropeShort;

/**
 * One linear or embedding weight [rows, cols] as it lies in files. GPTQ linears have three parts.
 * `rope`: rows of each head are stored interleaved (GGUF) and must be taken back to half-split order.
 */
export type WeightFile =
  | { readonly kind: "plain"; readonly tensor: FileTensor; readonly ropeHeads: number }
  | {
      readonly kind: "gptq";
      readonly rows: number;
      readonly cols: number;
      readonly group: number;
      readonly qweight: FileTensor;
      readonly scales: FileTensor;
      readonly zeros: FileTensor | undefined;
      /** The group of every column, where the file says it (g_idx). */
      readonly order?: FileTensor | undefined;
      readonly zeroPlusOne: boolean;
    };

export interface LayerFiles {
  readonly attnNorm: FileTensor;
  readonly q: WeightFile;
  readonly k: WeightFile;
  readonly v: WeightFile;
  readonly o: WeightFile;
  readonly ffnNorm: FileTensor;
  readonly gate: WeightFile;
  readonly up: WeightFile;
  readonly down: WeightFile;
}

/** A model file, understood and checked, before any weight was read. */
export interface ModelFile {
  readonly config: ModelConfig;
  readonly embedding: WeightFile;
  readonly norm: FileTensor;
  /** Undefined when tied to the embedding. */
  readonly head: WeightFile | undefined;
  readonly layers: readonly LayerFiles[];
  readonly tokenizer: TokenizerData;
  /** For `inspect`: every metadata pair (GGUF keys, or config.json fields) and every tensor. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly FileTensor[];
  readonly format: string;
}
