// What is written: a GGUF, or a folder of GPTQ safetensors.
import { bytesOf } from "../brands.ts";
import { headsReordered } from "../convert/copy.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { TensorType } from "../file/tensor.ts";
import { type GgufTensorPlan, layoutGguf } from "../file/write/gguf.ts";
import { type Layout, TensorWriter } from "../file/write/output.ts";
import { layoutSafetensors, type SafetensorsPlan } from "../file/write/safetensors.ts";
import { readText } from "../model/huggingface.ts";
import type { Destination } from "./destination.ts";
import type { Form, Quantised } from "./method.ts";
import { gptqTensors, type PlainCodes, quantizeConfig } from "./packing.ts";
import { FILE_TYPE_IDS, type Target } from "./recipe.ts";
import type { OpenedSource, SourceTensor } from "./source.ts";

/** A tensor of the source with what it becomes. */
export interface TensorPlan extends SourceTensor {
  /** "copy": its values as they are, in its `type`. */
  readonly form: Form | "copy";
}

/** The type of a plan's tensor in the output; undefined for packed codes. */
const typeOf = ({ form, type }: TensorPlan): TensorType | undefined =>
  form === "copy" ? type : "blocks" in form ? form.blocks : undefined;

/** Rows and columns in the output: of the whole tensor, where the plan is a part. */
function shapeOf({ tensor, within }: TensorPlan): readonly number[] {
  return within ? [within.rows, tensor.shape[1]!] : tensor.shape;
}

/** Plans of one tensor of the output each: the first part stands for all. */
const whole = (plans: readonly TensorPlan[]): TensorPlan[] => plans.filter(({ within }) => !within || within.row === 0);

/** Writes the bytes of a tensor or of its part, in the order of the output. */
async function writeBytes(writer: TensorWriter, plan: TensorPlan, bytes: Uint8Array): Promise<void> {
  const { name, tensor, turned, within } = plan;
  const rows = tensor.shape[0]!;
  const ordered = turned ? headsReordered(bytes, rows, turned, "interleaved") : bytes;
  await writer.write(name, ordered, within ? (bytes.length / rows) * within.row : 0);
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
  destination: Pick<Destination, "file" | "name">,
  done: Iterable<string>,
  signal?: AbortSignal,
): Promise<TargetFile> {
  const metadata = new Map(await source.metadata(signal));
  metadata.set("general.file_type", { kind: "u32", value: FILE_TYPE_IDS[target] });
  metadata.set("general.quantization_version", { kind: "u32", value: 2 });
  const tensors = whole(plans).map((plan): GgufTensorPlan => ({ name: plan.name, type: typeOf(plan)!, shape: shapeOf(plan) }));
  const layout = layoutGguf(metadata, tensors);
  const writer = await TensorWriter.begin(await destination.file(undefined, layout.size), layout, done);
  return {
    size: layout.size,
    put: async (plan, result) => await writeBytes(writer, plan, bytesOf(result) ?? (result as Quantised).bytes!),
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

/** Rows one after another. */
function joined(parts: readonly PlainCodes[]): PlainCodes {
  const [first] = parts;
  if (parts.length === 1) return first!;
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const codes = new Uint8Array(rows * first!.cols);
  const [scales, zeros] = [new Float64Array(codes.length / first!.group), new Float64Array(codes.length / first!.group)];
  let at = 0;
  for (const part of parts) {
    codes.set(part.codes, at);
    scales.set(part.scales, at / part.group);
    zeros.set(part.zeros, at / part.group);
    at += part.codes.length;
  }
  return { ...first!, rows, codes, scales, zeros };
}

/** A folder of GPTQ safetensors with the source's other files. `version`: of the checkpoint format. */
export async function gptqTarget(
  files: ModelFiles,
  plans: readonly TensorPlan[],
  options: { readonly group: number; readonly damp: number; readonly version: 1 | 2 },
  destination: Pick<Destination, "file" | "name">,
  done: Iterable<string>,
  signal?: AbortSignal,
): Promise<TargetFile> {
  const tensors = whole(plans).flatMap((plan): SafetensorsPlan[] => {
    if (typeOf(plan)) return [{ name: plan.name, type: "F16", shape: shapeOf(plan) }];
    const [rows, cols] = shapeOf(plan) as [number, number];
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
  const writer = await TensorWriter.begin(await destination.file("model.safetensors", layout.size), layout, done);
  /** Parts of fused tensors, until all are there: words hold codes of several rows. */
  const waiting = new Map<string, PlainCodes[]>();
  const write = async (name: string, bytes: Uint8Array) => {
    const output = await destination.file(name);
    await output.write(0, bytes);
    await output.commit();
  };
  return {
    size: layout.size,
    async put(plan, result) {
      const own = (result as Quantised).codes;
      if (!own) return await writeBytes(writer, plan, bytesOf(result) ?? (result as Quantised).bytes!);
      const parts = [...(waiting.get(plan.name) ?? []), own];
      const codes = joined(parts);
      if (plan.within && codes.rows < plan.within.rows) {
        waiting.set(plan.name, parts);
        return;
      }
      waiting.delete(plan.name);
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
