// Models of this page: what is offered, what is kept in the browser, and the download that runs. Only where the model runs in the page.

import { signal } from "@preact/signals";
import type { PullProgress } from "cpm-wasm/hub";
import type { Offer, Source } from "./backend.ts";
import * as state from "./state.ts";

/** What a card shows. */
export interface Card extends Offer {
  /** "removed": it was here, and the browser took it away. */
  readonly kept: "whole" | "begun" | "removed" | "absent";
  /** Bytes that are here of a download that was not finished. */
  readonly bytes: number;
  readonly mine: boolean;
}

export interface Download {
  readonly name: string;
  readonly phase: "asking" | "fetching" | "waiting" | "stopped";
  readonly bytes: number;
  readonly totalBytes: number;
  /** Bytes a second, the mean of the last five; undefined until there is one. */
  readonly rate: number | undefined;
  /** Seconds; undefined in the first three. */
  readonly left: number | undefined;
  /** Why it stopped, where that was not the user's wish. */
  readonly words?: string;
  readonly detail?: string;
  /** It does not fit the browser's storage, and may be loaded without being kept. */
  readonly unkept?: string;
}

export const cards = signal<readonly Card[]>([]);
export const download = signal<Download | undefined>(undefined);
/** What the browser said when it was asked to keep what is stored. */
export const lasting = signal<boolean | undefined>(undefined);
/** Bytes that models may use in all, as far as the browser tells; undefined: it does not. */
export const room = signal<number | undefined>(undefined);

interface Record {
  readonly totalBytes: number;
  readonly memoryBytes: number | undefined;
  readonly whole: boolean;
}
const RECORDS = "cpm-models";
const LAST = "cpm-model";
const WINDOW_MS = 5000;
const FIRST_GUESS_MS = 3000;

let offers: readonly Offer[] = [];
let endpoint: string | undefined;
let control: AbortController | undefined;
/** Ends when the last download has let go of its files. */
let work: Promise<void> = Promise.resolve();
const hub = () => import("cpm-wasm/hub");

function records(): { [name: string]: Record } {
  try {
    return JSON.parse(localStorage.getItem(RECORDS) ?? "{}") as { [name: string]: Record };
  } catch {
    return {};
  }
}

function record(name: string, fields: Partial<Record> | undefined): void {
  const all = records();
  if (fields) all[name] = { totalBytes: 0, memoryBytes: undefined, whole: false, ...all[name], ...fields };
  else delete all[name];
  try {
    localStorage.setItem(RECORDS, JSON.stringify(all));
  } catch {}
}

/** The model that was used last, where it is one of these. */
const lastUsed = (): string | undefined => {
  try {
    return localStorage.getItem(LAST) ?? undefined;
  } catch {
    return undefined;
  }
};

function remember(name: string, memoryBytes: number): void {
  if (records()[name]) record(name, { memoryBytes });
  try {
    localStorage.setItem(LAST, name);
  } catch {}
}

/** Fills the cards, and loads the model that was used last, if it is still here. */
export async function begin(given: readonly Offer[], at: string | undefined): Promise<void> {
  offers = given;
  endpoint = at;
  await refresh();
  const last = lastUsed();
  const card = cards.value.find(({ name }) => name === last);
  if (card?.kept === "whole") return use(card.name);
  await state.refreshModels();
}

/** Looks what is here. Asks no network. */
export async function refresh(): Promise<void> {
  const known = records();
  const names = [...new Set([...offers.map(({ name }) => name), ...Object.keys(known)])];
  const { held } = await hub();
  room.value = await navigator.storage?.estimate?.().then(
    ({ quota, usage = 0 }) => (quota === undefined ? undefined : Math.max(0, quota - usage)),
    () => undefined,
  );
  cards.value = await Promise.all(
    names.map(async (name) => {
      const offer = offers.find((one) => one.name === name);
      const was = known[name];
      const found = await held(name).catch(() => ({ state: "absent" as const, bytes: 0, totalBytes: 0 }));
      const kept = found.state === "absent" && was?.whole ? "removed" : found.state;
      return {
        title: name,
        ...offer,
        name,
        totalBytes: (kept === "whole" ? found.totalBytes : was?.totalBytes) || offer?.totalBytes,
        memoryBytes: was?.memoryBytes ?? offer?.memoryBytes,
        kept,
        bytes: found.bytes,
        mine: offer === undefined,
      };
    }),
  );
}

/** The rate of the last five seconds. */
function meter(): (bytes: number) => Pick<Download, "rate" | "left"> & { guess(left: number): number | undefined } {
  const seen: { at: number; bytes: number }[] = [];
  const began = performance.now();
  return (bytes) => {
    const now = performance.now();
    seen.push({ at: now, bytes });
    while (seen.length > 2 && seen[1]!.at < now - WINDOW_MS) seen.shift();
    const [first] = seen;
    const rate = first!.at < now ? (1000 * (bytes - first!.bytes)) / (now - first!.at) : undefined;
    const guess = (left: number) => (rate && now - began > FIRST_GUESS_MS ? left / rate : undefined);
    return { rate, left: undefined, guess };
  };
}

/** Fetches a model and loads it; what an earlier download left is gone on from. */
export function fetchModel(name: string): Promise<void> {
  pause();
  const mine = new AbortController();
  control = mine;
  const before = work;
  work = before.then(() => run(name, mine));
  return work;
}

async function run(name: string, mine: AbortController): Promise<void> {
  if (control !== mine) return;
  const start = cards.value.find((card) => card.name === name);
  const begun: Download = {
    name,
    phase: "asking",
    bytes: start?.bytes ?? 0,
    totalBytes: start?.totalBytes ?? 0,
    rate: undefined,
    left: undefined,
  };
  download.value = begun;
  state.alert.value = undefined;
  const rate = meter();
  let quarter = 0;
  const onProgress = ({ bytes, totalBytes, fetched, waiting }: PullProgress) => {
    if (control !== mine) return;
    if (download.value?.totalBytes !== totalBytes) {
      record(name, { totalBytes });
      if (!cards.value.some((card) => card.name === name)) void refresh();
    }
    const { rate: now, guess } = rate(fetched);
    const left = guess(totalBytes - bytes);
    download.value = { name, phase: waiting ? "waiting" : "fetching", bytes, totalBytes, rate: now, left };
    const part = totalBytes ? Math.floor((4 * bytes) / totalBytes) : 0;
    if (part > quarter && part < 4) state.spoken.value = `${part * 25} % downloaded`;
    quarter = Math.max(quarter, part);
  };
  const awake = await navigator.wakeLock?.request("screen").catch(() => undefined);
  try {
    const { pull } = await hub();
    lasting.value ??= await navigator.storage?.persist?.().catch(() => undefined);
    const pulled = await pull(name, { endpoint, onProgress, signal: mine.signal });
    record(name, { whole: true, totalBytes: pulled.files.reduce((sum, { size }) => sum + size, 0) });
    if (control === mine) download.value = undefined;
    await refresh();
    if (control === mine) await load(name, pulled.blobs);
  } catch (error) {
    await refresh();
    const bytes = cards.value.find((card) => card.name === name)?.bytes ?? 0;
    if (control === mine) download.value = await stopped({ ...(download.value ?? begun), bytes }, mine.signal, error);
  } finally {
    await awake?.release().catch(() => {});
    if (control === mine) control = undefined;
  }
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6).toLocaleString("en")} MB`;

/** What is shown of a download that ended before its time. */
async function stopped(was: Download, signal: AbortSignal, error: unknown): Promise<Download> {
  const rest = { ...was, phase: "stopped" as const, rate: undefined, left: undefined };
  if (signal.aborted) return rest;
  const { message = String(error), detail } = error as {
    message?: string;
    detail?: { field?: string; expected?: string; found?: string };
  };
  if (detail?.field !== "storage") {
    const words =
      was.phase === "asking"
        ? "The model was not found, or the hub could not be asked. Check the name and the connection."
        : /hash of what came/.test(message)
          ? "What came is not the file that the hub names; it was thrown away. Try again, or another source."
          : "The download was interrupted. Check the connection; what came is kept.";
    return { ...rest, words, detail: message };
  }
  const words =
    detail.expected === undefined
      ? "This browser gives the page no more room. What came is kept."
      : `Needs ${megabytes(Number(detail.expected))}, this browser grants ${megabytes(Number(detail.found))}. Free disk space, or choose a smaller model.`;
  const { look } = await hub();
  const found = await look(was.name, { endpoint }).catch(() => undefined);
  return { ...rest, words, detail: message, ...(found?.urls.length === 1 ? { unkept: found.urls[0]! } : {}) };
}

/** Ends the download; what came is kept. */
export function pause(): void {
  control?.abort(new DOMException("paused", "AbortError"));
}

/** Ends the download and throws away what came. */
export async function cancel(name: string): Promise<void> {
  pause();
  control = undefined;
  download.value = undefined;
  await work;
  await forget(name);
}

/** Removes what is kept of a model. */
export async function forget(name: string): Promise<void> {
  const { remove } = await hub();
  await remove(name).catch(() => 0);
  record(name, undefined);
  if (download.value?.name === name) download.value = undefined;
  await refresh();
}

/** Loads a model that is here. */
export async function use(name: string): Promise<void> {
  const { find } = await hub();
  const found = await find(name).catch(() => undefined);
  if (found) return load(name, found.blobs);
  await refresh();
  const card = cards.value.find((one) => one.name === name);
  const size = card?.totalBytes ? ` (${megabytes(card.totalBytes)})` : "";
  state.alert.value = {
    words: "The browser removed the model to free space.",
    detail: "",
    actions: [{ label: `Download again${size}`, run: () => void fetchModel(name) }],
  };
}

async function load(name: string, files: Exclude<Source, File | string>): Promise<void> {
  await state.choose(name, files);
  const { info } = state;
  if (info.value?.model === name && info.value.memoryBytes) remember(name, info.value.memoryBytes);
  await refresh();
}
