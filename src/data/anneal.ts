// Efficient verification of data (UltraClean, section 3.1 of the MiniCPM4 report): a trained model is annealed twice from one checkpoint, on the
// default mix alone and with a share of it replaced by the data in question; what is better afterwards tells what the data are worth.
import { CpmError } from "../errors.ts";

/** One training run of the experiment. */
export interface AnnealRun {
  /** "default-1", "candidate-1": the arm and its seed. */
  readonly name: string;
  readonly arm: "default" | "candidate";
  readonly seed: number;
  /** What is trained on, with weights that sum to 1. */
  readonly sources: readonly { readonly files: readonly string[]; readonly weight: number }[];
}

export interface AnnealPlan {
  readonly candidate: readonly string[];
  readonly default: readonly string[];
  /** Weight of the candidate in its arm. Default 0.3, as published. */
  readonly share?: number | undefined;
  /** Pairs of runs, each with a seed of its own. Default 3; at least 2. */
  readonly pairs?: number | undefined;
  /** Of the first pair; the others' follow it. Default 1: another one repeats the experiment by other chances. */
  readonly seed?: number | undefined;
}

/**
 * The runs of an experiment: for each seed one of the default mix and one with the candidate, side by side, so that an experiment
 * that is ended early is of whole pairs.
 * @throws CpmError "bad-option"
 */
export function annealRuns({ candidate, default: mix, share = 0.3, pairs = 3, seed: first = 1 }: AnnealPlan): AnnealRun[] {
  const bad = (field: string, expected: string, found: string | number): never => {
    throw new CpmError("bad-option", `${field}: expected ${expected}, found ${found}`, { field, expected });
  };
  if (candidate.length === 0) bad("candidate", "files", "none");
  if (mix.length === 0) bad("default", "files", "none");
  if (!(share > 0 && share <= 1)) bad("share", "a number above 0, at most 1", share);
  if (!(Number.isSafeInteger(pairs) && pairs >= 2 && pairs <= 1000)) bad("pairs", "a whole number from 2 to 1000", pairs);
  if (!(Number.isSafeInteger(first) && first >= 0 && first <= 2 ** 31)) bad("seed", "a whole number from 0 to 2147483648", first);
  const arms = {
    default: [{ files: mix, weight: 1 }],
    candidate: [...(share < 1 ? [{ files: mix, weight: 1 - share }] : []), { files: candidate, weight: share }],
  };
  return Array.from({ length: pairs }, (_, i) => first + i).flatMap((seed) =>
    (["default", "candidate"] as const).map((arm) => ({ name: `${arm}-${seed}`, arm, seed, sources: arms[arm] })),
  );
}

export interface PairedComparison {
  readonly pairs: number;
  /** Mean of (default - candidate): above 0, the candidate's loss is lower. */
  readonly mean: number;
  /** Student's interval of that mean. */
  readonly low: number;
  readonly high: number;
  readonly level: number;
  /** Two-sided, of no difference. */
  readonly p: number;
  /** "none" where the interval crosses zero: nothing can be said. */
  readonly verdict: "better" | "worse" | "none";
}

/**
 * The chance that |T| exceeds |t| for Student's distribution of a whole number of degrees of freedom: finite sums of powers of the cosine of
 * atan(t / sqrt(freedom)) (Abramowitz and Stegun, 26.7.3 and 26.7.4).
 */
export function studentTail(t: number, freedom: number): number {
  const angle = Math.atan(Math.abs(t) / Math.sqrt(freedom));
  const cos2 = Math.cos(angle) ** 2;
  const odd = freedom % 2;
  let term = odd ? Math.cos(angle) : 1;
  let sum = freedom === 1 ? 0 : term;
  for (let k = 2 + odd; k < freedom; k += 2) {
    term *= ((k - 1) / k) * cos2;
    sum += term;
  }
  const within = Math.sin(angle) * sum;
  return Math.max(0, 1 - (odd ? (2 / Math.PI) * (angle + within) : within));
}

/** The t that |T| exceeds with chance 1 - `level`. */
export function studentQuantile(level: number, freedom: number): number {
  let [low, high] = [0, 1];
  while (studentTail(high, freedom) > 1 - level) high *= 2;
  for (let i = 0; i < 200 && high - low > 1e-12 * high; i++) {
    const middle = (low + high) / 2;
    if (studentTail(middle, freedom) > 1 - level) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * What pairs of losses say, by Student's interval of their differences. `lower`: lower is better, as of losses (default).
 * @throws CpmError "bad-input" for fewer than two pairs, lists of different lengths, and what is no number
 */
export function comparePairs(
  base: readonly number[],
  candidate: readonly number[],
  { level = 0.95, lower = true }: { readonly level?: number; readonly lower?: boolean } = {},
): PairedComparison {
  const n = base.length;
  if (n !== candidate.length || n < 2 || [...base, ...candidate].some((x) => !Number.isFinite(x)))
    throw new CpmError(
      "bad-input",
      `two pairs of numbers are needed at least, found ${n} and ${candidate.length}; run more pairs`,
    );
  if (!(level > 0.5 && level < 1))
    throw new CpmError("bad-option", `level: expected a number from 0.5 to 1, found ${level}`, { field: "level" });
  const differences = base.map((x, i) => (lower ? x - candidate[i]! : candidate[i]! - x));
  const mean = differences.reduce((sum, d) => sum + d, 0) / n;
  const error = Math.sqrt(differences.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (n - 1) / n);
  const half = error === 0 ? 0 : studentQuantile(level, n - 1) * error;
  const p = error === 0 ? (mean === 0 ? 1 : 0) : studentTail(mean / error, n - 1);
  const [low, high] = [mean - half, mean + half];
  return { pairs: n, mean, low, high, level, p, verdict: low > 0 ? "better" : high < 0 ? "worse" : "none" };
}

export interface AnnealOptions {
  /** Trains one run and measures it: a loss, or with `lower: false` a score. Runs one after another. */
  readonly run: (run: AnnealRun, signal: AbortSignal | undefined) => Promise<number>;
  /** What earlier runs gave, by name: they are not repeated. */
  readonly known?: ReadonlyMap<string, number> | undefined;
  readonly lower?: boolean | undefined;
  readonly level?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onRun?: ((done: number, total: number, run: AnnealRun, value: number) => unknown) | undefined;
}

export interface AnnealResult extends PairedComparison {
  readonly values: Readonly<Record<string, number>>;
}

/** Runs an experiment, one run after another. @throws CpmError "bad-option" of the plan, what `run` throws, the signal's reason */
export async function verifyData(plan: AnnealPlan, options: AnnealOptions): Promise<AnnealResult> {
  const runs = annealRuns(plan);
  const values: Record<string, number> = {};
  for (const [i, run] of runs.entries()) {
    options.signal?.throwIfAborted();
    const known = options.known?.get(run.name);
    const value = known ?? (await options.run(run, options.signal));
    if (!Number.isFinite(value))
      throw new CpmError("bad-input", `${run.name}: the run gave ${value} and no number; look at its log`, { field: run.name });
    values[run.name] = value;
    await options.onRun?.(i + 1, runs.length, run, value);
  }
  const of = (arm: AnnealRun["arm"]) => runs.filter((run) => run.arm === arm).map(({ name }) => values[name]!);
  return {
    ...comparePairs(of("default"), of("candidate"), { lower: options.lower ?? true, level: options.level ?? 0.95 }),
    values,
  };
}
