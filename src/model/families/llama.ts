// Llama 1 to 3.3, SmolLM 1 and 2, TinyLlama, Yi, MiniCPM5; Mistral, whose first version has a window in all layers.
import { biases, type Family, ggufWindows, layerTypes, windowed, windowOf } from "./family.ts";

export const llama: Family = {
  types: ["llama"],
  architectures: ["llama"],
  interleaved: true,
  folder: (f) => ({ traits: biases(f) }),
  // Converters write no window for this architecture; a file that has one means it.
  gguf(f, sizes) {
    const { window, windows } = ggufWindows(f, sizes);
    return { traits: windowed(window, windows) };
  },
};

export const mistral: Family = {
  types: ["mistral"],
  architectures: ["mistral"],
  interleaved: true,
  folder: (f, { layers }) => ({
    traits: windowed(
      windowOf(f, "sliding_window"),
      layerTypes(f, layers, () => true),
    ),
  }),
  gguf: llama.gguf,
};
