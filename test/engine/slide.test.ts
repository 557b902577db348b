// A full context that forgets its middle, where that was asked for, and is an error where it was not.
import { expect, test } from "vitest";
import type { KvType } from "../../src/engine/types.ts";
import { greedy, load, logitsOf } from "../support/engine.ts";
import { largestDifference } from "../support/golden.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

// One layer: its keys and values depend on tokens and positions alone, so a cache that slid must equal one computed anew.
const model = tinyGguf(tinyModel({ layers: 1 }));
const prompt = Array.from({ length: 60 }, (_, i) => 260 + ((i * 37) % 60));
const hooks = { onPart() {} };

for (const [kvType, most] of [
  ["f32", 1e-4],
  ["f16", 2e-2],
  ["q8", 0.2],
] as [KvType, number][])
  test(`a slid cache of ${kvType} is what computing the kept tokens anew gives`, async () => {
    const engine = await load(model, {
      contextSize: 64,
      kvType,
      sparse: { kernelSize: 8, kernelStride: 4, initBlocks: 1, blockSize: 8, windowSize: 24 },
    });
    const session = await engine.open();
    const { tokens, finishReason } = await engine.generate(session, { ...greedy(prompt, 6), whenFull: "slide" }, hooks);
    // 60 of the prompt and 4 of 6 tokens fill the context; a block of 8 and a window of 24 are kept, the fifth is appended.
    expect([tokens.length, finishReason]).toEqual([6, "length"]);
    const whole = [...prompt, ...tokens];
    const kept = [...whole.slice(0, 8), ...whole.slice(40, 64), whole[64]!];
    expect([...(await engine.tokens(session))]).toEqual(kept);
    const vocab = engine.info.config.vocab;
    const next = await engine.forward(session, [whole[65]!], "last");
    const anew = (await logitsOf(engine, [...kept, whole[65]!])).subarray(kept.length * vocab);
    expect(largestDifference(next, anew)).toBeLessThan(most);
  });

test("text goes on for many contexts, and a seed draws other numbers after each slide", async () => {
  const engine = await load(model, {
    contextSize: 64,
    sparse: { kernelSize: 8, kernelStride: 4, initBlocks: 0, blockSize: 8, windowSize: 16 },
  });
  const request = { ...greedy(prompt, 400), whenFull: "slide" as const };
  const drawn = { ...request, sampling: { ...request.sampling, temperature: 5, seed: 7 } };
  const { tokens, finishReason } = await engine.generate(await engine.open(), drawn, hooks);
  expect(["length", "stop"]).toContain(finishReason);
  if (finishReason === "length") expect(tokens.length).toBe(400);
  expect(new Set(tokens.slice(100)).size).toBeGreaterThan(20);
});

test("without being asked, a full context ends the text, and what does not fit is refused", async () => {
  const engine = await load(model, { contextSize: 64 });
  const session = await engine.open();
  expect((await engine.generate(session, greedy(prompt, 400), hooks)).finishReason).toBe("context");
  expect((await engine.tokens(session)).length).toBe(64);
  await expect(engine.forward(session, [1], "last")).rejects.toMatchObject({ code: "context-overflow" });
  const long = Array.from({ length: 65 }, () => 300);
  await expect(engine.generate(session, { ...greedy(long, 1), whenFull: "slide" }, hooks)).rejects.toMatchObject({
    code: "context-overflow",
  });
});
