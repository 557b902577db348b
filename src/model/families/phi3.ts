// Phi-3, Phi-3.5, Phi-4-mini: fused projections, LongRoPE by the text's length, a part of each head turning, a window.
import type { Traits } from "../config.ts";
import type { Fields } from "../fields.ts";
import { type Family, ggufWindows, layerTypes, type Sizes, windowed, windowOf } from "./family.ts";

const part = (f: Fields, { headDim }: Sizes, dim: number): Pick<Traits, "ropeDim"> => {
  if (dim % 2 || dim < 2 || dim > headDim) f.fail("partial_rotary_factor", `an even number of ${headDim} dimensions`, dim);
  return dim === headDim ? {} : { ropeDim: dim };
};

export const phi3: Family = {
  types: ["phi3"],
  architectures: ["phi3"],
  fused: true,
  defaults: { rms_norm_eps: 1e-5 },
  folder(f, sizes, rope) {
    const inner = f.object("rope_parameters");
    const share: unknown = inner?.["partial_rotary_factor"] ?? f.raw("partial_rotary_factor") ?? 1;
    if (typeof share !== "number" || !(share > 0 && share <= 1))
      return f.fail("partial_rotary_factor", "a number up to 1", share);
    const dim = Math.trunc(sizes.headDim * share);
    const windows = windowed(
      windowOf(f, "sliding_window"),
      layerTypes(f, sizes.layers, () => true),
    );
    return { traits: { ...part(f, sizes, dim), ...windows }, rope: rope(dim) };
  },
  gguf(f, sizes, rope) {
    if (!rope.ropeShort && sizes.contextLength > rope.ropeOriginalContext)
      f.fail("context_length", "rope_factors_short.weight and rope_factors_long.weight beyond the original context", "neither");
    const { window, windows } = ggufWindows(f, sizes);
    return { traits: windowed(window, windows) };
  },
};
