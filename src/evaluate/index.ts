// The measuring wing: what a model lost, in numbers that llama.cpp's tools agree with.
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export { type KlBase, type KlRow, type KlShape, klFileSize, openKlBase } from "./klfile.ts";
export {
  type ChunkPerplexity,
  type KlInput,
  type Perplexity,
  type PerplexityOptions,
  type PerplexityProgress,
  type PositionPerplexity,
  perplexity,
} from "./perplexity.ts";
export { perplexityPicture } from "./pictures.ts";
export type { Divergence, Estimate } from "./statistics.ts";
