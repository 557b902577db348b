// Whatever a caller names as a model -> the files it consists of.
import type { ModelInput } from "../engine/host.ts";
import { CpmError } from "../errors.ts";
import { memoryFiles } from "./bytes.ts";
import type { ModelFiles } from "./source.ts";
import { decoded, parseUrl, urlFiles } from "./url.ts";

/** A model input, sorted by how it can be reached. Only "path" needs a file system. */
export type InputKind =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "blobs"; readonly entry: string; readonly files: Readonly<Record<string, Blob>> }
  | { readonly kind: "files"; readonly files: ModelFiles };

const bad = (found: string): CpmError =>
  new CpmError("bad-input", `model: expected a path, URL, Blob, bytes, named Blobs or bytes, or ModelFiles, found ${found}`, {
    field: "model",
    found,
  });

const isBytes = (value: unknown): value is ArrayBuffer | Uint8Array =>
  value instanceof Uint8Array || value instanceof ArrayBuffer;

/** Sorts an input. `base`: what relative addresses are relative to where there is no file system (a page's address). */
export function inputKind(input: ModelInput, base?: string): InputKind {
  if (typeof input === "string") {
    if (input === "") throw bad("an empty text");
    if (/^(https?|blob|data|file):/i.test(input)) return inputKind(parseUrl(input));
    return base === undefined ? { kind: "path", path: input } : { kind: "url", url: parseUrl(input, base).href };
  }
  if (input instanceof URL)
    return input.protocol === "file:" ? { kind: "path", path: filePath(input) } : { kind: "url", url: input.href };
  if (input instanceof Blob) {
    const entry = nameOf(input);
    return { kind: "blobs", entry, files: { [entry]: input } };
  }
  if (isBytes(input)) return { kind: "files", files: memoryFiles("model.gguf", { "model.gguf": input }) };
  if (typeof input !== "object" || input === null) throw bad(input === null ? "null" : typeof input);
  if (typeof (input as ModelFiles).open === "function") return { kind: "files", files: input as ModelFiles };
  return named(input as Readonly<Record<string, Blob | ArrayBuffer | Uint8Array>>);
}

const nameOf = (blob: Blob): string => (blob as File).name || "model.gguf";

/** Several files by name: a folder when there is a config.json, else the one file, or the first part of a split one. */
function named(files: Readonly<Record<string, Blob | ArrayBuffer | Uint8Array>>): InputKind {
  const names = Object.keys(files).sort();
  for (const name of names)
    if (!(files[name] instanceof Blob) && !isBytes(files[name])) throw bad(`${name}: ${typeof files[name]}`);
  const entry = names.includes("config.json") ? "" : (names.find((name) => /\.gguf$/i.test(name)) ?? names[0]);
  if (entry === undefined) throw bad("an object without files");
  const blobs = names.every((name) => files[name] instanceof Blob);
  return blobs
    ? { kind: "blobs", entry, files: files as Record<string, Blob> }
    : { kind: "files", files: memoryFiles(entry, files) };
}

/** The path of a file: URL, without node:url. */
function filePath(url: URL): string {
  const path = decoded(url.pathname);
  return /^\/[A-Za-z]:/.test(path) ? path.slice(1) : path;
}

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
      return urlFiles(input.url, { headers });
    default:
      if (openPath) return openPath(input.path);
      throw new CpmError("bad-input", `${input.path}: this runtime has no file system; give a URL, a Blob or bytes`, {
        file: input.path,
      });
  }
}
