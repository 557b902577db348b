// Any model file -> a ModelFile: sniffs the container and hands over to its reader.
import { CpmError, modelError } from "../errors.ts";
import { readGguf } from "../file/gguf.ts";
import { refusePointer } from "../file/json.ts";
import { type ModelFiles, type Source, whereIs } from "../file/source.ts";
import { openGguf } from "../file/splitgguf.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import type { ModelFile } from "./config.ts";
import { modelOfGguf, tokenizerOfGguf } from "./gguf.ts";
import { modelOfFolder, readText, tokenizerOfFolder } from "./huggingface.ts";

async function openEntry(files: ModelFiles, signal?: AbortSignal): Promise<Source> {
  const source = await files.open(files.entry, signal);
  const where = whereIs(files, files.entry);
  if (!source) throw new CpmError("io", `${where}: no such file; check the path or address`, { file: where });
  return source;
}

async function isGguf(source: Source, signal?: AbortSignal): Promise<boolean> {
  if (source.size < 4) return false;
  return new TextDecoder("latin1").decode(await source.read(0, 4, signal)) === "GGUF";
}

const isFolder = (files: ModelFiles): boolean =>
  files.entry === "" ||
  files.entry === "config.json" ||
  files.entry.endsWith(".safetensors") ||
  files.entry.endsWith(".safetensors.index.json");

/**
 * Reads and checks everything but the weights of a GGUF (whole or split) or of a Hugging Face folder.
 * Throws CpmError "io", "bad-model" or "unsupported"; rejects with the signal's reason.
 */
export async function readModel(files: ModelFiles, signal?: AbortSignal): Promise<ModelFile> {
  if (isFolder(files)) return modelOfFolder(files, signal);
  const source = await openEntry(files, signal);
  if (await isGguf(source, signal)) return modelOfGguf(source.name, await openGguf(files, source, signal), signal);
  refusePointer(await source.read(0, Math.min(64, source.size), signal), source.name);
  const head = [...(await source.read(0, Math.min(4, source.size), signal))]
    .map((b) => b.toString(16).padStart(2, "0"))
    .join(" ");
  throw modelError(
    {
      file: source.name,
      offset: 0,
      expected: '"GGUF", a .safetensors file or a folder with config.json',
      found: head || "an empty file",
    },
    "not a model file",
    "give a .gguf file or a Hugging Face folder",
  );
}

/** Only the tokenizer: of a model, of a GGUF without tensors, or of a tokenizer.json or tokenizer.model file. */
export async function readTokenizer(
  files: ModelFiles,
  signal?: AbortSignal,
): Promise<{ tokenizer: TokenizerData; metadata: Readonly<Record<string, unknown>> }> {
  if (isFolder(files))
    return { tokenizer: await tokenizerOfFolder(files, await readText(files, "config.json", signal), signal), metadata: {} };
  const source = await openEntry(files, signal);
  if (await isGguf(source, signal)) {
    const { metadata } = await readGguf(source, signal);
    return { tokenizer: tokenizerOfGguf(source.name, metadata), metadata: Object.fromEntries(metadata) };
  }
  refusePointer(await source.read(0, Math.min(64, source.size), signal), source.name);
  const name = files.entry;
  if (name.endsWith(".json") || name.endsWith(".model"))
    return { tokenizer: await tokenizerOfFolder(files, undefined, signal, name), metadata: {} };
  throw modelError(
    { file: source.name, offset: 0, expected: "a GGUF, tokenizer.json or tokenizer.model", found: "something else" },
    "not a tokenizer",
  );
}
