import { expect, test } from "vitest";
import { samplingOptions } from "../../src/decode/options.ts";
import type { SamplingOptions } from "../../src/engine/types.ts";
import { CpmError } from "../../src/errors.ts";
import { clean, keptCount, modified, ordered, uniform, weightsOf } from "./definition.ts";
import { builds, generator, normal, type Rig, rig, rows } from "./rig.ts";

const slack = 2e-5; // of weights: f32 exponents up to 87 are rounded to 24 bits

function pick<T>(random: () => number, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)]!;
}

function randomOptions(random: () => number, vocab: number): SamplingOptions {
  const token = () => Math.floor(random() * vocab);
  return samplingOptions({
    temperature: pick(random, [0, 0.01, 0.7, 1, 1.7, 30]),
    topK: pick(random, [0, 0, 1, 3, 40, 500, vocab, vocab + 5]),
    topP: pick(random, [1, 1, 0.95, 0.7, 0.3, 1e-9, 0.999999]),
    minP: pick(random, [0, 0, 0.05, 0.5, 1]),
    repetitionPenalty: pick(random, [1, 1.3, 0.8]),
    frequencyPenalty: pick(random, [0, 0.4, -0.2]),
    presencePenalty: pick(random, [0, 0.7]),
    penaltyWindow: pick(random, [0, 5, 64]),
    logitBias: pick(random, [
      [],
      [[token(), 5]],
      [
        [token(), -Infinity],
        [token(), 1.25],
        [token(), -3e38],
      ],
    ]),
    seed: Math.floor(random() * 2 ** 53),
    logprobs: pick(random, [-1, -1, 0, 5, 64]),
  });
}

// Draws one token and holds everything about it to the definition.
function check(at: Rig, row: Float32Array, options: SamplingOptions, position: number, history: readonly number[]): void {
  const expected = modified(row, options, history);
  at.logits.set(row);
  if (!expected.some((x) => x > -Infinity)) {
    expect(() => at.sampler.sample(options, position, Int32Array.from(history))).toThrow(CpmError);
    return;
  }
  const { token, logprob } = at.sampler.sample(options, position, Int32Array.from(history));
  expect(Buffer.compare(Buffer.from(at.logits.slice().buffer), Buffer.from(expected.buffer))).toBe(0);
  const order = ordered(expected);
  if (options.temperature === 0) expect(token).toBe(order[0]);
  else checkDraw(at.word("kept"), token, expected, order, options, uniform(options.seed, position));
  if (options.logprobs < 0) {
    expect(logprob).toBeUndefined();
    return;
  }
  const raw = row.map(clean);
  const weights = weightsOf(raw, 1);
  const sum = weights.reduce((a, b) => a + b, 0);
  const most = raw.reduce((a, b) => Math.max(a, b), -Infinity);
  const logOf = (t: number) => raw[t]! - most - Math.log(sum);
  expect(logprob!.token).toBe(token);
  if (logOf(token) > -1e9) expect(Math.abs(logprob!.logprob - logOf(token))).toBeLessThan(1e-6);
  const top = [...ordered(raw).subarray(0, options.logprobs)].filter((t) => raw[t]! > -Infinity);
  expect(logprob!.top.map((one) => one.token)).toEqual(top);
}

function checkDraw(kept: number, token: number, logits: Float32Array, order: Int32Array, options: SamplingOptions, u: number) {
  const weights = weightsOf(logits, options.temperature);
  expect(kept).toBeGreaterThanOrEqual(keptCount(weights, order, options, -slack));
  expect(kept).toBeLessThanOrEqual(keptCount(weights, order, options, slack));
  const chosen = order.slice(0, kept).sort();
  expect(chosen.includes(token)).toBe(true);
  let sum = 0;
  let before = 0;
  for (const t of chosen) {
    if (t < token) before += weights[t]!;
    sum += weights[t]!;
  }
  expect(u * sum).toBeGreaterThanOrEqual(before - slack * sum);
  expect(u * sum).toBeLessThanOrEqual(before + weights[token]! + slack * sum);
}

for (const build of builds) {
  test(`${build}: every option on every kind of row gives what the definition says`, async () => {
    const random = generator(7);
    let checks = 0;
    for (const [vocab, rounds] of [
      [1, 60],
      [2, 60],
      [3, 60],
      [7, 150],
      [64, 150],
      [511, 150],
      [513, 150],
      [4099, 60],
    ] as const) {
      const at = await rig(build, vocab);
      for (let round = 0; round < rounds; round++) {
        const make = pick(random, Object.values(rows));
        const row = Float32Array.from({ length: vocab }, (_, i) => make(random, i));
        const history = Array.from({ length: Math.floor(random() * 100) }, () => Math.floor(random() * Math.min(vocab, 20)));
        check(at, row, randomOptions(random, vocab), Math.floor(random() * 1e6), history);
        checks++;
      }
      expect(at.strayWrite()).toBe(-1);
    }
    expect(checks).toBe(840);
  });

  test(`${build}: rows of 73,448 and 130,000 tokens give what the definition says`, async () => {
    const random = generator(11);
    for (const vocab of [73448, 130000]) {
      const at = await rig(build, vocab);
      for (const make of Object.values(rows)) {
        const row = Float32Array.from({ length: vocab }, (_, i) => make(random, i));
        for (const topK of [0, 1000]) check(at, row, samplingOptions({ topK, topP: 0.9, seed: 3, logprobs: 20 }), topK, []);
      }
      expect(at.strayWrite()).toBe(-1);
    }
  });

  test(`${build}: drawn tokens are as frequent as their probabilities (chi-square)`, async () => {
    const vocab = 60;
    const random = generator(3);
    const row = Float32Array.from({ length: vocab }, () => normal(random));
    const at = await rig(build, vocab);
    for (const user of [
      { topK: 0, topP: 1 },
      { topK: 0, topP: 0.8, temperature: 1.4 },
      { topK: 20, topP: 0.9, minP: 0.05 },
    ]) {
      const options = samplingOptions({ temperature: 1, seed: 12345, ...user });
      const draws = 60000;
      const counts = new Float64Array(vocab);
      for (let position = 0; position < draws; position++) {
        at.logits.set(row);
        counts[at.sampler.sample(options, position, new Int32Array(0)).token]!++;
      }
      const weights = weightsOf(row, options.temperature);
      const order = ordered(row);
      const chosen = order.subarray(0, keptCount(weights, order, options, 0));
      const sum = chosen.reduce((a, t) => a + weights[t]!, 0);
      let square = 0;
      for (const t of chosen) {
        const expected = (draws * weights[t]!) / sum;
        square += (counts[t]! - expected) ** 2 / expected;
      }
      const freedom = chosen.length - 1;
      expect(chosen.reduce((a, t) => a + counts[t]!, 0)).toBe(draws);
      expect(square).toBeLessThan(freedom + 4 * Math.sqrt(2 * freedom));
    }
  });
}

test("both builds draw the same tokens, bit for bit", async () => {
  const random = generator(5);
  const vocab = 5000;
  const [one, two] = await Promise.all(builds.map((build) => rig(build, vocab)));
  for (let position = 0; position < 200; position++) {
    const make = pick(random, Object.values(rows));
    const row = Float32Array.from({ length: vocab }, (_, i) => make(random, i));
    const options = randomOptions(random, vocab);
    const results = [one!, two!].map((at) => {
      at.logits.set(row);
      return [at.sampler.sample(options, position, Int32Array.of(1, 2, 2)), at.word("kept"), at.word("logSum")];
    });
    expect(results[0]).toEqual(results[1]);
  }
});

test("a draw depends on seed and position, not on the draws before it", async () => {
  const at = await rig("decide", 1000);
  const row = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i));
  const draw = (seed: number, position: number) => {
    at.logits.set(row);
    return at.sampler.sample(samplingOptions({ seed, topK: 0, topP: 1 }), position, new Int32Array(0)).token;
  };
  const positions = Array.from({ length: 300 }, (_, i) => i);
  const forward = positions.map((p) => draw(1, p));
  const backward = positions.toReversed().map((p) => draw(1, p));
  expect(backward.reverse()).toEqual(forward);
  expect(positions.map((p) => draw(2, p))).not.toEqual(forward);
});

test("the tokens of a seed stay the same from release to release", async () => {
  const at = await rig("decide", 1000);
  const row = Float32Array.from({ length: 1000 }, (_, i) => (Math.imul(i, 2654435761) >>> 0) / 2 ** 28);
  const tokens = Array.from({ length: 10 }, (_, position) => {
    at.logits.set(row);
    return at.sampler.sample(samplingOptions({ seed: 42 }), position, new Int32Array(0)).token;
  });
  expect(tokens).toEqual([364, 974, 487, 76, 686, 76, 199, 754, 131, 741]);
});

test("uniform numbers follow the definition for any seed and position, and stay below 1", async () => {
  const { decide } = await rig("decide", 1);
  const random = generator(1);
  for (const seed of [0, 1, 2, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    for (const position of [0, 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, Math.floor(random() * 1e9)]) {
      const u = decide.random_uniform(seed, position);
      expect(u).toBe(uniform(seed, position));
      expect(u >= 0 && u < 1).toBe(true);
    }
  }
});

test("log-probabilities are of the raw logits, whatever bias and penalties do to them", async () => {
  const at = await rig("decide", 4);
  at.logits.set([1, 2, 3, 4]);
  const options = samplingOptions({
    temperature: 0,
    logprobs: 2,
    logitBias: { 0: 100 },
    presencePenalty: 50,
    repetitionPenalty: 2,
  });
  const { token, logprob } = at.sampler.sample(options, 0, Int32Array.of(3, 0));
  const log = Math.log(Math.exp(-3) + Math.exp(-2) + Math.exp(-1) + 1);
  expect(token).toBe(2);
  expect(logprob!.logprob).toBeCloseTo(-1 - log, 6);
  expect(logprob!.top.map((one) => one.token)).toEqual([3, 2]);
  expect(logprob!.top[0]!.logprob).toBeCloseTo(-log, 6);
});

test("a bias for every token of the vocabulary is applied, however many there are", async () => {
  const vocab = 20000;
  const at = await rig("decide", vocab);
  at.logits.fill(0);
  const options = samplingOptions({
    temperature: 0,
    logitBias: Array.from({ length: vocab }, (_, i) => [i, i === 19999 ? 1 : -1] as const),
  });
  expect(at.sampler.sample(options, 0, new Int32Array(0)).token).toBe(19999);
  expect(at.logits.filter((x) => x === -1).length).toBe(vocab - 1);
});

test("no possible token, tokens outside the vocabulary and a window beyond its region are typed errors", async () => {
  const at = await rig("decide", 8, 4);
  const history = new Int32Array(0);
  const codeOf = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return (error as CpmError).code;
    }
    return "no error";
  };
  for (const logprobs of [-1, 3]) {
    for (const temperature of [0, 1]) {
      for (const nothing of [Number.NaN, -Infinity]) {
        at.logits.fill(nothing);
        expect(codeOf(() => at.sampler.sample(samplingOptions({ logprobs, temperature }), 0, history))).toBe("bad-model");
      }
    }
  }
  at.logits.fill(1);
  const banned = samplingOptions({ logitBias: Array.from({ length: 8 }, (_, i) => [i, -Infinity] as const) });
  expect(codeOf(() => at.sampler.sample(banned, 0, history))).toBe("bad-option");
  at.logits.fill(1);
  expect(codeOf(() => at.sampler.sample(samplingOptions({ logitBias: { 8: 1 } }), 0, history))).toBe("bad-option");
  const penalised = samplingOptions({ presencePenalty: 1 });
  for (const token of [8, -1]) expect(codeOf(() => at.sampler.sample(penalised, 0, Int32Array.of(1, token)))).toBe("bad-input");
  expect(codeOf(() => at.sampler.sample(penalised, 0, Int32Array.of(1, 1, 1, 1, 1)))).toBe("bad-option");
});

test("a mask takes tokens out before all else, and log-probabilities do not know it", async () => {
  for (const build of builds)
    for (const vocab of [5, 64, 1000, 1027]) {
      const at = await rig(build, vocab);
      const random = generator(vocab);
      for (let i = 0; i < 20; i++) {
        const row = Float32Array.from({ length: vocab }, () => 3 * normal(random));
        const mask = new Uint32Array(Math.ceil(vocab / 32)).map(() =>
          pick(random, [0, 0xffffffff, Math.floor(random() * 2 ** 32)]),
        );
        const lone = Math.floor(random() * vocab);
        mask[lone >> 5]! |= 1 << (lone & 31);
        const options = samplingOptions({ ...randomOptions(random, vocab), logitBias: [], penaltyWindow: 0 });
        const allowed = (t: number) => ((mask[t >> 5]! >>> (t & 31)) & 1) === 1;
        // The same token as when the others are -Infinity from the start.
        at.logits.set(row.map((x, t) => (allowed(t) ? x : -Infinity)));
        const wanted = at.sampler.sample({ ...options, logprobs: -1 }, i, new Int32Array(0)).token;
        at.logits.set(row);
        const { token, logprob } = at.sampler.sample({ ...options, logprobs: 2 }, i, new Int32Array(0), mask);
        expect(token).toBe(wanted);
        expect(allowed(token)).toBe(true);
        at.logits.set(row);
        const raw = at.sampler.sample({ ...options, temperature: 0, logprobs: 2 }, i, new Int32Array(0)).logprob!;
        expect(logprob!.top).toEqual(raw.top);
      }
      expect(at.strayWrite()).toBe(-1);
      const none = new Uint32Array(Math.ceil(vocab / 32));
      expect(() => at.sampler.sample(samplingOptions({}), 0, new Int32Array(0), none)).toThrow(/no token/);
    }
});
