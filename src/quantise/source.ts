// The model that is quantised: its tensors with what each of them is, and their values as float32 in the memory.
import { CpmError, modelError } from "../errors.ts";
import type { Gguf } from "../file/gguf.ts";
import { openGguf } from "../file/parts.ts";
import { type ModelFiles, type Source, whereIs } from "../file/source.ts";
import { type FileTensor, isInteger, TENSOR_TYPES, type WeightType } from "../file/tensor.ts";
import type { ModelFile, WeightFile } from "../model/config.ts";
import { readModel } from "../model/read.ts";
import { FILE_TYPES } from "../wasm/abi.ts";
import type { Machine, Piece } from "./module.ts";
import { PARTS, type Part } from "./passes.ts";
import type { Role } from "./recipe.ts";

/** A tensor of the source. */
export interface SourceTensor {
  readonly name: string;
  readonly tensor: FileTensor;
  readonly role: Role;
  /** Rows are stored as rotated heads, so many of them: see WeightFile. */
  readonly heads: number;
}

export interface OpenedSource {
  readonly model: ModelFile;
  /** In the order of the file. */
  readonly tensors: readonly SourceTensor[];
  /** Of a GGUF: its header. */
  readonly gguf: Gguf | undefined;
  /** Of a GGUF: the file that the header lies in. */
  readonly file: Source | undefined;
}

/** Opens a GGUF or a Hugging Face folder with plain weights. Throws as readModel does, and "unsupported" for packed GPTQ weights. */
export async function openSource(files: ModelFiles, signal?: AbortSignal): Promise<OpenedSource> {
  const model = await readModel(files, signal);
  // Layers by themselves are computed as MiniCPM's and Llama's.
  if (model.config.traits !== undefined)
    throw new CpmError(
      "unsupported",
      `${whereIs(files, files.entry)}: models of the family "${model.config.architecture}" with traits beyond Llama's are not quantised here`,
      { file: files.entry, found: model.config.architecture },
    );
  const roles = new Map<FileTensor, { role: Role; heads: number }>();
  const put = (file: WeightFile | undefined, kind: Role["kind"], layer = -1): void => {
    if (!file) return;
    if (file.kind !== "plain")
      throw new CpmError(
        "unsupported",
        `${whereIs(files, files.entry)}: ${file.qweight.name}: these weights are packed as GPTQ already; give the model that they were made from`,
        { file: files.entry, field: file.qweight.name },
      );
    roles.set(file.tensor, { role: { kind, layer }, heads: file.ropeHeads });
  };
  put(model.embedding, "embedding");
  put(model.head, "head");
  for (const [i, layer] of model.layers.entries()) for (const part of PARTS) put(layer[part], part, i);
  // Without a head of its own the embedding is one, and gets its precision.
  const other = { role: { kind: "other", layer: -1 } as const, heads: 0 };
  const tensors = model.tensors.map((tensor): SourceTensor => {
    const { role, heads } = roles.get(tensor) ?? other;
    const tied = role.kind === "embedding" && model.config.tied;
    return { name: tensor.name, tensor, role: tied ? { kind: "head", layer: -1 } : role, heads };
  });
  const gguf = model.format.startsWith("GGUF");
  const file = gguf ? await files.open(files.entry, signal) : undefined;
  return { model, tensors, file, gguf: file && (await openGguf(files, file, signal)) };
}

/** Tensors whose values were rounded before: what is made of them is worse than what is made of the float model. */
export function roundedTensors(source: OpenedSource): readonly string[] {
  return source.tensors.filter(({ tensor }) => TENSOR_TYPES[tensor.type].block > 1).map(({ name }) => name);
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

/** Parts of a layer by name. */
export const isPart = (kind: string): kind is Part => (PARTS as readonly string[]).includes(kind);
