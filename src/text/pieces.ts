// The bytes of every token, and their way back to text.
import { copyOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { reasoningTags } from "./marks.ts";
import { addedType, byteType, controlType, type Recipe, unknownType } from "./recipe.ts";
import { recipeOf } from "./reduce.ts";
import type { PieceTable, TokenizerData } from "./vocabulary.ts";

/** Bits of `PieceTable.special`. */
const hidden = 1;
const spaceFollows = 2;

/** GPT-2's alphabet: printable bytes are their own letter, the others take U+0100 onwards in order. */
export const byteLetters: string = (() => {
  const printable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  let letters = "";
  for (let byte = 0; byte < 256; byte++) letters += String.fromCharCode(printable(byte) ? byte : next++);
  return letters;
})();

/** Byte of each letter of the alphabet, by UTF-16 unit; -1: not a letter of it. */
const letterBytes: Int16Array = (() => {
  const bytes = new Int16Array(0x144).fill(-1);
  for (let byte = 0; byte < 256; byte++) bytes[byteLetters.charCodeAt(byte)] = byte;
  return bytes;
})();

/**
 * The bytes each token stands for in text: U+2581 made a space and byte tokens their byte, or GPT-2's letters made bytes.
 * Special and added tokens stand for their own name. About half a microsecond a token.
 * @throws CpmError "bad-model" and "unsupported" as the tokenizer does.
 */
export function pieceTable(data: TokenizerData): PieceTable {
  return tableOf(recipeOf(data));
}

/** As `pieceTable`, from a recipe that was already made. */
export function tableOf({ pieces, types, form, prefix, prepends, normalized, joined }: Recipe): PieceTable {
  const offsets = new Uint32Array(pieces.length + 1);
  const special = new Uint8Array(pieces.length);
  let units = 0;
  for (const piece of pieces) units += piece.length;
  // At most three UTF-8 bytes for a UTF-16 unit.
  const bytes = new Uint8Array(3 * units);
  const stripSpace = form === "spaces" && prefix !== "never";
  let at = 0;
  for (let id = 0; id < pieces.length; id++) {
    const type = types[id]!;
    const isToken = type === controlType || type === unknownType || type === addedType;
    if (type === byteType && /^<0x[0-9A-Fa-f]{2}>$/.test(pieces[id]!)) bytes[at++] = Number.parseInt(pieces[id]!.slice(3, 5), 16);
    else at = writePiece(bytes, at, pieces[id]!, isToken && !joined?.has(id) ? "token" : form);
    offsets[id + 1] = at;
    const hides = isToken && type !== addedType && !reasoningTags.has(pieces[id]!);
    // Behind a token of normalised text the same stretch goes on.
    const follows = isToken && stripSpace && prefix === "every" && !(prepends && normalized?.has(id));
    special[id] = (hides ? hidden : 0) | (follows ? spaceFollows : 0);
  }
  return { bytes: copyOf(bytes.subarray(0, at)), offsets, special, stripSpace };
}

const utf8 = new TextEncoder();

/** Writes the bytes of a piece at `at`; gives their end. Lone surrogates become U+FFFD. */
function writePiece(bytes: Uint8Array, at: number, piece: string, form: "spaces" | "bytes" | "token"): number {
  if (form !== "bytes") {
    const text = form === "spaces" ? piece.replaceAll("\u2581", " ") : piece;
    return at + utf8.encodeInto(text, bytes.subarray(at)).written;
  }
  for (const letter of piece) {
    const byte = letterBytes[letter.codePointAt(0)!] ?? -1;
    if (byte >= 0) bytes[at++] = byte;
    else at += utf8.encodeInto(letter, bytes.subarray(at)).written;
  }
  return at;
}

/** The error for an id outside a vocabulary of `size` tokens. */
export function badToken(id: unknown, size: number): CpmError {
  const expected = `an integer below ${size}`;
  return new CpmError("bad-input", `token id: expected ${expected}, found ${shown(id)}`, {
    field: "token",
    expected,
    found: shown(id),
  });
}

/**
 * Turns tokens to bytes in order, leaving out what encoding put in: the dummy space at the start of a text and after
 * special tokens, so that decoding undoes encoding.
 */
export class Detokenizer {
  readonly #table: PieceTable;
  readonly #special: boolean;
  #dummy: boolean;

  /** `special`: special tokens appear by name. `fresh`: the first token begins a text, so a dummy space may stand before it. */
  constructor(table: PieceTable, special: boolean, fresh: boolean) {
    this.#table = table;
    this.#special = special;
    this.#dummy = fresh && table.stripSpace;
  }

  /** A leading space of the next token with text will be left out. */
  get dropsSpace(): boolean {
    return this.#dummy;
  }

  /** A view of the bytes of `id`, maybe empty. @throws CpmError "bad-input" for ids outside the vocabulary. */
  bytes(id: number): Uint8Array {
    const { bytes, offsets, special } = this.#table;
    if (!Number.isInteger(id) || id < 0 || id >= special.length) throw badToken(id, special.length);
    let begin = offsets[id]!;
    const end = offsets[id + 1]!;
    const kind = special[id]!;
    if (this.#dummy && kind === 0 && begin < end) {
      if (bytes[begin] === 0x20) begin++;
      this.#dummy = false;
    }
    if (kind & spaceFollows) this.#dummy = true;
    return kind & hidden && !this.#special ? bytes.subarray(0, 0) : bytes.subarray(begin, end);
  }
}
