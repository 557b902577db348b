// What a step costs here by its number of rows: measured on a few layers, in a few milliseconds.
import type { CostPoint } from "../decode/draft/budget.ts";
import type { Stepper } from "./forward.ts";
import type { Sequence } from "./sequences.ts";

const SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/** Where to stop measuring, and the shortest time that the clock tells. */
const MOST_MS = 24;
const LEAST_MS = 0.25;

/** Relative costs where the clock stands still while computing (some edge runtimes): int4 weights on a CPU. */
const TYPICAL: readonly CostPoint[] = [
  [1, 1],
  [2, 1.5],
  [4, 2.5],
  [8, 5.5],
  [16, 11],
  [64, 44],
].map(([rows, ms]) => ({ rows: rows!, ms: ms! }));

/** Milliseconds of a whole step of 1, 2, 3 … rows. Writes to the first slots of `sequence`, which must be empty. */
export function measureSteps(stepper: Stepper, sequence: Sequence, layers: number, most: number): readonly CostPoint[] {
  const rowsOf = (n: number) =>
    Array.from({ length: n }, (_, i) => ({ sequence, token: 0, position: i, slot: i, base: i + 1, maskLow: 0, maskHigh: 0 }));
  let layer = 0;
  let spent = 0;
  // Layers by turns: a step reads each weight from memory, not from the cache.
  const once = (n: number): number => {
    const ms = stepper.timeLayer(rowsOf(n), layer++ % layers);
    spent += ms;
    return ms;
  };
  for (let i = 0; i < 12 && spent < MOST_MS / 4; i++) once([1, 2, 4][i % 3]!);
  spent = 0;
  const points: CostPoint[] = [];
  for (const rows of SIZES) {
    if (rows > Math.min(most, stepper.capacity, sequence.contextSize) || spent > MOST_MS) break;
    let [total, times] = [0, 0];
    while (total < LEAST_MS && times < 50) [total, times] = [total + once(rows), times + 1];
    points.push({ rows, ms: total / times });
  }
  if (!points.every((p) => p.ms > 0)) return TYPICAL;
  const head = stepper.timeHead();
  // The head's share grows with the rows as the layers' does.
  return points.map(({ rows, ms }) => ({ rows, ms: ms * layers + (head * ms) / points[0]!.ms }));
}
