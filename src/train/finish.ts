// What a run leaves behind: the files that its configuration asks for, or those that its objective is for.
import { CpmError } from "../errors.ts";
import type { Output, OutputFolder } from "../file/write/output.ts";
import { writeLoraGguf, writePeft } from "./adapter.ts";
import type { ExportConfig, StageConfig } from "./config.ts";
import { writeGguf } from "./export.ts";
import type { FloatType } from "./floats.ts";
import { type ExportTensor, type FolderParts, type Written, writeFolder } from "./folder.ts";
import { loraOf } from "./graph.ts";
import { EAGLE3, type TrainShape } from "./shape.ts";
import { modelExport, trainedTensors } from "./tensors.ts";
import type { Trainer } from "./trainer.ts";

export interface Outputs {
  file(path: string, size: number): Promise<Output>;
  folder(path: string, size: number): Promise<OutputFolder>;
}

/** What is written where the configuration does not say: names within the run's folder. */
export function defaultExports({ objective }: StageConfig, shape: TrainShape): ExportConfig[] {
  const model = { to: "model.gguf", type: "F32", what: "model" } as const;
  if (objective.kind === "eagle") return [{ to: "head", type: "F32", what: "trained" }];
  if (objective.kind === "lora")
    return [model, { to: "adapter", type: "F32", what: "trained" }, { to: "adapter.gguf", type: "F32", what: "trained" }];
  if (objective.kind === "mtp") return [model, { to: "mtp", type: "F32", what: "trained" }];
  const group = objective.ternaryGroup;
  const blocks = [shape.hidden, shape.intermediate, shape.heads * shape.headDim].every((n) => n % 256 === 0);
  return group !== undefined && group % 256 === 0 && blocks ? [{ ...model, type: "TQ2_0" }] : [model];
}

/** config.json of what was trained by itself. */
function partsOf(trainer: Trainer, { config }: FolderParts): FolderParts {
  const { objective } = trainer.graph.options;
  if (objective.kind === "eagle")
    return {
      config: {
        ...config,
        architectures: [objective.layout === 3 ? "LlamaForCausalLMEagle3" : "EagleForCausalLM"],
        num_hidden_layers: 1,
        ...(objective.layout === 3 ? { draft_vocab_size: objective.vocabulary?.length ?? trainer.graph.shape.vocab } : {}),
        ...(objective.window ? { eagle_window_size: objective.window } : {}),
      },
      files: {},
    };
  return { config, files: {} };
}

/** Adapters by themselves: a GGUF, or a folder as PEFT has it. */
async function exportAdapter(
  trainer: Trainer,
  { config }: FolderParts,
  { to, type }: { readonly to: string; readonly type: FloatType },
  outputs: Outputs,
  options: { readonly name?: string | undefined; readonly signal?: AbortSignal | undefined },
): Promise<Written> {
  if (!/\.gguf$/i.test(to)) return await writePeft(trainer, (size) => outputs.folder(to, size), { type, signal: options.signal });
  const { heads, kvHeads } = trainer.graph.shape;
  const named = config["model_type"];
  const architecture = typeof named === "string" ? named : "minicpm";
  return await writeLoraGguf(trainer, { architecture, heads, kvHeads }, (size) => outputs.file(to, size), { type, ...options });
}

/** d2t of an EAGLE-3 head: draft id i is token i + d2t[i]. */
const offsetsOf = (ids: Int32Array): ExportTensor => ({
  name: "d2t",
  shape: [ids.length],
  integers: true,
  read: (from, count) => Float32Array.from(ids.subarray(from, from + count), (id, i) => id - from - i),
});

/** Tensors that were trained beside the model. */
function besides(trainer: Trainer) {
  const { objective } = trainer.graph.options;
  const all = trainedTensors(trainer);
  if (objective.kind === "eagle") {
    const head = all.map((t) => ({ ...t, name: t.name.replace(EAGLE3, "") }));
    return objective.layout === 3 && objective.vocabulary ? [...head, offsetsOf(objective.vocabulary)] : head;
  }
  return objective.kind === "mtp" ? all.filter(({ name }) => name.startsWith("mtp.")) : all;
}

/**
 * Writes one export. `name`: general.name of a GGUF.
 * Rejects with CpmError "unsupported" for what a format cannot hold, "bad-input" for numbers beyond a type, "io", or the signal's reason.
 */
export async function exportTrained(
  trainer: Trainer,
  parts: FolderParts,
  { to, type, what }: ExportConfig,
  outputs: Outputs,
  { name, signal }: { readonly name?: string | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Written> {
  await trainer.refresh();
  if (what === "trained") {
    if (type === "TQ1_0" || type === "TQ2_0")
      throw new CpmError("bad-option", "what: ternary types are for models", { field: "what" });
    if (loraOf(trainer.graph.options.objective))
      return await exportAdapter(trainer, parts, { to, type }, outputs, { name, signal });
    if (/\.gguf$/i.test(to))
      throw new CpmError("unsupported", `${to}: heads are written as folders; give a name without .gguf`, { field: "to" });
    return await writeFolder(partsOf(trainer, parts), besides(trainer), (size) => outputs.folder(to, size), { type, signal });
  }
  const tensors = modelExport(trainer, { latent: what === "latent" });
  if (/\.gguf$/i.test(to)) return await writeGguf(parts, tensors, (size) => outputs.file(to, size), { type, name, signal });
  if (type === "TQ1_0" || type === "TQ2_0")
    throw new CpmError("bad-option", `${to}: ${type} is a type of GGUF files; give a name that ends in .gguf`, { field: "type" });
  return await writeFolder(parts, tensors, (size) => outputs.folder(to, size), { type, signal });
}
