// StepLaw: the learning rate and the batch that suit a model and its tokens (Li et al. 2025, "Predictable Scale: Part I").
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { linearFit } from "./fits.ts";
import { type Interval, intervalOf } from "./intervals.ts";
import { uniform } from "./random.ts";

/** A law ln y = intercept + parameters ln N + tokens ln D. */
export interface LogLaw {
  readonly intercept: number;
  readonly parameters: number;
  readonly tokens: number;
}

/** As published: lr = 1.79 N^-0.713 D^0.307, batch = 0.58 D^0.571 tokens; N without embeddings. */
export const STEP_LAW = {
  rate: { factor: 1.79, parameters: -0.713, tokens: 0.307 },
  batch: { factor: 0.58, tokens: 0.571 },
} as const;

/** 95 % intervals of the exponents, of the 1,000 bootstraps that the authors released. */
export const STEP_LAW_INTERVALS = {
  rateParameters: { low: -0.774, high: -0.655 },
  rateTokens: { low: 0.271, high: 0.345 },
  batchTokens: { low: 0.534, high: 0.606 },
} as const satisfies Record<string, Interval>;

/** Batches are multiples of so many sequences (MiniCPM4's report, 2.3.1). */
const MULTIPLE = 16;

export interface StepLawChoice {
  /** Peak learning rate. */
  readonly rate: number;
  readonly batchTokens: number;
  /** The nearest multiple of 16 sequences, at least 16. */
  readonly batchSequences: number;
}

/** What StepLaw says for a model of `parameters` (without embeddings) trained on `tokens` in sequences of `length`. @throws CpmError "bad-option" */
export function stepLaw(of: { readonly parameters: number; readonly tokens: number; readonly length: number }): StepLawChoice {
  for (const field of ["parameters", "tokens", "length"] as const)
    if (!(Number.isFinite(of[field]) && of[field] >= 1))
      throw new CpmError("bad-option", `${field}: expected a number from 1 on, found ${shown(of[field])}`, { field });
  const { rate, batch } = STEP_LAW;
  const batchTokens = batch.factor * of.tokens ** batch.tokens;
  return {
    rate: rate.factor * of.parameters ** rate.parameters * of.tokens ** rate.tokens,
    batchTokens,
    batchSequences: Math.max(MULTIPLE, MULTIPLE * Math.floor(batchTokens / of.length / MULTIPLE + 0.5)),
  };
}

/** A run of a search: its settings and its loss. */
export interface SearchRun {
  readonly parameters: number;
  readonly tokens: number;
  readonly rate: number;
  readonly batchTokens: number;
  readonly loss: number;
  /** Name of its architecture: losses compare only within one. Default: all of one. */
  readonly architecture?: string | undefined;
}

export interface StepLawFit {
  readonly rate: LogLaw;
  readonly batch: Omit<LogLaw, "parameters">;
  /** 95 % intervals by bootstrap over (parameters, tokens, architecture): runs of one such search share its noise. */
  readonly intervals: {
    readonly rateParameters: Interval;
    readonly rateTokens: Interval;
    readonly batchTokens: Interval;
  };
  /** Runs that were fitted, of so many searches. */
  readonly runs: number;
  readonly pairs: number;
}

/**
 * Fits the law's exponents by the published recipe: of each search (parameters, tokens, architecture) the runs whose loss is less than
 * `threshold` above its least, then least squares of logarithms; the batch by tokens alone.
 * @throws CpmError "bad-input" where there are too few pairs
 */
export function fitStepLaw(
  runs: readonly SearchRun[],
  options: { readonly threshold?: number; readonly samples?: number; readonly seed?: number } = {},
): StepLawFit {
  const { threshold = 0.0025, samples = 1000, seed = 1 } = options;
  for (const [i, run] of runs.entries())
    for (const field of ["parameters", "tokens", "rate", "batchTokens", "loss"] as const) {
      const value: unknown = run[field];
      if (!(typeof value === "number" && Number.isFinite(value) && value > 0))
        throw new CpmError("bad-input", `run ${i}: ${field}: expected a number above 0, found ${shown(value)}`, { field });
    }
  const pairs = new Map<string, SearchRun[]>();
  for (const run of runs) {
    const key = `${run.parameters} ${run.tokens} ${run.architecture ?? ""}`;
    pairs.set(key, [...(pairs.get(key) ?? []), run]);
  }
  const chosen = [...pairs.values()].map((group) => {
    const least = Math.min(...group.map(({ loss }) => loss));
    return group.filter(({ loss }) => loss / least - 1 < threshold);
  });
  const all = chosen.flat();
  const { rate, batch } = exponents(all);
  const next = uniform(seed);
  const drawn: ReturnType<typeof exponents>[] = [];
  for (let tries = 0; drawn.length < samples && tries < 4 * samples; tries++) {
    const sample = chosen.flatMap(() => chosen[Math.floor(next() * chosen.length)]!);
    try {
      drawn.push(exponents(sample));
    } catch (error) {
      // A sample of one size alone has no slope; another is drawn.
      if (!(error instanceof CpmError)) throw error;
    }
  }
  if (drawn.length < samples)
    throw new CpmError("bad-input", `StepLaw: ${pairs.size} pairs of parameters and tokens are too few for intervals`, {
      field: "runs",
    });
  return {
    rate,
    batch,
    intervals: {
      rateParameters: intervalOf(drawn.map((d) => d.rate.parameters)),
      rateTokens: intervalOf(drawn.map((d) => d.rate.tokens)),
      batchTokens: intervalOf(drawn.map((d) => d.batch.tokens)),
    },
    runs: all.length,
    pairs: pairs.size,
  };
}

function exponents(runs: readonly SearchRun[]): { rate: LogLaw; batch: Omit<LogLaw, "parameters"> } {
  const log = (of: (run: SearchRun) => number) => runs.map((run) => Math.log(of(run)));
  const [n, d] = [log((r) => r.parameters), log((r) => r.tokens)];
  const [c, a, b] = linearFit(
    [n, d],
    log((r) => r.rate),
  ) as [number, number, number];
  const [e, g] = linearFit(
    [d],
    log((r) => r.batchTokens),
  ) as [number, number];
  return { rate: { intercept: c, parameters: a, tokens: b }, batch: { intercept: e, tokens: g } };
}
