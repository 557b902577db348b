// LoRA adapters as PEFT saves them: adapter_config.json and adapter_model.safetensors.
import { CpmError, modelError } from "../errors.ts";
import { parseObject } from "../file/json.ts";
import { readSafetensors } from "../file/safetensors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { FileTensor } from "../file/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { Fields } from "./fields.ts";
import { readText } from "./huggingface.ts";
import { folderNames, type LayerNames } from "./layers.ts";

const CONFIG = "adapter_config.json";

/** A pair of tensors as a file names it. */
export interface LoraPair {
  /** As messages name it. */
  readonly name: string;
  readonly layer: number;
  /** Below the layer. */
  readonly module: string;
  readonly a: FileTensor;
  readonly b: FileTensor;
  readonly scale: number;
}

/** Throws "unsupported" for what a file asks for and adapters here are not. */
export function refuse(file: string, field: string, found: string, expected: string): never {
  throw new CpmError("unsupported", `${file}: ${field.slice(0, 200)}: ${found} is not supported; ${expected} are`, {
    file,
    field: field.slice(0, 120),
    found,
    expected,
  });
}

/** Options of PEFT that make something else of an adapter than W + scale * B A; each with the values that leave it that. */
const PLAIN: Readonly<Record<string, (value: unknown) => boolean>> = {
  use_dora: (v) => v === false,
  use_qalora: (v) => v === false,
  lora_bias: (v) => v === false,
  fan_in_fan_out: (v) => v === false,
  bias: (v) => v === "none",
  // These initialisations change the base's weights too.
  init_lora_weights: (v) => typeof v === "boolean" || (typeof v === "string" && !/^(pissa|olora|corda|loftq)/i.test(v)),
  modules_to_save: isEmpty,
  target_parameters: isEmpty,
  trainable_token_indices: isEmpty,
  layer_replication: isEmpty,
  alora_invocation_tokens: isEmpty,
  arrow_config: isEmpty,
};

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** The pairs of a PEFT folder, and the names of a layer's modules. Throws as readLora does. */
export async function readPeft(
  files: ModelFiles,
  base: ModelConfig,
  signal: AbortSignal | undefined,
): Promise<{ pairs: LoraPair[]; names: LayerNames }> {
  const text = await readText(files, CONFIG, signal);
  if (text === undefined)
    throw modelError(
      { file: CONFIG, expected: "beside the adapter's weights", found: "no such file" },
      "configuration is missing",
      "give the whole folder of the adapter",
    );
  const json = parseObject(text, CONFIG);
  const f = new Fields(CONFIG, (key) => (Object.hasOwn(json, key) ? json[key] : undefined));
  const kind = f.text("peft_type");
  if (kind !== "LORA") refuse(CONFIG, "peft_type", JSON.stringify(kind ?? null).slice(0, 80), 'adapters of type "LORA"');
  for (const [key, plain] of Object.entries(PLAIN)) {
    const value = f.raw(key);
    if (value !== undefined && !plain(value)) refuse(CONFIG, key, JSON.stringify(value).slice(0, 80), "plain LoRA adapters");
  }
  const scaleOf = scales(f);
  const file = /\.safetensors$/.test(files.entry) ? files.entry : "adapter_model.safetensors";
  const source = await files.open(file, signal);
  if (!source) {
    if (await files.open("adapter_model.bin", signal))
      throw new CpmError(
        "unsupported",
        "adapter_model.bin: weights in PyTorch's own format are not read, because such files can run code; save the adapter again with safe_serialization=True",
        { file: "adapter_model.bin" },
      );
    throw modelError({ file, expected: "beside adapter_config.json", found: "no such file" }, "weights are missing");
  }
  const { tensors, unreadable } = await readSafetensors(source, signal);
  for (const [name, dtype] of unreadable)
    throw modelError({ file, field: name.slice(0, 120), expected: "F32, F16 or BF16", found: dtype }, "tensor type");
  const parts = new Map<string, Partial<Record<"A" | "B", FileTensor>>>();
  for (const [name, tensor] of tensors) {
    const [, module, part] = /^(?:base_model\.model\.)?(.*)\.lora_([AB])(?:\.default)?\.weight$/.exec(name) ?? [];
    if (module === undefined) refuse(file, name, "such a tensor", "pairs lora_A and lora_B of the layers' linears");
    const pair = parts.get(module) ?? {};
    pair[part as "A" | "B"] = tensor;
    parts.set(module, pair);
  }
  const pairs = [...parts].map(([name, { A: a, B: b }]): LoraPair => {
    const [, layer, module] = /(?:^|\.)layers\.(\d{1,6})\.(.+)$/.exec(name) ?? [];
    if (layer === undefined || module === undefined) refuse(file, name, "an adapter of it", "adapters of the layers' linears");
    if (!a || !b)
      throw modelError(
        { file, field: `${name}.lora_${a ? "B" : "A"}.weight`, expected: "a tensor beside the other of its pair", found: "none" },
        "tensor is missing",
      );
    return { name, layer: Number(layer), module, a, b, scale: scaleOf(name, a.shape[0] ?? 1) };
  });
  return { pairs, names: folderNames(base.traits?.norms) };
}

/** alpha / r of a module, or alpha / sqrt(r) with use_rslora; the patterns name modules by the ends of their names. */
function scales(f: Fields): (module: string, rank: number) => number {
  const alpha = f.number("lora_alpha", 8);
  const stabilised = f.flag("use_rslora", false);
  const r = f.count("r", 1, 1 << 20, 8);
  const ranks = pattern(f, "rank_pattern");
  const alphas = pattern(f, "alpha_pattern");
  const found = (entries: readonly (readonly [string, number])[], module: string) =>
    entries.find(([key]) => module === key || module.endsWith(`.${key}`))?.[1];
  return (module, rank) => {
    const wanted = found(ranks, module) ?? r;
    if (wanted !== rank) f.fail("r", `${rank}, the rank of ${module.slice(0, 120)}`, wanted);
    return (found(alphas, module) ?? alpha) / (stabilised ? Math.sqrt(rank) : rank);
  };
}

function pattern(f: Fields, key: string): [string, number][] {
  return Object.entries(f.object(key) ?? {}).map(([name, value]) => {
    const plain = name.replace(/^\^/, "").replaceAll("\\.", ".");
    if (!/^[\w.]+$/.test(plain)) refuse(CONFIG, `${key}.${name}`, "a regular expression", "names of modules");
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) f.fail(key, "positive numbers", value);
    return [plain, value];
  });
}
