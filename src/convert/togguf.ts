// A Hugging Face folder -> a GGUF, as llama.cpp's converter writes it: keys, tensors and their order.
import { CpmError } from "../errors.ts";
import { bytesSource } from "../file/bytes.ts";
import type { ModelFiles } from "../file/source.ts";
import { type FileTensor, TENSOR_TYPES } from "../file/tensor.ts";
import { type GgufTensorPlan, layoutGguf, type TypedValue } from "../file/write/gguf.ts";
import { type Output, TensorWriter } from "../file/write/output.ts";
import { LINEARS, type ModelFile, type WeightFile } from "../model/config.ts";
import { familyOfFolder } from "../model/families/index.ts";
import { readText } from "../model/huggingface.ts";
import { readModel } from "../model/read.ts";
import { recipeOf } from "../text/reduce.ts";
import { bytesAs, type Copy, isFloat } from "./copy.ts";
import { factorsOf, ggufKeys } from "./ggufkeys.ts";
import { checkMeaning } from "./meaning.ts";
import { ggufNaming } from "./names.ts";
import { asBlocks } from "./packed.ts";
import { type Converted, type ConvertOptions, Copier, typesOf } from "./progress.ts";
import { ggufVocabulary } from "./vocabulary.ts";

/** A GGUF that a folder becomes, before anything of it is written. */
export interface GgufPlan {
  readonly model: ModelFile;
  readonly metadata: ReadonlyMap<string, TypedValue>;
  /** In the order of the file. */
  readonly copies: readonly Copy[];
  /** What whoever converts should know. */
  readonly notes: readonly string[];
}

/**
 * Plans the GGUF of a folder. `packed`: how GPTQ weights become blocks.
 * Throws CpmError "bad-model", "unsupported" (a tokenizer that no GGUF describes, a model that its keys cannot say).
 */
export async function planGguf(
  files: ModelFiles,
  options: Pick<ConvertOptions, "name" | "fallbackName" | "signal"> & {
    readonly packed?: (weight: PackedWeight, name: string) => Promise<FileTensor>;
  } = {},
): Promise<GgufPlan> {
  const { signal, packed = (weight, name) => asBlocks(weight, name, signal) } = options;
  const model = await readModel(files, signal);
  const notes: string[] = [];
  const factors = factorsOf(model).map(({ name, values }): Copy => {
    const source = bytesSource(name, bytesAs(values, "F32")!);
    const tensor: FileTensor = { name, type: "F32", shape: [values.length], source, offset: 0, bytes: source.size };
    return { name, type: "F32", shape: tensor.shape, tensor };
  });
  const copies = [...factors, ...(await copiesOf(model, packed, notes))];
  const vocabulary = await ggufVocabulary(files, model.tokenizer, model.config.vocab, signal);
  notes.push(...vocabulary.notes);
  // What the reader knows of Phi-3 without being told.
  if (recipeOf(model.tokenizer).edges?.size && !(model.config.architecture === "phi3" && vocabulary.vocabulary.model === "spm"))
    notes.push("added tokens take white space beside them or stand only between words, which no GGUF can say");
  const keys = ggufKeys(model, {
    copies,
    vocabulary,
    parameters: copies.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    name: options.name,
    fallbackName: options.fallbackName,
    generation: await readText(files, "generation_config.json", signal),
    card: await readText(files, "README.md", signal),
  });
  await checkMeaning(model, keys, copies, signal);
  return { model, metadata: keys.all, copies, notes };
}

/**
 * Writes the GGUF of a folder to what `open` gives (it is told the size). No value changes: matrices keep their type, vectors become F32.
 * GPTQ weights become Q4_0 where they are symmetric, Q4_1 where every minimum is a half, else F32; a note says how many.
 * What the converter leaves out is written where the model would be another without it: an original context that differs, the attention
 * factor, windows, sparse_config (keys ARCH.sparse.*), stop tokens that their names do not tell.
 * Rejects with CpmError "bad-model", "unsupported" (a tokenizer or a model that no GGUF describes), "io", or the signal's reason.
 */
export async function toGguf(
  files: ModelFiles,
  open: (size: number) => Promise<Output>,
  options: ConvertOptions = {},
): Promise<Converted> {
  const { signal } = options;
  const { metadata, copies, notes } = await planGguf(files, options);
  const plans: readonly GgufTensorPlan[] = copies;
  const layout = layoutGguf(metadata, plans);
  const output = await open(layout.size);
  try {
    const writer = await TensorWriter.begin(output, layout, []);
    const copier = new Copier(copies, options);
    for (const copy of copies) await copier.write(writer, copy);
    signal?.throwIfAborted();
    await writer.finish();
  } catch (error) {
    await output.discard().catch(() => {});
    throw error;
  }
  const own = copies.filter(({ from }) => from !== undefined);
  return { tensors: plans.length, bytes: layout.size, types: typesOf(own), notes };
}

export type PackedWeight = Extract<WeightFile, { kind: "gptq" }>;

/** What is said once of many tensors. */
function noteKinds(notes: string[], made: ReadonlyMap<string, number>): void {
  const said: Readonly<Record<string, string>> = {
    Q4_0: "symmetric GPTQ weights became Q4_0, value by value",
    Q4_1: "GPTQ weights with zero points became Q4_1, value by value",
    F32: "GPTQ weights have groups or minima that no block type holds and became F32; cpm quantize makes them smaller",
  };
  for (const [type, count] of made) notes.push(`${count} ${said[type] ?? `GPTQ weights became ${type}`}`);
}

/** Weights of the layers by the name of the tensor that they are read from. */
function weightsOf(model: ModelFile): ReadonlyMap<string, WeightFile> {
  const found = new Map<string, WeightFile>();
  for (const layer of model.layers)
    for (const linear of LINEARS) {
      const file = layer[linear];
      found.set(file.kind === "plain" ? file.tensor.name : file.qweight.name, file);
    }
  return found;
}

/** The matrices and vectors in the folder's order, each under its name in a GGUF. */
async function copiesOf(
  model: ModelFile,
  packed: (weight: PackedWeight, name: string) => Promise<FileTensor>,
  notes: string[],
): Promise<Copy[]> {
  const { config } = model;
  const family = familyOfFolder(config.architecture, undefined);
  const ggufName = ggufNaming(config.traits?.norms);
  const weights = weightsOf(model);
  const made = new Map<string, number>();
  const rotated = (name: string) => {
    const heads = !family.interleaved ? 0 : /\.attn_q\./.test(name) ? config.heads : /\.attn_k\./.test(name) ? config.kvHeads : 0;
    return heads ? { rows: { order: "interleaved" as const, heads } } : {};
  };
  const copies: Copy[] = [];
  for (const tensor of model.tensors) {
    if (/\.(?:qzeros|scales|g_idx)$/.test(tensor.name)) continue;
    const name = ggufName(tensor.name.replace(/\.qweight$/, ".weight"));
    if (name === undefined) continue;
    if (name === "output.weight" && config.tied) {
      notes.push("lm_head.weight is left out: the configuration ties the head to the embedding");
      continue;
    }
    if (tensor.name.endsWith(".qweight")) {
      const weight = weights.get(tensor.name)!;
      const values = weight.kind === "plain" ? weight.tensor : await packed(weight, tensor.name);
      made.set(values.type, (made.get(values.type) ?? 0) + 1);
      copies.push({ name, type: values.type, shape: values.shape, tensor: values, from: tensor.name, ...rotated(name) });
      continue;
    }
    if (!isFloat(tensor.type))
      throw new CpmError("unsupported", `${tensor.name}: a tensor of type ${tensor.type} is no weight; convert a float folder`, {
        field: tensor.name,
      });
    // llama.cpp multiplies vectors in float32 alone.
    const vector = tensor.shape.length === 1;
    const plus = vector && family.lessOne && tensor.name.endsWith("norm.weight") ? { plus: 1 } : {};
    const type = vector ? "F32" : tensor.type;
    copies.push({ name, type, shape: tensor.shape, tensor, from: tensor.name, ...plus, ...rotated(name) });
  }
  noteKinds(notes, made);
  for (const { name, type, shape } of copies)
    if (shape.at(-1)! % TENSOR_TYPES[type].block)
      throw new CpmError("unsupported", `${name}: rows of ${shape.at(-1)} are no whole blocks of ${type}`, { field: name });
  return copies;
}
