// Requests that name no session: they go on from the longest prefix that a finished text left, and say what each says alone.
import { expect, test } from "vitest";
import { type DraftInput, draftOptions } from "../../src/door/draft.ts";
import { inspectFiles } from "../../src/door/inspect.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { ANY_SESSION, type GenerateRequest, type GenerateResult } from "../../src/engine/types.ts";
import { own, stories } from "../draft/rig.ts";
import { filesOf, greedy, host, load } from "../support/engine.ts";
import { noise } from "../support/noise.ts";
import { tinyGguf } from "../support/tiny.ts";

const model = tinyGguf();
const text = (seed: number, length: number) => {
  const random = noise(seed);
  return Array.from({ length }, () => 3 + Math.floor(random() * 300));
};
const long = text(1, 200);
const sampling = { ...greedy([], 0).sampling, temperature: 1, seed: 4, logitBias: [[2, -Infinity]] as const };
const ask = (prompt: readonly number[], maxTokens = 20): GenerateRequest => ({ ...greedy(prompt, maxTokens), sampling });
const any = (engine: Engine, request: GenerateRequest): Promise<GenerateResult> =>
  engine.generate(ANY_SESSION, request, { onPart() {} });

/** What a new session says. */
async function alone(engine: Engine, request: GenerateRequest): Promise<readonly number[]> {
  const session = await engine.open();
  const { tokens } = await engine.generate(session, request, { onPart() {} });
  await engine.closeSession(session);
  return tokens;
}

/** Asks for any sequence; the tokens are those of a session alone, `cached` of the prompt's come from another text. */
async function expectCached(engine: Engine, prompt: readonly number[], cached: number, maxTokens = 20): Promise<GenerateResult> {
  const result = await any(engine, ask(prompt, maxTokens));
  expect(result.usage).toMatchObject({ promptTokens: prompt.length, cachedTokens: cached });
  expect(result.tokens).toEqual(await alone(engine, ask(prompt, maxTokens)));
  return result;
}

for (const kvType of ["f16", "f32", "q8"] as const)
  test(`a conversation that grows is computed where it is new; one that shares less is copied in whole tiles (${kvType})`, async () => {
    const engine = await load(model, { kvType });
    const first = await expectCached(engine, long, 0);
    // The last token drawn is not in the cache.
    const next = [...long, ...first.tokens, ...text(2, 10)];
    await expectCached(engine, next, long.length + first.tokens.length - 1);
    // The whole prompt again: its last token is computed anew, for its logits.
    await expectCached(engine, long, long.length - 1);
    // 70 of 219 tokens: less than half, so the other stays as it is and two tiles are copied.
    await expectCached(engine, [...long.slice(0, 70), ...text(3, 50)], 64);
    await expectCached(engine, [...long, 7], long.length);
    // Less than a tile, and nothing at all.
    await expectCached(engine, [...long.slice(0, 31), ...text(4, 90)], 0);
    await expectCached(engine, text(5, 64), 0);
  });

test("any cut of a shared prefix, by a shorter or a longer text, changes nothing", async () => {
  const engine = await load(model, { contextSize: 512 });
  await any(engine, ask(long));
  for (const shared of [199, 130, 129, 128, 127, 97, 96, 65, 64, 63, 33, 32, 1]) {
    const result = await any(engine, ask([...long.slice(0, shared), ...text(shared, 9)], 12));
    expect(result.tokens, `${shared} shared`).toEqual(
      await alone(engine, ask([...long.slice(0, shared), ...text(shared, 9)], 12)),
    );
    expect(result.usage.cachedTokens).toBeLessThanOrEqual(shared);
    expect(result.usage.cachedTokens).toBeGreaterThanOrEqual(shared - (shared % 32));
  }
});

test("many at once share what is finished, by copies", async () => {
  const engine = await load(model, { cacheBytes: 64 << 20 });
  await any(engine, ask(long, 300));
  const prompts = Array.from({ length: 6 }, (_, i) => [...long.slice(0, 100 + 7 * i), ...text(20 + i, 30)]);
  const results = await Promise.all(prompts.map((prompt) => any(engine, ask(prompt))));
  for (const [i, { usage, tokens }] of results.entries()) {
    expect(usage.cachedTokens).toBe(100 + 7 * i - ((100 + 7 * i) % 32));
    expect(tokens).toEqual(await alone(engine, ask(prompts[i]!)));
  }
});

test("what a text that is still at work has computed is copied, and neither changes the other", async () => {
  const engine = await load(model);
  const expected = await alone(engine, ask(long, 150));
  let second: Promise<GenerateResult> | undefined;
  let parts = 0;
  const next = [...long.slice(0, 150), ...text(3, 20)];
  const first = engine.generate(ANY_SESSION, ask(long, 150), {
    onPart() {
      if (++parts === 5) second = any(engine, ask(next, 60));
    },
  });
  expect((await first).tokens).toEqual(expected);
  const result = await second!;
  expect(result.usage.cachedTokens).toBe(128);
  expect(result.tokens).toEqual(await alone(engine, ask(next, 60)));
});

test("with cacheBytes 0 nothing is shared", async () => {
  const engine = await load(model, { cacheBytes: 0 });
  await any(engine, ask(long));
  await expectCached(engine, long, 0);
});

test("finished texts take no more than their bytes beyond the planned memory, the oldest go first", async () => {
  const engine = await load(model, { contextSize: 512 });
  const { total, kvCache } = engine.info.memory;
  const round = async () => {
    for (let i = 0; i < 12; i++) await any(engine, ask(text(100 + i, 60 + 11 * i)));
    await Promise.all(Array.from({ length: 5 }, (_, i) => any(engine, ask(text(200 + i, 60 + 11 * i)))));
  };
  await round();
  const grown = engine.memoryBytes;
  // By default twice a session's cache, and what runs at once.
  expect(grown - total).toBeLessThanOrEqual(2 * kvCache + 8 * kvCache);
  for (let i = 0; i < 4; i++) await round();
  expect(engine.memoryBytes).toBe(grown);
  // The last one is there, the first is not.
  expect((await any(engine, ask(text(204, 104)))).usage.cachedTokens).toBe(103);
  expect((await any(engine, ask(text(100, 60)))).usage.cachedTokens).toBe(0);
});

test("a planned number of sequences is taken at load, and one more than fits is an error that ends nobody else", async () => {
  const one = (await load(model)).info.memory;
  const engine = await load(model, { parallel: 3, cacheBytes: 1 });
  const { kvCache, total } = engine.info.memory;
  expect(kvCache).toBe(3 * one.kvCache);
  expect(engine.memoryBytes).toBe(total);
  const inspected = await inspectFiles(host, await filesOf(model), { parallel: 3, threads: 1, contextSize: 2048 });
  expect(inspected.memory.kvCache).toBe(kvCache);
  await Promise.all(Array.from({ length: 7 }, (_, i) => any(engine, ask(text(i, 100), 2000))));
  expect(engine.memoryBytes).toBe(total);
  await expect(load(model, { parallel: 3, maxMemoryBytes: total - 1 })).rejects.toMatchObject({ code: "out-of-memory" });
  const tight = await load(model, { parallel: undefined, maxMemoryBytes: one.total + 65536 });
  const all = await Promise.allSettled(Array.from({ length: 3 }, (_, i) => any(tight, ask(text(i, 100), 1900))));
  expect(all[0]).toMatchObject({ status: "fulfilled" });
  for (const refused of all.slice(1))
    expect(refused).toMatchObject({
      status: "rejected",
      reason: {
        code: "out-of-memory",
        detail: { field: "maxMemoryBytes" },
        message: expect.stringMatching(/close other sessions/),
      },
    });
  await expect(tight.open()).rejects.toMatchObject({ code: "out-of-memory" });
  // What is kept makes room for who comes.
  const after = await any(tight, ask(text(9, 50), 10));
  expect(after.tokens).toHaveLength(10);
});

test("what an aborted text has computed is of use to the next", async () => {
  const engine = await load(model);
  const abort = new AbortController();
  let parts = 0;
  const running = engine.generate(ANY_SESSION, ask(long, 500), {
    signal: abort.signal,
    onPart: () => ++parts === 3 && abort.abort("enough"),
  });
  await expect(running).rejects.toBe("enough");
  await new Promise((resolve) => setTimeout(resolve, 20));
  await expectCached(engine, [...long, 9, 8, 7], long.length);
});

test("a text that slid is shared up to where it was cut", async () => {
  const engine = await load(model, {
    contextSize: 256,
    sparse: { kernelSize: 8, kernelStride: 4, initBlocks: 5, blockSize: 8, windowSize: 24, denseLen: 100_000 },
  });
  const prompt = long.slice(0, 100);
  await any(engine, { ...ask(prompt, 300), whenFull: "slide" });
  await expectCached(engine, [...prompt, 5, 6], 32);
});

const sparse = {
  kernelSize: 32,
  kernelStride: 16,
  blockSize: 64,
  initBlocks: 1,
  windowSize: 128,
  topk: 2,
  denseLen: 400,
  exactLse: true,
};
test("dense and sparse texts share with their own kind alone, compressed keys included", async () => {
  const engine = await load(own("test/golden/sparse-f32.gguf"), { contextSize: 1200, sparse, cacheBytes: 64 << 20 });
  const story = text(8, 900);
  const dense = await expectCached(engine, story.slice(0, 390), 0, 60);
  // Its tokens from 399 on were decoded sparsely: a longer dense prompt has none such, a sparse one only such.
  await expectCached(engine, [...story.slice(0, 390), ...dense.tokens.slice(0, 5)], 394);
  await expectCached(engine, [...story.slice(0, 390), ...dense.tokens.slice(0, 40)], 0);
  const sparseTokens = (await expectCached(engine, story.slice(0, 700), 384, 60)).tokens;
  await expectCached(engine, [...story.slice(0, 700), ...sparseTokens.slice(0, 30), 4, 5], 730);
  await expectCached(engine, story.slice(0, 450), 449);
  await expectCached(engine, [...story.slice(0, 200), ...text(9, 300)], 192);
  await expectCached(engine, story.slice(0, 300), 299);
});

for (const [name, input] of Object.entries({
  lookup: "lookup",
  head: { eagle: own("models/stories-eagle"), tree: { depth: 3, width: 4, size: 12 }, adaptive: false },
  model: { model: stories, adaptive: false },
} as Record<string, DraftInput>))
  test(`drafting by ${name} goes on with what is shared`, async () => {
    const { options, files } = await draftOptions(input, filesOf);
    const engine = await load(stories, { draft: { ...options, adaptive: false } }, {}, files);
    const say = (prompt: string) => ({ ...greedy(prompt, 40), sampling });
    const start = "Once upon a time there was a boy named John. John had a red ball. John";
    for (const prompt of [
      start,
      `${start} and Lily went to the park. They`,
      "Lily had a cat.",
      `${start} was`,
      "Lily had a cat. The",
    ]) {
      const plain = await alone(engine, { ...say(prompt), draft: "off" });
      expect((await any(engine, say(prompt))).tokens).toEqual(plain);
    }
    const plain = await alone(engine, { ...say(start), draft: "off" });
    const results = await Promise.all(Array.from({ length: 4 }, () => any(engine, say(start))));
    for (const { tokens } of results) expect(tokens).toEqual(plain);
  });
