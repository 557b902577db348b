// How far a fit can be trusted: bootstrap intervals, the largest run foretold from the others, and where to stop foretelling.
import { CpmError } from "../errors.ts";
import { quantile } from "../evaluate/statistics.ts";
import type { Fit, Fitter } from "./fits.ts";
import { uniform } from "./random.ts";

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** The middle 95 % of values. */
export function intervalOf(values: readonly number[], level = 0.95): Interval {
  const sorted = Float64Array.from(values).sort();
  return { low: quantile(sorted, (1 - level) / 2), high: quantile(sorted, (1 + level) / 2) };
}

export interface BootstrapOptions {
  /** Samples of the points, with replacement. Default 200. */
  readonly samples?: number | undefined;
  readonly seed?: number | undefined;
  /** Share of the samples inside an interval. Default 0.95. */
  readonly level?: number | undefined;
}

/** A fit, and those of samples of its points. */
export interface Bootstrap<Point> {
  readonly fit: Fit<Point>;
  readonly fits: readonly Fit<Point>[];
  /** By parameter. */
  readonly intervals: Readonly<Record<string, Interval>>;
  /** A value that the law foretells, with its interval; says nothing of noise of a single run. */
  predict(at: Partial<Point>): Prediction;
}

export interface Prediction extends Interval {
  readonly value: number;
}

/** Fits points and samples of them. @throws CpmError "bad-input" where most samples have no fit: too few distinct points. */
export function bootstrap<Point>(
  points: readonly Point[],
  fitter: Fitter<Point>,
  options: BootstrapOptions = {},
): Bootstrap<Point> {
  const { samples = 200, seed = 1, level = 0.95 } = options;
  if (!(Number.isInteger(samples) && samples >= 20 && samples <= 100_000))
    throw new CpmError("bad-option", "samples: expected a whole number from 20 to 100000", { field: "samples" });
  if (!(level > 0 && level < 1)) throw new CpmError("bad-option", "level: expected a number between 0 and 1", { field: "level" });
  const fit = fitter(points);
  const next = uniform(seed);
  const fits: Fit<Point>[] = [];
  for (let tries = 0; fits.length < samples; tries++) {
    if (tries >= 4 * samples)
      throw new CpmError("bad-input", `${points.length} points are too few for intervals: most samples of them have no fit`, {
        field: "points",
      });
    const sample = points.map(() => points[Math.floor(next() * points.length)]!);
    try {
      fits.push(fitter(sample, fit));
    } catch (error) {
      if (!(error instanceof CpmError)) throw error;
    }
  }
  const intervals = Object.fromEntries(
    Object.keys(fit.parameters).map((name) => [
      name,
      intervalOf(
        fits.map((f) => f.parameters[name]!),
        level,
      ),
    ]),
  );
  return {
    fit,
    fits,
    intervals,
    predict: (at) => ({
      value: fit.predict(at),
      ...intervalOf(
        fits.map((f) => f.predict(at)),
        level,
      ),
    }),
  };
}

/** What stands between measurements and a prediction beyond them. */
export interface Measured<Point> {
  readonly points: readonly Point[];
  readonly fitter: Fitter<Point>;
  /** What is foretold: a point's value. */
  value(point: Point): number;
}

/**
 * Foretells a value beyond what was measured. Refuses where the interval says nothing: where it is wider than all that was measured lies
 * apart, or has no ends.
 * @throws CpmError "bad-input"
 */
export function extrapolate<Point>(measured: Measured<Point>, at: Partial<Point>, options: BootstrapOptions = {}): Prediction {
  const { points, fitter, value } = measured;
  const prediction = bootstrap(points, fitter, options).predict(at);
  const values = points.map(value);
  const span = Math.max(...values) - Math.min(...values);
  const width = prediction.high - prediction.low;
  if (!Number.isFinite(width) || !Number.isFinite(prediction.value) || width > span)
    throw new CpmError(
      "bad-input",
      `these points say nothing there: the interval of the prediction, ${brief(prediction.low)} to ${brief(prediction.high)}, is wider than the ${brief(span)} that all measurements lie apart; measure nearer, or more`,
      { field: "at", expected: `an interval narrower than ${brief(span)}`, found: brief(width) },
    );
  return prediction;
}

const brief = (x: number): string => (Number.isFinite(x) ? x.toPrecision(4) : "no number");

export interface HeldOut<Point> extends Prediction {
  /** The largest point, which the fit did not see. */
  readonly at: Point;
  readonly actual: number;
  /** |predicted - actual| / |actual|. */
  readonly error: number;
}

/** Fits all points but the largest, and foretells that one. @throws CpmError "bad-input" as extrapolate() does */
export function leaveLargestOut<Point extends object>(
  measured: Measured<Point> & { size(point: Point): number },
  options: BootstrapOptions = {},
): HeldOut<Point> {
  const { points, size, value } = measured;
  if (points.length < 3) throw new CpmError("bad-input", "leaving one out takes at least 3 points", { field: "points" });
  const largest = points.reduce((a, b) => (size(b) > size(a) ? b : a));
  // All of that size: its repetitions would give it away.
  const rest = points.filter((point) => size(point) < size(largest));
  const prediction = extrapolate({ ...measured, points: rest }, largest, options);
  const actual = value(largest);
  return { ...prediction, at: largest, actual, error: Math.abs(prediction.value - actual) / Math.abs(actual) };
}

/** A law and how it did in the trial: undefined where it has no fit to the points. */
export interface LawTrial {
  readonly name: string;
  /** |predicted - actual| / |actual| of the second largest size. */
  readonly error: number | undefined;
}

/** An error must be so much smaller (a hundredth of a percent) that a law with more parameters is taken for it. */
const WORTH = 1e-4;

/**
 * Chooses among laws without a look at the largest size: each is fitted to all below the second largest and foretells that one; the least
 * error is taken. Name the simplest first: among equals the first counts.
 * A power takes two sizes below the second largest, one with a floor three.
 * @throws CpmError "bad-input" where no law can be tried
 */
export function chooseLaw<Point>(
  laws: readonly { readonly name: string; readonly fitter: Fitter<Point> }[],
  measured: Omit<Measured<Point>, "fitter"> & { size(point: Point): number },
): { readonly name: string; readonly trials: readonly LawTrial[] } {
  const { points, size, value } = measured;
  const sizes = [...new Set(points.map(size))].sort((a, b) => b - a);
  const second = sizes[1];
  if (second === undefined)
    throw new CpmError("bad-input", "choosing a law takes points of several sizes, found one", { field: "points" });
  const [below, at] = [points.filter((point) => size(point) < second), points.filter((point) => size(point) === second)];
  const trials = laws.map(({ name, fitter }): LawTrial => {
    try {
      const fit = fitter(below);
      const off = at.map((point) => Math.abs(fit.predict(point) - value(point)) / Math.abs(value(point)));
      const error = off.reduce((a, b) => a + b, 0) / off.length;
      return { name, error: Number.isFinite(error) ? error : undefined };
    } catch (reason) {
      if (!(reason instanceof CpmError)) throw reason;
      return { name, error: undefined };
    }
  });
  let taken: LawTrial | undefined;
  for (const trial of trials)
    if (trial.error !== undefined && (taken === undefined || trial.error < taken.error! - WORTH)) taken = trial;
  if (!taken)
    throw new CpmError(
      "bad-input",
      `none of ${laws.map(({ name }) => name).join(", ")} can be fitted to what lies below the second largest size; measure more sizes`,
      { field: "points" },
    );
  return { name: taken.name, trials };
}
