// LoRA adapters that a run has trained, as files: GGUF as llama.cpp's convert_lora_to_gguf.py writes it, and PEFT's folder.
import { CpmError } from "../errors.ts";
import { type GgufMetadata, layoutGguf } from "../file/write/gguf.ts";
import { type Output, type OutputFolder, written } from "../file/write/output.ts";
import { LINEARS, type ModelConfig } from "../model/config.ts";
import { familyNamed } from "../model/families/index.ts";
import { folderNames, ggufNames } from "../model/layers.ts";
import { type FloatType, floatBytes } from "./floats.ts";
import { checkRangeOf, type ExportTensor, safetensorsSource, type Written } from "./folder.ts";
import { loraOf } from "./graph.ts";
import { countOf } from "./shape.ts";
import { trainedTensors } from "./tensors.ts";
import type { Trainer } from "./trainer.ts";

export interface AdapterOptions {
  /** Default F32. */
  readonly type?: FloatType | undefined;
  /** general.name of a GGUF; base_model_name_or_path of a PEFT folder. */
  readonly name?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws CpmError "unsupported" for a run that trains no adapters */
function adapterOf(trainer: Trainer): { readonly rank: number; readonly alpha: number; readonly tensors: ExportTensor[] } {
  const lora = loraOf(trainer.graph.options.objective);
  if (!lora)
    throw new CpmError("unsupported", "this run trains no LoRA adapters, so there are none to be written", {
      field: "objective",
    });
  return { rank: lora.rank, alpha: lora.alpha, tensors: trainedTensors(trainer) };
}

/** What is known of the model that adapters were trained on. */
export type AdapterBase = Pick<ModelConfig, "architecture" | "heads" | "kvHeads">;

/** What converters call the family in GGUF: Mistral's models are Llama's to them. */
function architectureOf(base: AdapterBase): string {
  const name = familyNamed(base.architecture).architectures[0]!;
  return name === "mistral" ? "llama" : name;
}

/** A tensor under its name in GGUF, rows of rotated heads interleaved where the family's are. */
function ggufTensor(tensor: ExportTensor, base: AdapterBase): ExportTensor {
  const [, layer, module, part] = /^model\.layers\.(\d+)\.(.+)\.lora_([AB])\.weight$/.exec(tensor.name)!;
  const linear = LINEARS.find((l) => NAMES.linears[l] === module)!;
  const name = `blk.${layer}.${ggufNames.linears[linear]}.weight.lora_${part!.toLowerCase()}`;
  const heads = linear === "q" ? base.heads : linear === "k" ? base.kvHeads : 0;
  if (part !== "B" || heads === 0 || !familyNamed(base.architecture).interleaved) return { ...tensor, name };
  const [rows, rank] = tensor.shape as [number, number];
  const dim = rows / heads;
  const turned = (): Float32Array => {
    const values = tensor.read(0, rows * rank);
    const out = new Float32Array(values.length);
    for (let row = 0; row < rows; row++) {
      const r = row % dim;
      const from = row - r + (r & 1) * (dim / 2) + (r >> 1);
      out.set(values.subarray(from * rank, (from + 1) * rank), row * rank);
    }
    return out;
  };
  return { ...tensor, name, read: (from, count) => turned().subarray(from, from + count) };
}

const NAMES = folderNames(undefined);

/**
 * Writes the adapters of a run as a GGUF that `load(model, { lora })` and llama.cpp take. `base`: the model that they were trained on.
 * Rejects with CpmError "unsupported" for a run without adapters, "bad-input" for numbers that the type does not have, "io", or the
 * signal's reason.
 */
export async function writeLoraGguf(
  trainer: Trainer,
  base: AdapterBase,
  open: (size: number) => Promise<Output>,
  { type = "F32", name, signal }: AdapterOptions = {},
): Promise<Written> {
  const { alpha, tensors } = adapterOf(trainer);
  checkRangeOf(tensors, type);
  const own = tensors.map((tensor) => ggufTensor(tensor, base));
  const metadata: GgufMetadata = new Map([
    ["general.architecture", { kind: "string", value: architectureOf(base) }],
    ["general.type", { kind: "string", value: "adapter" }],
    ["general.name", { kind: "string", value: name ?? "LoRA" }],
    ["adapter.type", { kind: "string", value: "lora" }],
    ["adapter.lora.alpha", { kind: "f32", value: alpha }],
  ]);
  const layout = layoutGguf(
    metadata,
    own.map((tensor) => ({ name: tensor.name, type, shape: tensor.shape })),
  );
  const output = await open(layout.size);
  await written(output, async () => {
    await output.write(0, layout.header);
    for (const tensor of own) {
      signal?.throwIfAborted();
      await output.write(layout.tensors.get(tensor.name)!.offset, floatBytes(tensor.read(0, countOf(tensor)), type));
    }
    // The last tensor's padding.
    const last = layout.tensors.get(own.at(-1)!.name)!;
    const end = last.offset + last.bytes;
    if (end < layout.size) await output.write(end, new Uint8Array(layout.size - end));
    await output.sync();
  });
  return { tensors: own.length, bytes: layout.size };
}

/** Writes the adapters of a run as PEFT saves them: adapter_config.json and adapter_model.safetensors. Rejects as writeLoraGguf does. */
export async function writePeft(
  trainer: Trainer,
  open: (size: number) => Promise<OutputFolder>,
  { type = "F32", name, signal }: AdapterOptions = {},
): Promise<Written> {
  const { rank, alpha, tensors } = adapterOf(trainer);
  checkRangeOf(tensors, type);
  const modules = new Set(tensors.map((tensor) => /([^.]+)\.lora_[AB]\.weight$/.exec(tensor.name)![1]!));
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: name ?? null,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: [...modules],
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: false,
    use_rslora: false,
  };
  const json = new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`);
  const named = tensors.map((tensor) => ({ ...tensor, name: `base_model.model.${tensor.name}` }));
  const weights = safetensorsSource("adapter_model.safetensors", named, type);
  const bytes = json.length + weights.size;
  const folder = await open(bytes);
  await written(folder, async () => {
    const texts = await folder.file("adapter_config.json");
    await written(texts, async () => {
      await texts.write(0, json);
      await texts.sync();
    });
    const output = await folder.file(weights.name);
    await written(output, async () => {
      for (let at = 0; at < weights.size; at += PIECE)
        await output.write(at, await weights.read(at, Math.min(PIECE, weights.size - at), signal));
      await output.sync();
    });
  });
  return { tensors: tensors.length, bytes };
}

/** Bytes written together. */
const PIECE = 8 << 20;
