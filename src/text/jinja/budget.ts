// What a template may cost: work is counted, never time.
import { PyDict, PyList, PyTuple, type Value } from "./values.ts";

const MOST_STEPS = 2_000_000;
const MOST_CHARACTERS = 1 << 22;
const MOST_ITEMS = 1 << 17;

/**
 * Counts steps: one for every node evaluated and every 64 characters or 16 values that are looked at or made. Lengths are
 * checked before anything of that length is made.
 */
export class Budget {
  #steps = 0;

  readonly spend = (steps: number): void => {
    this.#steps += steps;
    if (!(this.#steps <= MOST_STEPS)) throw new Error(`it takes more than ${MOST_STEPS} steps`);
  };
  /** Work on so many characters. */
  characters(count: number): void {
    if (!(count <= MOST_CHARACTERS)) throw new Error(`it makes more than ${MOST_CHARACTERS} characters`);
    this.spend(1 + count / 64);
  }
  /** Work on so many values. */
  items(count: number): void {
    if (!(count <= MOST_ITEMS)) throw new Error(`it makes a list of more than ${MOST_ITEMS} items`);
    this.spend(1 + count / 16);
  }
  /** Work on a whole value: its characters, or its items (not what is in them). */
  value(value: Value): void {
    if (typeof value === "string") this.spend(value.length / 64);
    else if (value instanceof PyList || value instanceof PyTuple) this.spend(value.items.length / 16);
    else if (value instanceof PyDict) this.spend(value.map.size / 8);
  }
}
