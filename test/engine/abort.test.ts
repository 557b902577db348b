// Aborting: at once, with the signal's own reason, and leaving something usable.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelFiles } from "../../src/file/source.ts";
import { firstDifference, greedy, load, logitsOf } from "../support/engine.ts";
import { tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";

const model = tinyGguf(tinyModel({ layers: 6, hidden: 256, intermediate: 512, heads: 8, kvHeads: 8, headDim: 32 }));
const tokens = Array.from({ length: 1500 }, (_, i) => (i * 37 + 5) % 320);

test("a prefill that is aborted rejects with the reason and leaves the session as it was", async () => {
  const engine = await load(model, { contextSize: 2000 });
  const session = await engine.open();
  await engine.forward(session, tokens.slice(0, 50), "none");
  const abort = new AbortController();
  const reason = new Error("enough");
  const running = engine.forward(session, tokens.slice(50), "none", abort.signal);
  setTimeout(() => abort.abort(reason), 5);
  await expect(running).rejects.toBe(reason);
  expect(await engine.tokens(session)).toHaveLength(50);
  const vocab = engine.info.config.vocab;
  expect(
    firstDifference(
      await engine.forward(session, tokens.slice(50, 60), "last"),
      (await logitsOf(engine, tokens.slice(0, 60))).subarray(-vocab),
    ),
  ).toBe(-1);
});

test("a generation that is aborted rejects with the reason, and its session generates again", async () => {
  const engine = await load(model, { contextSize: 2000 });
  const session = await engine.open();
  const abort = new AbortController();
  let parts = 0;
  const request = {
    ...greedy(tokens.slice(0, 20), 400),
    sampling: { ...greedy([], 0).sampling, logitBias: [[2, -Infinity]] as const },
  };
  const running = engine.generate(session, request, { signal: abort.signal, onPart: () => ++parts === 3 && abort.abort("stop") });
  await expect(running).rejects.toBe("stop");
  expect(parts).toBeLessThan(400);
  const after = await engine.generate(session, greedy(tokens.slice(0, 20), 8), { onPart: () => {} });
  const fresh = await engine.generate(await engine.open(), greedy(tokens.slice(0, 20), 8), { onPart: () => {} });
  expect(after.tokens).toEqual(fresh.tokens);
});

test("a call that waits for its turn is aborted at once, and one with an aborted signal never starts", async () => {
  const engine = await load(model, { contextSize: 2000 });
  const [first, second] = [await engine.open(), await engine.open()];
  const running = engine.forward(first, tokens.slice(0, 500), "none");
  const abort = new AbortController();
  const waiting = engine.forward(second, tokens, "none", abort.signal);
  abort.abort(new Error("no longer"));
  await expect(waiting).rejects.toThrow("no longer");
  await expect(engine.forward(second, [1], "last", AbortSignal.abort("never"))).rejects.toBe("never");
  await running;
  expect(await engine.tokens(second)).toHaveLength(0);
});

/** Files that count what is open, and call back at every read. */
function watched(inner: ModelFiles, onRead: () => void): { files: ModelFiles; closed: () => boolean } {
  let closed = false;
  const files: ModelFiles = {
    entry: inner.entry,
    async open(name, signal) {
      const source = await inner.open(name, signal);
      const read = async (offset: number, length: number, abort?: AbortSignal) => {
        onRead();
        return source!.read(offset, length, abort);
      };
      return source && { name: source.name, size: source.size, read, close: () => source.close() };
    },
    async close() {
      closed = true;
    },
  };
  return { files, closed: () => closed };
}

for (const [container, files] of [
  ["a GGUF", () => memoryFiles("model.gguf", { "model.gguf": model })],
  ["a folder", () => memoryFiles("", tinyFolder())],
] as const)
  test(`loading ${container} ends with the reason at whatever read it is aborted, and closes the files`, async () => {
    let reads = 0;
    await load(watched(files(), () => reads++).files);
    for (const at of new Set([1, 2, 3, 5, Math.ceil(reads / 2), reads - 1, reads])) {
      const abort = new AbortController();
      let count = 0;
      const { files: some, closed } = watched(files(), () => ++count === at && abort.abort(new Error(`read ${at}`)));
      await expect(load(some, { threads: at % 2 ? 1 : 2 }, { signal: abort.signal })).rejects.toThrow(`read ${at}`);
      expect(closed()).toBe(true);
      expect(count - at).toBeLessThanOrEqual(1);
    }
  });

test("an aborted signal ends a load before anything is read, progress ends it where it is reported", async () => {
  let reads = 0;
  const { files } = watched(memoryFiles("model.gguf", { "model.gguf": model }), () => reads++);
  await expect(load(files, {}, { signal: AbortSignal.abort("before") })).rejects.toBe("before");
  expect(reads).toBe(0);
  const abort = new AbortController();
  const seen: string[] = [];
  const onProgress = ({ phase, bytes, totalBytes }: { phase: string; bytes: number; totalBytes: number }) => {
    seen.push(phase);
    if (phase === "weights" && bytes > totalBytes / 2) abort.abort("half");
  };
  await expect(load(model, {}, { signal: abort.signal, onProgress })).rejects.toBe("half");
  expect(seen.slice(0, 3)).toEqual(["open", "plan", "weights"]);
  expect(seen).not.toContain("ready");
});

test("a load tells its phases in order, and every byte of the weights", async () => {
  const seen: { phase: string; bytes: number; totalBytes: number; tensor?: string }[] = [];
  await load(model, {}, { onProgress: (progress) => seen.push(progress) });
  expect([...new Set(seen.map((p) => p.phase))]).toEqual(["open", "plan", "weights", "ready"]);
  const weights = seen.filter((p) => p.phase === "weights");
  expect(weights.every((p, i) => p.bytes > (weights[i - 1]?.bytes ?? 0) && p.tensor)).toBe(true);
  expect(weights.at(-1)).toMatchObject({ bytes: weights[0]!.totalBytes, totalBytes: weights[0]!.totalBytes });
  expect(new Set(weights.map((p) => p.tensor)).size).toBe(1 + 6 * 7);
});
