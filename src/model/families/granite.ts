// Granite 3 and 4 (dense): Llama with four multipliers.
import { biases, type Family } from "./family.ts";

export const granite: Family = {
  types: ["granite"],
  architectures: ["granite"],
  interleaved: true,
  folder: (f) => ({
    traits: { ...biases(f), attentionScale: f.number("attention_multiplier", 1) },
    embeddingScale: f.number("embedding_multiplier", 1),
    residualScale: f.number("residual_multiplier", 1),
    logitScale: 1 / f.number("logits_scaling", 1),
  }),
  gguf: (f) => ({
    traits: f.raw("attention.scale") === undefined ? {} : { attentionScale: f.number("attention.scale") },
    embeddingScale: f.number("embedding_scale", 1),
    residualScale: f.number("residual_scale", 1),
    logitScale: 1 / f.number("logit_scale"),
  }),
};
