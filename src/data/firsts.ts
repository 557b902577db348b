// Which record first had a key: a table in memory, for the join of fingerprints where there is no database.
import { CpmError } from "../errors.ts";

/** The least record of each key of some 64-bit words. Open addressing in typed arrays: 16 bytes and 8 a word for a slot, two slots a record. */
export class FirstRecords {
  readonly #words: number;
  readonly #mask: number;
  readonly #keys: BigInt64Array;
  readonly #firsts: Float64Array;

  /** Room for `count` records whose keys have `words` words. @throws CpmError "out-of-memory" */
  constructor(count: number, words: number) {
    let slots = 16;
    while (slots < count * 1.5) slots *= 2;
    this.#words = words;
    this.#mask = slots - 1;
    try {
      this.#keys = new BigInt64Array(slots * words);
      this.#firsts = new Float64Array(slots).fill(-1);
    } catch (cause) {
      throw new CpmError(
        "out-of-memory",
        `a table of ${count} records does not fit in memory; join them in DuckDB: npm install @duckdb/node-api`,
        { field: "engine" },
        { cause },
      );
    }
  }

  /** Takes a record: keys lie word after word at `at` of `keys`. */
  add(keys: BigInt64Array, at: number, record: number): void {
    const slot = this.#slot(keys, at);
    const first = this.#firsts[slot]!;
    if (first < 0) for (let w = 0; w < this.#words; w++) this.#keys[slot * this.#words + w] = keys[at + w]!;
    if (first < 0 || record < first) this.#firsts[slot] = record;
  }

  /** The least record that was added with a key; -1 for none. */
  first(keys: BigInt64Array, at: number): number {
    return this.#firsts[this.#slot(keys, at)]!;
  }

  #slot(keys: BigInt64Array, at: number): number {
    // Keys are hashes: their low bits will do.
    for (let slot = Number(BigInt.asUintN(32, keys[at]!)) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      if (this.#firsts[slot]! < 0) return slot;
      let same = true;
      for (let w = 0; w < this.#words && same; w++) same = this.#keys[slot * this.#words + w] === keys[at + w];
      if (same) return slot;
    }
  }
}
