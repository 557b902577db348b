// What is written: a GGUF with the header of its source, or a folder of GPTQ safetensors.
import { bytesOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { TensorType } from "../file/tensor.ts";
import { copiedMetadata, type GgufTensorPlan, layoutGguf, type TypedValue } from "../file/write/gguf.ts";
import { type Layout, TensorWriter } from "../file/write/output.ts";
import { layoutSafetensors, type SafetensorsPlan } from "../file/write/safetensors.ts";
import { readText } from "../model/huggingface.ts";
import type { Destination } from "./destination.ts";
import type { BlockType } from "./linear.ts";
import type { Form, Quantised } from "./method.ts";
import { gptqTensors, quantizeConfig } from "./packing.ts";
import { FILE_TYPE_IDS, type Target } from "./recipe.ts";
import type { OpenedSource, SourceTensor } from "./source.ts";

/** A tensor of the source with what it becomes. */
export interface TensorPlan extends SourceTensor {
  /** "copy": its bytes as they are. */
  readonly form: Form | "copy";
}

/** Takes what tensors have become. */
export interface TargetFile {
  /** Bytes of the whole output, but for small texts. */
  readonly size: number;
  put(plan: TensorPlan, result: Quantised | Uint8Array): Promise<void>;
  /** What was put so far is on the disk. */
  sync(): Promise<void>;
  finish(): Promise<void>;
}

/** The names that a plan's tensor has in the output. */
export function namesOf(plan: TensorPlan): readonly string[] {
  if (plan.form === "copy" || "blocks" in plan.form) return [plan.name];
  const stem = plan.name.replace(/\.weight$/, "");
  return ["qweight", "qzeros", "scales", "g_idx"].map((part) => `${stem}.${part}`);
}

/** A GGUF file. `done`: tensors that an earlier run has written. */
export async function ggufTarget(
  source: OpenedSource,
  plans: readonly TensorPlan[],
  target: Exclude<Target, "int4">,
  destination: Destination,
  done: Iterable<string>,
  signal?: AbortSignal,
): Promise<TargetFile> {
  const metadata = new Map<string, TypedValue>();
  for (const [key, value] of await copiedMetadata(source.file!, source.gguf!, signal))
    if (!/^(split\.|quantize\.)/.test(key)) metadata.set(key, value);
  metadata.set("general.file_type", { kind: "u32", value: FILE_TYPE_IDS[target] });
  metadata.set("general.quantization_version", { kind: "u32", value: 2 });
  const tensors = plans.map(({ name, tensor, form }): GgufTensorPlan => {
    const type: TensorType = form === "copy" ? tensor.type : (form as { blocks: BlockType }).blocks;
    return { name, type, shape: tensor.shape };
  });
  const layout = layoutGguf(metadata, tensors);
  const writer = await TensorWriter.begin(await destination.file(), layout, done);
  return {
    size: layout.size,
    put: async (plan, result) => await writer.write(plan.name, bytesOf(result) ?? (result as Quantised).bytes!),
    sync: () => writer.output.sync(),
    finish: () => writer.finish(),
  };
}

/** Files of a folder that say how text becomes tokens, and how the model is run: they go along as they are. */
const COMPANIONS = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
  "configuration_minicpm.py",
  "modeling_minicpm.py",
  "LICENSE",
];

/** A folder of GPTQ safetensors with the source's other files. `version`: of the checkpoint format. */
export async function gptqTarget(
  files: ModelFiles,
  plans: readonly TensorPlan[],
  options: { readonly group: number; readonly damp: number; readonly version: 1 | 2 },
  destination: Destination,
  done: Iterable<string>,
  signal?: AbortSignal,
): Promise<TargetFile> {
  const tensors = plans.flatMap((plan): SafetensorsPlan[] => {
    if (plan.form === "copy" || "blocks" in plan.form) return [{ name: plan.name, type: "F16", shape: plan.tensor.shape }];
    const [rows, cols] = plan.tensor.shape as [number, number];
    if (rows % 8)
      throw new CpmError("unsupported", `${plan.name}: ${rows} outputs are no multiple of 8, which GPTQ's layout packs`, {
        field: plan.name,
      });
    const groups = cols / options.group;
    const [words, zeros, scales, index] = namesOf(plan) as [string, string, string, string];
    return [
      { name: words, type: "I32", shape: [cols / 8, rows] },
      { name: zeros, type: "I32", shape: [groups, rows / 8] },
      { name: scales, type: "F16", shape: [groups, rows] },
      { name: index, type: "I32", shape: [cols] },
    ];
  });
  const layout: Layout = layoutSafetensors(tensors);
  const writer = await TensorWriter.begin(await destination.file("model.safetensors"), layout, done);
  const write = async (name: string, bytes: Uint8Array) => {
    const output = await destination.file(name);
    await output.write(0, bytes);
    await output.commit();
  };
  return {
    size: layout.size,
    async put(plan, result) {
      const codes = (result as Quantised).codes;
      if (!codes) return await writer.write(plan.name, bytesOf(result) ?? (result as Quantised).bytes!);
      const [words, zeros, scales, index] = namesOf(plan) as [string, string, string, string];
      const packed = gptqTensors(codes, options.version);
      await writer.write(words, packed.qweight);
      await writer.write(zeros, packed.qzeros);
      await writer.write(scales, packed.scales);
      await writer.write(index, packed.g_idx);
    },
    sync: () => writer.output.sync(),
    async finish() {
      await writer.finish();
      const text = new TextEncoder();
      const config = quantizeConfig(options.group, options.damp, options.version);
      const json = (value: unknown) => text.encode(`${JSON.stringify(value, null, 2)}\n`);
      const own = JSON.parse((await readText(files, "config.json", signal)) ?? "{}") as Record<string, unknown>;
      await write("config.json", json({ ...own, torch_dtype: "float16", quantization_config: config }));
      await write("quantize_config.json", json(config));
      for (const name of COMPANIONS) {
        const file = await files.open(name, signal);
        if (file) await write(name, await file.read(0, file.size, signal));
      }
    },
  };
}
