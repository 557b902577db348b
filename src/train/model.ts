// Models as files have them, for training: what shape they are, which tensors they have, and their numbers.
import { CpmError, modelError } from "../errors.ts";
import { type FileTensor, isInteger, TENSOR_TYPES, type WeightType } from "../file/tensor.ts";
import { LINEARS, type ModelConfig, type ModelFile, ropeFactors, type WeightFile } from "../model/config.ts";
import { inOrder, plainOf } from "../model/gptq.ts";
import { resolveSparse, type SparseOption } from "../model/sparse.ts";
import { FILE_TYPES, type Kernels } from "../wasm/abi.ts";
import { heapBase, instantiateKernels } from "../wasm/instance.ts";
import { createMemory } from "../wasm/memory.ts";
import { floatsOf } from "./floats.ts";
import { EMBEDDING, HEAD, layerPrefix, NORM, type TrainShape } from "./shape.ts";
import type { Trainer } from "./trainer.ts";

/**
 * The shape of a model for rows of `length` tokens. `sparse`: InfLLM v2; default false: dense.
 * @throws CpmError "unsupported" for families with traits beyond MiniCPM's and Llama's; "bad-option" for sparse options that do not fit.
 */
export function shapeOfModel(config: ModelConfig, length: number, sparse: SparseOption = false): TrainShape {
  if (config.traits)
    throw new CpmError(
      "unsupported",
      `training: models of the family "${config.architecture}" with ${Object.keys(config.traits).join(", ")} are not trained here; MiniCPM's and Llama's are`,
      { field: "architecture", expected: "minicpm or llama", found: config.architecture },
    );
  const { residualScale, layers } = config;
  const factors = ropeFactors(config, length);
  return {
    layers,
    hidden: config.hidden,
    intermediate: config.intermediate,
    heads: config.heads,
    kvHeads: config.kvHeads,
    headDim: config.headDim,
    vocab: config.vocab,
    rmsEps: config.rmsEps,
    ropeTheta: config.ropeTheta,
    ropeFactors: factors && Array.from(factors),
    ropeScale: config.ropeScale,
    embeddingScale: config.embeddingScale,
    residualScale,
    // As readHead has it: a head counts as one layer more.
    headResidualScale: residualScale === 1 ? 1 : (residualScale * Math.sqrt(layers)) / Math.sqrt(layers + 1),
    logitScale: config.logitScale,
    tied: config.tied,
    width: 1 / config.logitScale,
    sparse: resolveSparse(config.sparse, sparse),
  };
}

/** The linears' names in safetensors, by their names in ModelFile. */
const LINEAR_NAMES = {
  q: "self_attn.q_proj",
  k: "self_attn.k_proj",
  v: "self_attn.v_proj",
  o: "self_attn.o_proj",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
} as const;

/** Quantised blocks to numbers. */
export type Dequantise = (type: WeightType, blocks: Uint8Array) => Float32Array;

/** What the runtime's kernels dequantise with: of wasm/kernels.wasm. */
export async function kernelDequantiser(module: WebAssembly.Module): Promise<Dequantise> {
  const memory = createMemory(16 << 20, false);
  const kernels: Kernels = await instantiateKernels(module, memory);
  const base = Math.ceil(heapBase(kernels) / 64) * 64;
  return (type, bytes) => {
    const { block, bytes: each } = TENSOR_TYPES[type];
    const out = new Float32Array((bytes.length / each) * block);
    const step = Math.max(1, Math.floor((1 << 20) / block));
    for (let at = 0; at < bytes.length; at += step * each) {
      const some = bytes.subarray(at, at + step * each);
      const to = base + Math.ceil(some.length / 64) * 64;
      new Uint8Array(memory.buffer, base, some.length).set(some);
      kernels.dequantize(FILE_TYPES[type], base, some.length / each, to);
      out.set(new Float32Array(memory.buffer, to, (some.length / each) * block), (at / each) * block);
    }
    return out;
  };
}

export interface WeightOptions {
  /** Needed for quantised weights, which are trained beside (adapters, heads) or go on as floats. */
  readonly dequantise?: Dequantise | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A tensor of a model under its name in safetensors, rows of rotated heads in half-split order. */
export interface ModelTensor {
  readonly name: string;
  readonly values: Float32Array;
}

/**
 * A model's tensors, one after another, as float32.
 * @throws CpmError "unsupported" for quantised weights without `dequantise`; "bad-model" for numbers that are none; "io"; the signal's reason.
 */
export async function* weightsOfModel(model: ModelFile, options: WeightOptions = {}): AsyncGenerator<ModelTensor> {
  const matrix = async (name: string, file: WeightFile): Promise<ModelTensor> => ({
    name,
    values: await matrixOf(file, options),
  });
  yield await matrix(EMBEDDING, model.embedding);
  for (const [i, layer] of model.layers.entries()) {
    const { attnNorm, ffnNorm } = layer.vectors;
    const prefix = layerPrefix(i);
    yield { name: `${prefix}input_layernorm.weight`, values: await valuesOf(attnNorm!.tensor, options) };
    yield { name: `${prefix}post_attention_layernorm.weight`, values: await valuesOf(ffnNorm!.tensor, options) };
    for (const linear of LINEARS) yield await matrix(`${prefix}${LINEAR_NAMES[linear]}.weight`, layer[linear]);
  }
  yield { name: NORM, values: await valuesOf(model.norm.tensor, options) };
  if (model.head) yield await matrix(HEAD, model.head);
}

/** Sets all tensors of a trainer that the model has. `prefix`: before their names, as of a teacher. Throws as {@link weightsOfModel}, and "bad-input" for a model of another shape. */
export async function setWeights(trainer: Trainer, model: ModelFile, options: WeightOptions = {}, prefix = ""): Promise<void> {
  for await (const { name, values } of weightsOfModel(model, options))
    if (trainer.graph.tensors.has(prefix + name)) trainer.set(prefix + name, values);
}

async function matrixOf(file: WeightFile, options: WeightOptions): Promise<Float32Array> {
  const found = await inOrder(file, options.signal);
  if (found.kind === "gptq") return await valuesOf(plainOf(found), options);
  const values = await valuesOf(found.tensor, options);
  return found.ropeHeads > 0 ? halves(values, found.tensor.shape[0]!, found.ropeHeads) : values;
}

/** Rows of each head from 2i, 2i + 1 to i, i + d/2. */
function halves(values: Float32Array, rows: number, heads: number): Float32Array {
  const [dim, width] = [rows / heads, values.length / rows];
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const r = row % dim;
    const to = row - r + (r & 1) * (dim / 2) + (r >> 1);
    out.set(values.subarray(row * width, (row + 1) * width), to * width);
  }
  return out;
}

/** Bytes read together. */
const SLICE = 8 << 20;

async function valuesOf(tensor: FileTensor, { dequantise, signal }: WeightOptions): Promise<Float32Array> {
  const { type, source } = tensor;
  const fail = (expected: string, found: string, element = 0) => {
    const { block, bytes } = TENSOR_TYPES[type];
    const offset = tensor.offset + Math.floor(element / block) * bytes;
    return modelError({ file: source.name, offset, field: tensor.name, expected, found }, "weights");
  };
  if (isInteger(type)) throw fail("a weight type", type);
  const { block, bytes } = TENSOR_TYPES[type];
  if (block > 1 && !dequantise)
    throw new CpmError(
      "unsupported",
      `${source.name}: ${tensor.name}: ${type} is a quantised type; start from the float model (F32, F16, BF16)`,
      { file: source.name, field: tensor.name, expected: "F32, F16 or BF16", found: type },
    );
  const out = new Float32Array((tensor.bytes / bytes) * block);
  const step = Math.max(bytes, Math.floor(SLICE / bytes) * bytes);
  for (let at = 0; at < tensor.bytes; at += step) {
    const raw = await source.read(tensor.offset + at, Math.min(step, tensor.bytes - at), signal);
    signal?.throwIfAborted();
    const first = (at / bytes) * block;
    const values = type === "F32" || type === "F16" || type === "BF16" ? floatsOf(raw, type) : dequantise!(type, raw);
    const bad = values.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0) throw fail("finite numbers", `${values[bad]} at element ${first + bad}`, first + bad);
    out.set(values, first);
  }
  return out;
}
