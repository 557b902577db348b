// Whatever a caller names as a model, sorted by how it can be reached.
import { bytesOf, isBlob, isRecord, isUrl, kindOf } from "../brands.ts";

import { CpmError } from "../errors.ts";
import { decoded, parseUrl } from "./address.ts";
import { type Bytes, memoryFiles } from "./bytes.ts";
import type { NetworkOptions } from "./http.ts";
import { ownFiles } from "./owned.ts";
import type { ModelFiles } from "./source.ts";

/** What the user may pass as a model. */
export type ModelInput = string | URL | Blob | Bytes | Readonly<Record<string, Blob | Bytes>> | ModelFiles;

/** A model input, sorted by how it can be reached. Only "path" needs a file system. */
export type InputKind =
  | { readonly kind: "path"; readonly path: string }
  | {
      readonly kind: "url";
      readonly url: string;
      readonly headers?: Readonly<Record<string, string>> | undefined;
      readonly network?: NetworkOptions | undefined;
    }
  | { readonly kind: "blobs"; readonly entry: string; readonly files: Readonly<Record<string, Blob>> }
  | { readonly kind: "files"; readonly files: ModelFiles };

const bad = (found: string): CpmError =>
  new CpmError("bad-input", `model: expected a path, URL, Blob, bytes, named Blobs or bytes, or ModelFiles, found ${found}`, {
    field: "model",
    found,
  });

/**
 * Sorts an input. `base`: what relative addresses are relative to where there is no file system (a page's address); `windows`: how file:
 * URLs become paths.
 */
export function inputKind(input: ModelInput, base?: string, windows = false): InputKind {
  if (typeof input === "string") {
    if (input === "") throw bad("an empty text");
    if (/^(https?|blob|data|file):/i.test(input)) return inputKind(parseUrl(input), base, windows);
    return base === undefined ? { kind: "path", path: input } : { kind: "url", url: parseUrl(input, base).href };
  }
  if (isUrl(input))
    return input.protocol === "file:" ? { kind: "path", path: filePath(input, windows) } : { kind: "url", url: input.href };
  if (isBlob(input)) {
    const entry = nameOf(input);
    return { kind: "blobs", entry, files: { [entry]: input } };
  }
  const bytes = bytesOf(input);
  if (bytes) return { kind: "files", files: memoryFiles("model.gguf", { "model.gguf": bytes }) };
  if (typeof input !== "object" || input === null) throw bad(kindOf(input));
  if (typeof (input as ModelFiles).open === "function") return { kind: "files", files: ownFiles(input as ModelFiles) };
  if (!isRecord(input)) throw bad(kindOf(input));
  return named(input);
}

const nameOf = (blob: Blob): string => (blob as File).name || "model.gguf";

/** Several files by name: a folder when there is a config.json, else the one file, or the first part of a split one. */
function named(given: Readonly<Record<string, unknown>>): InputKind {
  const names = Object.keys(given).sort();
  const files: Record<string, Blob | Bytes> = Object.create(null);
  for (const name of names) {
    const file = isBlob(given[name]) ? given[name] : bytesOf(given[name]);
    if (!file) throw bad(`${name}: ${kindOf(given[name])}`);
    files[name] = file;
  }
  const entry = names.includes("config.json") ? "" : (names.find((name) => /\.gguf$/i.test(name)) ?? names[0]);
  if (entry === undefined) throw bad("an object without files");
  const blobs = names.every((name) => isBlob(files[name]));
  return blobs
    ? { kind: "blobs", entry, files: files as Record<string, Blob> }
    : { kind: "files", files: memoryFiles(entry, files) };
}

/**
 * The path of a file: URL, as node:url has it. A drive letter begins a path; a host is a Windows share ("\\\\server\\share"). Elsewhere a
 * host, and an escaped separator anywhere, would name another file than the one meant: "bad-input".
 */
export function filePath(url: URL, windows: boolean): string {
  const refuse = (why: string) =>
    new CpmError("bad-input", `model: ${url.href.slice(0, 500)}: ${why}; give a path instead`, {
      field: "model",
      found: "a file: URL",
    });
  if ((windows ? /%2f|%5c/i : /%2f/i).test(url.pathname)) throw refuse("a file: URL with an escaped path separator");
  const path = decoded(url.pathname);
  if (url.hostname !== "" && !windows)
    throw refuse(`a file: URL with a host ("${url.hostname}") names a Windows share, and this is not Windows`);
  if (url.hostname !== "") return `\\\\${url.hostname}${path.replaceAll("/", "\\")}`;
  if (/^\/[A-Za-z]:/.test(path)) return path.slice(1);
  if (windows) throw refuse("on Windows a file: URL names a drive or a share");
  return path;
}
