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
