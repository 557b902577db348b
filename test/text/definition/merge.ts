// Byte-pair merging by texts: the plain form of src/text/merge.ts, which works with numbers.

/** Priority of joining text[start, middle) and text[middle, end), smaller first; undefined: these two never join. */
export type Rank = (text: string, start: number, middle: number, end: number) => number | undefined;

/**
 * Merges with a binary heap over a linked list of symbols: n log n for n symbols, whatever the text.
 * Stale heap entries are recognised by their end: a symbol only ever grows to the right, so a pair is what it was
 * when it was queued exactly if its right symbol still ends at the same place.
 */
export class Merger {
  readonly #rank: Rank;
  #text = "";
  #count = 0;
  /** Symbols whose first pairs are in the heap. */
  #queued = 0;
  #capacity = 0;
  #start = new Int32Array(0);
  #stop = new Int32Array(0);
  #next = new Int32Array(0);
  #previous = new Int32Array(0);
  /** Heap entries: rank, left symbol, end of the pair. A merge queues at most two, so 3n entries suffice. */
  #keys = new Float64Array(0);
  #lefts = new Int32Array(0);
  #ends = new Int32Array(0);
  #size = 0;

  constructor(rank: Rank) {
    this.#rank = rank;
  }

  /** Ends of the symbols that remain of `text`, in order. Symbols start out as code points. */
  merge(text: string): number[] {
    this.begin(text);
    while (!this.advance(text.length));
    return this.finish();
  }

  /** Starts on a text: advance() until it is done, then finish(). */
  begin(text: string): void {
    this.#text = text;
    this.#count = this.#symbols(text);
    this.#queued = 0;
  }

  /** Does about `work` operations; true when there is nothing left to merge. */
  advance(work: number): boolean {
    const text = this.#text;
    for (; work > 0 && this.#queued + 1 < this.#count; work--) this.#queue(text, this.#queued++);
    for (; work > 0 && this.#size > 0; work--) {
      const left = this.#lefts[0]!;
      const end = this.#ends[0]!;
      this.#pop();
      const right = this.#next[left]!;
      if (right < 0 || this.#stop[right] !== end) continue;
      this.#stop[left] = end;
      const after = this.#next[right]!;
      this.#next[left] = after;
      this.#next[right] = -1;
      if (after >= 0) this.#previous[after] = left;
      const before = this.#previous[left]!;
      if (before >= 0) this.#queue(text, before);
      this.#queue(text, left);
    }
    return this.#size === 0 && this.#queued + 1 >= this.#count;
  }

  finish(): number[] {
    const ends: number[] = [];
    this.#text = "";
    for (let i = this.#count > 0 ? 0 : -1; i >= 0; i = this.#next[i]!) ends.push(this.#stop[i]!);
    // 64 bytes a symbol: what one long text needed is not kept.
    if (this.#capacity > 1 << 16) this.#allocate(0);
    return ends;
  }

  #symbols(text: string): number {
    this.#reserve(text.length);
    let count = 0;
    for (let at = 0; at < text.length; count++) {
      this.#start[count] = at;
      at += text.codePointAt(at)! > 0xffff ? 2 : 1;
      this.#stop[count] = at;
      this.#next[count] = at < text.length ? count + 1 : -1;
      this.#previous[count] = count - 1;
    }
    return count;
  }

  #reserve(symbols: number): void {
    if (symbols > this.#capacity) this.#allocate(Math.max(symbols, 256));
  }

  #allocate(symbols: number): void {
    this.#capacity = symbols;
    this.#start = new Int32Array(this.#capacity);
    this.#stop = new Int32Array(this.#capacity);
    this.#next = new Int32Array(this.#capacity);
    this.#previous = new Int32Array(this.#capacity);
    this.#keys = new Float64Array(3 * this.#capacity);
    this.#lefts = new Int32Array(3 * this.#capacity);
    this.#ends = new Int32Array(3 * this.#capacity);
  }

  #queue(text: string, left: number): void {
    const right = this.#next[left]!;
    if (right < 0) return;
    const end = this.#stop[right]!;
    const key = this.#rank(text, this.#start[left]!, this.#stop[left]!, end);
    if (key === undefined) return;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(key, left, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#place(at, key, left, end);
  }

  #pop(): void {
    const last = --this.#size;
    const key = this.#keys[last]!;
    const left = this.#lefts[last]!;
    const end = this.#ends[last]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && this.#before(this.#keys[child + 1]!, this.#lefts[child + 1]!, child)) child++;
      if (!this.#before(this.#keys[child]!, this.#lefts[child]!, -1, key, left)) break;
      this.#move(child, at);
      at = child;
    }
    this.#place(at, key, left, end);
  }

  /** Whether (key, left) comes before entry `at`, or before the given entry. */
  #before(key: number, left: number, at: number, otherKey = this.#keys[at]!, otherLeft = this.#lefts[at]!): boolean {
    return key < otherKey || (key === otherKey && left < otherLeft);
  }

  #move(from: number, to: number): void {
    this.#place(to, this.#keys[from]!, this.#lefts[from]!, this.#ends[from]!);
  }

  #place(at: number, key: number, left: number, end: number): void {
    this.#keys[at] = key;
    this.#lefts[at] = left;
    this.#ends[at] = end;
  }
}
