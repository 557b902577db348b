// What the page of browser.test.ts does: pulls, is reloaded in the middle, finds, runs out of room, evicts, removes.
import { find, list, pull, remove } from "../../src/host/browser.hub.ts";

const post = (result: unknown) => fetch("/results", { method: "POST", body: JSON.stringify(result) });
const endpoint = new URLSearchParams(location.search).get("hub")!;
const step = Number(sessionStorage.getItem("step") ?? 0);
const next = () => {
  sessionStorage.setItem("step", String(step + 1));
  location.reload();
};
const hex = async (blob: Blob) =>
  Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer())), (b) =>
    b.toString(16).padStart(2, "0"),
  ).join("");
const words = async (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
  );

const steps: (() => Promise<void>)[] = [
  // Reloads once most of it has come.
  async () => {
    await pull("org/large:Q4_0", {
      endpoint,
      onProgress: ({ bytes, totalBytes }) => {
        if (bytes > 0.9 * totalBytes) next();
      },
    });
  },
  async () => {
    const seen: number[] = [];
    const before = await find("org/large");
    const pulled = await pull("org/large:Q4_0", { endpoint, onProgress: ({ bytes }) => void seen.push(bytes) });
    const [name, blob] = Object.entries(pulled.blobs)[0]!;
    await post({
      before: before === undefined,
      from: seen[0],
      name,
      size: blob.size,
      hash: await hex(blob),
      slice: await hex(blob.slice(8_388_600, 8_388_620)),
    });
    next();
  },
  async () => {
    const found = await find("org/large");
    await post({ found: found?.files.map(({ path }) => path), models: (await list()).map(({ repo }) => repo) });
    next();
  },
  async () => {
    const offline = await words(pull("org/none", { endpoint, offline: true }));
    const wrong = await words(pull("org/wrong", { endpoint }));
    const split = await pull("org/split", { endpoint });
    // A browser whose room is what the test says.
    const { estimate } = navigator.storage;
    const room = (bytes: () => number) =>
      Object.defineProperty(navigator.storage, "estimate", {
        configurable: true,
        value: async () => ({ quota: bytes(), usage: 0 }),
      });
    room(() => 10);
    // Making room takes what was used least lately, and all of it is not enough.
    const full = await words(pull("org/small", { endpoint }));
    const left = (await list()).length;
    room(() => 1e9);
    await pull("org/small", { endpoint });
    Object.defineProperty(navigator.storage, "estimate", { configurable: true, value: estimate });
    const freed = await remove("org/small");
    await post({ offline, wrong, split: Object.keys(split.blobs), full, left, freed, models: (await list()).length });
    await post({ end: true });
  },
];

steps[step]!().catch((error: unknown) => post({ error: String((error as Error)?.stack ?? error), step }));
