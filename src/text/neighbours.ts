// Which two units stand beside each other inside some piece. Between others no merge can happen: text is cut there.

const others = 1 << 18;

/** Units below 128 are told exactly; of others some may be said to be neighbours that are not, which only cuts less. */
export class Neighbours {
  readonly #ascii = new Uint8Array(1 << 14);
  readonly #others = new Uint8Array(others >> 3);
  readonly #onlySpaces: boolean;

  /** `pieces` with U+2581 for the space, which is one unit with the space here. `onlySpaces`: cuts are before spaces alone. */
  constructor(pieces: Iterable<string>, onlySpaces: boolean) {
    this.#onlySpaces = onlySpaces;
    for (const piece of pieces) {
      let before = unitAt(piece, 0);
      for (let i = 1; i < piece.length; i++) {
        const unit = unitAt(piece, i);
        if ((before | unit) < 128) this.#ascii[(before << 7) | unit] = 1;
        else {
          const bit = bitOf(before, unit);
          this.#others[bit >> 3]! |= 1 << (bit & 7);
        }
        before = unit;
      }
    }
  }

  /** Where units[begin, last) is cut first, behind `begin`: never inside a code point. */
  end(units: Uint16Array, begin: number, last: number): number {
    const ascii = this.#ascii;
    let before = units[begin]!;
    let at = begin + 1;
    for (; at < last; at++) {
      const unit = units[at]!;
      if ((before | unit) < 128) {
        if (ascii[(before << 7) | unit] === 0 && (unit === 0x20 || !this.#onlySpaces)) break;
      } else if ((before & 0xfc00) !== 0xd800) {
        const bit = bitOf(before, unit);
        const apart = ((this.#others[bit >> 3]! >> (bit & 7)) & 1) === 0;
        if (apart && (unit === 0x20 || !this.#onlySpaces)) break;
      }
      before = unit;
    }
    return at;
  }
}

const unitAt = (piece: string, at: number): number => {
  const unit = piece.charCodeAt(at);
  return unit === 0x2581 ? 0x20 : unit;
};

const bitOf = (a: number, b: number): number => (Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca6b)) >>> 14;
