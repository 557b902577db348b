// A model's shape, whichever container it came in.
import type { FileTensor } from "../file/tensor.ts";
import type { TokenizerData } from "../text/vocabulary.ts";

/** Everything the forward pass needs to know besides the weights. Source: MiniCPM4 report, llama.cpp's GGUF keys. */
export interface ModelConfig {
  /** The family: general.architecture of a GGUF, model_type of a folder. */
  readonly architecture: string;
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
  /** Divisors per frequency (half of the dimensions that turn), used up to / beyond `ropeOriginalContext` tokens of context. */
  readonly ropeShort: Float32Array | undefined;
  readonly ropeLong: Float32Array | undefined;
  readonly ropeOriginalContext: number;
  /** Multiplies cos and sin. YaRN and LongRoPE use it. */
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
  /** What the family has that MiniCPM and Llama have not; absent: nothing. */
  readonly traits?: Traits;
}

/** What tells families apart, besides sizes and scales. A trait that is absent costs nothing. */
export interface Traits {
  /** Norms of what attention and MLP give, in place of those of what they read, or besides. Absent: of what they read. */
  readonly norms?: "post" | "both";
  /** Norms of queries and keys before they turn: of each head, or of all heads together. */
  readonly qkNorm?: "head" | "whole";
  /** The linears that have biases. */
  readonly biases?: readonly Linear[];
  /** The MLP's activation, in its tanh form. Absent: SiLU. */
  readonly activation?: "gelu";
  /** Multiplies scores. Absent: 1 / sqrt(headDim). */
  readonly attentionScale?: number;
  /** Caps: c * tanh(x / c), of scores and of logits. */
  readonly scoreCap?: number;
  readonly logitCap?: number;
  /** Dimensions of a head that turn, its first ones. Absent: all. */
  readonly ropeDim?: number;
  /** LongRoPE's long divisors are for texts, and not for contexts, of more than ropeOriginalContext tokens. */
  readonly ropeByLength?: true;
  /** The rotation of layers of kind `rope: 1`. */
  readonly ropeLocal?: { readonly theta: number; readonly factors: Float32Array | undefined; readonly scale: number };
  /** Tokens that a token sees in the layers with a window, itself the last. */
  readonly window?: number;
  /** By layer. Absent: all attend to everything, turned by the model's own rotation. */
  readonly layerKinds?: readonly LayerKind[];
}

export interface LayerKind {
  readonly window: boolean;
  /** The model's rotation, the local one, or none. */
  readonly rope: 0 | 1 | -1;
}

/** Dimensions of a head that turn. */
export const ropeDim = (config: ModelConfig): number => config.traits?.ropeDim ?? config.headDim;

/** The divisors for a model loaded for `contextSize` tokens: chosen once, so that every key in a cache is rotated alike. */
export const ropeFactors = (config: ModelConfig, contextSize: number): Float32Array | undefined =>
  contextSize > config.ropeOriginalContext && !config.traits?.ropeByLength ? config.ropeLong : config.ropeShort;

/** Tokens beyond which texts turn by other divisors than below; 0: they never do in a context of `contextSize`. */
export const ropeSwitch = (config: ModelConfig, contextSize: number): number =>
  config.traits?.ropeByLength && contextSize > config.ropeOriginalContext ? config.ropeOriginalContext : 0;

/** A layer's linears, in the order of struct Layer in cpp/abi.h. */
export const LINEARS = ["q", "k", "v", "o", "gate", "up", "down"] as const;
export type Linear = (typeof LINEARS)[number];

/** A layer's vectors beside its norms attnNorm and ffnNorm, in the order of struct Layer. */
export const EXTRA_VECTORS = [
  "attnPost",
  "ffnPost",
  "qNorm",
  "kNorm",
  "qBias",
  "kBias",
  "vBias",
  "oBias",
  "gateBias",
  "upBias",
  "downBias",
] as const;
export type VectorName = "attnNorm" | "ffnNorm" | (typeof EXTRA_VECTORS)[number];

/** A vector as it lies in files; `ropeHeads` as of WeightFile, `plus` is added to every element. */
export interface VectorFile {
  readonly tensor: FileTensor;
  readonly ropeHeads?: number;
  readonly plus?: number;
}

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

export type LayerFiles = { readonly [K in Linear]: WeightFile } & {
  readonly vectors: { readonly [K in VectorName]?: VectorFile | undefined };
};

/** A model file, understood and checked, before any weight was read. */
export interface ModelFile {
  readonly config: ModelConfig;
  readonly embedding: WeightFile;
  readonly norm: VectorFile;
  /** Undefined when tied to the embedding. */
  readonly head: WeightFile | undefined;
  readonly layers: readonly LayerFiles[];
  readonly tokenizer: TokenizerData;
  /** For `inspect`: every metadata pair (GGUF keys, or config.json fields) and every tensor. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly FileTensor[];
  readonly format: string;
}
