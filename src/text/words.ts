// What words became, for those met before: a table of bounded size, looked up by the units of a text without cutting it.

/** Units of what is kept, at most. */
export const maxWord = 64;
/** The table grows with what it holds, up to this, so that few words lie close together. */
const mostSlots = 1 << 17;
/** Neighbouring slots that a word may lie in: a look-up costs no more, whatever words a text has. */
const ways = 8;
/** Units kept, at most, in front of each word two for its lengths, its ids as two each; when they are full, all is forgotten. */
const room = 1 << 22;

export class WordCache {
  /** Numbers of a slot: hash, and 1 more than the place of what is kept (0: free). */
  #slots = new Int32Array(0);
  #shift = 0;
  /** Words in the table. */
  #words = 0;
  /** By word: level + 16 * its units, how many ids, its units, its ids. */
  #kept = new Uint16Array(1 << 10);
  #count = 0;
  #victim = 0;

  constructor() {
    this.#resize(10);
  }

  /** The place of what units[begin, end) became; -1. `level`, below 16: what the same units become may depend on it. */
  find(units: Uint16Array, begin: number, end: number, level = 0): number {
    const length = end - begin;
    if (length > maxWord) return -1;
    const hash = hashOf(units, begin, end, level);
    const [table, kept] = [this.#slots, this.#kept];
    const first = (hash >>> this.#shift) << 1;
    for (let slot = first; slot < first + 2 * ways; slot += 2) {
      let at = table[slot + 1]! - 1;
      if (at < 0) return -1;
      if (table[slot] !== hash || kept[at] !== level + 16 * length) continue;
      at += 2;
      let i = begin;
      while (i < end && kept[at] === units[i]) {
        at++;
        i++;
      }
      if (i === end) return at;
    }
    return -1;
  }

  /** Appends the ids at a place, of a word of `length` units, to `out`. */
  take(at: number, length: number, out: number[]): void {
    const kept = this.#kept;
    for (let left = kept[at - length - 1]!; left > 0; left--, at += 2) out.push(kept[at]! | (kept[at + 1]! << 16));
  }

  /** Keeps what units[begin, end) became: `ids` from `from` on. Long words are not kept. */
  put(units: Uint16Array, begin: number, end: number, ids: readonly number[], from: number, level = 0): void {
    const length = end - begin;
    const count = ids.length - from;
    if (length > maxWord || count > 4 * maxWord) return;
    const size = 2 + length + 2 * count;
    if (this.#count + size > room) {
      this.#slots.fill(0);
      this.#count = this.#words = 0;
    }
    if (this.#count + size > this.#kept.length) {
      const larger = new Uint16Array(2 * this.#kept.length);
      larger.set(this.#kept);
      this.#kept = larger;
    }
    if (4 * ++this.#words > this.#slots.length && this.#slots.length < 2 * mostSlots) this.#resize(33 - this.#shift);
    this.#enter(hashOf(units, begin, end, level), this.#count);
    const kept = this.#kept;
    kept[this.#count++] = level + 16 * length;
    kept[this.#count++] = count;
    for (let i = begin; i < end; i++) kept[this.#count++] = units[i]!;
    for (let i = from; i < ids.length; i++) {
      kept[this.#count++] = ids[i]! & 0xffff;
      kept[this.#count++] = ids[i]! >> 16;
    }
  }

  #enter(hash: number, at: number): void {
    const first = (hash >>> this.#shift) << 1;
    let slot = first;
    while (slot < first + 2 * ways && this.#slots[slot + 1] !== 0) slot += 2;
    if (slot === first + 2 * ways) slot = first + 2 * (this.#victim++ & (ways - 1));
    this.#slots[slot] = hash;
    this.#slots[slot + 1] = at + 1;
  }

  /** Makes a table of 2^bits slots of what the table holds. */
  #resize(bits: number): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * ((1 << bits) + ways));
    this.#shift = 32 - bits;
    for (let slot = 0; slot < old.length; slot += 2) if (old[slot + 1] !== 0) this.#enter(old[slot]!, old[slot + 1]! - 1);
  }
}

function hashOf(units: Uint16Array, begin: number, end: number, level: number): number {
  let hash = (0x811c9dc5 | 0) + level;
  for (let i = begin; i < end; i++) hash = Math.imul(hash ^ units[i]!, 0x01000193);
  return Math.imul(hash ^ (hash >>> 15), 0x9e3779b1);
}
