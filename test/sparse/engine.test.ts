// Sparse attention through the engine: rollback, copies, saved sessions, cache types, and what is refused.
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { tracedBlocks } from "../../src/engine/trace.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import { PUBLISHED_SPARSE, resolveSparse, type SparseConfig } from "../../src/model/sparse.ts";
import { firstDifference, greedy, load, logitsOf } from "../support/engine.ts";
import { divergence, row } from "../support/golden.ts";
import { noise } from "../support/noise.ts";

const model = fileURLToPath(new URL("../golden/sparse-f32.gguf", import.meta.url));
const vocab = 512;
const sparse: SparseConfig = {
  kernelSize: 32,
  kernelStride: 16,
  blockSize: 64,
  initBlocks: 1,
  windowSize: 128,
  topk: 4,
  denseLen: 512,
  exactLse: true,
};

function text(seed: number, count: number): number[] {
  const random = noise(seed);
  return Array.from({ length: count }, () => 3 + Math.floor(random() * 500));
}

const open = (options: Partial<EngineOptions> = {}) => load(model, { contextSize: 1200, sparse, ...options });

for (const kvType of ["f32", "f16", "q8"] as const)
  describe(`with a cache of ${kvType}`, () => {
    test("appending after a truncation gives the bits of running those tokens from the start", async () => {
      const engine = await open({ kvType });
      const [prompt, wrong, right] = [text(1, 700), text(2, 100), text(3, 40)];
      const session = await engine.open();
      await engine.forward(session, [...prompt, ...wrong], "none");
      await engine.truncate(session, 700 + 60);
      await engine.truncate(session, 700);
      const got = await engine.forward(session, right, "all");
      const direct = await engine.open();
      await engine.forward(direct, prompt, "none");
      expect(firstDifference(got, await engine.forward(direct, right, "all"))).toBe(-1);
    });

    test("a copied and a restored session go on with the bits of the first", async () => {
      const engine = await open({ kvType });
      const session = await engine.open();
      await engine.forward(session, text(4, 800), "none");
      const others = [await engine.copy(session), await engine.restore(await engine.save(session))];
      const next = text(5, 70);
      const want = await engine.forward(session, next, "all");
      for (const other of others) expect(firstDifference(want, await engine.forward(other, next, "all"))).toBe(-1);
    });

    test("batches, threads and the length of a step change no bit", async () => {
      const prompt = text(6, 900);
      let first: Float32Array | undefined;
      for (const [batchSize, threads] of [
        [1024, 1],
        [1, 2],
        [17, 1],
        [256, 2],
      ] as const) {
        const engine = await open({ kvType, batchSize, threads });
        const logits = await logitsOf(engine, prompt);
        first ??= logits;
        expect(firstDifference(first, logits), `batches of ${batchSize}, ${threads} threads`).toBe(-1);
        await engine.close();
      }
    });

    test("a choice that covers every block gives the bits of dense attention", async () => {
      const prompt = text(7, 900);
      const all = await open({ kvType, sparse: { ...sparse, topk: 100 } });
      const dense = await open({ kvType, sparse: false });
      expect(firstDifference(await logitsOf(all, prompt), await logitsOf(dense, prompt))).toBe(-1);
    });
  });

test("halves and 8 bits in the cache stay close to float32", async () => {
  const prompt = text(8, 900);
  const exact = await logitsOf(await open({ kvType: "f32" }), prompt);
  for (const [kvType, most] of [
    ["f16", 1e-3],
    ["q8", 5e-2],
  ] as const) {
    const logits = await logitsOf(await open({ kvType }), prompt);
    expect(divergence(row(exact, vocab, 899), row(logits, vocab, 899)), kvType).toBeLessThan(most);
  }
});

test("a prompt below denseLen that decoding takes beyond it turns sparse there, and text is the same in any batches", async () => {
  const results = [];
  for (const batchSize of [1, 256]) {
    const engine = await open({ batchSize });
    results.push((await engine.generate(await engine.open(), greedy(text(9, 500), 40), { onPart() {} })).tokens);
    await engine.close();
  }
  expect(results[0]!.length).toBe(40);
  expect(results[0]).toEqual(results[1]);
});

test("generating from a long prompt decides from the whole prompt, not from its first batch", async () => {
  const engine = await open({ batchSize: 64 });
  const prompt = text(10, 600);
  const session = await engine.open();
  const { tokens } = await engine.generate(session, greedy(prompt, 1), { onPart() {} });
  const logits = await engine.forward(await engine.open(), prompt, "last");
  expect(tokens).toEqual([logits.indexOf(Math.max(...logits))]);
  const early = await engine.trace(await engine.open(), prompt, 1);
  // Position 500 lies in block 7: one first block, two local ones and three others.
  expect(tracedBlocks(early, 0, 0, 500).length).toBe(6);
});

test("an aborted prefill leaves a session that computes on as if it had not been", async () => {
  // One token a step, so that there is something left to abort.
  const engine = await open({ batchSize: 1 });
  const session = await engine.open();
  await engine.forward(session, text(11, 600), "none");
  const abort = new AbortController();
  const running = engine.forward(session, text(12, 500), "none", abort.signal);
  setTimeout(() => abort.abort(), 15);
  await expect(running).rejects.toThrow();
  expect((await engine.tokens(session)).length).toBe(600);
  const direct = await engine.open();
  await engine.forward(direct, text(11, 600), "none");
  expect(
    firstDifference(await engine.forward(session, text(13, 80), "all"), await engine.forward(direct, text(13, 80), "all")),
  ).toBe(-1);
});

test("sessions that take turns keep their compressed keys apart", async () => {
  const engine = await open();
  const [a, b] = [await engine.open(), await engine.open()];
  await engine.forward(a, text(14, 700), "none");
  await engine.forward(b, text(15, 900), "none");
  const got = await engine.forward(a, text(16, 30), "all");
  const alone = await open();
  const session = await alone.open();
  await alone.forward(session, text(14, 700), "none");
  expect(firstDifference(got, await alone.forward(session, text(16, 30), "all"))).toBe(-1);
});

test("compressed keys are part of the memory plan, and not where the context never gets that long", async () => {
  const kv = async (options: Partial<EngineOptions>) => {
    const engine = await open({ kvType: "f16", ...options });
    const { kvCache } = engine.info.memory;
    await engine.close();
    return kvCache;
  };
  // 2 layers, 2 KV heads, 16 dimensions of halves, tiles of 32 windows: 1216 slots have 75 windows, and 17 coarse ones.
  const plain = await kv({ sparse: false });
  expect((await kv({})) - plain).toBe(2 * 2 * 3 * 32 * 16 * 2);
  expect((await kv({ sparse: { ...sparse, exactLse: false } })) - plain).toBe(2 * 2 * 4 * 32 * 16 * 2);
  expect(await kv({ sparse: { ...sparse, denseLen: 1201 } })).toBe(plain);
});

describe("the configuration", () => {
  test("true gives the published one, and fields override it", () => {
    expect(resolveSparse(undefined, undefined)).toBeUndefined();
    expect(resolveSparse(undefined, true)).toEqual(PUBLISHED_SPARSE);
    expect(resolveSparse(undefined, { topk: 96 })).toEqual({ ...PUBLISHED_SPARSE, topk: 96 });
  });

  test("comes from the model file where there is one, with -1 for always; false and fields override it", () => {
    const file = { kernel_size: 32, topk: 32, dense_len: -1, use_nope: false };
    expect(resolveSparse(file, undefined)).toEqual({ ...PUBLISHED_SPARSE, topk: 32, denseLen: 0 });
    expect(resolveSparse(file, true)).toEqual(resolveSparse(file, undefined));
    expect(resolveSparse(file, false)).toBeUndefined();
    expect(resolveSparse(file, { denseLen: 100 })).toEqual({ ...PUBLISHED_SPARSE, topk: 32, denseLen: 100 });
  });

  test.each([
    [{ kernelSize: 24 }, "sparse.kernelSize"],
    [{ blockSize: 40 }, "sparse.blockSize"],
    [{ blockSize: 48, windowSize: 480 }, "sparse.blockSize"],
    [{ windowSize: 100 }, "sparse.windowSize"],
    [{ windowSize: 0 }, "sparse.windowSize"],
    [{ kernelStride: 0 }, "sparse.kernelStride"],
    [{ topk: -1 }, "sparse.topk"],
    [{ topk: 1.5 }, "sparse.topk"],
    [{ denseLen: Number.NaN }, "sparse.denseLen"],
    [{ exactLse: 1 as unknown as boolean }, "sparse.exactLse"],
  ])("%o is refused with the field's name", async (option, field) => {
    await expect(open({ sparse: option })).rejects.toMatchObject({ code: "bad-option", detail: { field } });
  });

  test("a model file whose configuration does not fit together is a bad model; choosing without positions is unsupported", () => {
    expect(() => resolveSparse({ block_size: 40 }, undefined)).toThrow(expect.objectContaining({ code: "bad-model" }));
    expect(() => resolveSparse({ use_nope: true }, true)).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(resolveSparse({ use_nope: true }, false)).toBeUndefined();
  });
});
