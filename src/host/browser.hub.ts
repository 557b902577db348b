// cpm-wasm/hub in a browser: models by name, kept in the page's own file system (OPFS).
import { CpmError } from "../errors.ts";
import { choose, quantOf } from "../hub/choose.ts";
import { HubClient, type HubOptions } from "../hub/client.ts";
import { type PullOptions, type PullProgress, pull as pullInto } from "../hub/pull.ts";
import { nameOf, parseRef, type Ref } from "../hub/ref.ts";
import { type Kept, OpfsStore, type StoredModel } from "./browser.store.ts";

export { isPrefixed, nameOf, parseRef } from "../hub/ref.ts";
export type { HubOptions, PullOptions, PullProgress, Ref, StoredModel };

export interface BrowserPullOptions extends HubOptions, PullOptions {
  /** Ask the browser to keep what is stored even when disk space runs short; it may ask the user. Default false. */
  readonly persist?: boolean | undefined;
}

/** A model as load() takes it: Blobs by name, read in slices. */
export interface BrowserPulled extends StoredModel {
  readonly blobs: Readonly<Record<string, Blob>>;
  /** Why these files, where the name left it open. */
  readonly why?: string;
}

function refOf(name: string): Ref {
  const ref = parseRef(name);
  if (ref) return ref;
  throw new CpmError(
    "bad-input",
    `${JSON.stringify(name.slice(0, 200))}: no name of a model; expected org/repo, org/repo:Q4_0, org/repo/file.gguf or org/repo@revision`,
    { field: "model" },
  );
}

const fits = (ref: Ref) => (model: StoredModel) =>
  model.repo === ref.repo &&
  (model.revision === ref.revision || model.commit === ref.revision) &&
  (ref.file === undefined || model.files.some(({ path }) => path === ref.file)) &&
  (ref.quant === undefined || quantOf(model.entry) === ref.quant.toUpperCase());

/** Its files as Blobs; undefined where one is not there any more. */
async function opened(store: OpfsStore, model: StoredModel): Promise<BrowserPulled | undefined> {
  const blobs: Record<string, Blob> = {};
  for (const file of model.files) {
    const blob = await store.blob(file);
    if (!blob) return undefined;
    blobs[file.path.split("/").at(-1)!] = blob;
  }
  const now = { ...model, used: Date.now() };
  await store.note(now);
  return { ...now, blobs };
}

/**
 * Fetches a model by its name into the page's storage: what is missing of it, verified, resumed where an earlier page ended. Models that
 * were not used for long make room. Rejects with CpmError "io" (network, hash, no room), "bad-input" (nothing fits the name),
 * "unsupported" (no storage), or the signal's reason.
 */
export async function pull(name: string, options: BrowserPullOptions = {}): Promise<BrowserPulled> {
  const ref = refOf(name);
  const store = new OpfsStore();
  if (options.offline) {
    const found = await find(name);
    if (found) return found;
    throw new CpmError("io", `${nameOf(ref)} is not in this page's storage, and the network is switched off (offline)`, {
      file: ref.repo,
    });
  }
  if (options.persist) await navigator.storage.persist?.();
  const { commit, path, why } = await pullInto(new HubClient(options), store, ref, options);
  const model = { repo: ref.repo, revision: ref.revision, commit, entry: path, files: store.linked(), used: Date.now() };
  await store.note(model);
  const found = await opened(store, model);
  if (!found) throw new CpmError("io", `${nameOf(ref)}: the browser has removed it again; free disk space`, { file: ref.repo });
  return { ...found, ...(why === undefined ? {} : { why }) };
}

/** What is stored of a name, whole; the one used last where several fit. Asks no network. */
export async function find(name: string): Promise<BrowserPulled | undefined> {
  const ref = refOf(name);
  const store = new OpfsStore();
  const models = (await store.list()).filter(fits(ref)).sort((a, b) => b.used - a.used);
  for (const model of models) {
    const found = await opened(store, model);
    if (found) return found;
  }
  return undefined;
}

/** What is stored, else what a pull gives. */
export const ensure = async (name: string, options: BrowserPullOptions = {}): Promise<BrowserPulled> =>
  (await find(name)) ?? pull(name, options);

/** The models in this page's storage. */
export const list = async (): Promise<StoredModel[]> => new OpfsStore().list();

const keeps =
  (ref: Ref) =>
  ({ repo, path }: Kept): boolean =>
    repo === ref.repo &&
    (ref.file === undefined || path === ref.file) &&
    (ref.quant === undefined || quantOf(path) === ref.quant.toUpperCase());

/** What is stored of a name. */
export interface HeldModel {
  /** "whole": loads without network; "begun": a pull goes on from `bytes`; "removed": it was whole, and the browser took it away. */
  readonly state: "whole" | "begun" | "removed" | "absent";
  readonly bytes: number;
  /** Bytes of all its files, as far as they are known. */
  readonly totalBytes: number;
}

/** How much of a name is stored. Asks no network, and reads no file. */
export async function held(name: string): Promise<HeldModel> {
  const ref = refOf(name);
  const store = new OpfsStore();
  const kept = (await store.kept()).filter(keeps(ref));
  const sum = (files: readonly { readonly size: number }[]) => files.reduce((all, { size }) => all + size, 0);
  const models = (await store.list()).filter(fits(ref));
  for (const { files } of models)
    if (files.every(({ oid, size }) => kept.some((file) => file.oid === oid && file.bytes === size)))
      return { state: "whole", bytes: sum(files), totalBytes: sum(files) };
  if (models[0]) return { state: "removed", bytes: 0, totalBytes: sum(models[0].files) };
  const bytes = kept.reduce((all, file) => all + file.bytes, 0);
  return { state: bytes > 0 ? "begun" : "absent", bytes, totalBytes: sum(kept) };
}

/** What a pull of a name would fetch, from the hub's lists. */
export interface FoundModel {
  readonly commit: string;
  readonly bytes: number;
  /** Where its files are; load() takes the address of a single file. */
  readonly urls: readonly string[];
  /** Why these files, where the name left it open. */
  readonly why?: string;
}

/** Asks the hub what a name stands for, and fetches nothing. Rejects as pull() does. */
export async function look(name: string, options: HubOptions & Pick<PullOptions, "signal"> = {}): Promise<FoundModel> {
  const ref = refOf(name);
  const client = new HubClient(options);
  const commit = await client.commitOf(ref, options.signal);
  const { files, why } = choose(await client.files(ref, commit, options.signal), ref);
  return {
    commit,
    bytes: files.reduce((all, { size }) => all + size, 0),
    urls: files.map(({ path }) => client.urlOf(ref, commit, path)),
    ...(why === undefined ? {} : { why }),
  };
}

/**
 * Removes all that fits a name, unfinished files as well; files that another model needs stay. Gives the bytes that were freed. Rejects
 * with "io" where there is nothing.
 */
export async function remove(name: string): Promise<number> {
  const ref = refOf(name);
  const store = new OpfsStore();
  const models = (await store.list()).filter(fits(ref));
  const begun = (await store.kept()).filter(keeps(ref));
  if (models.length === 0 && begun.length === 0)
    throw new CpmError("io", `${nameOf(ref)} is not in this page's storage`, { file: ref.repo });
  let freed = 0;
  for (const model of models) freed += await store.remove(model);
  const gone = new Set(models.flatMap(({ files }) => files.map(({ oid }) => oid)));
  return freed + (await store.discard(begun.filter(({ oid }) => !gone.has(oid))));
}
