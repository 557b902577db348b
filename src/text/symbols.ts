// The symbols that merging begins with and ends in, as numbers: a piece is its id, a code point that is none lies behind the pieces.
import { codeAt } from "./pattern/automaton.ts";
import { byteLetters } from "./pieces.ts";
import type { Recipe } from "./recipe.ts";

const kept = 1 << 14;

export class Symbols {
  readonly #pieces: readonly string[];
  readonly #ids: ReadonlyMap<string, number>;
  readonly #bytes: boolean;
  /** By UTF-16 unit, or by byte where letters stand for bytes: the symbol plus 1. */
  readonly #known = new Int32Array(0x10000);
  /** What read() gives. */
  list = new Int32Array(256);

  constructor({ pieces, form }: Recipe, ids: ReadonlyMap<string, number>) {
    this.#pieces = pieces;
    this.#ids = ids;
    this.#bytes = form === "bytes";
  }

  isPiece(symbol: number): boolean {
    return symbol < this.#pieces.length;
  }

  text(symbol: number): string {
    return this.#pieces[symbol] ?? String.fromCodePoint(symbol - this.#pieces.length);
  }

  /** The symbol of a text: a piece, or one code point; -1 for any other. */
  find(text: string): number {
    const id = this.#ids.get(text);
    if (id !== undefined) return id;
    const code = text.codePointAt(0) ?? 0;
    return text.length === (code > 0xffff ? 2 : 1) ? this.#pieces.length + code : -1;
  }

  /**
   * The symbols of units[begin, end) into `list`: one for each code point, or for each byte of its UTF-8; how many.
   * Where pieces spell the space U+2581, so it is read.
   */
  read(units: Uint16Array, begin: number, end: number): number {
    const most = (this.#bytes ? 3 : 1) * (end - begin);
    if (most > this.list.length) this.list = new Int32Array(2 * most);
    const { list } = this;
    let count = 0;
    for (let at = begin; at < end; ) {
      const code = codeAt(units, at, end);
      at += code > 0xffff ? 2 : 1;
      if (!this.#bytes) list[count++] = this.#of(code === 0x20 ? 0x2581 : code);
      else if (code < 0x80) list[count++] = this.#byte(code);
      else {
        if (code < 0x800) list[count++] = this.#byte(0xc0 | (code >> 6));
        else {
          if (code < 0x10000) list[count++] = this.#byte(0xe0 | (code >> 12));
          else {
            list[count++] = this.#byte(0xf0 | (code >> 18));
            list[count++] = this.#byte(0x80 | ((code >> 12) & 63));
          }
          list[count++] = this.#byte(0x80 | ((code >> 6) & 63));
        }
        list[count++] = this.#byte(0x80 | (code & 63));
      }
    }
    return count;
  }

  /** Gives back the room that a long word took. */
  shrink(): void {
    if (this.list.length > kept) this.list = new Int32Array(256);
  }

  #of(code: number): number {
    const known = this.#known[code];
    if (known) return known - 1;
    const symbol = this.#ids.get(String.fromCodePoint(code)) ?? this.#pieces.length + code;
    if (code < 0x10000) this.#known[code] = symbol + 1;
    return symbol;
  }

  #byte(byte: number): number {
    const known = this.#known[byte]!;
    if (known > 0) return known - 1;
    const letter = byteLetters[byte]!;
    const symbol = this.#ids.get(letter) ?? this.#pieces.length + letter.codePointAt(0)!;
    this.#known[byte] = symbol + 1;
    return symbol;
  }
}
