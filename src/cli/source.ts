// A file as the library's wings read it: in ranges, never as a whole.
import { open } from "node:fs/promises";
import { CpmError, type Source } from "../index.ts";
import { reasonOf } from "../shown.ts";

/** Opens a file for reading in ranges; `close()` it. Rejects with CpmError "io", naming `option`. */
export async function fileSource(path: string, option: string): Promise<Source> {
  const failed = (cause: unknown) =>
    new CpmError("io", `${path}: could not be read (${reasonOf(cause)}); check ${option}`, { file: path }, { cause });
  const handle = await open(path).catch((cause: unknown) => {
    throw failed(cause);
  });
  const close = () => handle.close();
  const facts = await handle.stat();
  if (!facts.isFile()) {
    await close();
    throw failed(new Error("this is no file"));
  }
  return {
    name: path,
    size: facts.size,
    async read(offset, length, signal) {
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        signal?.throwIfAborted();
        const { bytesRead } = await handle
          .read(bytes, done, Math.min(length - done, 1 << 30), offset + done)
          .catch((cause: unknown) => {
            throw failed(cause);
          });
        if (bytesRead === 0) throw failed(new Error(`it ends before byte ${offset + length}`));
        done += bytesRead;
      }
      return bytes;
    },
    close,
  };
}
