import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { fitChinchilla, fitPower, fitSigmoid, type LossPoint, type PowerPoint, type ScorePoint } from "../../src/tunnel/fits.ts";
import { bootstrap, chooseLaw, extrapolate, intervalOf, leaveLargestOut } from "../../src/tunnel/intervals.ts";
import { huber, leastHuber, leastSquares } from "../../src/tunnel/leastsquares.ts";
import { normal, uniform } from "../../src/tunnel/random.ts";
import { fitStepLaw, type SearchRun, STEP_LAW, STEP_LAW_INTERVALS, stepLaw } from "../../src/tunnel/steplaw.ts";
import { trainGolden } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const shared = here("../../../shared");

test("golden/train/tunnel.json", () => {
  const { stdout, stderr, status } = spawnSync(process.execPath, [here("golden.mjs"), trainGolden], {
    encoding: "utf8",
  });
  expect(`${stdout}${stderr}`).toMatch(/\n\d+ passed, 0 failed\n$/);
  expect(status).toBe(0);
});

test("a power law, and one with a floor, are found again", () => {
  const x = [1e5, 3e5, 1e6, 4e6, 1e7];
  const plain = fitPower(x.map((v) => ({ x: v, y: 12 * v ** -0.21 })));
  expect(plain.parameters["A"]).toBeCloseTo(12, 8);
  expect(plain.parameters["exponent"]).toBeCloseTo(-0.21, 10);
  expect(plain.predict({ x: 1e8 })).toBeCloseTo(12 * 1e8 ** -0.21, 10);
  const floored = fitPower(
    x.map((v) => ({ x: v, y: 1.3 + 90 * v ** -0.4 })),
    { floor: true },
  );
  expect(floored.parameters["E"]).toBeCloseTo(1.3, 6);
  expect(floored.parameters["exponent"]).toBeCloseTo(0.4, 6);
  expect(floored.predict({ x: 1e9 })).toBeCloseTo(1.3 + 90 * 1e9 ** -0.4, 6);
});

test("Chinchilla's law is refused where tokens follow from parameters: its terms cannot be told apart", () => {
  const points = (tokens: (parameters: number, i: number) => number): LossPoint[] =>
    [1e5, 2e5, 4e5, 8e5, 1.6e6, 3.2e6].map((parameters, i) => ({
      parameters,
      tokens: tokens(parameters, i),
      loss: 1.5 + 60 / parameters ** 0.35,
    }));
  expect(() => fitChinchilla(points((n) => 20 * n))).toThrow(/cannot be told apart/);
  // As trainings have it, whole updates of 1,024 tokens.
  expect(() => fitChinchilla(points((n) => 1024 * Math.ceil((20 * n) / 1024)))).toThrow(/cannot be told apart/);
  expect(() => fitChinchilla(points((n) => 16384 * Math.ceil((20 * n) / 16384)))).toThrow(/cannot be told apart/);
  expect(() => fitChinchilla(points((n, i) => 20 * n * (i % 2 ? 2 : 1)))).not.toThrow();
});

test("Chinchilla's law does not depend on the unit of loss", () => {
  const points: LossPoint[] = [1e5, 1e6, 1e7, 1e8].flatMap((parameters) =>
    [1e7, 1e8, 1e9].map((tokens) => ({ parameters, tokens, loss: 1.5 + 300 / parameters ** 0.35 + 900 / tokens ** 0.4 })),
  );
  for (const unit of [1, 1 / Math.LN2, 100]) {
    const { parameters } = fitChinchilla(points.map((p) => ({ ...p, loss: unit * p.loss })));
    expect(parameters["E"]! / unit).toBeCloseTo(1.5, 6);
    expect(parameters["alpha"]).toBeCloseTo(0.35, 6);
    expect(parameters["beta"]).toBeCloseTo(0.4, 6);
  }
});

test("Huber's loss forgets an outlier that squares follow", () => {
  const problem = {
    count: 5,
    lower: [-10],
    upper: [10],
    residuals: (p: readonly number[]) => [0, 0.001, -0.001, 0.0005, 5].map((y) => p[0]! - y),
    jacobian: () => [[1], [1], [1], [1], [1]],
  };
  expect(leastSquares(problem, [1])!.at[0]).toBeCloseTo(1.0001, 9);
  const found = leastHuber(problem, [1], 0.001)!;
  expect(Math.abs(found.at[0]!)).toBeLessThan(0.002);
  // No place nearby is better.
  for (const step of [-1e-6, 1e-6])
    expect(huber(problem.residuals([found.at[0]! + step]), 0.001)).toBeGreaterThanOrEqual(found.objective);
});

test("a sigmoid keeps to its bounds: on them, the others are the best there", () => {
  // Scores that fall in a straight line want hi above 1.
  const points: ScorePoint[] = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7].map((loss) => ({ loss, score: 1.4 - 1.6 * loss }));
  const { parameters, objective } = fitSigmoid(points, { lo: 0.1 });
  expect(parameters["hi"]).toBe(1);
  expect(parameters["lo"]).toBe(0.1);
  const sse = (k: number, L0: number) =>
    points.reduce((sum, p) => sum + (0.1 + 0.9 / (1 + Math.exp(k * (p.loss - L0))) - p.score) ** 2, 0);
  expect(sse(parameters["k"]!, parameters["L0"]!)).toBeCloseTo(objective, 12);
  for (const [dk, dL] of [
    [1e-3, 0],
    [-1e-3, 0],
    [0, 1e-5],
    [0, -1e-5],
  ] as const)
    expect(sse(parameters["k"]! + dk, parameters["L0"]! + dL)).toBeGreaterThan(objective);
});

test("what cannot be fitted is refused with what is wrong", () => {
  const refused = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return (error as { code: string; message: string }).message;
    }
    return "nothing was thrown";
  };
  expect(refused(() => fitPower([{ x: 1, y: 0 }]))).toMatch(/point 0: y: expected a number above 0/);
  expect(
    refused(() =>
      fitPower([
        { x: 1, y: 1 },
        { x: 1, y: 2 },
      ]),
    ),
  ).toMatch(/too few distinct x/);
  expect(
    refused(() => fitChinchilla(Array.from({ length: 6 }, (_, i) => ({ parameters: 1e6, tokens: 1e6 + i, loss: 3 })))),
  ).toMatch(/several model sizes/);
  expect(refused(() => fitSigmoid([{ loss: 1, score: 0.5 }]))).toMatch(/at least 4 points/);
  expect(refused(() => fitSigmoid([], { lo: 2 }))).toMatch(/points|lo/);
  expect(refused(() => stepLaw({ parameters: 0, tokens: 1, length: 1 }))).toMatch(/parameters: expected a number from 1/);
});

test("intervals cover the truth about as often as they say, and are the same for the same seed", () => {
  const next = normal(uniform(3));
  let covered = 0;
  const fitter = (points: readonly PowerPoint[]) => fitPower(points);
  for (let run = 0; run < 60; run++) {
    const points = Array.from({ length: 24 }, (_, i) => ({
      x: 10 ** (1 + i / 8),
      y: 5 * 10 ** ((1 + i / 8) * -0.3) * Math.exp(0.05 * next()),
    }));
    const { low, high } = bootstrap(points, fitter, { samples: 200, seed: run }).intervals["exponent"]!;
    if (low <= -0.3 && -0.3 <= high) covered++;
  }
  // 95 % of 60 is 57; bootstraps of few points are a little narrow.
  expect(covered).toBeGreaterThanOrEqual(49);
  const points = [1, 2, 3, 4, 5].map((x) => ({ x, y: x ** -0.5 * (1 + 0.01 * x) }));
  expect(bootstrap(points, fitter).intervals).toEqual(bootstrap(points, fitter).intervals);
  expect(bootstrap(points, fitter, { seed: 2 }).intervals).not.toEqual(bootstrap(points, fitter).intervals);
});

test("the largest is foretold from the others; far from them the interval refuses", () => {
  const next = normal(uniform(7));
  const points: PowerPoint[] = Array.from({ length: 12 }, (_, i) => {
    const x = 1e5 * 1.6 ** i;
    return { x, y: (1.2 + 40 * x ** -0.3) * Math.exp(0.004 * next()) };
  });
  const measured = {
    points,
    fitter: (p: readonly PowerPoint[], near?: ReturnType<typeof fitPower>) => fitPower(p, { floor: true }, near),
    value: (p: PowerPoint) => p.y,
    size: (p: PowerPoint) => p.x,
  };
  const held = leaveLargestOut(measured);
  expect(held.at).toBe(points.at(-1));
  expect(held.error).toBeLessThan(0.02);
  expect(held.low).toBeLessThan(held.value);
  expect(held.high).toBeGreaterThan(held.value);
  const noise = Array.from({ length: 6 }, (_, i) => ({ x: 100 + i, y: 2 + 0.1 * next() }));
  expect(() => extrapolate({ ...measured, fitter: (p) => fitPower(p), points: noise }, { x: 1e9 })).toThrow(/say nothing there/);
  expect(extrapolate({ ...measured, fitter: (p) => fitPower(p), points }, { x: 1e8 }).value).toBeGreaterThan(0);
});

test("a law is chosen by the second largest size, the largest unseen; the simpler among equals", () => {
  const laws = [
    { name: "power", fitter: (p: readonly PowerPoint[]) => fitPower(p) },
    { name: "floor", fitter: (p: readonly PowerPoint[]) => fitPower(p, { floor: true }) },
  ];
  const measured = (y: (x: number) => number, sizes = 6) => ({
    points: Array.from({ length: sizes }, (_, i) => ({ x: 1e5 * 2 ** i, y: y(1e5 * 2 ** i) })),
    value: (p: PowerPoint) => p.y,
    size: (p: PowerPoint) => p.x,
  });
  const floored = chooseLaw(
    laws,
    measured((x) => 1.4 + 60 * x ** -0.35),
  );
  expect(floored.name).toBe("floor");
  expect(floored.trials.map(({ name }) => name)).toEqual(["power", "floor"]);
  expect(floored.trials[1]!.error).toBeLessThan(1e-6);
  expect(floored.trials[0]!.error).toBeGreaterThan(1e-3);
  // A pure power is foretold by both.
  expect(
    chooseLaw(
      laws,
      measured((x) => 40 * x ** -0.25),
    ).name,
  ).toBe("power");
  // What the largest has to say changes nothing.
  const strange = measured((x) => (x > 3e6 ? 100 : 1.4 + 60 * x ** -0.35));
  expect(chooseLaw(laws, strange)).toEqual(floored);
  // Too few sizes for a floor: it is not in the trial.
  const few = chooseLaw(
    laws,
    measured((x) => 1.4 + 60 * x ** -0.35, 4),
  );
  expect(few.name).toBe("power");
  expect(few.trials[1]!.error).toBeUndefined();
  expect(() =>
    chooseLaw(
      laws,
      measured((x) => x, 2),
    ),
  ).toThrow(/none of power, floor can be fitted/);
  expect(() =>
    chooseLaw(
      laws,
      measured((x) => x, 1),
    ),
  ).toThrow(/several sizes/);
});

test("StepLaw: a planted law is found in its intervals", () => {
  const next = normal(uniform(11));
  const runs: SearchRun[] = [];
  for (const parameters of [1e8, 3e8, 1e9, 3e9])
    for (const tokens of [2e9, 1e10, 5e10, 2e11]) {
      const [rate, batch] = [
        Math.log(STEP_LAW.rate.factor * parameters ** STEP_LAW.rate.parameters * tokens ** STEP_LAW.rate.tokens),
        Math.log(STEP_LAW.batch.factor * tokens ** STEP_LAW.batch.tokens),
      ];
      // A grid that lies somewhere, as searches' do.
      const [a, b] = [0.3 * next(), 0.3 * next()];
      for (let i = -4; i <= 4; i++)
        for (let j = -4; j <= 4; j++) {
          const [u, v] = [a + 0.35 * i, b + 0.35 * j];
          const loss = 3 * (1 + 0.004 * (u * u + v * v)) * Math.exp(0.0002 * next());
          runs.push({ parameters, tokens, rate: Math.exp(rate + u), batchTokens: Math.exp(batch + v), loss });
        }
    }
  const { rate, batch, intervals, pairs } = fitStepLaw(runs);
  expect(pairs).toBe(16);
  for (const [value, truth, interval] of [
    [rate.parameters, STEP_LAW.rate.parameters, intervals.rateParameters],
    [rate.tokens, STEP_LAW.rate.tokens, intervals.rateTokens],
    [batch.tokens, STEP_LAW.batch.tokens, intervals.batchTokens],
  ] as const) {
    expect(Math.abs(value - truth)).toBeLessThan(0.06);
    expect(interval.low).toBeLessThanOrEqual(truth);
    expect(interval.high).toBeGreaterThanOrEqual(truth);
  }
  expect(() => fitStepLaw(runs.filter((run) => run.tokens === 2e9))).toThrow(/single solution/);
});

const suite = `${shared}/suites/steplaw`;
const whereSuite = whereFile(existsSync(suite), "suites/steplaw");
const table = (name: string): Record<string, string>[] => {
  const [head, ...rows] = readFileSync(`${suite}/${name}`, "utf8")
    .trim()
    .split(/\r?\n/)
    .map((line) => line.split(","));
  return rows.map((row) => Object.fromEntries(head!.map((key, i) => [key, row[i]!])));
};
whereSuite("StepLaw's released bootstraps give the constants and intervals written here", () => {
  const rows = table("1004_fitted_lr_bs_scaling_model_parameters.csv");
  const column = (name: string) => rows.map((row) => Number(row[name]));
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  expect(Math.exp(mean(column("lr_intercept")))).toBeCloseTo(STEP_LAW.rate.factor, 1);
  expect(mean(column("lr_coefN"))).toBeCloseTo(STEP_LAW.rate.parameters, 3);
  expect(mean(column("lr_coefD"))).toBeCloseTo(STEP_LAW.rate.tokens, 2);
  expect(mean(column("bs_coefD"))).toBeCloseTo(STEP_LAW.batch.tokens, 3);
  for (const [name, interval] of [
    ["lr_coefN", STEP_LAW_INTERVALS.rateParameters],
    ["lr_coefD", STEP_LAW_INTERVALS.rateTokens],
    ["bs_coefD", STEP_LAW_INTERVALS.batchTokens],
  ] as const) {
    const { low, high } = intervalOf(column(name));
    expect(low).toBeCloseTo(interval.low, 2);
    expect(high).toBeCloseTo(interval.high, 2);
  }
});

const dense = (): SearchRun[] =>
  table("dense_lr_bs_loss.csv").map((row) => ({
    parameters: Number(row["N"]),
    tokens: Number(row["D"]),
    rate: Number(row["lr"]),
    batchTokens: 2048 * Number(row["bs"]),
    loss: Number(row["smooth loss"]),
  }));
const experts = (): SearchRun[] =>
  table("moe_lr_bs_loss.csv").map((row) => ({
    parameters: Number(row["N"]),
    tokens: Number(row["D"]),
    rate: Number(row["lr"]),
    batchTokens: Number(row["seq_len"]) * Number(row["bs"]),
    loss: Number(row["smooth loss"]),
    architecture: row["moe_name"]!,
  }));
const KEYS = ["rateParameters", "rateTokens", "batchTokens"] as const;
const PUBLISHED = {
  rateParameters: STEP_LAW.rate.parameters,
  rateTokens: STEP_LAW.rate.tokens,
  batchTokens: STEP_LAW.batch.tokens,
} as const;

whereSuite("StepLaw fitted to the released runs by the published recipe: what docs/tunnel.md says", () => {
  const found = fitStepLaw(dense());
  expect([found.runs, found.pairs]).toEqual([129, 17]);
  expect(found.rate.parameters).toBeCloseTo(-0.766, 3);
  expect(found.rate.tokens).toBeCloseTo(0.197, 3);
  expect(found.batch.tokens).toBeCloseTo(0.6125, 3);
  // The published exponents lie in this fit's own intervals, that of the rate by tokens on its edge.
  for (const key of KEYS) {
    expect(found.intervals[key].low, key).toBeLessThan(PUBLISHED[key]);
    expect(found.intervals[key].high, key).toBeGreaterThan(PUBLISHED[key] - (key === "rateTokens" ? 0.01 : 0));
  }
});

whereSuite("with the released mixtures of experts, two of three exponents lie in the released intervals", () => {
  const found = fitStepLaw([...dense(), ...experts()]);
  expect([found.runs, found.pairs]).toEqual([213, 33]);
  const inside = (value: number, key: (typeof KEYS)[number]) =>
    STEP_LAW_INTERVALS[key].low < value && value < STEP_LAW_INTERVALS[key].high;
  expect(found.rate.parameters).toBeCloseTo(-0.713, 3);
  expect(inside(found.rate.parameters, "rateParameters")).toBe(true);
  expect(inside(found.batch.tokens, "batchTokens")).toBe(true);
  expect(found.batch.tokens).toBeCloseTo(0.577, 3);
  expect(found.rate.tokens).toBeCloseTo(0.209, 3);
});
