// Trained tensors as a Hugging Face folder that lies nowhere: files whose bytes are made while they are read. Whatever reads a folder
// reads it: the loader of this package, its converter to GGUF, a copy to disk.

import { bytesOf } from "../brands.ts";
import { configOf, DTYPES, generationOf } from "../convert/tofolder.ts";
import { tokenizerFiles } from "../convert/tokenizerfiles.ts";
import { CpmError } from "../errors.ts";
import { bytesSource, checkRange } from "../file/bytes.ts";
import { parseObject } from "../file/json.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import { type Output, type OutputFolder, written } from "../file/write/output.ts";
import { layoutSafetensors } from "../file/write/safetensors.ts";
import type { ModelFile } from "../model/config.ts";
import { readText } from "../model/huggingface.ts";
import { FLOAT_BYTES, type FloatType, floatBytes } from "./floats.ts";
import { countOf, type TensorShape } from "./shape.ts";

/** A tensor to be written; `read` gives elements [from, from + count). */
export interface ExportTensor extends TensorShape {
  read(from: number, count: number): Float32Array;
  /** Whole numbers below 2^24, written as I64. */
  readonly integers?: boolean | undefined;
}

const typeOf = ({ integers }: ExportTensor, type: FloatType) => (integers ? "I64" : type);
const bytesFor = (numbers: Float32Array, type: FloatType | "I64"): Uint8Array =>
  type === "I64" ? bytesOf(BigInt64Array.from(numbers, BigInt))! : floatBytes(numbers, type);

/** A folder without its weights: config.json's fields, and further files by name (the tokenizer's). */
export interface FolderParts {
  readonly config: Readonly<Record<string, unknown>>;
  readonly files: Readonly<Record<string, Uint8Array>>;
}

/** Files of a folder that say how text becomes tokens and how the model is run: they go along as they are. */
const COMPANIONS = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
  "configuration_minicpm.py",
  "modeling_minicpm.py",
  "LICENSE",
];

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);

/**
 * What a folder of this model has beside its weights: a folder's own files, or those that say what its GGUF says.
 * Rejects with CpmError "unsupported" for a vocabulary that no folder can spell, "io", or the signal's reason.
 */
export async function folderParts(files: ModelFiles, model: ModelFile, signal?: AbortSignal): Promise<FolderParts> {
  if (model.format.startsWith("GGUF")) {
    const stated = model.metadata["tokenizer.ggml.padding_token_id"];
    const pad = typeof stated === "number" ? stated : undefined;
    return {
      config: configOf(model, "F32", undefined, pad),
      files: { ...tokenizerFiles(model.tokenizer, pad), "generation_config.json": encode(generationOf(model)) },
    };
  }
  const { quantization_config: _, ...config } = parseObject((await readText(files, "config.json", signal))!, "config.json");
  return { config, files: await companions(files, signal) };
}

/** A folder's files beside its weights and its config.json. */
export async function companions(files: ModelFiles, signal?: AbortSignal): Promise<Record<string, Uint8Array>> {
  const found: Record<string, Uint8Array> = {};
  for (const name of COMPANIONS) {
    const source = await files.open(name, signal);
    if (source) found[name] = await source.read(0, source.size, signal);
  }
  return found;
}

/** Copies a folder of this kind, its weights and all that goes with them. Rejects with CpmError "bad-input" where it has no weights, "io", or the signal's reason. */
export async function copyFolder(files: ModelFiles, folder: OutputFolder, signal?: AbortSignal): Promise<void> {
  await written(folder, async () => {
    for (const name of ["config.json", "model.safetensors", ...COMPANIONS]) {
      const source = await files.open(name, signal);
      if (source) await copySource(source, await folder.file(name), signal);
      else if (name === "config.json" || name === "model.safetensors")
        throw new CpmError("bad-input", `no ${name} among the weights: expected a folder as folderFiles() makes it`, {
          field: name,
        });
    }
  });
}

async function copySource(source: Source, output: Output, signal: AbortSignal | undefined): Promise<void> {
  await written(output, async () => {
    for (let at = 0; at < source.size; at += PIECE)
      await output.write(at, await source.read(at, Math.min(PIECE, source.size - at), signal));
    await output.sync();
  });
}

/** A folder as ModelFiles: the weights of type `type` (default F32) come from `tensors` when they are read. */
export function folderFiles(parts: FolderParts, tensors: readonly ExportTensor[], type: FloatType = "F32"): ModelFiles {
  const config = encode({ ...parts.config, torch_dtype: DTYPES[type] });
  const texts: Record<string, Uint8Array> = { ...parts.files, "config.json": config };
  return {
    entry: "",
    async open(name) {
      if (name === "model.safetensors") return safetensorsSource(name, tensors, type);
      return Object.hasOwn(texts, name) ? bytesSource(name, texts[name]!) : undefined;
    },
    async close() {},
  };
}

/** The bytes of a safetensors file, made when they are read. */
export function safetensorsSource(name: string, tensors: readonly ExportTensor[], type: FloatType = "F32"): Source {
  const layout = layoutSafetensors(tensors.map((t) => ({ name: t.name, type: typeOf(t, type), shape: t.shape })));
  const source: Source = {
    name,
    size: layout.size,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      signal?.throwIfAborted();
      const out = new Uint8Array(length);
      if (offset < layout.header.length) out.set(layout.header.subarray(offset, offset + length));
      for (const tensor of tensors) {
        const place = layout.tensors.get(tensor.name)!;
        const [from, to] = [Math.max(offset, place.offset), Math.min(offset + length, place.offset + place.bytes)];
        if (from >= to) continue;
        const kind = typeOf(tensor, type);
        const width = kind === "I64" ? 8 : FLOAT_BYTES[kind];
        const first = Math.floor((from - place.offset) / width);
        const last = Math.ceil((to - place.offset) / width);
        const bytes = bytesFor(tensor.read(first, last - first), kind);
        const skip = from - place.offset - first * width;
        out.set(bytes.subarray(skip, skip + to - from), from - offset);
      }
      return out;
    },
    async close() {},
  };
  return source;
}

/** Bytes copied together. */
const PIECE = 8 << 20;

export interface Written {
  readonly tensors: number;
  /** Of all files. */
  readonly bytes: number;
}

/** Writes a folder. Rejects with CpmError "bad-input" for numbers that the type does not have, "io", or the signal's reason. */
export async function writeFolder(
  parts: FolderParts,
  tensors: readonly ExportTensor[],
  open: (size: number) => Promise<OutputFolder>,
  { type = "F32", signal }: { readonly type?: FloatType | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Written> {
  checkRangeOf(tensors, type);
  const files = folderFiles(parts, tensors, type);
  const sources: Source[] = [];
  for (const name of ["config.json", "model.safetensors", ...Object.keys(parts.files)]) sources.push((await files.open(name))!);
  const bytes = sources.reduce((sum, { size }) => sum + size, 0);
  const folder = await open(bytes);
  await written(folder, async () => {
    for (const source of sources) await copySource(source, await folder.file(source.name), signal);
  });
  return { tensors: tensors.length, bytes };
}

/** Half floats end at 65504: a trained number beyond would become infinite. @throws CpmError "bad-input" */
export function checkRangeOf(tensors: readonly ExportTensor[], type: FloatType): void {
  const most = type === "F16" ? 65504 : 3.4e38;
  for (const tensor of tensors)
    for (let at = 0, count = countOf(tensor); at < count; at += PIECE) {
      const values = tensor.read(at, Math.min(PIECE, count - at));
      const bad = values.findIndex((x) => !(Math.abs(x) <= most));
      if (bad >= 0)
        throw new CpmError(
          "bad-input",
          `${tensor.name}: ${values[bad]} at element ${at + bad} is no number that ${type} has; export as ${type === "F16" ? "BF16 or F32" : "an earlier checkpoint"}`,
          { field: tensor.name, expected: `numbers up to ${most}`, found: String(values[bad]) },
        );
    }
}
