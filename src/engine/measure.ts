// What a step costs here by its number of rows: measured on a few layers, in a few milliseconds.
import type { CostPoint } from "../decode/draft/budget.ts";
import type { Stepper } from "./forward.ts";
import type { Sequence } from "./sequences.ts";

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
