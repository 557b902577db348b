// OLMo 2 and 3: norms of what attention and MLP give, none of what they read; queries and keys normed over all heads.
import { biases, type Family, ggufWindows, layerTypes, local, plainRope, windowed, windowOf } from "./family.ts";

const common = { norms: "post", qkNorm: "whole", defaults: { rms_norm_eps: 1e-5 } } as const;

export const olmo2: Family = {
  ...common,
  types: ["olmo2"],
  architectures: ["olmo2"],
  folder: (f) => ({ traits: biases(f, false) }),
  // OLMo 3 has this architecture too: its windowed layers turn plainly, whatever the others do.
  gguf(f, sizes, rope) {
    const { window, windows } = ggufWindows(f, sizes, (i) => (i + 1) % 4 !== 0);
    const near = local(plainRope(rope.ropeTheta, sizes.contextLength));
    const kinds = rope.ropeShort || rope.ropeScale !== 1 ? (w: boolean) => (w ? 1 : 0) : undefined;
    return { traits: { ...windowed(window, windows, kinds), ...(window && kinds ? { ropeLocal: near } : {}) } };
  },
};

export const olmo3: Family = {
  ...common,
  types: ["olmo3"],
  architectures: ["olmo3"],
  defaults: { ...common.defaults, sliding_window: 4096 },
  folder(f, { layers, headDim, contextLength }, rope) {
    const full = rope(headDim, "full_attention");
    const nested = f.object("rope_parameters")?.["sliding_attention"] !== undefined;
    const near = nested ? rope(headDim, "sliding_attention") : plainRope(full.ropeTheta, contextLength);
    const windows = windowed(
      windowOf(f, "sliding_window"),
      layerTypes(f, layers, (i) => (i + 1) % 4 !== 0),
      (window) => (window ? 1 : 0),
    );
    return { traits: { ...biases(f, false), ...windows, ...(windows.window ? { ropeLocal: local(near) } : {}) }, rope: full };
  },
  gguf: olmo2.gguf,
};
