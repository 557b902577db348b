// The memory plan: what it says is what is taken, no more, and what does not fit is refused before it is tried.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { planModel } from "../../src/model/plan.ts";
import { readModel } from "../../src/model/read.ts";
import { chooseBuild } from "../../src/wasm/features.ts";
import { defaults, filesOf, firstDifference, host, load, logitsOf } from "../support/engine.ts";
import { present, shared } from "../support/golden.ts";
import { hollowModel, tinyGguf, tinyModel } from "../support/tiny.ts";

const embedded = fileURLToPath(new URL("../../models/stories-q4_0.gguf", import.meta.url));
const tokens = [1, 5, 9, 200];

async function planned(input: ModelInput, options: Partial<EngineOptions> = {}): Promise<number> {
  const all = { ...defaults, ...options };
  const lanes = all.threads === "auto" ? 1 : all.threads;
  const files = await filesOf(input);
  const plan = planModel(await chooseBuild(host, "base", lanes > 1), await readModel(files), all, lanes, all.batchSize);
  await files.close();
  return plan.memory.total;
}

const shapes: Readonly<Record<string, ModelInput>> = {
  tiny: tinyGguf(),
  "wide, float norms of 16 KiB": tinyGguf(tinyModel({ layers: 1, hidden: 4096, intermediate: 64, vocab: 270 }), "F16"),
  "32 layers": tinyGguf(tinyModel({ layers: 32, vocab: 270 }), "F16"),
  "a vocabulary of 70,000": hollowModel({ layers: 1, vocab: 70_000, tied: false }),
  "heads of 128": tinyGguf(tinyModel({ headDim: 128 })),
  "the embedded model": embedded,
};
const options: readonly Partial<EngineOptions>[] = [
  {},
  { threads: 3 },
  { batchSize: 4096, contextSize: 5000 },
  { contextSize: 1 },
  { kvType: "f32", contextSize: 20_000 },
  { kvType: "q8", batchSize: 1 },
];

for (const [name, input] of Object.entries(shapes))
  test(`${name}: the planned bytes are the memory's, and stay so while it works`, async () => {
    for (const option of options) {
      const total = await planned(input, option);
      const engine = await Engine.load(host, await filesOf(input), { ...defaults, ...option });
      expect(engine.info.memory.total, JSON.stringify(option)).toBe(total);
      const session = await engine.open();
      await engine.forward(session, tokens.slice(0, engine.info.contextSize), "all");
      expect(engine.memoryBytes, JSON.stringify(option)).toBe(total);
      await engine.close();
    }
  });

const models = present([embedded, shared("models/stories-f16.gguf"), shared("models/stories-ternary-tq2_0.gguf")]);

test("the whole memory stays within 1.15 times packed weights, KV cache and activations", async () => {
  for (const model of models)
    for (const option of [{}, { contextSize: 4096 }, { threads: 2 }, { kvType: "q8", contextSize: 8192 }] as const) {
      const { memory, packed } = (await load(model, option)).info;
      const needed = Object.values(packed).reduce((a, b) => a + b, 0) + memory.kvCache + memory.activations;
      expect(memory.total / needed, `${model} ${JSON.stringify(option)}`).toBeLessThanOrEqual(1.15);
    }
});

test("maxMemoryBytes of exactly the plan loads, one byte less is refused with its parts", async () => {
  const total = await planned(embedded);
  expect((await load(embedded, { maxMemoryBytes: total })).info.memory.total).toBe(total);
  await expect(load(embedded, { maxMemoryBytes: total - 1 })).rejects.toMatchObject({
    name: "CpmError",
    code: "out-of-memory",
    detail: { field: "maxMemoryBytes" },
    message: expect.stringMatching(/weights .* KV cache .* for 256 tokens, activations .*maxMemoryBytes.*lower contextSize/),
  });
});

test("what 32 bits cannot address is refused, however the sizes wrap", async () => {
  const wraps: Readonly<Record<string, readonly [Parameters<typeof hollowModel>[0], Partial<EngineOptions>]>> = {
    "a weight of 2^32 bytes": [{ hidden: 65536, intermediate: 32768 }, {}],
    "a weight of 2^32 bytes and a little": [{ hidden: 65536, intermediate: 32776 }, {}],
    "an embedding of more than 2^33 bytes": [{ hidden: 65536, vocab: 66_000 }, {}],
    "a KV cache of 2^32 bytes in 64 slots": [{ layers: 32, heads: 1024, kvHeads: 1024, headDim: 512, hidden: 4 }, {}],
    "a KV cache of 2^33 bytes in 64 slots": [{ layers: 64, heads: 1024, kvHeads: 1024, headDim: 512, hidden: 4 }, {}],
    "activations of 2^32 bytes": [{ layers: 1, hidden: 4, intermediate: 2 ** 20 }, { batchSize: 408 }],
    "activations of 2^32 bytes and a little": [{ layers: 1, hidden: 4, intermediate: 2 ** 20 }, { batchSize: 420 }],
    "activations of 2^35 bytes": [{ layers: 1, hidden: 4, intermediate: 2 ** 20 }, { batchSize: 4096 }],
    "partial results of a context of 2^24": [
      { layers: 1, heads: 1024, kvHeads: 16, headDim: 512, hidden: 4 },
      { contextSize: 2 ** 24 },
    ],
    "a context of 2^24": [{}, { contextSize: 2 ** 24, kvType: "f32" }],
  };
  for (const [what, [shape, option]] of Object.entries(wraps)) {
    const error = await load(hollowModel(shape), { ...option, memory64: false }).catch((error: unknown) => error);
    expect(error, what).toMatchObject({
      name: "CpmError",
      code: "out-of-memory",
      message: expect.stringMatching(/needs .* GiB of memory .*use a smaller contextSize/),
    });
  }
});

test("addresses beyond 2^31 compute the same bits", async () => {
  // 256 bytes a token: the weights lie behind 3 GB of cache, of which nothing is touched.
  const engine = await load(shapes["tiny"]!, { contextSize: 12_000_000 });
  expect(engine.info.memory.total).toBeGreaterThan(3e9);
  expect(firstDifference(await logitsOf(engine, tokens), await logitsOf(await load(shapes["tiny"]!), tokens))).toBe(-1);
});

test("sessions give their memory back: a thousand one after another, and many at once twice, need no more than the first", async () => {
  const engine = await load(shapes["tiny"]!);
  const first = engine.memoryBytes;
  for (let i = 0; i < 1000; i++) {
    const session = await engine.open(i % 3 ? undefined : 100);
    if (i % 100 === 0) await engine.forward(session, tokens, "none");
    await engine.closeSession(session);
  }
  const small = engine.memoryBytes;
  expect(small - first).toBeLessThanOrEqual(65536);
  const round = async () => {
    const sessions = await Promise.all(Array.from({ length: 20 }, (_, i) => engine.open(100 + i * 90)));
    sessions.push(await engine.copy(sessions[3]!), await engine.restore(await engine.save(sessions[5]!)));
    // In another order than they were opened.
    for (const session of sessions.sort((a, b) => ((a * 7) % 11) - ((b * 7) % 11))) await engine.closeSession(session);
    return engine.memoryBytes;
  };
  const grown = await round();
  expect(grown).toBeGreaterThan(small);
  for (let i = 0; i < 5; i++) expect(await round()).toBe(grown);
});

test("a session that does not fit any more is an out-of-memory error, and those that are open go on", async () => {
  const engine = await load(shapes["tiny"]!, { contextSize: 4_000_000 });
  const session = await engine.open();
  const more: number[] = [];
  const fill = async () => {
    for (let i = 0; i < 5; i++) more.push(await engine.open());
  };
  await expect(fill()).rejects.toMatchObject({
    name: "CpmError",
    code: "out-of-memory",
    message: expect.stringMatching(/close other sessions/),
  });
  expect((await engine.forward(session, tokens, "last")).every(Number.isFinite)).toBe(true);
  await engine.closeSession(more[0]!);
  expect(await engine.open(1000)).toBeTypeOf("number");
});

test("logits that do not fit into memory are an out-of-memory error", async () => {
  const engine = await load(
    hollowModel({ layers: 1, hidden: 4, intermediate: 4, heads: 1, kvHeads: 1, headDim: 4, vocab: 70_000 }),
    { contextSize: 2_000_000 },
  );
  const session = await engine.open();
  const long = new Array<number>(2_000_000).fill(1);
  await expect(engine.forward(session, long, "all")).rejects.toMatchObject({ name: "CpmError", code: "out-of-memory" });
  expect(await engine.tokens(session)).toHaveLength(0);
});

test("threads that are not there are said so, and impossible counts are refused", async () => {
  const { startLanes: _, ...single } = host;
  const engine = await Engine.load(single, await filesOf(shapes["tiny"]!), { ...defaults, threads: 4 });
  expect(engine.info).toMatchObject({ threads: 1, threadsNote: "this runtime has no threads" });
  for (const threads of [0, -1, 1.5, 65, Number.NaN])
    await expect(load(shapes["tiny"]!, { threads })).rejects.toMatchObject({ code: "bad-option", detail: { field: "threads" } });
  expect((await load(shapes["tiny"]!, { threads: "auto" })).info.threads).toBe(2);
});
