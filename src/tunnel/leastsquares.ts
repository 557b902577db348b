// Least squares by Levenberg and Marquardt, run until nothing improves; Huber's loss by squares weighted anew.
import { levenbergMarquardt } from "ml-levenberg-marquardt";

/** Residuals as functions of parameters within bounds. */
export interface Problem {
  /** Residuals in all. */
  readonly count: number;
  readonly lower: readonly number[];
  readonly upper: readonly number[];
  residuals(p: readonly number[]): ArrayLike<number>;
  /** A row of partial derivatives for each residual. */
  jacobian(p: readonly number[]): readonly (readonly number[])[];
}

export interface Minimum {
  readonly at: readonly number[];
  /** Sum of squares, or of Huber's loss. */
  readonly objective: number;
}

/** Rounds of so many steps; a round that gains less than GAIN of the objective is the last. */
const STEPS = 24;
const ROUNDS = 200;
const GAIN = 1e-13;
/** Damping of steps from where squares are least already. */
const MILD = 1e-7;

const squares = (r: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < r.length; i++) sum += r[i]! * r[i]!;
  return sum;
};

/** Huber's loss with its kink at `delta`: squares / 2 below, lines above. */
export function huber(r: ArrayLike<number>, delta: number): number {
  let sum = 0;
  for (let i = 0; i < r.length; i++) {
    const size = Math.abs(r[i]!);
    sum += size <= delta ? 0.5 * size * size : delta * (size - 0.5 * delta);
  }
  return sum;
}

/** A copy whose parameters are counted in units that give the columns of the Jacobian at `start` the same length. */
function scaled(problem: Problem, start: readonly number[]): { problem: Problem; units: readonly number[] } {
  const rows = problem.jacobian(start);
  const units = start.map((_, k) => {
    const length = Math.sqrt(squares(rows.map((row) => row[k]!)));
    return length > 1e-12 && Number.isFinite(length) ? 1 / length : 1;
  });
  const out = (p: readonly number[]) => p.map((x, k) => x * units[k]!);
  return {
    units,
    problem: {
      count: problem.count,
      lower: problem.lower.map((x, k) => x / units[k]!),
      upper: problem.upper.map((x, k) => x / units[k]!),
      residuals: (p) => problem.residuals(out(p)),
      jacobian: (p) => problem.jacobian(out(p)).map((row) => row.map((x, k) => x * units[k]!)),
    },
  };
}

/** One call of the library: `steps` steps from `start`. `by`: what residuals are multiplied by (its own weights divide the gradient). */
function walk(
  problem: Problem,
  start: readonly number[],
  steps: number,
  damping: number,
  by?: readonly number[],
): readonly number[] {
  const index = Array.from({ length: problem.count }, (_, i) => i);
  const { parameterValues } = levenbergMarquardt(
    { x: index, y: new Float64Array(problem.count) },
    (p) => {
      const r = problem.residuals(p);
      return (i) => r[i]! * (by?.[i] ?? 1);
    },
    {
      initialValues: start,
      minValues: problem.lower,
      maxValues: problem.upper,
      maxIterations: steps,
      errorTolerance: 0,
      damping,
      jacobianFunction: (p) => {
        const rows = problem.jacobian(p);
        return (i) => rows[i]!.map((x) => x * (by?.[i] ?? 1));
      },
    },
  );
  return parameterValues;
}

/** The nearest minimum of the sum of squares; undefined where residuals are no numbers. */
export function leastSquares(full: Problem, start: readonly number[]): Minimum | undefined {
  const { problem, units } = scaled(full, start);
  let at: readonly number[] = start.map((x, k) => x / units[k]!);
  let objective = squares(problem.residuals(at));
  for (let round = 0; round < ROUNDS && objective > 0; round++) {
    const next = walk(problem, at, STEPS, 1e-3);
    const found = squares(problem.residuals(next));
    if (!(found < objective)) break;
    const gain = 1 - found / objective;
    [at, objective] = [next, found];
    if (gain < GAIN) break;
  }
  return Number.isFinite(objective) ? { at: at.map((x, k) => x * units[k]!), objective } : undefined;
}

/** The nearest minimum of Huber's loss: squares with weights min(1, delta / |r|), taken anew until nothing changes (MM). */
export function leastHuber(full: Problem, start: readonly number[], delta: number): Minimum | undefined {
  const { problem, units } = scaled(full, start);
  let at: readonly number[] = start.map((x, k) => x / units[k]!);
  let r = problem.residuals(at);
  let objective = huber(r, delta);
  let damping = MILD;
  for (let round = 0, still = 0; round < 20 * ROUNDS && objective > 0 && still < 3; round++) {
    const roots = Array.from(r, (x) => Math.sqrt(Math.min(1, delta / Math.abs(x))));
    const next = walk(problem, at, 3, damping, roots);
    const rest = problem.residuals(next);
    const found = huber(rest, delta);
    if (!(found < objective)) {
      // The step was too long, or there is none.
      if (damping > 1) break;
      damping *= 30;
      continue;
    }
    still = 1 - found / objective < GAIN ? still + 1 : 0;
    damping = Math.max(MILD, damping / 3);
    [at, r, objective] = [next, rest, found];
  }
  return Number.isFinite(objective) ? { at: at.map((x, k) => x * units[k]!), objective } : undefined;
}
