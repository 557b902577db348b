// Pieces by the symbols of their bytes: words that are a piece as they stand are looked up without being spelled.
import { byteLetters } from "./pieces.ts";
import type { Symbols } from "./symbols.ts";

/** Drawn anew in every process, so that no file can be made to collide. */
const multiplier = Math.floor(Math.random() * 2 ** 31) * 2 + 1;

export class WholeWords {
  /** By hash: a piece's number plus 1 (0: free). */
  readonly #slots: Int32Array;
  readonly #numbers = new Int32Array(0x144).fill(-1);
  readonly #pieces: string[] = [];
  readonly #ids: number[] = [];

  /** `ids`: id of every piece that a word may be, spelled in GPT-2's letters. */
  constructor(ids: ReadonlyMap<string, number>, symbols: Symbols) {
    for (const letter of byteLetters) this.#numbers[letter.charCodeAt(0)] = symbols.find(letter);
    this.#slots = new Int32Array(1 << Math.max(8, Math.ceil(Math.log2(1.5 * (ids.size + 1)))));
    const mask = this.#slots.length - 1;
    for (const [piece, id] of ids) {
      let hash = 0;
      let spelled = true;
      for (let i = 0; i < piece.length && spelled; i++) {
        const symbol = this.#numbers[piece.charCodeAt(i)] ?? -1;
        spelled = symbol >= 0;
        hash = mixed(hash, symbol);
      }
      if (!spelled) continue;
      let at = hash & mask;
      while (this.#slots[at] !== 0) at = (at + 1) & mask;
      this.#slots[at] = this.#pieces.push(piece);
      this.#ids.push(id);
    }
  }

  /** The piece that is made of the first `count` symbols; -1. */
  find(symbols: Int32Array, count: number): number {
    let hash = 0;
    for (let i = 0; i < count; i++) hash = mixed(hash, symbols[i]!);
    const mask = this.#slots.length - 1;
    for (let at = hash & mask; this.#slots[at] !== 0; at = (at + 1) & mask) {
      const number = this.#slots[at]! - 1;
      if (this.#is(this.#pieces[number]!, symbols, count)) return this.#ids[number]!;
    }
    return -1;
  }

  #is(piece: string, symbols: Int32Array, count: number): boolean {
    if (piece.length !== count) return false;
    for (let i = 0; i < count; i++) if (this.#numbers[piece.charCodeAt(i)] !== symbols[i]) return false;
    return true;
  }
}

function mixed(hash: number, symbol: number): number {
  const made = Math.imul(hash ^ symbol, multiplier);
  return made ^ (made >>> 15);
}
