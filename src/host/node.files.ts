// Files on disk, through node:fs, which Node, Deno and Bun have.
import type { Stats } from "node:fs";
import { type FileHandle, open as openFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CpmError } from "../errors.ts";
import { checkRange } from "../file/bytes.ts";
import type { ModelFiles, Source } from "../file/source.ts";
import { reasonOf } from "../shown.ts";

function failure(path: string, cause: unknown): CpmError {
  const why = reasonOf(cause);
  return new CpmError("io", `${path}: ${why}; check the path and the permissions`, { file: path }, { cause });
}

const missing = (error: unknown): boolean => ["ENOENT", "ENOTDIR"].includes((error as { code?: string }).code ?? "");

/** Only regular files have a size and bytes that stay; the others wait for ever, end nowhere, or act on being read. */
function refuseSpecial(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const kind = stats.isDirectory()
    ? "a folder"
    : stats.isFIFO()
      ? "a pipe"
      : stats.isSocket()
        ? "a socket"
        : stats.isCharacterDevice() || stats.isBlockDevice()
          ? "a device"
          : "no regular file";
  throw new CpmError("io", `${path}: expected a regular file, found ${kind}; give a file, or save what it gives to one`, {
    file: path,
    expected: "a regular file",
    found: kind,
  });
}

/** A model on disk: a file with its siblings, or a folder. Throws "io" for what cannot be read. */
export async function pathFiles(path: string): Promise<ModelFiles> {
  const folder = await stat(path).then(
    (s) => s.isDirectory(),
    (error: unknown) => {
      if (missing(error)) return false;
      throw failure(path, error);
    },
  );
  const parent = folder ? path : dirname(path);
  const handles: FileHandle[] = [];
  let closed = false;
  const close = async () => {
    closed = true;
    await Promise.all(handles.splice(0).map((handle) => handle.close()));
  };
  return {
    entry: folder ? "" : basename(path),
    where: (name) => join(parent, name),
    async open(name) {
      const full = join(parent, name);
      try {
        // Before it is opened: opening a FIFO waits for a writer, and opening a device may do something.
        refuseSpecial(full, await stat(full));
        const handle = await openFile(full, "r");
        handles.push(handle);
        // Whoever asked may have gone while the file was opened.
        if (closed) {
          await close();
          return undefined;
        }
        const opened = await handle.stat();
        refuseSpecial(full, opened);
        return fileSource(full, handle, opened.size);
      } catch (error) {
        if (error instanceof CpmError) throw error;
        if (missing(error)) return undefined;
        throw failure(full, error);
      }
    },
    close,
  };
}

function fileSource(name: string, handle: FileHandle, size: number): Source {
  const source = { name, size };
  const readInto = async (target: Uint8Array, offset: number, signal?: AbortSignal) => {
    checkRange(source, offset, target.length);
    for (let done = 0; done < target.length; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle
        .read(target, done, target.length - done, offset + done)
        .catch((error: unknown) => Promise.reject(failure(name, error)));
      if (bytesRead === 0)
        throw new CpmError("io", `${name}: the file became shorter while it was read; load it again`, {
          file: name,
          offset: offset + done,
        });
      done += bytesRead;
    }
  };
  return {
    ...source,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      const bytes = new Uint8Array(length);
      await readInto(bytes, offset, signal);
      return bytes;
    },
    readInto,
    close: () => handle.close(),
  };
}
