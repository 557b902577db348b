// Laws fitted to measurements: powers, Chinchilla's loss, sigmoids of benchmark scores.
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { leastHuber, leastSquares, type Minimum, type Problem } from "./leastsquares.ts";

/** A law with its parameters, which foretells a value. */
export interface Fit<Point> {
  readonly kind: "power" | "power with floor" | "chinchilla" | "sigmoid";
  readonly parameters: Readonly<Record<string, number>>;
  /** What was minimised, at these parameters. */
  readonly objective: number;
  predict(at: Partial<Point>): number;
}

/** Fits points; `near` is where to begin (a fit of much the same points): one start instead of many. */
export type Fitter<Point> = (points: readonly Point[], near?: Fit<Point>) => Fit<Point>;

/** y at x, both above 0. */
export interface PowerPoint {
  readonly x: number;
  readonly y: number;
}

/** Loss (nats per token) of a model of so many parameters after so many tokens. */
export interface LossPoint {
  readonly parameters: number;
  readonly tokens: number;
  readonly loss: number;
}

/** A benchmark's score, from 0 to 1, at a ScalingBench loss. */
export interface ScorePoint {
  readonly loss: number;
  readonly score: number;
}

const distinct = (values: readonly number[]): number => new Set(values).size;

/** @throws CpmError "bad-input" for what is no number above `above`, or fewer points than the law has parameters. */
function check<P extends object>(
  what: string,
  points: readonly P[],
  fields: readonly (keyof P & string)[],
  needed: number,
  above = 0,
): void {
  for (const [i, point] of points.entries())
    for (const field of fields) {
      const value = point[field] as unknown;
      if (!(typeof value === "number" && Number.isFinite(value) && value > above))
        throw new CpmError(
          "bad-input",
          `${what}: point ${i}: ${field}: expected a number${above === 0 ? " above 0" : ""}, found ${shown(value)}`,
          { field, found: shown(value) },
        );
    }
  if (points.length < needed)
    throw new CpmError("bad-input", `${what}: expected at least ${needed} points, found ${points.length}`, { field: "points" });
}

const best = (minima: readonly (Minimum | undefined)[], what: string): Minimum => {
  const found = minima
    .filter((m) => m !== undefined)
    .reduce<Minimum | undefined>((least, m) => (least && least.objective <= m.objective ? least : m), undefined);
  if (!found) throw new CpmError("bad-input", `${what}: no parameters give these points finite residuals; look for outliers`);
  return found;
};

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Coefficients [c, b1, …] of the least squares of y over columns: y = c + b1 x1 + …. @throws CpmError "bad-input" where columns do not vary apart. */
export function linearFit(columns: readonly (readonly number[])[], y: readonly number[]): number[] {
  const centred = columns.map((column) => {
    const m = mean(column);
    return column.map((x) => x - m);
  });
  const k = columns.length;
  const m = mean(y);
  const rows = centred.map((a) => [
    ...centred.map((b) => dot(a, b)),
    dot(
      a,
      y.map((v) => v - m),
    ),
  ]);
  for (let i = 0; i < k; i++) {
    const scale = dot(columns[i]!, columns[i]!);
    if (!(rows[i]![i]! > 1e-12 * Math.max(scale, 1e-300)))
      throw new CpmError("bad-input", "a fit over these points has no single solution: too few distinct sizes", {
        field: "points",
      });
    for (let j = 0; j < k; j++)
      if (j !== i) {
        const by = rows[j]![i]! / rows[i]![i]!;
        for (let c = 0; c <= k; c++) rows[j]![c]! -= by * rows[i]![c]!;
      }
  }
  const slopes = rows.map((row, i) => row[k]! / row[i]!);
  return [m - slopes.reduce((sum, b, i) => sum + b * mean(columns[i]!), 0), ...slopes];
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

/**
 * y = A x^exponent, by least squares of logarithms (closed form). With `floor`: y = E + A x^-exponent, E above 0, by the same measure.
 * @throws CpmError "bad-input"
 */
export function fitPower(
  points: readonly PowerPoint[],
  options: { readonly floor?: boolean } = {},
  near?: Fit<PowerPoint>,
): Fit<PowerPoint> {
  const floor = options.floor ?? false;
  check("a power law", points, ["x", "y"], floor ? 3 : 2);
  const [x, y] = [points.map((p) => Math.log(p.x)), points.map((p) => Math.log(p.y))];
  if (distinct(x) < (floor ? 3 : 2)) throw new CpmError("bad-input", "a power law: too few distinct x", { field: "x" });
  if (!floor) {
    const [a, b] = linearFit([x], y) as [number, number];
    const objective = y.reduce((sum, v, i) => sum + (v - a - b * x[i]!) ** 2, 0);
    const A = Math.exp(a);
    return {
      kind: "power",
      parameters: { A, exponent: b },
      objective,
      predict: (at) => A * at.x! ** b,
    };
  }
  const law = new Sum([x], y);
  const starts = near
    ? [law.startAt(near.parameters["log_E"]!, [near.parameters["log_A"]!], [near.parameters["exponent"]!])]
    : law.starts();
  const { at, objective } = best(
    starts.map((start) => leastSquares(law, start)),
    "a power law with a floor",
  );
  const { e, logs, exponents } = law.read(at);
  const [a, alpha] = [logs[0]!, exponents[0]!];
  return {
    kind: "power with floor",
    parameters: { E: Math.exp(e), A: Math.exp(a), exponent: alpha, log_E: e, log_A: a },
    objective,
    predict: (p) => Math.exp(e) + Math.exp(a - alpha * Math.log(p.x!)),
  };
}

/**
 * loss = E + A / N^alpha + B / D^beta, by Huber's loss (delta) of log residuals from many starts (Hoffmann et al. 2022, approach 3).
 * @throws CpmError "bad-input"
 */
export function fitChinchilla(
  points: readonly LossPoint[],
  options: { readonly delta?: number } = {},
  near?: Fit<LossPoint>,
): Fit<LossPoint> {
  check("Chinchilla's law", points, ["parameters", "tokens", "loss"], 5);
  const [n, d] = [points.map((p) => Math.log(p.parameters)), points.map((p) => Math.log(p.tokens))];
  if (distinct(n) < 2 || distinct(d) < 2)
    throw new CpmError("bad-input", "Chinchilla's law needs several model sizes and several numbers of tokens", {
      field: "points",
    });
  // On a line in both logarithms, tokens a fixed multiple of parameters say, nothing tells one term from the other.
  const [, slope] = linearFit([n], d) as [number, number];
  const [atN, atD] = [mean(n), mean(d)];
  const off = d.map((v, i) => v - atD - slope * (n[i]! - atN));
  if (
    dot(off, off) <
    1e-5 *
      dot(
        d.map((v) => v - atD),
        d.map((v) => v - atD),
      )
  )
    throw new CpmError(
      "bad-input",
      "Chinchilla's law: tokens follow from parameters in all points (a fixed multiple of them, say), so its two terms cannot be told apart; vary both, or fit a power law with a floor over parameters",
      { field: "points" },
    );
  const delta = options.delta ?? 1e-3;
  const law = new Sum(
    [n, d],
    points.map((p) => Math.log(p.loss)),
  );
  const p = near?.parameters;
  const starts = p
    ? [law.startAt(p["log_E"]!, [p["log_A"]!, p["log_B"]!], [p["alpha"]!, p["beta"]!])]
    : apart(law.starts().map((start) => leastSquares(law, start)));
  const { at, objective } = best(
    starts.map((start) => leastHuber(law, start, delta)),
    "Chinchilla's law",
  );
  const { e, logs, exponents } = law.read(at);
  const [a, b] = logs as [number, number];
  const [alpha, beta] = exponents as [number, number];
  return {
    kind: "chinchilla",
    parameters: { E: Math.exp(e), A: Math.exp(a), B: Math.exp(b), alpha, beta, log_E: e, log_A: a, log_B: b },
    objective,
    predict: ({ parameters, tokens }) =>
      Math.exp(e) + Math.exp(a - alpha * Math.log(parameters!)) + Math.exp(b - beta * Math.log(tokens!)),
  };
}

/** The minima that differ, the best first, at most four. */
function apart(minima: readonly (Minimum | undefined)[]): (readonly number[])[] {
  const sorted = minima.filter((m) => m !== undefined).sort((a, b) => a.objective - b.objective);
  const kept: Minimum[] = [];
  for (const m of sorted)
    if (kept.length < 4 && kept.every((k) => k.at.some((x, i) => Math.abs(x - m.at[i]!) > 1e-3 * (1 + Math.abs(x)))))
      kept.push(m);
  return kept.map(({ at }) => at);
}

/** log of E + sum of A_j / X_j^alpha_j, less log y. Parameters: log E, log A_j at the middle of log X_j, alpha_j: so they hardly move together. */
class Sum implements Problem {
  readonly count: number;
  readonly lower: readonly number[];
  readonly upper: readonly number[];
  readonly #x: readonly (readonly number[])[];
  readonly #middles: readonly number[];
  readonly #y: readonly number[];

  constructor(x: readonly (readonly number[])[], y: readonly number[]) {
    this.count = y.length;
    this.#middles = x.map(mean);
    this.#x = x.map((column, j) => column.map((v) => v - this.#middles[j]!));
    this.#y = y;
    const [least, most] = [Math.min(...y), Math.max(...y)];
    this.lower = [least - 20, ...x.map(() => least - 20), ...x.map(() => -5)];
    this.upper = [most + 1, ...x.map(() => most + 20), ...x.map(() => 20)];
  }

  #terms(p: readonly number[], i: number): number[] {
    const k = this.#x.length;
    return [p[0]!, ...this.#x.map((column, j) => p[1 + j]! - p[1 + k + j]! * column[i]!)];
  }

  residuals(p: readonly number[]): Float64Array {
    return Float64Array.from(this.#y, (y, i) => {
      const terms = this.#terms(p, i);
      const top = Math.max(...terms);
      return top + Math.log(terms.reduce((sum, t) => sum + Math.exp(t - top), 0)) - y;
    });
  }

  jacobian(p: readonly number[]): number[][] {
    return this.#y.map((_, i) => {
      const terms = this.#terms(p, i);
      const top = Math.max(...terms);
      const parts = terms.map((t) => Math.exp(t - top));
      const sum = parts.reduce((a, b) => a + b, 0);
      const shares = parts.map((part) => part / sum);
      return [...shares, ...this.#x.map((column, j) => -shares[1 + j]! * column[i]!)];
    });
  }

  /** Places to begin: floors below the least value, and terms of the size of what is above it; those of the published fits too. */
  starts(): number[][] {
    const least = Math.min(...this.#y);
    const k = this.#x.length;
    const exponents = [0.2, 0.5, 1];
    const grid = k === 1 ? exponents.map((a) => [a]) : exponents.flatMap((a) => exponents.map((b) => [a, b]));
    return grid.flatMap((alphas) =>
      [
        [least - 0.1, least - 1],
        [least - 0.7, least - 0.7],
        [0, -0.5],
        [0.7, -0.5],
      ].map(([e, a]) => [e!, ...alphas.map(() => a!), ...alphas]),
    );
  }

  startAt(e: number, logs: readonly number[], exponents: readonly number[]): number[] {
    return [e, ...logs.map((a, j) => a - exponents[j]! * this.#middles[j]!), ...exponents];
  }

  read(p: readonly number[]): { e: number; logs: number[]; exponents: number[] } {
    const k = this.#x.length;
    const exponents = p.slice(1 + k);
    return { e: p[0]!, logs: exponents.map((alpha, j) => p[1 + j]! + alpha * this.#middles[j]!), exponents };
  }
}

/**
 * score = lo + (hi - lo) / (1 + e^(k (loss - L0))), least squares with 0 <= lo < hi <= 1 and k > 0. `lo`: the score of guessing, held
 * there (default: fitted). Its form is a choice: the report says "sigmoid".
 * @throws CpmError "bad-input"
 */
export function fitSigmoid(
  points: readonly ScorePoint[],
  options: { readonly lo?: number } = {},
  near?: Fit<ScorePoint>,
): Fit<ScorePoint> {
  check("a sigmoid", points, ["loss", "score"], options.lo === undefined ? 4 : 3, Number.NEGATIVE_INFINITY);
  if (options.lo !== undefined && !(options.lo >= 0 && options.lo < 1))
    throw new CpmError("bad-option", `a sigmoid: lo: expected a number from 0 up to 1, found ${shown(options.lo)}`, {
      field: "lo",
    });
  const [x, y] = [points.map((p) => p.loss), points.map((p) => p.score)];
  if (distinct(x) < 3) throw new CpmError("bad-input", "a sigmoid: too few distinct losses", { field: "loss" });
  const sorted = [...x].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  const low = options.lo ?? Math.min(Math.max(Math.min(...y) - 0.01, 0.005), 0.95);
  const high = Math.min(Math.max(Math.max(...y) + 0.01, low + 0.01), 0.995);
  const spread = Math.max(sorted.at(-1)! - sorted[0]!, 1e-9);
  const p = near?.parameters;
  const starts = p
    ? [[options.lo ?? p["lo"]!, p["hi"]!, p["k"]!, p["L0"]!]]
    : [1, 4, 16, 2 / spread, 10 / spread].flatMap((k) => [0.2, 0.5, 0.8].map((share) => [low, high, k, at(share)]));
  // A bound that holds is a face of its own: on it, the others are free.
  const faces: Held[] = [{}, { hi: 1 }, ...(options.lo === undefined ? [{ lo: 0 }, { lo: 0, hi: 1 }] : [])].map((face) =>
    options.lo === undefined ? face : { ...face, lo: options.lo },
  );
  const minima = faces.flatMap((held) => {
    const law = new Sigmoid(x, y, held, 1e4 / spread);
    return starts.map((start) => {
      const found = leastSquares(law, law.free(start));
      const all = found && law.all(found.at);
      return found && all![0]! < all![1]! ? { at: all!, objective: found.objective } : undefined;
    });
  });
  const { at: found, objective } = best(minima, "a sigmoid");
  const [lo, hi, k, L0] = found as [number, number, number, number];
  return {
    kind: "sigmoid",
    parameters: { lo, hi, k, L0 },
    objective,
    predict: ({ loss }) => lo + (hi - lo) / (1 + Math.exp(k * (loss! - L0))),
  };
}

interface Held {
  readonly lo?: number;
  readonly hi?: number;
}

/** Parameters lo, hi, k, L0, of which some are held. */
class Sigmoid implements Problem {
  readonly count: number;
  readonly lower: readonly number[];
  readonly upper: readonly number[];
  readonly #x: readonly number[];
  readonly #y: readonly number[];
  readonly #held: readonly (number | undefined)[];

  constructor(x: readonly number[], y: readonly number[], held: Held, steepest: number) {
    this.count = x.length;
    this.#x = x;
    this.#y = y;
    this.#held = [held.lo, held.hi, undefined, undefined];
    const [least, most] = [Math.min(...x), Math.max(...x)];
    const wide = 10 * (most - least) + 1;
    this.lower = this.free([0, 0, 1e-6, least - wide]);
    this.upper = this.free([1, 1, steepest, most + wide]);
  }

  free(all: readonly number[]): number[] {
    return all.filter((_, i) => this.#held[i] === undefined);
  }

  all(free: readonly number[]): number[] {
    let next = 0;
    return this.#held.map((value) => value ?? free[next++]!);
  }

  residuals(free: readonly number[]): Float64Array {
    const [lo, hi, k, L0] = this.all(free) as [number, number, number, number];
    return Float64Array.from(this.#x, (x, i) => lo + (hi - lo) / (1 + Math.exp(k * (x - L0))) - this.#y[i]!);
  }

  jacobian(free: readonly number[]): number[][] {
    const [lo, hi, k, L0] = this.all(free) as [number, number, number, number];
    return this.#x.map((x) => {
      const s = 1 / (1 + Math.exp(k * (x - L0)));
      const slope = (hi - lo) * s * (1 - s);
      return this.free([1 - s, s, -slope * (x - L0), slope * k]);
    });
  }
}
