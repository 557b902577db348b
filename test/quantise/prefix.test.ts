// Prefix tokens: which tokens are massive, which prefix they ask for, and what a run does with it.
import { expect, test } from "vitest";
import { memoryDestination } from "../../src/quantise/destination.ts";
import { outlierPositions, prefixTokens, withPrefix } from "../../src/quantise/prefix.ts";
import type { QuantizeOptions } from "../../src/quantise/quantize.ts";
import { door, sequences } from "../support/quantise.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

test("massive is more than the ratio times the median of all tokens of all sequences", () => {
  // The median of 1, 1, 1, 3, 5, 600, 700, 800 is 4.
  const magnitudes = [
    [600, 1, 1, 5],
    [3, 700, 800, 1],
  ];
  expect(outlierPositions(magnitudes, 64)).toEqual([[0], [1, 2]]);
  expect(outlierPositions(magnitudes, 150)).toEqual([[], [1, 2]]);
  expect(outlierPositions(magnitudes, 175)).toEqual([[], [2]]);
  // Of an odd number, the one in the middle.
  expect(outlierPositions([[1, 2, 300]], 149)).toEqual([[2]]);
  expect(outlierPositions([[1, 2, 300]], 150)).toEqual([[]]);
});

test("as many of the most frequent as a sequence has on average, rounded up, then the beginning", () => {
  const texts = [
    [1, 9, 7, 7],
    [1, 7, 9, 5],
    [1, 8, 8, 8],
  ];
  // Seven massive tokens in three sequences: three kinds, 7 and 8 before 9 and 1, which are as frequent as each other.
  const positions = [[0, 2, 3], [2], [0, 1, 2]];
  expect(prefixTokens(texts, positions, 1)).toEqual([7, 8, 1]);
  expect(prefixTokens(texts, positions, 2)).toEqual([1, 7, 8, 2]);
  expect(prefixTokens(texts, [[], [], []], 1)).toEqual([1]);
  expect(prefixTokens(texts, [[2], [], []], undefined)).toEqual([7]);
  expect(withPrefix(texts, [5, 1], 1, 4)).toEqual([
    [5, 1, 9, 7],
    [5, 1, 7, 9],
    [5, 1, 8, 8],
  ]);
});

/** A model in which two tokens alone have a direction that one channel of the MLP multiplies by far. */
function massive(tokens: readonly number[]): Uint8Array {
  const model = tinyModel({ layers: 1, hidden: 64, intermediate: 96, heads: 4, kvHeads: 2, headDim: 16 });
  const at = (name: string) => model.weights.get(name)!.values;
  const embedding = at("model.embed_tokens.weight");
  for (let t = 0; t < embedding.length / 64; t++) embedding[64 * t] = tokens.includes(t) ? 40 : 0;
  at("model.layers.0.self_attn.o_proj.weight").fill(0, 0, 64);
  for (const name of ["gate_proj", "up_proj"]) {
    const values = at(`model.layers.0.mlp.${name}.weight`);
    values.fill(0, 0, 64);
    values[0] = 20;
  }
  return tinyGguf(model);
}

/** The massive token 50 once in every second text. */
const calibration = sequences(8, 60).map((text, s) =>
  text.map((token, i) => (i === 20 && s % 2 === 0 ? 50 : token === 50 ? 51 : token)),
);
const run = (more: Partial<QuantizeOptions>) =>
  door.quantize(massive([1, 50]), memoryDestination(), { type: "Q4_0", method: "p-gptq", calibration, ...more });

test("a run finds the prefix in its calibration, begins sequences with it and leaves its rows out", async () => {
  const found = await run({ prefix: "auto" });
  // One and a half massive tokens a sequence: the beginning and the other.
  expect(found.prefix).toEqual({ tokens: [50, 1], outliers: 1.5 });
  const same = await run({ prefix: [50, 1] });
  expect(same.tensors).toEqual(found.tensors);
  // What enters the down projection has lost its massive channel, so its loss in that metric is another.
  const lossOf = (report: typeof found) => report.tensors.find(({ name }) => name.endsWith("ffn_down.weight"))!.loss!;
  expect(lossOf(found)).not.toBe(lossOf(await run({})));
  expect(lossOf(found)).not.toBe(lossOf(await run({ prefix: [50, 1], skip: 0 })));
  const none = await door.quantize(massive([]), memoryDestination(), {
    type: "Q4_0",
    method: "p-gptq",
    calibration,
    prefix: "auto",
  });
  expect(none.prefix).toEqual({ tokens: [1], outliers: 0 });
});

test("prefixes that cannot be are refused", async () => {
  await expect(run({ prefix: [] })).rejects.toMatchObject({ code: "bad-option", message: /prefix/ });
  await expect(run({ prefix: [5000] })).rejects.toMatchObject({ code: "bad-option", message: /prefix/ });
  await expect(run({ prefix: [5], method: "gptq" })).rejects.toMatchObject({ code: "bad-option", message: /p-gptq/ });
  await expect(run({ prefix: [3, 4, 5, 6, 7], length: 8 })).rejects.toMatchObject({ code: "bad-option", message: /too little/ });
});
