// Files that a caller brings: what they give is checked and copied here, so that nothing further in trusts them.
import { bytesOf, copyOf, isError, kindOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import type { ModelFiles, Source } from "./source.ts";

function broken(name: string, what: string, cause?: unknown): CpmError {
  return new CpmError("io", `${name || "files"}: ${what}; check the ModelFiles that were passed in`, { file: name }, { cause });
}

/** What foreign code throws: as it is where it is typed or the caller's own abort, else "io" with its message. */
function failed(name: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (error instanceof CpmError || (signal?.aborted && error === signal.reason)) return error;
  const why = isError(error) ? error.message : kindOf(error);
  return new CpmError("io", `${name || "files"}: ${why}`, { file: name }, { cause: error });
}

/**
 * A caller's files with their promises held to: sizes are numbers, reads give exactly what was asked for, as bytes of any kind (Buffers,
 * DataViews, shared memory, cached arrays), of which a copy is taken: the caller's memory is never kept, written or transferred.
 */
export function ownFiles(files: ModelFiles): ModelFiles {
  const { entry } = files;
  if (typeof entry !== "string") throw broken("", `entry: expected a text, found ${kindOf(entry)}`);
  return {
    entry,
    async open(name, signal) {
      let source: Source | null | undefined;
      try {
        source = await files.open(name, signal);
      } catch (error) {
        throw failed(name, error, signal);
      }
      return (source ?? undefined) && ownSource(name, source!);
    },
    async close() {
      if (typeof files.close === "function") await files.close();
    },
  };
}

function ownSource(file: string, source: Source): Source {
  if (typeof source !== "object") throw broken(file, `open: expected a source, found ${kindOf(source)}`);
  const { size } = source;
  const name = typeof source.name === "string" && source.name !== "" ? source.name : file;
  if (!Number.isSafeInteger(size) || size < 0) throw broken(name, `size: expected a whole number of bytes, found ${shown(size)}`);
  if (typeof source.read !== "function") throw broken(name, `read: expected a function, found ${kindOf(source.read)}`);
  const { readInto } = source;
  return {
    name,
    size,
    async read(offset, length, signal) {
      let result: unknown;
      try {
        result = await source.read(offset, length, signal);
      } catch (error) {
        throw failed(name, error, signal);
      }
      const bytes = bytesOf(result);
      if (!bytes) throw broken(name, `read: expected bytes, found ${kindOf(result)}`);
      if (bytes.length !== length) throw broken(name, `read gave ${bytes.length} bytes at ${offset} instead of ${length}`);
      return copyOf(bytes);
    },
    ...(typeof readInto === "function"
      ? {
          async readInto(target: Uint8Array, offset: number, signal?: AbortSignal) {
            try {
              await readInto.call(source, target, offset, signal);
            } catch (error) {
              throw failed(name, error, signal);
            }
          },
        }
      : {}),
    ...(typeof source.willRead === "function" ? { willRead: source.willRead.bind(source) } : {}),
    async close() {
      if (typeof source.close === "function") await source.close();
    },
  };
}
