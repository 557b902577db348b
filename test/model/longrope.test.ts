// LongRoPE's factors and attention factor, from files and from options.
import { expect, test } from "vitest";
import type { ModelConfig } from "../../src/model/config.ts";
import { attentionFactor, PUBLISHED_FACTORS, withFactors } from "../../src/model/longrope.ts";
import { builds, workbench } from "../support/bench.ts";

const config = {
  headDim: 128,
  ropeShort: undefined,
  ropeLong: undefined,
  ropeOriginalContext: 32768,
  ropeScale: 1,
} as unknown as ModelConfig;

test("the attention factor is 1 up to the trained length and sqrt(1 + ln s / ln L) beyond", () => {
  expect(attentionFactor(32768, 32768)).toBe(1);
  expect(attentionFactor(16384, 32768)).toBe(1);
  expect(attentionFactor(131072, 32768)).toBeCloseTo(Math.sqrt(1 + Math.log(4) / Math.log(32768)), 12);
});

test("published sets have 64 rising factors and share their beginning with the trained ones", () => {
  for (const factors of Object.values(PUBLISHED_FACTORS)) {
    expect(factors.length).toBe(64);
    expect(factors.every((x, i) => x > (factors[i - 1] ?? 0))).toBe(true);
  }
  expect(PUBLISHED_FACTORS["minicpm4-128k"][0]).toBe(0.9977997200264581);
  expect(PUBLISHED_FACTORS["minicpm4-128k"][63]).toBe(124.09569231686116);
  expect(PUBLISHED_FACTORS["minicpm4.1-128k"][63]).toBe(126.01712561287873);
});

test("factors replace the model's own at every context size; others than its heads take are refused", () => {
  const changed = withFactors(config, "minicpm4-128k");
  expect(changed.ropeShort).toEqual(Float32Array.from(PUBLISHED_FACTORS["minicpm4-128k"]));
  expect(changed.ropeLong).toBe(changed.ropeShort);
  expect(withFactors(config, undefined)).toBe(config);
  const short = { ...config, headDim: 64 };
  expect(
    withFactors(
      short,
      Array.from({ length: 32 }, (_, i) => 1 + i),
    ).ropeLong?.[31],
  ).toBe(32);
  for (const wrong of [
    "minicpm4-128k",
    "toString",
    [1, 2],
    Array.from({ length: 32 }, () => 0),
    Array.from({ length: 32 }, () => Number.NaN),
  ])
    expect(() => withFactors(short, wrong as "minicpm4-128k")).toThrow(
      expect.objectContaining({ code: "bad-option", detail: expect.objectContaining({ field: "ropeFactors" }) }),
    );
});

for (const build of builds)
  test(`angles of ${build} with published factors are those of the published model at position 5`, async () => {
    const { kernels, floats, memory, take } = await workbench(build);
    // The first factors are those of the 32k set, for which the published values are known.
    const factors = floats(PUBLISHED_FACTORS["minicpm4-128k"]);
    const [frequency, table] = [take(8 * 64), take(4 * 128)];
    kernels.rope_frequencies(frequency, 128, 10000, factors.at);
    kernels.rope_row(frequency, 5, 1, table, 128);
    const got = new Float32Array(memory.buffer, table, 128);
    for (const [i, cos, sin] of [
      [0, 0.2942175, -0.9557385],
      [1, -0.4305646, -0.9025597],
    ] as const) {
      expect(got[i]).toBeCloseTo(cos, 6);
      expect(got[64 + i]).toBeCloseTo(sin, 6);
    }
  });
