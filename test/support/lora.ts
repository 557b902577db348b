// Small random LoRA adapters for tiny models, in both containers, and the models that they come to when they are merged.
import { jsonBytes, writeSafetensors } from "./folder.ts";
import { f32, type GgufParts, type GgufTensor, TYPE_IDS, text, type Value, writeGguf } from "./gguf.ts";
import { noise } from "./noise.ts";
import { dims, type FloatType, floatBytes, ggufName, interleaved, rotatedHeads, type Shape, type Tiny } from "./tiny.ts";

interface Matrix {
  readonly shape: readonly [number, number];
  readonly values: Float32Array;
}

/** By the Hugging Face name of the weight that it adds to. */
export interface TinyLora {
  readonly alpha: number;
  readonly pairs: ReadonlyMap<string, { readonly a: Matrix; readonly b: Matrix }>;
}

const isLinear = (name: string): boolean => /_proj\.weight$/.test(name);

/** An adapter of the linears whose names `wanted` takes, of rank `rank` (by name, where it is a function). */
export function tinyLora(
  { weights }: Tiny,
  rank: number | ((name: string) => number),
  { alpha = 8, seed = 5, wanted = isLinear }: { alpha?: number; seed?: number; wanted?: (name: string) => boolean } = {},
): TinyLora {
  const random = noise(seed);
  const matrix = (rows: number, cols: number, width: number): Matrix => ({
    shape: [rows, cols],
    values: Float32Array.from({ length: rows * cols }, () => (random() - 0.5) * width),
  });
  const pairs = [...weights]
    .filter(([name]) => isLinear(name) && wanted(name))
    .map(([name, { shape }]) => {
      const r = typeof rank === "number" ? rank : rank(name);
      return [name, { a: matrix(r, shape[1]!, 2 / Math.sqrt(shape[1]!)), b: matrix(shape[0]!, r, 0.6 / Math.sqrt(r)) }] as const;
    });
  return { alpha, pairs: new Map(pairs) };
}

/** A model of this shape without weights, for adapters of models that are files. */
export const hollow = (shape: Shape): Tiny => ({
  shape,
  weights: new Map([...dims(shape)].map(([name, own]) => [name, { shape: own, values: new Float32Array(0) }])),
});

/** W + scale alpha / r B A, in float64 and then rounded. */
export function merged(model: Tiny, lora: TinyLora, scale = 1): Tiny {
  const weights = [...model.weights].map(([name, weight]) => {
    const pair = lora.pairs.get(name);
    if (!pair) return [name, weight] as const;
    const { a, b } = pair;
    const [r, cols] = a.shape;
    const values = weight.values.map((w, i) => {
      let sum = 0;
      for (let j = 0; j < r; j++) sum += b.values[Math.floor(i / cols) * r + j]! * a.values[j * cols + (i % cols)]!;
      return w + ((scale * lora.alpha) / r) * sum;
    });
    return [name, { ...weight, values }] as const;
  });
  return { ...model, weights: new Map(weights) };
}

/** As llama.cpp's converter writes it. */
export function loraParts({ shape }: Tiny, lora: TinyLora, type: FloatType = "F32", architecture = "minicpm"): GgufParts {
  const metadata: [string, Value][] = [
    ["general.architecture", text(architecture)],
    ["general.type", text("adapter")],
    ["adapter.type", text("lora")],
    ["general.name", text("tiny-lora")],
    ["adapter.lora.alpha", f32(lora.alpha)],
  ];
  const tensors = [...lora.pairs].flatMap(([name, { a, b }]): GgufTensor[] => {
    const heads = rotatedHeads(name, shape);
    const rows = heads ? interleaved(b.values, b.shape[0], heads) : b.values;
    return [
      { name: `${ggufName(name)}.lora_a`, type: TYPE_IDS[type], shape: a.shape, bytes: floatBytes(a.values, type) },
      { name: `${ggufName(name)}.lora_b`, type: TYPE_IDS[type], shape: b.shape, bytes: floatBytes(rows, type) },
    ];
  });
  return { metadata, tensors };
}

export const loraGguf = (model: Tiny, lora: TinyLora, type: FloatType = "F32", architecture = "minicpm"): Uint8Array =>
  writeGguf(loraParts(model, lora, type, architecture));

/** As PEFT saves it. */
export function loraFolder(
  lora: TinyLora,
  config: Record<string, unknown> = {},
  type: FloatType = "F32",
): Record<string, Uint8Array> {
  const stored = [...lora.pairs].flatMap(([name, { a, b }]) => {
    const module = `base_model.model.${name.replace(/\.weight$/, "")}`;
    return [
      { name: `${module}.lora_A.weight`, dtype: type, shape: a.shape, bytes: floatBytes(a.values, type) },
      { name: `${module}.lora_B.weight`, dtype: type, shape: b.shape, bytes: floatBytes(b.values, type) },
    ];
  });
  const [first] = lora.pairs.values();
  return {
    "adapter_config.json": jsonBytes({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      r: first!.a.shape[0],
      lora_alpha: lora.alpha,
      target_modules: ["q_proj", "v_proj"],
      bias: "none",
      use_dora: false,
      use_rslora: false,
      fan_in_fan_out: false,
      modules_to_save: null,
      init_lora_weights: true,
      ...config,
    }),
    "adapter_model.safetensors": writeSafetensors(stored),
  };
}
