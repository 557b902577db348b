// Sources over what is already in this process: byte arrays and Blobs.
import { CpmError } from "../errors.ts";
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

/** A source over bytes in memory. Reads are copies, so that a caller may keep or transfer them. */
export function bytesSource(name: string, data: ArrayBuffer | Uint8Array): Source {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const source = { name, size: bytes.length };
  return {
    ...source,
    async read(offset, length) {
      checkRange(source, offset, length);
      return bytes.slice(offset, offset + length);
    },
    async readInto(target, offset) {
      checkRange(source, offset, target.length);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async close() {},
  };
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
      const buffer = await blob
        .slice(offset, offset + length)
        .arrayBuffer()
        .catch((cause: unknown) => Promise.reject(fail(cause instanceof Error ? cause.message : String(cause), cause)));
      signal?.throwIfAborted();
      if (buffer.byteLength !== length) throw fail(`only ${buffer.byteLength} could be read`);
      return new Uint8Array(buffer);
    },
    async close() {},
  };
}

/** Named Blobs or byte arrays as the files of a model; `entry` is the first one opened. */
export function memoryFiles(entry: string, files: Readonly<Record<string, Blob | ArrayBuffer | Uint8Array>>): ModelFiles {
  return {
    entry,
    async open(name) {
      const data = Object.hasOwn(files, name) ? files[name] : undefined;
      if (data === undefined) return undefined;
      return data instanceof Uint8Array || data instanceof ArrayBuffer ? bytesSource(name, data) : blobSource(name, data);
    },
    async close() {},
  };
}
