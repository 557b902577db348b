import { expect, test } from "vitest";
import { type SamplingInput, samplingDefaults, samplingKeys, samplingOptions } from "../../src/decode/options.ts";
import { CpmError } from "../../src/errors.ts";

test("nothing given means the documented defaults and a random seed", () => {
  const { seed, ...rest } = samplingOptions();
  expect(rest).toEqual(samplingDefaults);
  expect(Number.isSafeInteger(seed) && seed >= 0).toBe(true);
  expect(new Set(Array.from({ length: 20 }, () => samplingOptions({}).seed)).size).toBe(20);
  expect(samplingOptions({ temperature: undefined, seed: 5 })).toEqual({ ...samplingDefaults, seed: 5 });
});

test("values inside their ranges are kept as they are", () => {
  const user = {
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 1,
    repetitionPenalty: 0.5,
    frequencyPenalty: -2,
    presencePenalty: 2,
    penaltyWindow: 0,
    logitBias: [[3, -Infinity]],
    seed: Number.MAX_SAFE_INTEGER,
    logprobs: 64,
  } as const;
  expect(samplingOptions(user, 4)).toEqual(user);
  expect(Object.keys(user).sort()).toEqual([...samplingKeys].sort());
});

test("logit biases come as a record or as pairs", () => {
  expect(samplingOptions({ logitBias: { 7: 1.5, 2: -1 } }).logitBias).toEqual([
    [2, -1],
    [7, 1.5],
  ]);
  expect(samplingOptions({ logitBias: [[7, 1]] }).logitBias).toEqual([[7, 1]]);
});

const bad: readonly (readonly [string, unknown])[] = [
  ...[Number.NaN, -0.1, Infinity, "1", null].map((x) => ["temperature", x] as const),
  ...[-1, 1.5, Number.NaN, 2 ** 31].map((x) => ["topK", x] as const),
  ...[0, -0.5, 1.01, Number.NaN].map((x) => ["topP", x] as const),
  ...[-0.1, 1.1, Number.NaN].map((x) => ["minP", x] as const),
  ...[0, -1, Number.NaN, Infinity].map((x) => ["repetitionPenalty", x] as const),
  ...[Number.NaN, Infinity].map((x) => ["frequencyPenalty", x] as const),
  ...[Number.NaN, -Infinity].map((x) => ["presencePenalty", x] as const),
  ...[-1, 0.5].map((x) => ["penaltyWindow", x] as const),
  ...[-1, 0.5, 2 ** 53, Number.NaN, 1n].map((x) => ["seed", x] as const),
  ...[-2, 65, 0.5].map((x) => ["logprobs", x] as const),
  ...[{ "-1": 1 }, { 10: 1 }, { a: 1 }, { 1: Number.NaN }, { 1: Infinity }, { 1: "2" }, [[1]], [1], [["1", 2]], 5, null].map(
    (x) => ["logitBias", x] as const,
  ),
  ["temprature", 1],
];

test.each(bad)("%s: %o is refused with the option's name", (field, value) => {
  let error: unknown;
  try {
    samplingOptions({ [field]: value } as SamplingInput, 10);
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(CpmError);
  expect((error as CpmError).code).toBe("bad-option");
  expect((error as CpmError).detail.field).toContain(field);
  expect((error as CpmError).detail.expected).toBeTruthy();
});
