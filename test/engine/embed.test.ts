// Embeddings: the final hidden states, pooled, whatever is computed beside them.
import { expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { ANY_SESSION, type EmbedOptions } from "../../src/engine/types.ts";
import { stories } from "../draft/rig.ts";
import { firstDifference, greedy, load, variants } from "../support/engine.ts";
import { noise } from "../support/noise.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

const text = (seed: number, length: number) => {
  const random = noise(seed);
  return Array.from({ length }, () => 3 + Math.floor(random() * 300));
};
const mean: EmbedOptions = { pooling: "mean", normalize: false };
const embed = (engine: Engine, texts: readonly (string | readonly number[])[], options = mean) =>
  engine.embed(texts, options, {});

test("states are what the head reads: their products with the embedding's rows are the logits", async () => {
  const tiny = tinyModel({ tied: true });
  const engine = await load(tinyGguf(tiny, "F32"), { kvType: "f32" });
  const { hidden, vocab, logitScale } = engine.info.config;
  const prompt = text(1, 20);
  const session = await engine.open();
  const logits = await engine.forward(session, prompt, "last");
  const state = await embed(engine, [prompt], { pooling: "last", normalize: false });
  expect(state).toHaveLength(hidden);
  // A tied model's head is its embedding.
  const rows = tiny.weights.get("model.embed_tokens.weight")!.values;
  let worst = 0;
  for (let token = 0; token < vocab; token++) {
    let dot = 0;
    for (let i = 0; i < hidden; i++) dot += state[i]! * rows[token * hidden + i]!;
    worst = Math.max(worst, Math.abs(dot * logitScale - logits[token]!));
  }
  expect(worst).toBeLessThan(1e-3);
});

test("the mean is that of the states of every prefix's last token", async () => {
  const engine = await load(tinyGguf());
  const { hidden } = engine.info.config;
  const prompt = text(2, 40);
  const prefixes = prompt.map((_, i) => prompt.slice(0, i + 1));
  const states = await embed(engine, prefixes, { pooling: "last", normalize: false });
  const sum = new Float64Array(hidden);
  for (let t = 0; t < prompt.length; t++) for (let i = 0; i < hidden; i++) sum[i]! += states[t * hidden + i]!;
  const expected = Float32Array.from(sum, (x) => x * (1 / prompt.length));
  expect(firstDifference(await embed(engine, [prompt]), expected)).toBe(-1);
});

test("normalised vectors have length 1 and the direction of the others", async () => {
  const engine = await load(stories);
  const { hidden } = engine.info.config;
  for (const pooling of ["mean", "last"] as const) {
    const plain = await embed(engine, ["Once upon a time", "The cat"], { pooling, normalize: false });
    const unit = await embed(engine, ["Once upon a time", "The cat"], { pooling, normalize: true });
    for (const which of [0, 1]) {
      const [a, b] = [plain, unit].map((all) => all.subarray(which * hidden, (which + 1) * hidden)) as [
        Float32Array,
        Float32Array,
      ];
      const length = Math.sqrt(a.reduce((sum, x) => sum + x * x, 0));
      expect(Math.abs(b.reduce((sum, x) => sum + x * x, 0) - 1)).toBeLessThan(1e-5);
      for (let i = 0; i < hidden; i++) expect(Math.abs(b[i]! - a[i]! / length)).toBeLessThan(1e-6);
    }
  }
});

for (const variant of variants)
  test(`vectors do not depend on batches, threads or what is computed beside them (${variant})`, async () => {
    const texts = [5, 90, 1, 33, 64, 200, 17, 2, 130, 40, 8, 3, 70, 9, 11, 25, 60, 100, 31, 32].map((length, i) =>
      text(i, length),
    );
    const engine = await load(stories, { variant });
    const { hidden } = engine.info.config;
    const alone: number[] = [];
    for (const one of texts) alone.push(...(await embed(engine, [one])));
    const expected = Float32Array.from(alone);
    expect(expected).toHaveLength(hidden * texts.length);
    for (const options of [{}, { threads: 2 }, { batchSize: 7 }, { batchSize: 1 }]) {
      const other = await load(stories, { variant, ...options });
      const sampling = { ...greedy([], 0).sampling, logitBias: [[2, -Infinity]] as const };
      const request = { ...greedy(text(50, 30), 60), sampling };
      const said = (await other.generate(ANY_SESSION, request, { onPart() {} })).tokens;
      const [vectors, , beside] = await Promise.all([
        embed(other, texts),
        embed(other, texts.slice(3)),
        other.generate(ANY_SESSION, request, { onPart() {} }),
      ]);
      expect(firstDifference(vectors, expected), JSON.stringify(options)).toBe(-1);
      expect(beside.tokens).toEqual(said);
    }
  });

test("texts are counted with their BOS; none gives none; memory is given back", async () => {
  const engine = await load(stories);
  let promptTokens = -1;
  const onBegin = (usage: { readonly promptTokens: number }) => {
    promptTokens = usage.promptTokens;
  };
  const session = await engine.open();
  await engine.generate(session, greedy("Once upon a time", 1), { onPart() {}, onBegin });
  const one = promptTokens;
  await engine.embed(["Once upon a time", "Once upon a time"], mean, { onBegin });
  expect(promptTokens).toBe(2 * one);
  expect(await embed(engine, [])).toHaveLength(0);
  const before = engine.memoryBytes;
  for (let i = 0; i < 20; i++) await embed(engine, [text(i, 100), text(i, 50)]);
  expect(engine.memoryBytes).toBe(before);
});

test("a text that does not fit, one that is empty or no token, and an abort reject all", async () => {
  const engine = await load(tinyGguf(), { contextSize: 64 });
  await expect(embed(engine, [[5], text(1, 65)])).rejects.toMatchObject({ code: "context-overflow" });
  await expect(embed(engine, [[5], []])).rejects.toMatchObject({ code: "bad-input" });
  await expect(embed(engine, [[5], [320]])).rejects.toMatchObject({ code: "bad-input" });
  const abort = new AbortController();
  const running = engine.embed(
    Array.from({ length: 200 }, (_, i) => text(i, 60)),
    mean,
    { signal: abort.signal },
  );
  abort.abort("no longer");
  await expect(running).rejects.toBe("no longer");
  expect(await embed(engine, [[5, 6]])).toHaveLength(engine.info.config.hidden);
});

test("a call takes one place of those that run and wait", async () => {
  const engine = await load(tinyGguf(), { parallel: 1, queue: 1 });
  const calls = [0, 1, 2].map((i) => embed(engine, [text(i, 50), text(i, 60)]));
  const outcomes = await Promise.allSettled(calls);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
  expect(outcomes[2]).toMatchObject({ reason: { code: "busy" } });
});

test("where there is memory for one text alone they are computed one after another", async () => {
  const model = tinyGguf();
  const { total } = (await load(model, { contextSize: 1024 })).info.memory;
  const engine = await load(model, { contextSize: 1024, maxMemoryBytes: total });
  const texts = Array.from({ length: 9 }, (_, i) => text(i, 900 + i));
  const vectors = await embed(engine, texts);
  expect(firstDifference(vectors, await embed(await load(model, { contextSize: 1024 }), texts))).toBe(-1);
  // A session has the planned memory now.
  await engine.open();
  await expect(embed(engine, [text(1, 1000)])).rejects.toMatchObject({ code: "out-of-memory" });
});
