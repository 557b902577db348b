// Trained models as files: a Hugging Face folder, a GGUF of floats, a GGUF of ternary blocks.
import { toGguf } from "../convert/togguf.ts";
import { bytesSource } from "../file/bytes.ts";
import { memoryOutput, type Output } from "../file/write/output.ts";
import type { FloatType } from "./floats.ts";
import { checkRangeOf, type ExportTensor, type FolderParts, folderFiles, type Written } from "./folder.ts";
import { type TernaryType, ternaryGguf } from "./ternaryfile.ts";

export interface GgufExportOptions {
  /** Of matrices; norms are F32. Ternary types: of the layers' matrices. Default F32. */
  readonly type?: FloatType | TernaryType | undefined;
  /** With a ternary type: of the embedding and the head. Default F16. */
  readonly rest?: FloatType | undefined;
  /** general.name. */
  readonly name?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes a model as GGUF, with the keys that `toGguf` writes. A ternary file goes through one of floats in memory.
 * Rejects with CpmError "unsupported" for a tokenizer that no GGUF describes and for ternary numbers that do not fit blocks of 256;
 * "bad-input" for numbers beyond a type; "io"; the signal's reason.
 */
export async function writeGguf(
  parts: FolderParts,
  tensors: readonly ExportTensor[],
  open: (size: number) => Promise<Output>,
  { type = "F32", rest = "F16", name, signal }: GgufExportOptions = {},
): Promise<Written> {
  if (type === "F32" || type === "F16" || type === "BF16") {
    checkRangeOf(tensors, type);
    return await toGguf(folderFiles(parts, tensors, type), open, { name, signal });
  }
  checkRangeOf(tensors, rest);
  const floats = memoryOutput("floats.gguf");
  await toGguf(folderFiles(parts, tensors), async () => floats, { name, signal });
  return await ternaryGguf(bytesSource("floats.gguf", floats.bytes()), type, open, { rest, signal });
}
