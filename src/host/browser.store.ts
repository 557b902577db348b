// Pulled files in a browser's own file system (OPFS): cpm/blobs/HASH/ holds a file in pieces, cpm/refs/ says what is whole.
// Pieces are files of their own, so that a page may be reloaded at any time and nothing is ever copied; a model is a Blob over them.
import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { CpmError } from "../errors.ts";
import type { HubFile } from "../hub/choose.ts";
import type { Held, Store, Writing } from "../hub/store.ts";

/** Bytes of a piece: what a reload may lose, at most. */
const PIECE_BYTES = 8 << 20;

/** A model in the store. */
export interface StoredModel {
  readonly repo: string;
  readonly revision: string;
  readonly commit: string;
  /** What is loaded: a file, or "" for all of them. */
  readonly entry: string;
  readonly files: readonly HubFile[];
  /** When it was last pulled or loaded, in milliseconds since 1970. */
  readonly used: number;
}

const hashOf = ({ oid, size }: HubFile) =>
  oid.length === 64 ? sha256.create() : sha1.create().update(new TextEncoder().encode(`blob ${size}\0`));

/** Says whose bytes a blob's folder holds, from its beginning on. */
const OWNER = "of.json";

/** A file whose bytes are here, or a beginning of it. */
export interface Kept {
  readonly repo: string;
  readonly path: string;
  readonly oid: string;
  readonly size: number;
  /** Bytes that a pull would not fetch again. */
  readonly bytes: number;
}

const pieceName = (index: number): string => String(index).padStart(6, "0");

function failure(error: unknown): unknown {
  if (error instanceof CpmError || !(error instanceof Error)) return error;
  if (error.name === "QuotaExceededError")
    return new CpmError(
      "io",
      "this browser gives the page no more room: remove models, or free disk space",
      { field: "storage" },
      { cause: error },
    );
  return error;
}

export class OpfsStore implements Store {
  readonly #root: Promise<FileSystemDirectoryHandle>;
  readonly #linked: HubFile[] = [];

  /** Throws CpmError "unsupported" where the browser has no such file system. */
  constructor() {
    const storage = globalThis.navigator?.storage;
    if (typeof storage?.getDirectory !== "function")
      throw new CpmError(
        "unsupported",
        "this page has no storage of its own (OPFS): serve it over https or from localhost, or load the model by its URL",
      );
    this.#root = storage.getDirectory().then((root) => root.getDirectoryHandle("cpm", { create: true }));
    this.#root.catch(() => {});
  }

  async #folder(name: "blobs" | "refs"): Promise<FileSystemDirectoryHandle> {
    return (await this.#root).getDirectoryHandle(name, { create: true });
  }

  async #pieces(oid: string): Promise<File[]> {
    const folder = await (await this.#folder("blobs")).getDirectoryHandle(oid).catch(() => undefined);
    const pieces: File[] = [];
    for (let i = 0; folder; i++) {
      const handle = await folder.getFileHandle(pieceName(i)).catch(() => undefined);
      if (!handle) break;
      const file = await handle.getFile();
      // A piece that was being written when the page went has nothing in it.
      if (file.size === 0) break;
      pieces.push(file);
      if (file.size < PIECE_BYTES) break;
    }
    return pieces;
  }

  /** A whole file; undefined when it is not there. */
  async blob(file: HubFile): Promise<Blob | undefined> {
    const blob = new Blob(await this.#pieces(file.oid));
    return blob.size === file.size ? blob : undefined;
  }

  async has(_: string, file: HubFile): Promise<boolean> {
    return (await this.blob(file)) !== undefined && (await this.#isWhole(file.oid));
  }

  async #isWhole(oid: string): Promise<boolean> {
    const folder = await (await this.#folder("blobs")).getDirectoryHandle(oid).catch(() => undefined);
    return (await folder?.getFileHandle("whole").catch(() => undefined)) !== undefined;
  }

  async write(repo: string, file: HubFile, waits: () => void, signal?: AbortSignal): Promise<Writing | undefined> {
    const release = await lock(`cpm-wasm ${file.oid}`, waits, signal);
    try {
      if (await this.has(repo, file)) {
        release();
        return undefined;
      }
      return await this.#writing(repo, file, release, signal);
    } catch (error) {
      release();
      throw failure(error);
    }
  }

  async #writing(repo: string, file: HubFile, release: () => void, signal: AbortSignal | undefined): Promise<Writing> {
    const blobs = await this.#folder("blobs");
    const folder = await blobs.getDirectoryHandle(file.oid, { create: true });
    await writeJson(folder, OWNER, { repo, path: file.path, size: file.size });
    let hash = hashOf(file);
    let index = 0;
    let at = 0;
    for (const piece of await this.#pieces(file.oid)) {
      // Only full pieces are gone on from.
      if (piece.size !== PIECE_BYTES || at + piece.size > file.size) break;
      signal?.throwIfAborted();
      hash.update(new Uint8Array(await piece.arrayBuffer()));
      at += piece.size;
      index++;
    }
    let piece = new Uint8Array(Math.min(PIECE_BYTES, Math.max(1, file.size)));
    let filled = 0;
    const flush = async () => {
      if (filled === 0) return;
      const handle = await folder.getFileHandle(pieceName(index), { create: true });
      // What is written is there when it is closed, whole, and not before.
      const out = await handle.createWritable();
      await out.write(piece.slice(0, filled));
      await out.close();
      index++;
      filled = 0;
    };
    const begin = async () => {
      for (let i = 0; ; i++) {
        const gone = await folder.removeEntry(pieceName(i)).then(
          () => true,
          () => false,
        );
        if (!gone) break;
      }
      hash = hashOf(file);
      index = filled = 0;
    };
    return {
      at,
      async take(bytes) {
        hash.update(bytes);
        try {
          for (let done = 0; done < bytes.length; ) {
            const some = bytes.subarray(done, done + piece.length - filled);
            piece.set(some, filled);
            filled += some.length;
            done += some.length;
            if (filled === PIECE_BYTES) await flush();
          }
        } catch (error) {
          throw failure(error);
        }
      },
      restart: begin,
      async finish() {
        const found = bytesToHex(hash.digest());
        if (found !== file.oid) {
          await begin();
          throw new CpmError(
            "io",
            `${repo}, ${file.path}: the hash of what came is ${found}, not ${file.oid}: it was damaged on its way, or the server sent another file; pull it again`,
            { file: file.path, expected: file.oid, found },
          );
        }
        try {
          await flush();
          await folder.getFileHandle("whole", { create: true });
        } catch (error) {
          throw failure(error);
        }
      },
      async close() {
        piece = new Uint8Array(0);
        release();
      },
    };
  }

  /** Makes room by removing models that were not used for the longest time. Rejects with "io", in words, where that is not enough. */
  async reserve(bytes: number): Promise<void> {
    for (;;) {
      const { quota = Infinity, usage = 0 } = await navigator.storage.estimate();
      if (bytes <= quota - usage) return;
      const oldest = (await this.list()).sort((a, b) => a.used - b.used)[0];
      if (!oldest)
        throw new CpmError(
          "io",
          `this browser gives the page ${mb(quota - usage)} MB more, and the model needs ${mb(bytes)} MB; free disk space, or choose a smaller model`,
          { field: "storage", expected: String(bytes), found: String(Math.max(0, quota - usage)) },
        );
      await this.remove(oldest);
    }
  }

  /** Names lie in a model's note, which is written when all its files are there. */
  async link(_repo: string, _commit: string, file: HubFile): Promise<void> {
    this.#linked.push(file);
  }

  async point(): Promise<void> {}

  async held(): Promise<Held | undefined> {
    return undefined;
  }

  async text(): Promise<string | undefined> {
    return undefined;
  }

  where(_repo: string, _commit: string, path: string): string {
    return path;
  }

  /** What was linked since the last call. */
  linked(): HubFile[] {
    return this.#linked.splice(0);
  }

  /** Says that a model is whole: after all its files are. */
  async note(model: StoredModel): Promise<void> {
    await writeJson(await this.#folder("refs"), noteName(model), model);
  }

  /** All files that are here, whole or not. */
  async kept(): Promise<Kept[]> {
    const found: Kept[] = [];
    for await (const handle of (await this.#folder("blobs")).values()) {
      if (handle.kind !== "directory") continue;
      const owner = await (handle as FileSystemDirectoryHandle).getFileHandle(OWNER).catch(() => undefined);
      if (!owner) continue;
      try {
        const { repo, path, size } = JSON.parse(await (await owner.getFile()).text()) as Kept;
        const pieces = await this.#pieces(handle.name);
        const whole = await this.#isWhole(handle.name);
        const bytes = whole ? size : pieces.filter((piece) => piece.size === PIECE_BYTES).length * PIECE_BYTES;
        found.push({ repo, path, size, oid: handle.name, bytes });
      } catch {
        // Cut short: of nobody.
      }
    }
    return found;
  }

  /** Removes files that no model needs. Gives the bytes that were freed. */
  async discard(files: readonly Kept[]): Promise<number> {
    const needed = new Set((await this.list()).flatMap((model) => model.files.map(({ oid }) => oid)));
    const blobs = await this.#folder("blobs");
    let freed = 0;
    for (const { oid, bytes } of files) {
      if (needed.has(oid)) continue;
      await blobs.removeEntry(oid, { recursive: true }).catch(() => {});
      freed += bytes;
    }
    return freed;
  }

  async list(): Promise<StoredModel[]> {
    const models: StoredModel[] = [];
    for await (const handle of (await this.#folder("refs")).values()) {
      if (handle.kind !== "file") continue;
      try {
        models.push(JSON.parse(await (await handle.getFile()).text()) as StoredModel);
      } catch {
        // Cut short: not whole.
      }
    }
    return models;
  }

  /** Removes a model; files that another one needs stay. Gives the bytes that were freed. */
  async remove(model: StoredModel): Promise<number> {
    await (await this.#folder("refs")).removeEntry(noteName(model)).catch(() => {});
    const kept = new Set((await this.list()).flatMap(({ files }) => files.map(({ oid }) => oid)));
    const blobs = await this.#folder("blobs");
    let freed = 0;
    for (const { oid, size } of model.files) {
      if (kept.has(oid)) continue;
      await blobs.removeEntry(oid, { recursive: true }).catch(() => {});
      freed += size;
    }
    return freed;
  }
}

async function writeJson(folder: FileSystemDirectoryHandle, name: string, value: unknown): Promise<void> {
  const out = await (await folder.getFileHandle(name, { create: true })).createWritable();
  await out.write(JSON.stringify(value));
  await out.close();
}

const mb = (bytes: number): string => (Math.max(0, bytes) / 1e6).toFixed(0);

const noteName = ({ repo, revision, entry }: StoredModel): string => `${encodeURIComponent(`${repo}@${revision}#${entry}`)}.json`;

/** One tab writes a file at a time. Gives what lets go. */
async function lock(name: string, waits: () => void, signal?: AbortSignal): Promise<() => void> {
  const { locks } = navigator;
  if (!locks) return () => {};
  const take = (options: LockOptions) =>
    new Promise<(() => void) | undefined>((resolve, reject) => {
      locks
        .request(name, options, (held) => {
          if (!held) return resolve(undefined);
          return new Promise<void>((release) => resolve(release));
        })
        .catch(reject);
    });
  const now = await take({ ifAvailable: true });
  if (now) return now;
  waits();
  return (await take(signal ? { signal } : {}))!;
}
