// SmolLM3: Llama, but every fourth layer does not turn its queries and keys (NoPE).
import type { LayerKind, Traits } from "../config.ts";
import type { Fields } from "../fields.ts";
import { biases, type Family, layerTypes, windowOf } from "./family.ts";

/** By layer, whether it turns. */
function turns(f: Fields, layers: number): boolean[] {
  const value = f.raw("no_rope_layers");
  if (value === undefined) {
    const interval = f.count("no_rope_layer_interval", 1, 1 << 20, 4);
    return Array.from({ length: layers }, (_, i) => (i + 1) % interval !== 0);
  }
  if (!Array.isArray(value) || value.length !== layers || !value.every((x) => x === 0 || x === 1))
    f.fail("no_rope_layers", `a list of ${layers} numbers, 1 for layers that turn and 0 for those that do not`, value);
  return (value as number[]).map((x) => x === 1);
}

export const smollm3: Family = {
  types: ["smollm3"],
  architectures: ["smollm3"],
  interleaved: true,
  folder(f, { layers }) {
    const turning = turns(f, layers);
    const window = f.flag("use_sliding_window", false) ? windowOf(f, "sliding_window") : undefined;
    const windows = layerTypes(f, layers, (i) => !turning[i]);
    const layerKinds = turning.map((yes, i): LayerKind => ({ window: window !== undefined && windows[i]!, rope: yes ? 0 : -1 }));
    const traits: Traits = { ...biases(f), layerKinds };
    return { traits: window !== undefined && layerKinds.some((l) => l.window) ? { ...traits, window } : traits };
  },
  // The file has no word for it: every fourth layer.
  gguf: (_, { layers }) => ({
    traits: { layerKinds: Array.from({ length: layers }, (_, i): LayerKind => ({ window: false, rope: (i + 1) % 4 ? 0 : -1 })) },
  }),
};
