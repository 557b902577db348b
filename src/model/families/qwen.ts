// Qwen 2 and 2.5 (biases of q, k and v), Qwen 3 (norms of queries and keys).

import type { Fields } from "../fields.ts";
import { biases, type Family, ggufWindows, layerTypes, type Sizes, windowed, windowOf } from "./family.ts";

/** Windows in the later layers, where they are switched on: published models have them off. */
function windows(f: Fields, { layers }: Sizes) {
  const first = f.count("max_window_layers", 0, 1 << 20, 28);
  const window = f.flag("use_sliding_window", false) ? windowOf(f, "sliding_window") : undefined;
  return windowed(
    window,
    layerTypes(f, layers, (i) => i >= first),
  );
}

export const qwen2: Family = {
  types: ["qwen2"],
  architectures: ["qwen2"],
  folder: (f, sizes) => ({ traits: { biases: ["q", "k", "v"], ...windows(f, sizes) } }),
  gguf(f, sizes) {
    const found = ggufWindows(f, sizes);
    return { traits: { biases: ["q", "k", "v"], ...windowed(found.window, found.windows) } };
  },
};

export const qwen3: Family = {
  types: ["qwen3"],
  architectures: ["qwen3"],
  qkNorm: "head",
  defaults: { head_dim: 128 },
  folder: (f, sizes) => ({ traits: { ...biases(f, false), ...windows(f, sizes) } }),
  gguf(f, sizes) {
    const found = ggufWindows(f, sizes);
    return { traits: windowed(found.window, found.windows) };
  },
};
