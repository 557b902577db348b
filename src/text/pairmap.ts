// From pairs of numbers to two numbers: open addressing in one array, hashed with multipliers drawn anew in every process, so that
// no file can be made to collide.
const multiplier = (): number => Math.floor(Math.random() * 2 ** 31) * 2 + 1;
const [first, second] = [multiplier(), multiplier()];

export class PairMap {
  /** Four numbers a slot: a + 1 (0: free), b, and what belongs to them. */
  #slots: Int32Array;
  #shift: number;
  #count = 0;
  /** The second number of the pair found last. */
  extra = 0;

  /** `expected`: about how many pairs there will be. */
  constructor(expected = 0) {
    const bits = Math.max(8, 1 + Math.ceil(Math.log2(expected + 1)));
    this.#slots = new Int32Array(4 << bits);
    this.#shift = 32 - bits;
  }

  /** What belongs to (a, b), numbers from 0; -1 for nothing. The rest is in `extra`. */
  get(a: number, b: number): number {
    const slots = this.#slots;
    const at = this.#find(a, b);
    if (slots[at] === 0) return -1;
    this.extra = slots[at + 3]!;
    return slots[at + 2]!;
  }

  /** Puts a pair in, or changes what belongs to it. */
  set(a: number, b: number, value: number, extra: number): void {
    let at = this.#find(a, b);
    if (this.#slots[at] === 0) {
      if (8 * ++this.#count > this.#slots.length) {
        this.#grow();
        at = this.#find(a, b);
      }
      this.#slots[at] = a + 1;
      this.#slots[at + 1] = b;
    }
    this.#slots[at + 2] = value;
    this.#slots[at + 3] = extra;
  }

  /** The slot of a pair, or the free one where it belongs. */
  #find(a: number, b: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = ((Math.imul(a, first) + Math.imul(b, second)) >>> this.#shift) << 2;
    while (slots[at] !== 0 && (slots[at] !== a + 1 || slots[at + 1] !== b)) at = (at + 4) & mask;
    return at;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length);
    this.#shift--;
    for (let at = 0; at < old.length; at += 4) {
      if (old[at] === 0) continue;
      const to = this.#find(old[at]! - 1, old[at + 1]!);
      this.#slots.set(old.subarray(at, at + 4), to);
    }
  }
}

/**
 * A small table of bits that mostly tells which pairs are not in a large one, where asking would wait for memory.
 * Source: Bloom 1970, with one hash.
 */
export class PairBits {
  readonly #bits: Int32Array;
  readonly #shift: number;

  /** `expected`: about how many pairs there will be; two MiB at most. */
  constructor(expected: number) {
    const bits = Math.min(24, Math.max(10, Math.ceil(Math.log2(6 * (expected + 1)))));
    this.#bits = new Int32Array(1 << (bits - 5));
    this.#shift = 32 - bits;
  }

  add(a: number, b: number): void {
    const bit = ((Math.imul(a, first) + Math.imul(b, second)) | 0) >>> this.#shift;
    this.#bits[bit >>> 5]! |= 1 << (bit & 31);
  }

  /** False: (a, b) was not added. */
  may(a: number, b: number): boolean {
    const bit = ((Math.imul(a, first) + Math.imul(b, second)) | 0) >>> this.#shift;
    return ((this.#bits[bit >>> 5]! >>> (bit & 31)) & 1) === 1;
  }
}

/**
 * As PairMap, for pairs that come in an order, as merges do. A table of places in that order, a quarter of PairMap's size, mostly tells
 * from a few bits of the hash that a pair is not there; and what is asked for most stands first and together.
 */
export class PairList {
  /** Place in the list plus 1 in the low bits (0: free), bits of the pair's hash in the others. */
  readonly #slots: Int32Array;
  /** Four numbers a pair: a, b, and what belongs to them. */
  readonly #pairs: Int32Array;
  readonly #shift: number;
  readonly #bits: number;
  readonly #known: PairBits;
  #count = 0;
  /** The second number of the pair found last. */
  extra = 0;

  /** `most`: so many pairs may be added, fewer than 2^28. */
  constructor(most: number) {
    this.#bits = Math.max(8, Math.ceil(Math.log2(1.5 * (most + 1))));
    this.#slots = new Int32Array(1 << this.#bits);
    this.#shift = 32 - this.#bits;
    this.#pairs = new Int32Array(4 * most);
    this.#known = new PairBits(most);
  }

  /** What belongs to (a, b), numbers from 0; -1 for nothing. The rest is in `extra`. */
  get(a: number, b: number): number {
    if (!this.#known.may(a, b)) return -1;
    const hash = (Math.imul(a, first) + Math.imul(b, second)) | 0;
    const [slots, pairs, bits] = [this.#slots, this.#pairs, this.#bits];
    const mask = slots.length - 1;
    for (let at = hash >>> this.#shift; ; at = (at + 1) & mask) {
      const slot = slots[at]!;
      if (slot === 0) return -1;
      if (slot >> bits !== (hash << bits) >> bits) continue;
      const pair = ((slot & mask) - 1) << 2;
      if (pairs[pair] !== a || pairs[pair + 1] !== b) continue;
      this.extra = pairs[pair + 3]!;
      return pairs[pair + 2]!;
    }
  }

  /** Adds a pair that is not there yet. */
  add(a: number, b: number, value: number, extra: number): void {
    const hash = (Math.imul(a, first) + Math.imul(b, second)) | 0;
    const mask = this.#slots.length - 1;
    let at = hash >>> this.#shift;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#known.add(a, b);
    this.#pairs.set([a, b, value, extra], 4 * this.#count);
    this.#slots[at] = (hash << this.#bits) | ++this.#count;
  }
}
