// EXAONE 4: norms of what attention and MLP give, q/k norms; where it has windows, the other layers do not turn.
import type { Traits } from "../config.ts";
import type { Fields } from "../fields.ts";
import { type Family, ggufWindows, layerTypes, windowed, windowOf } from "./family.ts";

const kinds = (window: boolean) => (window ? 0 : -1);

/** sliding_window_pattern: "LLLG" by letters, or the period of the full layers. */
function pattern(f: Fields): (layer: number) => boolean {
  const value = f.raw("sliding_window_pattern") ?? 4;
  if (typeof value === "string" && /^[LG]+$/.test(value)) return (i) => value[i % value.length] === "L";
  const every = f.count("sliding_window_pattern", 1, 1 << 20, 4);
  return (i) => (i + 1) % every !== 0;
}

export const exaone4: Family = {
  types: ["exaone4"],
  architectures: ["exaone4"],
  norms: "post",
  qkNorm: "head",
  defaults: { rms_norm_eps: 1e-5 },
  folder(f, { layers }) {
    const window = windowOf(f, "sliding_window");
    if (window === undefined) return { traits: {} };
    const windows = layerTypes(f, layers, pattern(f));
    // Full layers do not turn even where no layer has the window.
    const still: Traits = { layerKinds: windows.map(() => ({ window: false, rope: -1 })) };
    return { traits: windows.includes(true) ? windowed(window, windows, kinds) : still };
  },
  gguf(f, sizes) {
    const { window, windows } = ggufWindows(f, sizes, (i) => (i + 1) % 4 !== 0);
    // The large model has windows even where its file does not say so.
    return { traits: windowed(window ?? (sizes.layers === 64 ? 4096 : undefined), windows, kinds) };
  },
};
