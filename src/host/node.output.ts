// Files and folders that are written on disk: under a hidden temporary name beside the final one until they are whole.
import { randomUUID } from "node:crypto";
import { type FileHandle, link, lstat, mkdir, open, readdir, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, sep } from "node:path";
import { CpmError } from "../errors.ts";
import type { Output, OutputFolder } from "../file/write/output.ts";
import { reasonOf } from "../shown.ts";
import { makeFolder } from "./node.folder.ts";

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

function failure(path: string, cause: unknown): CpmError {
  if (cause instanceof CpmError) return cause;
  const full = codeOf(cause) === "ENOSPC" || codeOf(cause) === "EDQUOT";
  const what = full ? "the disk is full; make room and start again" : `${reasonOf(cause)}; check the path and the permissions`;
  return new CpmError("io", `${path}: ${what}`, { file: path }, { cause });
}

const exists = (path: string): CpmError =>
  new CpmError("io", `${path}: there is a file or folder of this name; choose another, or overwrite it with --force`, {
    file: path,
    expected: "a name that is free",
    found: "something of that name",
  });

async function within<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw failure(path, cause);
  }
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === "ENOENT") return false;
      throw failure(path, error);
    },
  );

/** @throws CpmError "io" where the folder that `path` lies in is not there: a mistyped path would make a tree that nobody looks for. */
async function checkFolder(path: string): Promise<void> {
  const folder = dirname(path);
  const what = await stat(folder).then(
    (found) => (found.isDirectory() ? undefined : `${folder} is no folder`),
    (cause: unknown) => {
      if (codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR") return `there is no folder ${folder}; make it first`;
      throw failure(path, cause);
    },
  );
  if (what === undefined) return;
  throw new CpmError("io", `${path}: ${what}, or choose another path`, { file: path, expected: "a folder", found: folder });
}

/**
 * Checks what an output made of the model at `source` would replace: never that model; with `force` no folder that it lies in, no folder by a
 * file, and no folder but an empty one or a model's.
 * @throws CpmError "bad-input" where the model would be lost, "io" for the others
 */
export async function checkReplaced(
  path: string,
  kind: "file" | "folder",
  source: string | undefined,
  force: boolean,
): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  if (!there) return;
  const refuse = (code: "bad-input" | "io", what: string) => {
    throw new CpmError(code, `${path}: ${what}; choose another name`, { file: path });
  };
  const [target, from] = await Promise.all([path, source].map((one) => one && realpath(one).catch(() => undefined)));
  const way = target && from ? relative(target, from) : undefined;
  if (way === "") refuse("bad-input", "source and target are the same");
  if (!force) return;
  if (way !== undefined && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way))
    refuse("bad-input", "the source lies in it");
  if (!there.isDirectory()) return;
  if (kind === "file") refuse("io", "this is a folder, and a file is written");
  const names = await within(path, () => readdir(path));
  if (names.length > 0 && !names.includes("config.json")) refuse("io", "--force replaces no folder that is not a model's");
}

export interface OutputOptions {
  /** Replace what has the name. Default false: "io". */
  readonly force?: boolean | undefined;
  /** Bytes that will be written, where they are known: "io" at once when the disk has less. */
  readonly size?: number | undefined;
  /**
   * Temporary name of a run that can be taken up again: it stays when the output is discarded, and what is in it stays when it is
   * opened. Default: a name of its own, which goes with the output.
   */
  readonly temporary?: string | undefined;
}

/** Checks that `path` may be written: its folder is there, its name is free or may be replaced, the disk has room. @throws CpmError "io" */
export async function checkFree(path: string, { force = false, size }: OutputOptions = {}): Promise<void> {
  await checkFolder(path);
  if (!force && (await isThere(path))) throw exists(path);
  if (size === undefined) return;
  // Not every runtime and file system tells.
  const found = await statfs(dirname(path)).catch(() => undefined);
  const free = found && found.blocks > 0 ? found.bavail * found.bsize : Infinity;
  if (free < size)
    throw new CpmError("io", `${path}: ${size} bytes are needed, ${free} are free; make room or write to another disk`, {
      file: path,
      expected: `${size} bytes`,
      found: `${free}`,
    });
}

/**
 * A file on disk. Its folder must exist.
 * @throws CpmError "io" when a file of that name is there and `force` is not given, when the disk is too small, when it cannot be written.
 */
export async function fileOutput(path: string, options: OutputOptions = {}): Promise<Output> {
  await checkFree(path, options);
  const temporary = options.temporary ?? join(dirname(path), `.${basename(path)}.${randomUUID().slice(0, 8)}.tmp`);
  // Not in append mode: writes go where they are told.
  const opened = await within(path, async () =>
    options.temporary !== undefined && (await isThere(temporary)) ? open(temporary, "r+") : open(temporary, "wx+"),
  );
  let handle: FileHandle | undefined = opened;
  const live = (): FileHandle => {
    if (!handle) throw new CpmError("io", `${path}: the file was closed before`, { file: path });
    return handle;
  };
  return {
    name: path,
    write: (at, bytes) =>
      within(path, async () => {
        for (let done = 0; done < bytes.length; )
          done += (await live().write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      }),
    sync: () => within(path, () => live().datasync()),
    commit: () =>
      within(path, async () => {
        await live().sync();
        await live().close();
        handle = undefined;
        await named(temporary, path, options.force ?? false);
      }),
    async discard() {
      const open = handle;
      handle = undefined;
      if (!open) return;
      await open.close();
      if (options.temporary === undefined) await rm(temporary, { force: true });
    },
  };
}

/** Renames; without force never over a file that appeared meanwhile. */
async function named(temporary: string, path: string, force: boolean): Promise<void> {
  if (force) return await rename(temporary, path);
  try {
    await link(temporary, path);
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw exists(path);
    // No hard links here.
    if (await isThere(path)) throw exists(path);
    return await rename(temporary, path);
  }
  await rm(temporary, { force: true });
}

/** A folder on disk; with `temporary`, files that an earlier run has committed in it stay. Throws as `fileOutput` does. */
export async function folderOutput(path: string, options: OutputOptions = {}): Promise<OutputFolder> {
  await checkFree(path, options);
  const temporary = options.temporary ?? join(dirname(path), `.${basename(path)}.${randomUUID().slice(0, 8)}.tmp`);
  await within(path, () => (options.temporary === undefined ? mkdir(temporary) : makeFolder(temporary)));
  let ended = false;
  return {
    name: path,
    async file(name) {
      if (name === "" || /[/\\]/.test(name) || name.startsWith("."))
        throw new CpmError("bad-input", `${path}: "${name}" is no name of a file in a folder`, { file: path, found: name });
      return await fileOutput(join(temporary, name), { force: true });
    },
    commit: () =>
      within(path, async () => {
        ended = true;
        if (await isThere(path)) {
          if (!options.force) throw exists(path);
          const old = `${temporary}.old`;
          await rename(path, old);
          await rename(temporary, path);
          await rm(old, { recursive: true, force: true });
        } else await rename(temporary, path);
      }),
    async discard() {
      if (!ended && options.temporary === undefined) await rm(temporary, { recursive: true, force: true });
      ended = true;
    },
  };
}
