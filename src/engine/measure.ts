// What a step costs here by its number of rows: measured on a few layers, in a few milliseconds.
import { type CostPoint, StepCosts } from "../decode/draft/costs.ts";
import type { DraftHead, HeadRow } from "../decode/draft/head.ts";
import { maxNodes } from "../decode/draft/tree.ts";
import { CpmError } from "../errors.ts";
import type { Stepper } from "./forward.ts";
import type { Sequence, Sequences } from "./sequences.ts";

const SIZES = [1, 2, 3, 4, 6, 8, 12, 16];
/** Where to stop measuring, and how often a size is measured: the least time counts, since all else is noise. */
const MOST_MS = 30;
const TIMES = 3;

/** Relative costs where the clock stands still while computing (some edge runtimes): int4 weights on a CPU. */
const TYPICAL: readonly CostPoint[] = [
  [1, 1],
  [2, 1.5],
  [4, 2.5],
  [8, 5.5],
  [16, 11],
].map(([rows, ms]) => ({ rows: rows!, ms: ms! }));

/** Milliseconds of a whole step of 1, 2, 3 … rows. Writes to the first slots of `sequence`, which must be empty. */
export function measureSteps(stepper: Stepper, sequence: Sequence, layers: number, most: number): readonly CostPoint[] {
  const rowsOf = (n: number) =>
    Array.from({ length: n }, (_, i) => ({
      sequence,
      token: 0,
      position: i,
      slot: i,
      base: i + 1,
      maskLow: 0,
      maskHigh: 0,
      total: 0,
    }));
  let layer = 0;
  let spent = 0;
  // Layers by turns: a step reads each weight from memory, not from the cache.
  const once = (n: number): number => {
    const ms = stepper.timeLayer(rowsOf(n), layer++ % layers);
    spent += ms;
    return ms;
  };
  const sizes = SIZES.filter((n) => n <= Math.min(most, stepper.capacity, sequence.contextSize));
  const least = new Map<number, number>();
  for (let time = 0; time < TIMES; time++)
    for (const n of sizes) {
      if (spent > MOST_MS && (time > 0 || n > 4)) break;
      least.set(n, Math.min(least.get(n) ?? Number.POSITIVE_INFINITY, once(n)));
    }
  const head = Math.min(stepper.timeHead(), stepper.timeHead());
  const one = least.get(1)!;
  if (![...least.values(), head].every((ms) => ms > 0)) return TYPICAL;
  // The head's share grows with the rows as the layers' does.
  return [...least].map(([rows, ms]) => ({ rows, ms: ms * layers + (head * ms) / one }));
}

/** Milliseconds of a draft head's step of 1, 2, 3 … rows with their logits. */
export function measureHead(head: DraftHead, now: () => number): readonly CostPoint[] {
  const cache = head.openCache(0);
  try {
    new Float32Array(head.memory.buffer, head.hidden, maxNodes * head.width).fill(0);
    const least = new Map<number, number>();
    let spent = 0;
    for (let time = 0; time < TIMES; time++)
      for (const n of SIZES) {
        if (n > head.logitRows || (spent > MOST_MS && (time > 0 || n > 4))) break;
        const row = (i: number): HeadRow => ({
          ...{ token: 0, position: i, slot: i, first: 0, base: i + 1 },
          maskLow: 0,
          maskHigh: 0,
        });
        const started = now();
        head.run(
          cache,
          Array.from({ length: n }, (_, i) => row(i)),
          false,
        );
        head.score(0, n);
        const ms = now() - started;
        spent += ms;
        least.set(n, Math.min(least.get(n) ?? Number.POSITIVE_INFINITY, ms));
      }
    const points = Array.from(least, ([rows, ms]): CostPoint => ({ rows, ms }));
    return points.every(({ ms }) => ms > 0) ? points : TYPICAL;
  } finally {
    head.closeCache(cache);
  }
}

/** Steps after which the engine's compiler is done with the kernels, and costs are measured again. */
const WARM_STEPS = 64;

/** Tokens of the sequence on which the costs of steps are measured. */
export const warmContext = (contextSize: number): number => Math.min(64, contextSize);

export interface MeterParts {
  readonly stepper: Stepper;
  readonly sequences: Sequences;
  readonly layers: number;
  readonly contextSize: number;
}

/** The costs of steps: measured when they are first asked for, and once more when the kernels are warm. */
export class CostMeter {
  readonly costs = new StepCosts([]);
  readonly #p: MeterParts;
  #measured = false;
  #warm = false;

  constructor(parts: MeterParts) {
    this.#p = parts;
  }

  /** Measures on a new sequence of so many tokens. */
  measure(contextSize: number): void {
    const { stepper, sequences, layers } = this.#p;
    this.#measured = true;
    const id = sequences.open(contextSize);
    try {
      const most = Math.min(stepper.logitRows, stepper.capacity);
      this.costs.measured(measureSteps(stepper, sequences.get(id), layers, most));
    } finally {
      sequences.close(id);
    }
  }

  /** Sees to it that costs are known; typical ones where there is no memory to measure in. */
  ready(): void {
    if (this.#measured) return;
    try {
      this.measure(warmContext(this.#p.contextSize));
    } catch (error) {
      if (!(error instanceof CpmError) || error.code !== "out-of-memory") throw error;
      this.costs.measured(TYPICAL);
    }
  }

  /** Measures again, once, when the kernels have run for a while. Between steps only: it writes to the scratch memory. */
  warmUp(): void {
    if (this.#warm || !this.#measured || this.costs.steps < WARM_STEPS) return;
    this.#warm = true;
    this.#measured = false;
    this.ready();
  }
}
