// What perplexity and divergence are told by: means with their errors, percentiles, correlation.

/** A mean and its standard error: the spread of the values over √(count − 1). Source: llama.cpp, mean_and_uncertainty. */
export interface Estimate {
  readonly value: number;
  readonly error: number;
}

/** The mean of `values` and its error; an error of one value is 0. */
export function meanOf(values: ArrayLike<number>): Estimate {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    sum += values[i]!;
    squares += values[i]! * values[i]!;
  }
  return fromSums(sum, squares, values.length);
}

/** As meanOf(), from a sum and a sum of squares. */
export function fromSums(sum: number, squares: number, count: number): Estimate {
  const value = sum / count;
  const variance = squares / count - value * value;
  return { value, error: variance > 0 && count > 1 ? Math.sqrt(variance / (count - 1)) : 0 };
}

/** The value below which a share of `sorted` (rising) lies, between neighbours by straight lines. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const at = Math.min(1, Math.max(0, share)) * (sorted.length - 1);
  const below = Math.floor(at);
  const rest = at - below;
  return (1 - rest) * sorted[below]! + rest * sorted[Math.min(below + 1, sorted.length - 1)]!;
}

/** Covariance of two means. */
function covariance(a: ArrayLike<number>, b: ArrayLike<number>, meanA: number, meanB: number): number {
  if (a.length < 2) return 0;
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return (sum / a.length - meanA * meanB) / (a.length - 1);
}

/** Shares, in percent, at which divergences are reported. */
export const divergencePercentiles = [99.9, 99, 95, 90, 50, 10, 5, 1] as const;
/** Shares, in percent, at which changes of probability are reported. */
export const probabilityPercentiles = [99.9, 99, 95, 90, 75, 50, 25, 10, 5, 1, 0.1] as const;

/** A model beside the base whose log-probabilities a file holds. Logarithms are natural. */
export interface Divergence {
  readonly count: number;
  readonly perplexity: Estimate;
  readonly basePerplexity: Estimate;
  /** ln of perplexity / base perplexity: the mean of the tokens' differences. */
  readonly logRatio: Estimate;
  readonly ratio: Estimate;
  readonly difference: Estimate;
  /** Of the two models' −ln p. */
  readonly correlation: number;
  readonly mean: Estimate;
  readonly most: number;
  readonly least: number;
  /** KL(base ‖ model) by percentile: [percent, value]. */
  readonly percentiles: readonly (readonly [number, number])[];
  /** Change of the right token's probability, p − p_base. */
  readonly deltaP: {
    readonly mean: Estimate;
    readonly rms: Estimate;
    readonly most: number;
    readonly least: number;
    readonly percentiles: readonly (readonly [number, number])[];
  };
  /** Share of tokens whose most probable successor is the base's. */
  readonly sameTop: Estimate;
}

/** What a run collects, a value for each scored token. */
export interface Compared {
  readonly nll: Float64Array;
  readonly baseNll: Float64Array;
  readonly divergence: Float64Array;
  readonly same: number;
}

const exponential = ({ value, error }: Estimate): Estimate => ({ value: Math.exp(value), error: Math.exp(value) * error });

/** The statistics of what was collected (at least one token). */
export function divergenceOf({ nll, baseNll, divergence, same }: Compared): Divergence {
  const count = nll.length;
  const [a, b] = [meanOf(nll), meanOf(baseNll)];
  const shared = covariance(nll, baseNll, a.value, b.value);
  const [perplexity, basePerplexity] = [exponential(a), exponential(b)];
  const logRatio = {
    value: a.value - b.value,
    error: Math.sqrt(Math.max(0, a.error ** 2 + b.error ** 2 - 2 * shared)),
  };
  const joint = perplexity.value * basePerplexity.value * shared;
  const difference = {
    value: perplexity.value - basePerplexity.value,
    error: Math.sqrt(Math.max(0, perplexity.error ** 2 + basePerplexity.error ** 2 - 2 * joint)),
  };
  const delta = nll.map((value, i) => Math.exp(-value) - Math.exp(-baseNll[i]!));
  const squared = meanOf(delta.map((value) => value * value));
  const rms = Math.sqrt(squared.value);
  const [rising, risingDelta] = [divergence.slice().sort(), delta.slice().sort()];
  const share = same / count;
  return {
    count,
    perplexity,
    basePerplexity,
    logRatio,
    ratio: exponential(logRatio),
    difference,
    correlation: a.error * b.error > 0 ? shared / (a.error * b.error) : 1,
    mean: meanOf(divergence),
    most: rising.at(-1)!,
    least: rising[0]!,
    percentiles: divergencePercentiles.map((p) => [p, quantile(rising, p / 100)] as const),
    deltaP: {
      mean: meanOf(delta),
      rms: { value: rms, error: rms > 0 ? (0.5 / rms) * squared.error : 0 },
      most: risingDelta.at(-1)!,
      least: risingDelta[0]!,
      percentiles: probabilityPercentiles.map((p) => [p, quantile(risingDelta, p / 100)] as const),
    },
    sameTop: { value: share, error: count > 1 ? Math.sqrt((share * (1 - share)) / (count - 1)) : 0 },
  };
}
