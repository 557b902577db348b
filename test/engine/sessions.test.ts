// Sessions: what they hold can be shortened, copied, saved and restored, and never leaks into another.
import { expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import type { KvType } from "../../src/engine/types.ts";
import { firstDifference, greedy, load, logitsOf } from "../support/engine.ts";
import { f32, writeGguf } from "../support/gguf.ts";
import { tinyGguf, tinyModel, tinyParts } from "../support/tiny.ts";

const model = tinyGguf();
const tokens = Array.from({ length: 100 }, (_, i) => (i * 37 + 5) % 320);
const kvTypes: readonly KvType[] = ["f16", "f32", "q8"];

/** Logits of the last of `list`, computed at once in a session of its own. */
async function direct(engine: Engine, list: readonly number[]): Promise<Float32Array> {
  return (await logitsOf(engine, list)).subarray(-engine.info.config.vocab);
}

for (const kvType of kvTypes)
  test(`a session truncated to any earlier length goes on as if it had never been longer (${kvType})`, async () => {
    const engine = await load(model, { kvType });
    const session = await engine.open();
    await engine.forward(session, tokens, "none");
    for (const length of [99, 65, 64, 63, 33, 32, 31, 1, 0]) {
      await engine.truncate(session, length);
      expect([...(await engine.tokens(session))]).toEqual(tokens.slice(0, length));
      const logits = await engine.forward(session, [7, 9], "last");
      expect(firstDifference(logits, await direct(engine, [...tokens.slice(0, length), 7, 9])), `length ${length}`).toBe(-1);
      await engine.truncate(session, length);
    }
  });

for (const kvType of kvTypes)
  test(`a copy goes on as the original would, and neither changes the other (${kvType})`, async () => {
    const engine = await load(model, { kvType });
    const original = await engine.open();
    await engine.forward(original, tokens.slice(0, 45), "none");
    const copy = await engine.copy(original);
    const expected = {
      a: await direct(engine, [...tokens.slice(0, 45), 1]),
      b: await direct(engine, [...tokens.slice(0, 45), 2]),
    };
    expect(firstDifference(await engine.forward(copy, [1], "last"), expected.a)).toBe(-1);
    expect(firstDifference(await engine.forward(original, [2], "last"), expected.b)).toBe(-1);
    expect(
      firstDifference(await engine.forward(copy, [7, 7], "last"), await direct(engine, [...tokens.slice(0, 45), 1, 7, 7])),
    ).toBe(-1);
  });

for (const kvType of kvTypes)
  test(`a session restored by another engine goes on as the saved one (${kvType})`, async () => {
    const engine = await load(model, { kvType });
    const session = await engine.open();
    await engine.forward(session, tokens.slice(0, 70), "none");
    const saved = await engine.save(session);
    const other = await load(model, { kvType, threads: 2, batchSize: 16 });
    const restored = await other.restore(saved);
    expect([...(await other.tokens(restored))]).toEqual(tokens.slice(0, 70));
    expect(firstDifference(await other.forward(restored, [3, 4], "last"), await engine.forward(session, [3, 4], "last"))).toBe(
      -1,
    );
    // Restored bytes need not be aligned.
    const shifted = new Uint8Array(saved.length + 1);
    shifted.set(saved, 1);
    expect([...(await engine.tokens(await engine.restore(shifted.subarray(1))))]).toEqual(tokens.slice(0, 70));
  });

test("an empty session is saved and restored", async () => {
  const engine = await load(model);
  const restored = await engine.restore(await engine.save(await engine.open()));
  expect(await engine.tokens(restored)).toHaveLength(0);
  expect(firstDifference(await engine.forward(restored, tokens, "last"), await direct(engine, tokens))).toBe(-1);
});

test("a session restored where the context is smaller keeps to that context", async () => {
  const large = await load(model, { contextSize: 2000 });
  const session = await large.open();
  await large.forward(session, tokens.slice(0, 50), "none");
  const saved = await large.save(session);
  const small = await load(model, { contextSize: 64 });
  const restored = await small.restore(saved);
  expect(
    firstDifference(await small.forward(restored, tokens.slice(50, 64), "last"), await direct(large, tokens.slice(0, 64))),
  ).toBe(-1);
  await expect(small.forward(restored, [1], "last")).rejects.toMatchObject({ code: "context-overflow" });
  const tiny = await load(model, { contextSize: 49 });
  await expect(tiny.restore(saved)).rejects.toMatchObject({
    code: "context-overflow",
    message: expect.stringMatching(/50 tokens.*context of 49.*contextSize 50/),
  });
});

test("a saved session is refused by another model, another KV type, another ABI, and when a byte of it changed", async () => {
  const engine = await load(model);
  const session = await engine.open();
  await engine.forward(session, tokens.slice(0, 40), "none");
  const saved = await engine.save(session);
  const refused = async (by: Engine, bytes: Uint8Array, why: RegExp) => {
    await expect(by.restore(bytes)).rejects.toMatchObject({
      name: "CpmError",
      code: "bad-input",
      message: expect.stringMatching(why),
    });
  };
  await refused(await load(tinyGguf(tinyModel({}, 2))), saved, /another model/);
  await refused(await load(tinyGguf(tinyModel({ headDim: 32 }))), saved, /another model/);
  await refused(await load(model, { kvType: "q8" }), saved, /KV cache type is not q8/);
  const changed = (at: number, value: number) => {
    const bytes = saved.slice();
    bytes[at] = bytes[at]! ^ value;
    return bytes;
  };
  await refused(engine, changed(4, 255), /ABI/);
  await refused(engine, new Uint8Array(0), /not a saved session/);
  await refused(engine, new Uint8Array(1000), /not a saved session/);
  for (const length of [16, 31, 32, 100, saved.length - 4, saved.length - 1])
    await refused(engine, saved.slice(0, length), /saved session/);
  await refused(engine, Uint8Array.of(...saved, 0, 0, 0, 0), /length/);
  for (let at = 0; at < saved.length; at += at < 200 ? 1 : 997) await refused(engine, changed(at, 16), /saved session/);
  expect(await engine.tokens(await engine.restore(saved))).toHaveLength(40);
});

test("a model's name and place do not matter to its saved sessions, its rotation does", async () => {
  const parts = tinyParts(tinyModel());
  const renamed = writeGguf({ ...parts, metadata: parts.metadata.filter(([key]) => key !== "general.name") });
  const turned = writeGguf({
    ...parts,
    metadata: parts.metadata.map(([key, value]) => [key, key.endsWith("freq_base") ? f32(5000) : value]),
  });
  const engine = await load(model);
  const saved = await engine.save(await engine.open());
  await (await load(renamed)).restore(saved);
  await expect((await load(turned)).restore(saved)).rejects.toMatchObject({ code: "bad-input" });
});

test("a session saved with the short LongRoPE factors is refused where the long ones apply", async () => {
  const parts = tinyParts(tinyModel());
  const factors = (value: number) => new Uint8Array(new Float32Array(8).fill(value).buffer);
  const model = writeGguf({
    metadata: [
      ...parts.metadata,
      ["minicpm.rope.scaling.type", { type: 8, write: (w) => w.text("longrope") }],
      ["minicpm.rope.scaling.original_context_length", { type: 4, write: (w) => w.u32(512) }],
    ],
    tensors: [
      ...parts.tensors,
      { name: "rope_factors_short.weight", type: 0, shape: [8], bytes: factors(1) },
      { name: "rope_factors_long.weight", type: 0, shape: [8], bytes: factors(4) },
    ],
  });
  const short = await load(model, { contextSize: 512 });
  const long = await load(model, { contextSize: 513 });
  expect(firstDifference(await direct(short, tokens), await direct(long, tokens))).toBeGreaterThanOrEqual(0);
  await expect(long.restore(await short.save(await short.open()))).rejects.toMatchObject({ code: "bad-input" });
});

test("tokens that do not fit the context, or are none of the vocabulary, change nothing", async () => {
  const engine = await load(model, { contextSize: 50 });
  const session = await engine.open();
  await engine.forward(session, tokens.slice(0, 40), "none");
  await expect(engine.forward(session, tokens.slice(0, 11), "last")).rejects.toMatchObject({
    code: "context-overflow",
    message: expect.stringMatching(/51 tokens.*context of 50/),
  });
  for (const bad of [[320], [-1], [1.5], [Number.NaN], [2 ** 31], []])
    await expect(engine.forward(session, bad, "last")).rejects.toMatchObject({ name: "CpmError", code: "bad-input" });
  await expect(engine.generate(session, greedy(tokens.slice(0, 51), 4), { onPart: () => {} })).rejects.toMatchObject({
    code: "context-overflow",
  });
  expect([...(await engine.tokens(session))]).toEqual(tokens.slice(0, 40));
  expect(
    firstDifference(await engine.forward(session, tokens.slice(40, 50), "last"), await direct(engine, tokens.slice(0, 50))),
  ).toBe(-1);
});

test("generation ends where the context does, and says so", async () => {
  const engine = await load(model, { contextSize: 50 });
  const result = await engine.generate(
    await engine.open(),
    { ...greedy(tokens.slice(0, 45), 1000), sampling: { ...greedy([], 0).sampling, logitBias: [[2, -Infinity]] } },
    { onPart: () => {} },
  );
  expect(result).toMatchObject({ finishReason: "context", usage: { promptTokens: 45, completionTokens: 6 } });
});

test("a prompt that goes on from what a session holds is computed only where it is new", async () => {
  const engine = await load(model);
  const session = await engine.open();
  await engine.forward(session, tokens.slice(0, 60), "none");
  const result = await engine.generate(session, greedy(tokens.slice(0, 80), 5), { onPart: () => {} });
  expect(result.usage).toMatchObject({ promptTokens: 80, cachedTokens: 60 });
  const fresh = await engine.generate(await engine.open(), greedy(tokens.slice(0, 80), 5), { onPart: () => {} });
  expect(result.tokens).toEqual(fresh.tokens);
});

test("a closed session, a session that never was, and impossible lengths are typed errors", async () => {
  const engine = await load(model);
  const session = await engine.open();
  for (const length of [-1, 1, 0.5, Number.NaN])
    await expect(engine.truncate(session, length)).rejects.toMatchObject({ code: "bad-option", detail: { field: "length" } });
  for (const size of [0, -5, 1.5, Number.NaN, 2049, 2 ** 40])
    await expect(engine.open(size)).rejects.toMatchObject({ code: "bad-option", detail: { field: "contextSize" } });
  await engine.closeSession(session);
  await engine.closeSession(session);
  for (const id of [session, 999]) {
    const closed = { name: "CpmError", code: "closed", message: expect.stringMatching(/model\.session\(\)/) };
    await expect(engine.forward(id, [1], "last")).rejects.toMatchObject(closed);
    await expect(engine.generate(id, greedy([1], 1), { onPart: () => {} })).rejects.toMatchObject(closed);
    await expect(engine.tokens(id)).rejects.toMatchObject(closed);
    await expect(engine.truncate(id, 0)).rejects.toMatchObject(closed);
    await expect(engine.copy(id)).rejects.toMatchObject(closed);
    await expect(engine.save(id)).rejects.toMatchObject(closed);
  }
});

test("a closed engine refuses everything, and ends what it was computing", async () => {
  const engine = await load(model, { threads: 2 });
  const session = await engine.open();
  const running = engine.generate(session, greedy(tokens, 1900), { onPart: () => {} });
  running.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 20));
  await engine.close();
  await expect(running).rejects.toMatchObject({ code: "closed" });
  await expect(engine.forward(session, [1], "last")).rejects.toMatchObject({ code: "closed" });
  await expect(engine.open()).rejects.toMatchObject({ code: "closed" });
  await engine.close();
});

test("calls at the same time take turns", async () => {
  const engine = await load(model);
  const sessions = await Promise.all(Array.from({ length: 6 }, () => engine.open()));
  const results = await Promise.all(sessions.map((session, i) => engine.forward(session, tokens.slice(i, i + 40), "last")));
  for (const [i, logits] of results.entries())
    expect(firstDifference(logits, await direct(engine, tokens.slice(i, i + 40)))).toBe(-1);
});
