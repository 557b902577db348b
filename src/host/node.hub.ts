// cpm-wasm/hub in Node, Deno and Bun: models by name, in the cache that Python and llama.cpp use.
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { CpmError } from "../errors.ts";
import { HubClient, type HubOptions } from "../hub/client.ts";
import { findPulled, type Pulled, type PullOptions, type PullProgress, pull as pullInto } from "../hub/pull.ts";
import { nameOf, parseRef, type Ref } from "../hub/ref.ts";
import { type CachedFile, type CachedRepo, DiskStore } from "./node.store.ts";

export { isPrefixed, nameOf, parseRef } from "../hub/ref.ts";
export type { CachedFile, CachedRepo, HubOptions, Pulled, PullOptions, PullProgress, Ref };

export interface ModelHubOptions extends HubOptions, PullOptions {
  /** The cache. Default: LLAMA_CACHE, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. */
  readonly cache?: string | undefined;
}

const env = (name: string): string | undefined => {
  try {
    return process.env[name]?.trim() || undefined;
  } catch {
    // Deno without --allow-env.
    return undefined;
  }
};

/** Where models are kept, by the variables of llama.cpp and Hugging Face's tools, in llama.cpp's order. */
export function cacheFolder(): string {
  const home = env("HF_HOME");
  const xdg = env("XDG_CACHE_HOME");
  return (
    env("LLAMA_CACHE") ??
    env("HF_HUB_CACHE") ??
    env("HUGGINGFACE_HUB_CACHE") ??
    (home ? join(home, "hub") : xdg ? join(xdg, "huggingface", "hub") : join(homedir(), ".cache", "huggingface", "hub"))
  );
}

const isOn = (value: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(value ?? "");

/** The token of Hugging Face's tools: HF_TOKEN, or the file at HF_TOKEN_PATH (default HF_HOME/token); none is no failure. */
async function tokenOf(): Promise<string | undefined> {
  const given = env("HF_TOKEN") ?? env("HUGGING_FACE_HUB_TOKEN");
  if (given) return given;
  if (isOn(env("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return undefined;
  const path = env("HF_TOKEN_PATH") ?? join(env("HF_HOME") ?? join(homedir(), ".cache", "huggingface"), "token");
  return readFile(path, "utf8").then(
    (text) => text.trim() || undefined,
    () => undefined,
  );
}

const storeOf = ({ cache }: ModelHubOptions): DiskStore => new DiskStore(cache ?? cacheFolder());

function refOf(name: string): Ref {
  const ref = parseRef(name);
  if (ref) return ref;
  throw new CpmError(
    "bad-input",
    `${JSON.stringify(name.slice(0, 200))}: no name of a model; expected org/repo, org/repo:Q4_0, org/repo/file.gguf or org/repo@revision`,
    { field: "model" },
  );
}

const isOffline = ({ offline }: ModelHubOptions): boolean =>
  offline ?? (isOn(env("HF_HUB_OFFLINE")) || isOn(env("TRANSFORMERS_OFFLINE")));

/**
 * Fetches a model by its name into the cache: what is missing of it, verified, resumed where an earlier try ended. Rejects with CpmError
 * "io" (network, disk, hash), "bad-input" (nothing fits the name), "bad-option", or the signal's reason.
 */
export async function pull(name: string, options: ModelHubOptions = {}): Promise<Pulled> {
  const ref = refOf(name);
  const endpoint = options.endpoint ?? env("HF_ENDPOINT") ?? env("MODEL_ENDPOINT");
  const token = options.token ?? (await tokenOf());
  const client = new HubClient({ ...options, endpoint, token });
  return pullInto(client, storeOf(options), ref, { ...options, offline: isOffline(options) });
}

/** What was pulled before of a name, by whichever tool; undefined when it is not all there. Asks no network. */
export async function find(name: string, options: ModelHubOptions = {}): Promise<Pulled | undefined> {
  return findPulled(storeOf(options), refOf(name));
}

/** What was pulled before, else what a pull gives. */
export async function ensure(name: string, options: ModelHubOptions = {}): Promise<Pulled> {
  return (await find(name, options)) ?? pull(name, options);
}

/** All models in the cache, whichever tool put them there. */
export const list = (options: ModelHubOptions = {}): Promise<CachedRepo[]> => storeOf(options).list();

/**
 * Removes what a name stands for; a name of a repository alone removes all of it. Blobs that another snapshot refers to stay. Gives the
 * bytes that were freed. Rejects with "io" when it was not there.
 */
export async function remove(name: string, options: ModelHubOptions = {}): Promise<number> {
  const ref = refOf(name);
  const store = storeOf(options);
  if (ref.quant === undefined && ref.file === undefined && ref.revision === "main") {
    if (!(await store.list()).some(({ repo }) => repo === ref.repo)) throw absent(ref, store);
    return store.remove(ref.repo, undefined, undefined);
  }
  const found = await partsOf(store, ref);
  return store.remove(ref.repo, found.commit, found.files);
}

const absent = (ref: Ref, store: DiskStore): CpmError =>
  new CpmError("io", `${nameOf(ref)} is not in ${store.folder}; cpm list tells what is`, { file: ref.repo });

async function partsOf(store: DiskStore, ref: Ref): Promise<Pulled> {
  const found = await findPulled(store, ref);
  if (found) return found;
  throw absent(ref, store);
}

export interface Verified {
  readonly path: string;
  readonly bytes: number;
  /** Whether the bytes have the hash that they are stored under; undefined where there is none (a copy). */
  readonly ok: boolean | undefined;
}

/** Reads what was pulled of a name and compares hashes. Rejects with "io" when it is not there. */
export async function verify(name: string, options: ModelHubOptions = {}): Promise<Verified[]> {
  const ref = refOf(name);
  const store = storeOf(options);
  const { commit, files } = await partsOf(store, ref);
  const cached =
    (await store.list()).find(({ repo }) => repo === ref.repo)?.snapshots.find((s) => s.commit === commit)?.files ?? [];
  const results: Verified[] = [];
  for (const file of cached.filter(({ path }) => files.includes(path)))
    results.push({ path: file.path, bytes: file.bytes, ok: await store.verify(ref.repo, commit, file, options.signal) });
  return results;
}
