// The model that is quantised: its tensors with what each of them is and becomes, and their values as float32 in the memory.
import type { Copy } from "../convert/copy.ts";
import { ggufNaming } from "../convert/names.ts";
import { planGguf } from "../convert/togguf.ts";
import { CpmError, modelError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import { openGguf } from "../file/splitgguf.ts";
import { type FileTensor, isInteger, TENSOR_TYPES, type TensorType, type WeightType } from "../file/tensor.ts";
import { copiedMetadata, type TypedValue } from "../file/write/gguf.ts";
import type { LayerFiles, ModelFile, WeightFile } from "../model/config.ts";
import { plainOf } from "../model/gptq.ts";
import { readModel } from "../model/read.ts";
import { FILE_TYPES } from "../wasm/abi.ts";
import type { Machine, Piece } from "./module.ts";
import { PARTS, type Part } from "./passes.ts";
import type { Role, Target } from "./recipe.ts";

/** A tensor of the source, or the rows of one linear in a tensor that holds several. */
export interface SourceTensor {
  /** In the output. */
  readonly name: string;
  readonly tensor: FileTensor;
  readonly role: Role;
  /** Rows are stored as rotated heads, so many of them: see WeightFile. */
  readonly heads: number;
  /** Its type in the output where it is not quantised. */
  readonly type: TensorType;
  /** What importance matrices call it: its name in a GGUF. */
  readonly ggufName: string;
  /** Added to every value on its way. */
  readonly plus: number;
  /** Heads whose rows the output has interleaved; 0: rows stay in their order. */
  readonly turned: number;
  /** Of a fused tensor's part: its first row there, and how many rows that has. */
  readonly within?: { readonly row: number; readonly rows: number };
}

export interface OpenedSource {
  readonly model: ModelFile;
  /** In the order of the output. */
  readonly tensors: readonly SourceTensor[];
  readonly gguf: boolean;
  /** Of a GGUF that is made of it: what stands in its header, but for what quantising changes. */
  metadata(signal?: AbortSignal): Promise<ReadonlyMap<string, TypedValue>>;
  /** Tensors whose values were rounded before. */
  readonly rounded: readonly string[];
}

export interface SourceOptions {
  /** What is made of it. Absent: it is only looked at. */
  readonly target?: Target | undefined;
  /** What a GGUF of a folder is called where the folder does not say. */
  readonly fallbackName?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a GGUF or a Hugging Face folder. Throws as readModel does, as planGguf does where a folder becomes a GGUF, and "unsupported" where a
 * GGUF would become int4 safetensors.
 */
export async function openSource(files: ModelFiles, { target, fallbackName, signal }: SourceOptions = {}): Promise<OpenedSource> {
  const read = await readModel(files, signal);
  const gguf = read.format.startsWith("GGUF");
  if (gguf && target === "int4")
    throw new CpmError(
      "unsupported",
      `int4 safetensors are made from a Hugging Face folder, and ${read.config.name} is a GGUF; give the folder, or choose a GGUF type`,
      { field: "type" },
    );
  const packed = async (weight: Parameters<typeof plainOf>[0], name: string) => ({ ...plainOf(weight), name });
  const plan =
    gguf || target === undefined || target === "int4" ? undefined : await planGguf(files, { fallbackName, signal, packed });
  const model = withPlain(plan?.model ?? read);
  const outputs = plan?.copies ?? copiesOf(model, gguf);
  return {
    model,
    gguf,
    tensors: outputs.flatMap((copy) => tensorsOf(model, copy, gguf)),
    rounded: outputs.filter(({ tensor, from }) => isPacked(from) || TENSOR_TYPES[tensor.type].block > 1).map(({ name }) => name),
    async metadata(abort) {
      if (plan) return plan.metadata;
      const file = (await files.open(files.entry, abort))!;
      const copied = await copiedMetadata(file, await openGguf(files, file, abort), abort);
      return new Map([...copied].filter(([key]) => !/^(split\.|quantize\.)/.test(key)));
    },
  };
}

const isPacked = (name: string | undefined): boolean => name?.endsWith(".qweight") ?? false;

/** The model with packed weights as plain numbers. */
function withPlain(model: ModelFile): ModelFile {
  const plain = (file: WeightFile): WeightFile =>
    file.kind === "plain" ? file : { kind: "plain", ropeHeads: 0, tensor: plainOf(file) };
  const layers = model.layers.map((layer): LayerFiles => {
    const linears = Object.fromEntries(PARTS.map((part) => [part, plain(layer[part])])) as Record<Part, WeightFile>;
    return { ...layer, ...linears };
  });
  return { ...model, layers };
}

/** Tensors that keep their container. */
function copiesOf(model: ModelFile, gguf: boolean): Copy[] {
  return model.tensors.flatMap((tensor): Copy[] => {
    if (!gguf && /\.(?:qzeros|scales|g_idx)$/.test(tensor.name)) return [];
    const name = gguf ? tensor.name : tensor.name.replace(/\.qweight$/, ".weight");
    return [{ name, type: gguf ? tensor.type : "F16", shape: tensor.shape, tensor, from: tensor.name }];
  });
}

/** What a tensor of the output is: one, or the linears that it holds one after another. */
function tensorsOf(model: ModelFile, copy: Copy, gguf: boolean): SourceTensor[] {
  const from = copy.from ?? copy.name;
  const { config } = model;
  const common = {
    name: copy.name,
    type: copy.type,
    ggufName: gguf ? from : (ggufNaming(config.traits?.norms)(from.replace(/\.qweight$/, ".weight")) ?? copy.name),
    plus: copy.plus ?? 0,
    turned: copy.rows?.heads ?? 0,
  };
  const parts = linearsOf(model).get(from);
  if (parts) {
    const rows = parts.reduce((sum, { tensor }) => sum + tensor.shape[0]!, 0);
    const fused = parts.length === 1 ? undefined : parts.length === 3 ? "qkv" : "gateUp";
    let row = 0;
    return parts.map(({ part, layer, tensor, heads }): SourceTensor => {
      const place = fused ? { within: { row, rows } } : {};
      row += tensor.shape[0]!;
      return { ...common, tensor, heads, role: { kind: fused ?? part, layer, part }, ...place };
    });
  }
  const is = (file: WeightFile | undefined) => file?.kind === "plain" && file.tensor.name === from;
  // Without a head of its own the embedding is one, and gets its precision.
  const kind = is(model.head) || (is(model.embedding) && config.tied) ? "head" : is(model.embedding) ? "embedding" : "other";
  return [{ ...common, tensor: copy.tensor, role: { kind, layer: -1 }, heads: 0 }];
}

interface FoundLinear {
  readonly part: Part;
  readonly layer: number;
  readonly tensor: FileTensor;
  readonly heads: number;
}

const found = new WeakMap<ModelFile, Map<string, FoundLinear[]>>();

/** The layers' linears by the name of the tensor that they lie in. */
function linearsOf(model: ModelFile): ReadonlyMap<string, readonly FoundLinear[]> {
  const known = found.get(model);
  if (known) return known;
  const linears = new Map<string, FoundLinear[]>();
  found.set(model, linears);
  for (const [layer, files] of model.layers.entries())
    for (const part of PARTS) {
      const file = files[part];
      const tensor = plainTensor(file);
      const list = linears.get(tensor.name) ?? [];
      linears.set(tensor.name, list);
      list.push({ part, layer, tensor, heads: file.kind === "plain" ? file.ropeHeads : 0 });
    }
  return linears;
}

export const plainTensor = (file: WeightFile): FileTensor => {
  if (file.kind !== "plain") throw new CpmError("unsupported", `${file.qweight.name}: packed weights`);
  return file.tensor;
};

/** Bytes read together. */
const SLICE = 4 << 20;

/** A tensor's values as float32 in the memory. @throws CpmError "bad-model" for values that are not finite, "io", "out-of-memory". */
export async function readValues(machine: Machine, tensor: FileTensor, signal?: AbortSignal): Promise<Piece> {
  if (isInteger(tensor.type))
    throw modelError(
      { file: tensor.source.name, field: tensor.name, expected: "a weight type", found: tensor.type },
      "tensor type",
    );
  const { block, bytes } = TENSOR_TYPES[tensor.type];
  const count = tensor.shape.reduce((a, b) => a * b, 1);
  const step = Math.max(bytes, Math.floor(SLICE / bytes) * bytes);
  const out = machine.take("f32", count);
  const staging = machine.take("u8", Math.min(step, tensor.bytes));
  try {
    for (let from = 0; from < tensor.bytes; from += step) {
      const some = Math.min(step, tensor.bytes - from);
      const first = (from / bytes) * block;
      const raw = await tensor.source.read(tensor.offset + from, some, signal);
      signal?.throwIfAborted();
      machine.u8(staging.at, some).set(raw);
      machine.kernels.dequantize(FILE_TYPES[tensor.type as WeightType], staging.at, some / bytes, out.at + 4 * first);
      const values = machine.f32(out.at + 4 * first, (some / bytes) * block);
      const bad = values.findIndex((v) => !Number.isFinite(v));
      if (bad >= 0)
        throw modelError(
          {
            file: tensor.source.name,
            offset: tensor.offset + from + Math.floor(bad / block) * bytes,
            field: tensor.name,
            expected: "finite numbers",
            found: `${values[bad]} at element ${first + bad}`,
          },
          "value",
        );
      await machine.host.breathe();
    }
    return out;
  } catch (error) {
    machine.free(out);
    throw error;
  } finally {
    machine.free(staging);
  }
}

/** The values of a vector in this side's memory. Throws as readValues does. */
export async function readVector(machine: Machine, tensor: FileTensor, signal?: AbortSignal): Promise<Float32Array> {
  const piece = await readValues(machine, tensor, signal);
  const values = machine.f32(piece.at, piece.bytes / 4).slice();
  machine.free(piece);
  return values;
}
