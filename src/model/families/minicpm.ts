// MiniCPM4, 4.1, BitCPM4: Llama with scales (maximal update parametrisation).
import { biases, type Family } from "./family.ts";

export const minicpm: Family = {
  types: ["minicpm"],
  architectures: ["minicpm"],
  interleaved: true,
  folder: (f, { layers, hidden }) => ({
    traits: biases(f),
    embeddingScale: f.number("scale_emb", 1),
    residualScale: f.number("scale_depth", Math.sqrt(layers)) / Math.sqrt(layers),
    logitScale: f.number("dim_model_base", hidden) / hidden,
  }),
  gguf: (f, { layers, hidden }) => ({
    embeddingScale: f.number("embedding_scale", 12),
    residualScale: f.number("residual_scale", 1.4 / Math.sqrt(layers)),
    // A stored logit_scale divides; files from before it was stored mean a factor of 256 / hidden.
    logitScale: f.raw("logit_scale") === undefined ? 256 / hidden : 1 / f.number("logit_scale"),
  }),
};
