// Texts that are measured or calibrated with: each byte counts, so nothing is replaced on the way.
import { readFile } from "node:fs/promises";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";

/**
 * A file's text. A byte order mark is a character of it, as llama.cpp's tools have it.
 * Rejects with CpmError "io" naming `option`, "bad-input" for what is no UTF-8: decoding it would put other characters in its place.
 */
export async function readText(file: string, option: string): Promise<string> {
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    const why = { ENOENT: "there is no such file", EISDIR: "this is a folder" }[cause.code ?? ""] ?? reasonOf(cause);
    throw new CpmError("io", `${file}: could not be read (${why}); check ${option}`, { file }, { cause });
  });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    // The runtime has no longer string, or the bytes are no text.
    const what = bytes.length > 0x1fffffe8 ? `${bytes.length} bytes are too many for one text` : "this is no UTF-8 text";
    throw new CpmError("bad-input", `${file}: ${what}; check ${option}`, { file, expected: "UTF-8" }, { cause });
  }
}
