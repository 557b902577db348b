// The same bits, however the work is cut: into chunks, over threads, by either build.
import { expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { firstDifference, load, variants } from "../support/engine.ts";
import { golden, largestDifference, present } from "../support/golden.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

const cases = present(
  ["dense-q4_0", "dense-q4_k", "dense-q6_k", "dense-tq2_0", "odd-f32", "odd-f16", "odd-bf16", "odd-q8_0"].map(golden),
);

/** 150 tokens of the vocabulary in a fixed order. */
const longText = (vocab: number): number[] => Array.from({ length: 150 }, (_, i) => (i * 7919 + 13) % vocab);

/** Logits of all tokens, given `chunk` at a time. */
async function inChunks(engine: Engine, tokens: readonly number[], chunk: number): Promise<Float32Array> {
  const { vocab } = engine.info.config;
  const session = await engine.open();
  const all = new Float32Array(tokens.length * vocab);
  for (let at = 0; at < tokens.length; at += chunk)
    all.set(await engine.forward(session, tokens.slice(at, at + chunk), "all"), at * vocab);
  await engine.closeSession(session);
  return all;
}

for (const { name, model } of cases)
  test(`${name}: chunks of 1, 7, 64 and all tokens at once give the same logits, bit for bit`, async () => {
    const engine = await load(model);
    const tokens = longText(engine.info.config.vocab);
    const whole = await inChunks(engine, tokens, tokens.length);
    for (const chunk of [1, 7, 64]) {
      const logits = await inChunks(engine, tokens, chunk);
      expect(largestDifference(logits, whole), `chunks of ${chunk}`).toBeLessThanOrEqual(1e-4);
      expect(firstDifference(logits, whole), `chunks of ${chunk}`).toBe(-1);
    }
  });

test("the engine's own batch size does not show in the logits", async () => {
  const whole = await load(cases[0]!.model);
  const tokens = longText(whole.info.config.vocab);
  const expected = await inChunks(whole, tokens, tokens.length);
  for (const batchSize of [1, 5, 33]) {
    const engine = await load(cases[0]!.model, { batchSize });
    expect(firstDifference(await inChunks(engine, tokens, tokens.length), expected), `batches of ${batchSize}`).toBe(-1);
  }
});

for (const { name, model } of cases)
  test(`${name}: one thread and two agree bit for bit, and so do the builds that run here`, async () => {
    const one = await load(model);
    const tokens = longText(one.info.config.vocab);
    const expected = await inChunks(one, tokens, tokens.length);
    for (const variant of variants) {
      const two = await load(model, { variant, threads: 2 });
      expect(two.info).toMatchObject({ threads: 2, variant, threadsNote: undefined });
      expect(firstDifference(await inChunks(two, tokens, 50), expected), `two threads, ${variant}`).toBe(-1);
      if (variant === "relaxed")
        expect(firstDifference(await inChunks(await load(model, { variant }), tokens, 50), expected), "relaxed").toBe(-1);
    }
  });

test("a sequence of several attention spans agrees for one thread, three, and any chunk", async () => {
  const model = tinyGguf(tinyModel({ layers: 1, heads: 2, kvHeads: 1 }));
  const tokens = Array.from({ length: 2100 }, (_, i) => (i * 31) % 320);
  const last = async (threads: number, chunk: number) => {
    const engine = await load(model, { threads, contextSize: 2200 });
    const session = await engine.open();
    for (let at = 0; at < 2099; at += chunk) await engine.forward(session, tokens.slice(at, Math.min(2099, at + chunk)), "none");
    return engine.forward(session, tokens.slice(2099), "last");
  };
  const expected = await last(1, 2099);
  expect(firstDifference(await last(3, 300), expected)).toBe(-1);
  expect(firstDifference(await last(2, 2099), expected)).toBe(-1);
});

test("a vocabulary that needs several head calls gives the same logits as token by token", async () => {
  // 4 MiB of logits at a time are 26 rows of this vocabulary.
  const engine = await load(tinyGguf(tinyModel({ layers: 1, vocab: 40000 })));
  const tokens = longText(40000).slice(0, 60);
  const whole = await inChunks(engine, tokens, 60);
  expect(firstDifference(await inChunks(engine, tokens, 1), whole)).toBe(-1);
});
