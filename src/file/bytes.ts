// Sources over what is already in this process: byte arrays and Blobs.
import { bytesOf, copyOf, isBlob } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";
import type { ModelFiles, Source } from "./source.ts";

/** Throws "io" when [offset, offset + length) is not inside the source. */
export function checkRange(source: { readonly name: string; readonly size: number }, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= source.size))
    throw new CpmError(
      "io",
      `${source.name}: bytes ${offset} to ${offset + length} asked for, the file has ${source.size}; it is shorter than it says`,
      { file: source.name, offset },
    );
}

/** Bytes as callers hold them: a buffer, shared or not, or any view of one. */
export type Bytes = ArrayBufferLike | ArrayBufferView;

/** A source over bytes in memory, which stay the caller's. Reads are copies, so that a reader may keep or transfer them. */
export function bytesSource(name: string, data: Bytes): Source {
  const bytes = bytesOf(data)!;
  const source = { name, size: bytes.length };
  return {
    ...source,
    async read(offset, length) {
      checkRange(source, offset, length);
      return copyOf(bytes.subarray(offset, offset + length));
    },
    async readInto(target, offset) {
      checkRange(source, offset, target.length);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async close() {},
  };
}

/** A Blob's bytes. A test's DOM may have Blobs that only its FileReader reads. */
async function contentOf(blob: Blob): Promise<ArrayBuffer> {
  if (typeof blob.arrayBuffer === "function") return blob.arrayBuffer();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as ArrayBuffer);
    reader.onerror = () => reject(reader.error);
    reader.readAsArrayBuffer(blob);
  });
}

/** A source over a Blob or File: read in slices, never as a whole. */
export function blobSource(name: string, blob: Blob): Source {
  const source = { name, size: blob.size };
  return {
    ...source,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      const fail = (why: string, cause?: unknown) =>
        new CpmError(
          "io",
          `${name}: ${length} bytes at ${offset}: ${why}; choose the file again`,
          { file: name, offset },
          { cause },
        );
      const buffer = await contentOf(blob.slice(offset, offset + length)).catch((cause: unknown) =>
        Promise.reject(fail(reasonOf(cause), cause)),
      );
      signal?.throwIfAborted();
      if (buffer.byteLength !== length) throw fail(`only ${buffer.byteLength} could be read`);
      return new Uint8Array(buffer);
    },
    async close() {},
  };
}

/** Named Blobs or byte arrays as the files of a model; `entry` is the first one opened. */
export function memoryFiles(entry: string, files: Readonly<Record<string, Blob | Bytes>>): ModelFiles {
  return {
    entry,
    async open(name) {
      const data = Object.hasOwn(files, name) ? files[name] : undefined;
      if (data === undefined) return undefined;
      return isBlob(data) ? blobSource(name, data) : bytesSource(name, data);
    },
    async close() {},
  };
}
