// What words became, for those met before: a table of fixed size, looked up by the units of a text without cutting it.

/** Units of what is kept, at most. */
export const maxWord = 64;
const slots = 1 << 17;
/** Neighbouring slots that a word may lie in: a look-up costs no more, whatever words a text has. */
const ways = 8;
/** Units kept, ids among them as two each; when they are full, all is forgotten. */
const room = 1 << 22;

export class WordCache {
  /** Numbers of a slot: hash, level + 16 * units + 2048 * ids (0: free), where both lie. */
  readonly #slots = new Int32Array(4 * (slots + ways));
  /** The units of a word, then its ids. */
  #kept = new Uint16Array(1 << 12);
  #count = 0;
  #victim = 0;

  /** The place of units[begin, end) in the table; -1. `level`, below 16: what the same units become may depend on it. */
  find(units: Uint16Array, begin: number, end: number, level = 0): number {
    const length = end - begin;
    if (length > maxWord) return -1;
    const hash = hashOf(units, begin, end, level);
    const [table, kept] = [this.#slots, this.#kept];
    const first = slotOf(hash);
    for (let slot = first; slot < first + 4 * ways; slot += 4) {
      const count = table[slot + 1]!;
      if (count === 0) return -1;
      if (table[slot] !== hash || (count & 2047) !== level + 16 * length) continue;
      let at = table[slot + 2]!;
      let i = begin;
      while (i < end && kept[at] === units[i]) {
        at++;
        i++;
      }
      if (i === end) return slot;
    }
    return -1;
  }

  /** Appends the ids of a place to `out`. */
  take(slot: number, out: number[]): void {
    const kept = this.#kept;
    const count = this.#slots[slot + 1]!;
    let at = this.#slots[slot + 2]! + ((count >> 4) & 127);
    for (let left = count >> 11; left > 0; left--, at += 2) out.push(kept[at]! | (kept[at + 1]! << 16));
  }

  /** Keeps what units[begin, end) became: `ids` from `from` on. Long words are not kept. */
  put(units: Uint16Array, begin: number, end: number, ids: readonly number[], from: number, level = 0): void {
    const length = end - begin;
    const count = ids.length - from;
    if (length > maxWord || count > 4 * maxWord) return;
    if (this.#count + length + 2 * count > room) {
      this.#slots.fill(0);
      this.#count = 0;
    }
    if (this.#count + length + 2 * count > this.#kept.length) {
      const larger = new Uint16Array(2 * this.#kept.length);
      larger.set(this.#kept);
      this.#kept = larger;
    }
    const hash = hashOf(units, begin, end, level);
    const first = slotOf(hash);
    let slot = first;
    while (slot < first + 4 * ways && this.#slots[slot + 1] !== 0) slot += 4;
    if (slot === first + 4 * ways) slot = first + 4 * (this.#victim++ & (ways - 1));
    this.#slots[slot] = hash;
    this.#slots[slot + 1] = level + 16 * length + 2048 * count;
    this.#slots[slot + 2] = this.#count;
    for (let i = begin; i < end; i++) this.#kept[this.#count++] = units[i]!;
    for (let i = from; i < ids.length; i++) {
      this.#kept[this.#count++] = ids[i]! & 0xffff;
      this.#kept[this.#count++] = ids[i]! >> 16;
    }
  }
}

function hashOf(units: Uint16Array, begin: number, end: number, level: number): number {
  let hash = (0x811c9dc5 | 0) + level;
  for (let i = begin; i < end; i++) hash = Math.imul(hash ^ units[i]!, 0x01000193);
  return hash ^ (hash >>> 15);
}

const slotOf = (hash: number): number => ((Math.imul(hash, 0x9e3779b1) >>> 15) & (slots - 1)) << 2;
