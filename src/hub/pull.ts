// From a name to files in the store: resolve, choose, download, verify, link, and the revision last.
import { CpmError } from "../errors.ts";
import { type Choice, choose, type HubFile, isComplete } from "./choose.ts";
import type { HubClient } from "./client.ts";
import { nameOf, type Ref } from "./ref.ts";
import type { Store } from "./store.ts";

/** How far a pull is. */
export interface PullProgress {
  /** The file that is being fetched. */
  readonly file: string;
  /** Bytes of all files there so far, those of earlier tries included. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** Bytes that this pull itself has fetched: what a rate is made of. */
  readonly fetched: number;
  /** Another process fetches this file: it is waited for. */
  readonly waiting: boolean;
}

export interface PullOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PullProgress) => unknown) | undefined;
  /** Nothing is asked of the network; "io" where the model was not pulled before. */
  readonly offline?: boolean | undefined;
}

export interface Pulled {
  readonly repo: string;
  readonly revision: string;
  readonly commit: string;
  /** What load() takes: a file, or a folder. */
  readonly path: string;
  readonly files: readonly string[];
  /** Bytes of all of them; 0 where nothing was asked of the hub. */
  readonly bytes: number;
  /** Why these files, where the name left it open. */
  readonly why?: string;
}

/** What was pulled before, by us or by others, if it is whole. No network. */
export async function findPulled(store: Store, ref: Ref): Promise<Pulled | undefined> {
  const held = await store.held(ref.repo, ref.revision);
  if (!held) return undefined;
  let choice: Choice<{ readonly path: string }>;
  try {
    choice = choose(
      held.files.map((path) => ({ path })),
      ref,
    );
  } catch (error) {
    if (error instanceof CpmError && error.code === "bad-input") return undefined;
    throw error;
  }
  const index = choice.entry === "" ? await store.text(ref.repo, held.commit, "model.safetensors.index.json") : undefined;
  if (!isComplete(choice, shardsOf(index))) return undefined;
  return pulled(store, ref, held.commit, choice, 0);
}

function shardsOf(index: string | undefined): string[] | undefined {
  try {
    const map = (JSON.parse(index ?? "{}") as { weight_map?: unknown }).weight_map;
    return typeof map === "object" && map !== null ? [...new Set(Object.values(map).filter((v) => typeof v === "string"))] : [];
  } catch {
    return undefined;
  }
}

function pulled(store: Store, ref: Ref, commit: string, choice: Choice<{ readonly path: string }>, bytes: number): Pulled {
  return {
    repo: ref.repo,
    revision: ref.revision,
    commit,
    path: store.where(ref.repo, commit, choice.entry),
    files: choice.files.map(({ path }) => path),
    bytes,
    ...(choice.why === undefined ? {} : { why: choice.why }),
  };
}

/**
 * Fetches what a name stands for and is not there yet. Files are in place only when their hash is right; the revision points to them when
 * all are. Rejects with CpmError "io" (network, disk, another hash), "bad-input" (nothing fits the name), or the signal's reason.
 */
export async function pull(client: HubClient, store: Store, ref: Ref, options: PullOptions = {}): Promise<Pulled> {
  const { signal, onProgress, offline } = options;
  if (offline) {
    const found = await findPulled(store, ref);
    if (found) return found;
    throw new CpmError(
      "io",
      `${nameOf(ref)} was not pulled before, and the network is switched off (offline); pull it once without`,
      { file: ref.repo },
    );
  }
  const commit = await client.commitOf(ref, signal);
  const choice = choose(await client.files(ref, commit, signal), ref);
  const totalBytes = choice.files.reduce((sum, file) => sum + file.size, 0);
  const missing: HubFile[] = [];
  for (const file of choice.files) if (!(await store.has(ref.repo, file))) missing.push(file);
  await store.reserve(missing.reduce((sum, file) => sum + file.size, 0));
  let done = totalBytes - missing.reduce((sum, file) => sum + file.size, 0);
  let fetched = 0;
  for (const file of missing) {
    const tell = (at: number, waiting: boolean) =>
      onProgress?.({ file: file.path, bytes: done + at, totalBytes, fetched, waiting });
    const writing = await store.write(ref.repo, file, () => tell(0, true), signal);
    if (writing)
      try {
        let { at } = writing;
        tell(at, false);
        const sink = {
          at: () => at,
          restart: async () => {
            await writing.restart();
            at = 0;
          },
          take: async (bytes: Uint8Array) => {
            await writing.take(bytes);
            at += bytes.length;
            fetched += bytes.length;
            tell(at, false);
          },
        };
        await client.download(ref, commit, file, sink, signal);
        const finished = await writing.finish().then(
          () => true,
          (error: unknown) => {
            // What an earlier try left may be to blame: once more, from the beginning.
            if (writing.at === 0 || !(error instanceof CpmError)) throw error;
            return false;
          },
        );
        if (!finished) {
          at = 0;
          await client.download(ref, commit, file, sink, signal);
          await writing.finish();
        }
      } finally {
        await writing.close();
      }
    done += file.size;
    tell(0, false);
  }
  for (const file of choice.files) await store.link(ref.repo, commit, file);
  if (ref.revision !== commit) await store.point(ref.repo, ref.revision, commit);
  return pulled(store, ref, commit, choice, totalBytes);
}
