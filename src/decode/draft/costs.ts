// What a step costs by its number of rows: measured, and corrected by every step since.
import { maxNodes } from "./tree.ts";

/** Milliseconds of a step of `rows` rows, measured at load. */
export interface CostPoint {
  readonly rows: number;
  readonly ms: number;
}

/** Weight of a new time against the running one. */
const pace = 0.1;

export class StepCosts {
  /** Milliseconds by rows: the curve measured at load, interpolated; and a factor for each size from what was seen since. */
  readonly #curve = new Float64Array(maxNodes + 1);
  readonly #factor = new Float64Array(maxNodes + 1);
  /** Steps seen of each size; of all together at 0. */
  readonly #steps = new Float64Array(maxNodes + 1);
  /** What a step of one row takes now against the curve: a long context and a busy machine slow all sizes down. */
  #scale = 1;

  constructor(costs: readonly CostPoint[]) {
    this.measured(costs);
  }

  /** Takes new measurements in place of all that was known of costs. */
  measured(costs: readonly CostPoint[]): void {
    const points = costs.length > 0 ? [...costs].sort((a, b) => a.rows - b.rows) : [{ rows: 1, ms: 1 }];
    for (let n = 1; n <= maxNodes; n++) {
      const above = points.findIndex((p) => p.rows >= n);
      const [a, b] =
        above < 0 ? [points.at(-2) ?? points[0]!, points.at(-1)!] : [points[Math.max(0, above - 1)]!, points[above]!];
      const slope = b.rows > a.rows ? (b.ms - a.ms) / (b.rows - a.rows) : 0;
      this.#curve[n] = Math.max(this.#curve[n - 1]!, b.ms + slope * (n - b.rows));
    }
    this.#factor.fill(1);
    this.#steps.fill(0);
    this.#scale = 1;
  }

  /** Steps seen since the costs were measured. */
  get steps(): number {
    return this.#steps[0]!;
  }

  /** Steps of so many rows seen since. */
  seen(rows: number): number {
    return this.#steps[rows]!;
  }

  /** Expected milliseconds of a step of `rows` rows; beyond maxNodes each costs the same. */
  cost(rows: number): number {
    // Rows together never cost more than one after another.
    const n = Math.min(rows, maxNodes);
    const known = Math.min(this.#curve[n]! * this.#factor[n]!, n * this.#curve[1]!) * this.#scale;
    return known * (rows / n);
  }

  /** A step of `rows` rows took `ms`. */
  sawStep(rows: number, ms: number): void {
    if (rows > maxNodes) return;
    const expected = this.#curve[rows]! * this.#factor[rows]! * this.#scale;
    if (!(expected > 0) || !(ms > 0)) return;
    this.#steps[0]! += 1;
    const seen = (this.#steps[rows]! += 1);
    // Measured at load, before the engine's compiler was done: the first steps count for more. Later a slow step says
    // little: a neighbour on the machine.
    const most = seen > 3 ? 1.5 : Number.POSITIVE_INFINITY;
    const change = Math.min(most, Math.max(1 / most, ms / expected)) ** Math.max(pace, 1 / seen);
    if (rows === 1) {
      this.#scale *= change;
      return;
    }
    this.#factor[rows]! *= change;
    // Sizes that were never run are taken to be off by as much as the nearest that was.
    for (let n = 2; n <= maxNodes; n++) {
      if (this.#steps[n]! > 0) continue;
      let [low, high] = [n, n];
      while (low > 1 && this.#steps[low] === 0) low--;
      while (high < maxNodes && this.#steps[high] === 0) high++;
      const nearest = this.#steps[high]! > 0 && high - n < n - low ? high : low;
      this.#factor[n] = nearest > 1 ? this.#factor[nearest]! : 1;
    }
  }

  /**
   * Texts to decode side by side, at most `most`: the number that gives the most rows a millisecond. Together they never take longer than
   * by turns, so what was measured may speak for more of them but not against a few: a neighbour on the machine would.
   */
  bestRows(most: number): number {
    const cost = (n: number) => Math.min(this.cost(n), typical(n) * this.cost(1));
    let best = 1;
    for (let n = 2; n <= Math.min(most, maxNodes); n++) if (n / cost(n) > best / cost(best)) best = n;
    return best;
  }
}

/** What a step of `rows` rows takes at least as little as, in steps of one row: int4 weights on the slower builds. */
const typical = (rows: number): number => (rows <= 4 ? (rows + 1) / 2 : (5 * rows) / 8);
