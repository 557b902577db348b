// The cache of Hugging Face's tools on disk, which Python and llama.cpp share: models--org--repo with refs, snapshots and blobs.
// Layout: huggingface.co/docs/huggingface_hub/guides/manage-cache.
import { createHash, type Hash } from "node:crypto";
import {
  copyFile,
  type FileHandle,
  lstat,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  statfs,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join, relative, sep } from "node:path";
import process from "node:process";
import { after, cancelTimer, type Timer } from "../clock.ts";
import { CpmError } from "../errors.ts";
import type { HubFile } from "../hub/choose.ts";
import { isInside } from "../hub/ref.ts";
import type { Held, Store, Writing } from "../hub/store.ts";
import { makeFolder } from "./node.folder.ts";

/** How often the holder of a lock says that it lives, how long its silence is taken for death, how often others look. */
const HEARTBEAT_MS = 2000;
const DEAD_MS = 30_000;
const LOOK_MS = 200;
const COMMIT = /^[0-9a-f]{40}$/;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
const isMissing = (error: unknown): boolean => codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR";

const folderOf = (repo: string): string => `models--${repo.replace("/", "--")}`;

function failure(path: string, cause: unknown): unknown {
  const code = codeOf(cause);
  if (code === undefined || cause instanceof CpmError) return cause;
  const full = code === "ENOSPC" || code === "EDQUOT";
  const what = full
    ? "the disk is full; make room and pull again: it goes on where it ended"
    : `${(cause as Error).message}; check the path and the permissions`;
  return new CpmError("io", `${path}: ${what}`, { file: path }, { cause });
}

async function within<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw failure(path, cause);
  }
}

/** sha256 of large files; of small ones what git calls them: sha1 with a head. */
function hashOf({ oid, size }: HubFile): Hash {
  return oid.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

/** Reads a file through `hash`. */
async function digest(path: string, hash: Hash, signal?: AbortSignal): Promise<void> {
  const handle = await open(path, "r");
  try {
    const block = new Uint8Array(1 << 20);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(block, 0, block.length, null);
      if (bytesRead === 0) return;
      hash.update(block.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

/** A lock that is a file: who holds it touches it, and a dead holder's is taken. */
class Lock {
  readonly #path: string;
  #timer: Timer | undefined;

  private constructor(path: string) {
    this.#path = path;
    this.#beat();
  }

  #beat(): void {
    this.#timer = after(HEARTBEAT_MS, () => {
      const now = new Date();
      utimes(this.#path, now, now).catch(() => {});
      this.#beat();
    });
  }

  static async take(path: string, waits: () => void, signal?: AbortSignal): Promise<Lock> {
    await makeFolder(dirname(path));
    const mark = JSON.stringify({ pid: process.pid, host: hostname() });
    for (;;) {
      signal?.throwIfAborted();
      try {
        await writeFile(path, mark, { flag: "wx" });
        return new Lock(path);
      } catch (error) {
        if (codeOf(error) !== "EEXIST") throw error;
      }
      if (await isDead(path)) {
        // Whoever renames it has it; others find it gone.
        const grave = `${path}.${process.pid}.dead`;
        await rename(path, grave).then(
          () => rm(grave, { force: true }),
          () => {},
        );
        continue;
      }
      waits();
      await new Promise<void>((resolve) => after(LOOK_MS, resolve));
    }
  }

  async release(): Promise<void> {
    cancelTimer(this.#timer);
    await rm(this.#path, { force: true });
  }
}

async function isDead(path: string): Promise<boolean> {
  try {
    const [text, { mtimeMs }] = [await readFile(path, "utf8"), await stat(path)];
    if (Date.now() - mtimeMs > DEAD_MS) return true;
    const { pid, host } = JSON.parse(text) as { pid?: unknown; host?: unknown };
    if (host !== hostname() || typeof pid !== "number" || pid === process.pid) return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return codeOf(error) === "ESRCH";
  }
}

/** A pulled blob, for listing and removing. */
export interface CachedRepo {
  readonly repo: string;
  /** Bytes on disk, unfinished downloads included. */
  readonly bytes: number;
  readonly unfinishedBytes: number;
  readonly snapshots: readonly {
    readonly commit: string;
    readonly refs: readonly string[];
    readonly files: readonly CachedFile[];
  }[];
}

export interface CachedFile {
  readonly path: string;
  readonly bytes: number;
  /** The blob's name; undefined where there is no link (copies, on Windows). */
  readonly oid: string | undefined;
}

export class DiskStore implements Store {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  #at(repo: string, ...parts: string[]): string {
    return join(this.folder, folderOf(repo), ...parts);
  }

  where(repo: string, commit: string, path: string): string {
    return this.#at(repo, "snapshots", commit, ...path.split("/"));
  }

  async has(repo: string, file: HubFile): Promise<boolean> {
    return stat(this.#at(repo, "blobs", file.oid)).then(
      (found) => found.isFile() && found.size === file.size,
      () => false,
    );
  }

  async reserve(bytes: number): Promise<void> {
    await within(this.folder, () => makeFolder(this.folder));
    // Not every runtime and file system tells.
    const found = await statfs(this.folder).catch(() => undefined);
    const free = found && found.blocks > 0 ? found.bavail * found.bsize : Infinity;
    if (free < bytes)
      throw new CpmError(
        "io",
        `${this.folder}: ${bytes} bytes are needed, ${free} are free; make room, or set HF_HUB_CACHE to another disk`,
        { file: this.folder },
      );
  }

  async write(repo: string, file: HubFile, waits: () => void, signal?: AbortSignal): Promise<Writing | undefined> {
    const blob = this.#at(repo, "blobs", file.oid);
    const partial = `${blob}.incomplete`;
    return within(partial, async () => {
      await makeFolder(dirname(blob));
      const lock = await Lock.take(join(this.folder, ".locks", folderOf(repo), `${file.oid}.cpm`), waits, signal);
      let handle: FileHandle | undefined;
      try {
        if (await this.has(repo, file)) {
          await lock.release();
          return undefined;
        }
        handle = await open(partial, "a+");
        let { size } = await handle.stat();
        let hash = hashOf(file);
        // What is there already is part of the hash; more than there should be is no beginning of this file.
        if (size > file.size) {
          await handle.truncate(0);
          size = 0;
        } else if (size > 0) await digest(partial, hash, signal);
        const opened = handle;
        const begin = async () => {
          await opened.truncate(0);
          hash = hashOf(file);
        };
        let closed = false;
        const close = async () => {
          if (closed) return;
          closed = true;
          try {
            await opened.close();
            // Nothing is no beginning.
            if ((await lstat(partial).catch(() => undefined))?.size === 0) await rm(partial, { force: true });
          } finally {
            await lock.release();
          }
        };
        return {
          at: size,
          take: (bytes) =>
            within(partial, async () => {
              for (let done = 0; done < bytes.length; )
                done += (await opened.write(bytes, done, bytes.length - done)).bytesWritten;
              hash.update(bytes);
            }),
          restart: () => within(partial, begin),
          finish: () =>
            within(partial, async () => {
              const found = hash.digest("hex");
              if (found !== file.oid) {
                await begin();
                throw new CpmError(
                  "io",
                  `${repo}, ${file.path}: the hash of what came is ${found}, not ${file.oid}: it was damaged on its way, or the server sent another file; pull it again, or use another endpoint`,
                  { file: file.path, expected: file.oid, found },
                );
              }
              await opened.sync();
              await rename(partial, blob);
            }),
          close,
        };
      } catch (error) {
        await handle?.close().catch(() => {});
        await lock.release();
        throw error;
      }
    });
  }

  async link(repo: string, commit: string, file: HubFile): Promise<void> {
    const place = this.where(repo, commit, file.path);
    const blob = this.#at(repo, "blobs", file.oid);
    await within(place, async () => {
      await makeFolder(dirname(place));
      const target = relative(dirname(place), blob);
      if ((await readlink(place).catch(() => undefined)) === target) return;
      // Renamed into place: whoever reads meanwhile sees the old one or the new one.
      const beside = `${place}.${process.pid}.link`;
      await rm(beside, { force: true });
      try {
        await symlink(target, beside);
      } catch (error) {
        if (!["EPERM", "ENOSYS", "EACCES", "UNKNOWN"].includes(codeOf(error) ?? "")) throw error;
        await copyFile(blob, beside);
      }
      await rename(beside, place);
    });
  }

  async point(repo: string, revision: string, commit: string): Promise<void> {
    const place = this.#at(repo, "refs", ...revision.split("/"));
    await within(place, async () => {
      await makeFolder(dirname(place));
      const beside = `${place}.${process.pid}.ref`;
      await writeFile(beside, commit);
      await rename(beside, place);
    });
  }

  async held(repo: string, revision: string): Promise<Held | undefined> {
    const commit = COMMIT.test(revision)
      ? revision
      : await readFile(this.#at(repo, "refs", ...revision.split("/")), "utf8").then(
          (text) => text.trim(),
          () => undefined,
        );
    if (commit === undefined || !COMMIT.test(commit)) return undefined;
    const files = await this.#snapshot(repo, commit);
    return files.length ? { commit, files: files.map(({ path }) => path) } : undefined;
  }

  async text(repo: string, commit: string, path: string): Promise<string | undefined> {
    return readFile(this.where(repo, commit, path), "utf8").catch(() => undefined);
  }

  /** Files of a snapshot whose blobs are there. */
  async #snapshot(repo: string, commit: string): Promise<CachedFile[]> {
    const root = this.#at(repo, "snapshots", commit);
    const names = await readdir(root, { recursive: true }).catch(() => []);
    const files: CachedFile[] = [];
    for (const name of names.sort()) {
      const path = name.split(sep).join("/");
      const full = join(root, name);
      const found = await stat(full).catch(() => undefined);
      if (!found?.isFile() || !isInside(path)) continue;
      const target = await readlink(full).catch(() => undefined);
      files.push({ path, bytes: found.size, oid: target?.split(/[/\\]/).at(-1) });
    }
    return files;
  }

  /** All models in the cache, whoever put them there. */
  async list(): Promise<CachedRepo[]> {
    const names = await within(this.folder, () => readdir(this.folder)).catch((error: unknown) => {
      if (error instanceof CpmError && isMissing(error.cause)) return [];
      throw error;
    });
    const repos: CachedRepo[] = [];
    for (const name of names.sort()) {
      const match = /^models--(.+?)--(.+)$/.exec(name);
      if (match) repos.push(await this.#repo(`${match[1]}/${match[2]}`));
    }
    return repos;
  }

  async #repo(repo: string): Promise<CachedRepo> {
    const root = this.#at(repo, "refs");
    const refs = new Map<string, string[]>();
    for (const name of await readdir(root, { recursive: true }).catch(() => [])) {
      const commit = await readFile(join(root, name), "utf8").catch(() => undefined);
      if (commit) refs.set(commit.trim(), [...(refs.get(commit.trim()) ?? []), name.split(sep).join("/")]);
    }
    const commits = await readdir(this.#at(repo, "snapshots")).catch(() => []);
    const snapshots = [];
    for (const commit of commits.filter((name) => COMMIT.test(name)).sort())
      snapshots.push({ commit, refs: refs.get(commit) ?? [], files: await this.#snapshot(repo, commit) });
    let [bytes, unfinishedBytes] = [0, 0];
    for (const name of await readdir(this.#at(repo, "blobs")).catch(() => [])) {
      const size = await stat(this.#at(repo, "blobs", name)).then(
        (s) => s.size,
        () => 0,
      );
      bytes += size;
      if (name.endsWith(".incomplete")) unfinishedBytes += size;
    }
    return { repo, bytes, unfinishedBytes, snapshots };
  }

  /**
   * Removes files of a snapshot, or (`paths` undefined) all of a repository. Blobs go only when no snapshot refers to them any more.
   * Gives the bytes that were freed.
   */
  async remove(repo: string, commit: string | undefined, paths: readonly string[] | undefined): Promise<number> {
    return within(this.#at(repo), async () => {
      const before = await this.#repo(repo);
      if (paths === undefined) {
        await rm(this.#at(repo), { recursive: true, force: true });
        await rm(join(this.folder, ".locks", folderOf(repo)), { recursive: true, force: true });
        return before.bytes;
      }
      const gone = new Set<string>();
      let freed = 0;
      for (const file of before.snapshots.find((s) => s.commit === commit)?.files ?? []) {
        if (!paths.includes(file.path)) continue;
        await rm(this.where(repo, commit!, file.path), { force: true });
        if (file.oid) gone.add(file.oid);
        else freed += file.bytes;
      }
      const after = await this.#repo(repo);
      const kept = new Set(after.snapshots.flatMap(({ files }) => files.map(({ oid }) => oid)));
      for (const oid of gone) {
        const blob = this.#at(repo, "blobs", oid);
        if (kept.has(oid) || !isInside(oid)) continue;
        freed += await lstat(blob).then(
          (s) => s.size,
          () => 0,
        );
        await rm(blob, { force: true });
      }
      // Nothing is left of it: neither are its refs.
      if (after.snapshots.every(({ files }) => files.length === 0)) await rm(this.#at(repo), { recursive: true, force: true });
      return freed;
    });
  }

  /** Whether a file's bytes have the hash that its blob is named by; undefined where it has no such name. */
  async verify(repo: string, commit: string, file: CachedFile, signal?: AbortSignal): Promise<boolean | undefined> {
    const { oid } = file;
    if (oid === undefined || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(oid)) return undefined;
    const path = this.where(repo, commit, file.path);
    return within(path, async () => {
      const hash = hashOf({ path: file.path, size: file.bytes, oid });
      await digest(path, hash, signal);
      return hash.digest("hex") === oid;
    });
  }
}
