// A large output: written piece by piece under another name, and renamed when it is whole.
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import process from "node:process";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { checkPlace } from "./output.ts";

/** An output that is not there yet. A file under its final name is always whole. */
export class PartialFile implements AsyncDisposable {
  readonly #path: string;
  readonly #partial: string;
  readonly #option: string;
  #handle: FileHandle | undefined;

  private constructor(path: string, partial: string, option: string, handle: FileHandle) {
    this.#path = path;
    this.#partial = partial;
    this.#option = option;
    this.#handle = handle;
  }

  /** Rejects with CpmError "io" where `path` exists and `force` is not given, or cannot be written. `option` names it in messages. */
  static async create(path: string, option: string, force: boolean): Promise<PartialFile> {
    const found = await stat(path).catch(() => undefined);
    await checkPlace(path, option);
    if (found && !force)
      throw new CpmError("io", `${path}: there is a file already; give another name, or --force to replace it`, { file: path });
    const partial = `${path}.${process.pid}.partial`;
    const handle = await open(partial, "w").catch((cause: unknown) => {
      throw failed(path, option, cause);
    });
    return new PartialFile(path, partial, option, handle);
  }

  /** Appends. Rejects with CpmError "io" (a full disk). */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) done += (await this.#handle!.write(bytes, done)).bytesWritten;
    } catch (cause) {
      throw failed(this.#path, this.#option, cause);
    }
  }

  /** Gives the file its name, when all of it is on the disk. */
  async finish(): Promise<void> {
    try {
      await this.#handle!.sync();
      await this.#handle!.close();
      this.#handle = undefined;
      await rename(this.#partial, this.#path);
    } catch (cause) {
      throw failed(this.#path, this.#option, cause);
    }
  }

  /** What was not finished is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close().catch(() => {});
    await rm(this.#partial, { force: true }).catch(() => {});
  }
}

function failed(path: string, option: string, cause: unknown): CpmError {
  const { code } = cause as NodeJS.ErrnoException;
  const why = code === "ENOSPC" || code === "EDQUOT" ? "the disk is full" : reasonOf(cause);
  return new CpmError("io", `${path}: could not be written (${why}); check ${option}`, { file: path }, { cause });
}
