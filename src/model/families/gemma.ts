// Gemma 2 and 3, text: norms before and behind, GELU, scaled embeddings, windows; 2 has soft caps, 3 two rotations and q/k norms.
import type { Traits } from "../config.ts";
import type { Fields } from "../fields.ts";
import { biases, type Family, ggufWindows, layerTypes, local, plainRope, type Sizes, windowed, windowOf } from "./family.ts";

const common = { norms: "both", lessOne: true } as const;

const cap = (f: Fields, key: string): number | undefined => (f.raw(key) === undefined ? undefined : f.number(key));

/** Soft caps and the scale of scores; `fallback`: the scalar where the file has none. */
function scores(f: Fields, fallback: number): Traits {
  const [scoreCap, logitCap] = [cap(f, "attn_logit_softcapping"), cap(f, "final_logit_softcapping")];
  return {
    activation: "gelu",
    attentionScale: 1 / Math.sqrt(f.number("query_pre_attn_scalar", fallback)),
    ...(scoreCap ? { scoreCap } : {}),
    ...(logitCap ? { logitCap } : {}),
  };
}

/** GGUF has no word for the scalar: the largest model of each generation divides by hidden / heads. */
const scalar = ({ layers, hidden, heads, headDim }: Sizes, large: number): number =>
  layers === large ? hidden / heads : headDim;

export const gemma2: Family = {
  ...common,
  types: ["gemma2"],
  architectures: ["gemma2"],
  defaults: { head_dim: 256, sliding_window: 4096, hidden_activation: "gelu_pytorch_tanh" },
  folder: (f, { layers, hidden }) => ({
    traits: {
      ...biases(f, false),
      ...scores(f, 256),
      ...windowed(
        windowOf(f, "sliding_window"),
        layerTypes(f, layers, (i) => i % 2 === 0),
      ),
    },
    embeddingScale: Math.sqrt(hidden),
  }),
  gguf(f, sizes) {
    const { window, windows } = ggufWindows(f, sizes, (i) => i % 2 === 0);
    return {
      traits: {
        activation: "gelu",
        attentionScale: 1 / Math.sqrt(scalar(sizes, 46)),
        scoreCap: f.number("attn_logit_softcapping", 50),
        logitCap: f.number("final_logit_softcapping", 30),
        ...windowed(window ?? 4096, windows),
      },
      embeddingScale: Math.sqrt(sizes.hidden),
    };
  },
};

/** Layers with a window turn by the local rotation. */
const kinds = (window: boolean) => (window ? 1 : 0);

export const gemma3: Family = {
  ...common,
  types: ["gemma3_text", "gemma3"],
  architectures: ["gemma3"],
  qkNorm: "head",
  defaults: {
    head_dim: 256,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    sliding_window: 4096,
    max_position_embeddings: 131072,
    rope_theta: 1e6,
    vocab_size: 262208,
    hidden_activation: "gelu_pytorch_tanh",
  },
  folder(f, { layers, hidden, headDim, contextLength }, rope) {
    const every = f.count(
      f.raw("sliding_window_pattern") === undefined ? "_sliding_window_pattern" : "sliding_window_pattern",
      1,
      1 << 20,
      6,
    );
    const windows = windowed(
      windowOf(f, "sliding_window"),
      layerTypes(f, layers, (i) => (i + 1) % every !== 0),
      kinds,
    );
    const nested = f.object("rope_parameters")?.["sliding_attention"] !== undefined;
    const near = nested ? rope(headDim, "sliding_attention") : plainRope(f.number("rope_local_base_freq", 10000), contextLength);
    return {
      traits: { ...biases(f, false), ...scores(f, 256), ...windows, ...(windows.window ? { ropeLocal: local(near) } : {}) },
      rope: rope(headDim, "full_attention"),
      embeddingScale: Math.sqrt(hidden),
    };
  },
  gguf(f, sizes) {
    const { window, windows } = ggufWindows(f, sizes, (i) => (i + 1) % 6 !== 0);
    const near = plainRope(f.number("rope.freq_base_swa", 10000), sizes.contextLength);
    const logitCap = cap(f, "final_logit_softcapping");
    return {
      traits: {
        activation: "gelu",
        attentionScale: 1 / Math.sqrt(scalar(sizes, 62)),
        ...(logitCap ? { logitCap } : {}),
        ...windowed(window, windows, kinds),
        ...(window ? { ropeLocal: local(near) } : {}),
      },
      embeddingScale: Math.sqrt(sizes.hidden),
    };
  },
};
