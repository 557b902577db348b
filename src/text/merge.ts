// Byte-pair merging of a stretch of symbols: the best pair first, the leftmost of equals, until none is left.
import { NEVER, type Pairs } from "./pairs.ts";

/** Up to so many symbols the best pair is looked for among all. */
const few = 24;

/** Merges of short words, by looking through them. */
export class ShortMerger {
  readonly #pairs: Pairs;
  /** What each symbol and the next one make, and its rank. */
  readonly #made = new Int32Array(few);
  readonly #ranks = new Float64Array(few);

  constructor(pairs: Pairs) {
    this.#pairs = pairs;
  }

  /** Merges the first `count` of `symbols` in place; gives how many are left. */
  merge(symbols: Int32Array, count: number): number {
    const [made, ranks] = [this.#made, this.#ranks];
    for (let i = 0; i + 1 < count; i++) this.#ask(symbols, i);
    for (;;) {
      let best = -1;
      for (let i = 0; i + 1 < count; i++) if (made[i] !== NEVER && (best < 0 || ranks[i]! < ranks[best]!)) best = i;
      if (best < 0) return count;
      symbols[best] = made[best]!;
      count--;
      for (let i = best + 1; i < count; i++) {
        symbols[i] = symbols[i + 1]!;
        made[i] = made[i + 1]!;
        ranks[i] = ranks[i + 1]!;
      }
      if (best > 0) this.#ask(symbols, best - 1);
      if (best + 1 < count) this.#ask(symbols, best);
    }
  }

  #ask(symbols: Int32Array, i: number): void {
    this.#made[i] = this.#pairs.join(symbols[i]!, symbols[i + 1]!);
    this.#ranks[i] = this.#pairs.rank;
  }
}

/** Whether a word of so many symbols is one for ShortMerger. */
export const isShort = (count: number): boolean => count <= few;

/**
 * Merges with a binary heap over a linked list of symbols: n log n for n symbols, whatever they are.
 * Stale heap entries are recognised by their end: a symbol only ever grows to the right, so a pair is what it was
 * when it was queued exactly if its right symbol still ends at the same place.
 */
export class Merger {
  readonly #pairs: Pairs;
  #count = 0;
  /** Symbols whose first pairs are in the heap. */
  #queued = 0;
  #capacity = 0;
  /** By place: the symbol that begins there, the place where it ends, its neighbours. */
  #symbols = new Int32Array(0);
  #stop = new Int32Array(0);
  #next = new Int32Array(0);
  #previous = new Int32Array(0);
  /** Heap entries: rank, left place, end of the pair, what it makes. A merge queues at most two, so 3n entries suffice. */
  #ranks = new Float64Array(0);
  #lefts = new Int32Array(0);
  #ends = new Int32Array(0);
  #made = new Int32Array(0);
  #size = 0;

  constructor(pairs: Pairs) {
    this.#pairs = pairs;
  }

  /** The symbols that remain of the first `count`, in order. */
  merge(symbols: ArrayLike<number>, count: number): number[] {
    this.begin(symbols, count);
    while (!this.advance(count + 1));
    return this.finish();
  }

  /** Starts on symbols: advance() until it is done, then finish(). */
  begin(symbols: ArrayLike<number>, count: number): void {
    if (count > this.#capacity) this.#allocate(Math.max(count, 256));
    for (let i = 0; i < count; i++) {
      this.#symbols[i] = symbols[i]!;
      this.#stop[i] = i + 1;
      this.#next[i] = i + 1 < count ? i + 1 : -1;
      this.#previous[i] = i - 1;
    }
    this.#count = count;
    this.#queued = 0;
  }

  /** Does about `work` operations; true when there is nothing left to merge. */
  advance(work: number): boolean {
    for (; work > 0 && this.#queued + 1 < this.#count; work--) this.#queue(this.#queued++);
    for (; work > 0 && this.#size > 0; work--) {
      const left = this.#lefts[0]!;
      const end = this.#ends[0]!;
      const made = this.#made[0]!;
      this.#pop();
      const right = this.#next[left]!;
      if (right < 0 || this.#stop[right] !== end) continue;
      this.#symbols[left] = made;
      this.#stop[left] = end;
      const after = this.#next[right]!;
      this.#next[left] = after;
      this.#next[right] = -1;
      if (after >= 0) this.#previous[after] = left;
      const before = this.#previous[left]!;
      if (before >= 0) this.#queue(before);
      this.#queue(left);
    }
    return this.#size === 0 && this.#queued + 1 >= this.#count;
  }

  finish(): number[] {
    const symbols: number[] = [];
    for (let i = this.#count > 0 ? 0 : -1; i >= 0; i = this.#next[i]!) symbols.push(this.#symbols[i]!);
    // 76 bytes a symbol: what one long text needed is not kept.
    if (this.#capacity > 1 << 16) this.#allocate(0);
    this.#count = 0;
    return symbols;
  }

  #allocate(symbols: number): void {
    this.#capacity = symbols;
    this.#symbols = new Int32Array(symbols);
    this.#stop = new Int32Array(symbols);
    this.#next = new Int32Array(symbols);
    this.#previous = new Int32Array(symbols);
    this.#ranks = new Float64Array(3 * symbols);
    this.#lefts = new Int32Array(3 * symbols);
    this.#ends = new Int32Array(3 * symbols);
    this.#made = new Int32Array(3 * symbols);
  }

  #queue(left: number): void {
    const right = this.#next[left]!;
    if (right < 0) return;
    const made = this.#pairs.join(this.#symbols[left]!, this.#symbols[right]!);
    if (made === NEVER) return;
    const { rank } = this.#pairs;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(rank, left, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#place(at, rank, left, this.#stop[right]!, made);
  }

  #pop(): void {
    const last = --this.#size;
    const rank = this.#ranks[last]!;
    const left = this.#lefts[last]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && this.#before(this.#ranks[child + 1]!, this.#lefts[child + 1]!, child)) child++;
      if (!this.#before(this.#ranks[child]!, this.#lefts[child]!, -1, rank, left)) break;
      this.#move(child, at);
      at = child;
    }
    this.#place(at, rank, left, this.#ends[last]!, this.#made[last]!);
  }

  /** Whether (rank, left) comes before entry `at`, or before the given entry. */
  #before(rank: number, left: number, at: number, otherRank = this.#ranks[at]!, otherLeft = this.#lefts[at]!): boolean {
    return rank < otherRank || (rank === otherRank && left < otherLeft);
  }

  #move(from: number, to: number): void {
    this.#place(to, this.#ranks[from]!, this.#lefts[from]!, this.#ends[from]!, this.#made[from]!);
  }

  #place(at: number, rank: number, left: number, end: number, made: number): void {
    this.#ranks[at] = rank;
    this.#lefts[at] = left;
    this.#ends[at] = end;
    this.#made[at] = made;
  }
}
