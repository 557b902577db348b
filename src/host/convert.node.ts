// The converting wing where there are paths: Node, Deno and Bun.
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Converted, ConvertOptions } from "../convert/progress.ts";
import { toFolder } from "../convert/tofolder.ts";
import { toGguf } from "../convert/togguf.ts";
import { CpmError } from "../errors.ts";
import { pathFiles } from "./node.files.ts";
import { checkFree, checkReplaced, fileOutput, folderOutput } from "./node.output.ts";

export * from "../convert/index.ts";

export interface ConvertFileOptions extends ConvertOptions {
  /** Replace what has the target's name. Default false: "io". */
  readonly force?: boolean | undefined;
}

export interface ConvertedFile extends Converted {
  readonly format: "gguf" | "folder";
}

/**
 * Converts by paths: a Hugging Face folder (or a file of it) to a GGUF file, a GGUF to a folder; `toGguf` and `toFolder` tell how. The
 * target appears under its name when it is whole, or never.
 * Rejects with CpmError "io" (a target that exists, a disk that is too small), "bad-model", "unsupported", "bad-input"; or the signal's reason.
 */
export async function convert(source: string, target: string, options: ConvertFileOptions = {}): Promise<ConvertedFile> {
  const { force = false, ...rest } = options;
  const files = await pathFiles(source);
  try {
    const isGguf = /\.gguf$/i.test(files.entry);
    const isFolder = files.entry === "" || /\.(?:safetensors|json)$/i.test(files.entry);
    if (!isGguf && !isFolder && !(await stat(source).catch(() => undefined)))
      throw new CpmError("io", `${source}: no such file or folder; check the path`, { file: source });
    if (!isGguf && !isFolder)
      throw new CpmError("bad-input", `${source}: expected a .gguf file or a Hugging Face folder`, { file: source });
    if (isFolder && !/\.gguf$/i.test(target))
      throw new CpmError("bad-input", `${target}: a folder becomes a GGUF; give a name that ends in .gguf`, { file: target });
    if (isGguf && /\.gguf$/i.test(target))
      throw new CpmError("bad-input", `${target}: a GGUF becomes a folder; give a folder's name`, { file: target });
    await checkReplaced(target, isFolder ? "file" : "folder", source, force);
    await checkFree(target, { force });
    if (isFolder) {
      const named = { ...(files.entry === "" ? { fallbackName: basename(resolve(source)) } : {}), ...rest };
      const done = await toGguf(files, (size) => fileOutput(target, { force, size }), named);
      return { format: "gguf", ...done };
    }
    return { format: "folder", ...(await toFolder(files, (size) => folderOutput(target, { force, size }), rest)) };
  } finally {
    await files.close();
  }
}
