// A model input -> the files it consists of.
import { CpmError } from "../errors.ts";
import { memoryFiles } from "./bytes.ts";
import type { InputKind } from "./kind.ts";
import type { ModelFiles } from "./source.ts";
import { urlFiles } from "./url.ts";

/** The files of an input, opened here. `openPath` is absent where there is no file system. */
export async function openInput(
  input: InputKind,
  openPath: ((path: string) => ModelFiles | Promise<ModelFiles>) | undefined,
  headers?: Readonly<Record<string, string>>,
): Promise<ModelFiles> {
  switch (input.kind) {
    case "files":
      return input.files;
    case "blobs":
      return memoryFiles(input.entry, input.files);
    case "url":
      return urlFiles(input.url, { headers: input.headers ?? headers, network: input.network });
    default:
      if (openPath) return openPath(input.path);
      throw new CpmError("bad-input", `${input.path}: this runtime has no file system; give a URL, a Blob or bytes`, {
        file: input.path,
      });
  }
}
