// What the published quality classifiers of Ultra-FineWeb see: a text made to one line of tokens.
// Source: the inference script of openbmb/Ultra-FineWeb-classifier (its order differs from the paper's prose): blank lines, lower
// case, NFKD without marks, each token decoded alone and joined by spaces, escapes, spaces, strip.
import { CpmError } from "../errors.ts";
import type { TokenTexts } from "./tokens.ts";

/** What preprocessing needs of a tokenizer; this package's are one. */
export interface PieceTokenizer {
  readonly size: number;
  encode(text: string, options: { special: boolean; bos: boolean; eos: boolean }): number[];
  decode(ids: Iterable<number>): string;
}

/** Three newlines and more become two; lower case; NFKD without nonspacing marks (Mn). */
export function normalise(text: string): string {
  if (text.includes("\n\n\n")) text = text.replace(/\n{3,}/g, "\n\n");
  text = text.toLowerCase();
  // ASCII stays as it is, and most text is ASCII.
  return /[^\x00-\x7f]/.test(text) ? text.normalize("NFKD").replace(/\p{Mn}+/gu, "") : text;
}

/** Python's str.isspace: what its strip() takes away. JavaScript's trim() lacks U+001C to U+001F and U+0085, and takes U+FEFF. */
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING = new RegExp(`^[${SPACE}]+`);
const isSpace = new RegExp(`[${SPACE}]`);

function strip(text: string): string {
  let end = text.length;
  // By hand from behind: an expression for that would look at every run of spaces.
  while (end > 0 && isSpace.test(text[end - 1]!)) end--;
  return text.slice(0, end).replace(LEADING, "");
}

const escaped = (piece: string): string =>
  /[\n\r\t]/.test(piece) ? piece.replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t") : piece;

/** Pieces, joined by spaces, as one line. */
export function finish(pieces: readonly string[]): string {
  return strip(escaped(pieces.join(" ")).replace(/ {2,}/g, " "));
}

/** Texts to lines, with one tokenizer. */
export class Preprocessor implements TokenTexts {
  readonly #tokenizer: PieceTokenizer;
  /** Text of each token, escaped, with single spaces: filled as tokens occur. */
  readonly #pieces: (string | undefined)[] = [];
  /** By token: whether its text begins and ends with a space. */
  readonly #begins: boolean[] = [];
  readonly #ends: boolean[] = [];

  /** @throws CpmError "bad-option" when it is no tokenizer. */
  constructor(tokenizer: PieceTokenizer) {
    if (typeof tokenizer?.encode !== "function" || typeof tokenizer.decode !== "function")
      throw new CpmError("bad-option", "tokenizer: expected a tokenizer with encode and decode, as loadTokenizer gives", {
        field: "tokenizer",
      });
    this.#tokenizer = tokenizer;
  }

  /** The line that the classifier scores. Bytes of a character split over tokens become U+FFFD, as in the published script. */
  line(text: string): string {
    return this.lineOf(this.ids(text));
  }

  get size(): number {
    return this.#tokenizer.size;
  }

  /** The tokens of a text, normalised. */
  ids(text: string): number[] {
    return this.#tokenizer.encode(normalise(text), { special: false, bos: false, eos: false });
  }

  /** A token's text as it stands in a line: escaped, with single spaces. */
  piece(id: number): string {
    return this.#pieces[id] ?? this.#read(id);
  }

  /** The line that tokens make. */
  lineOf(ids: readonly number[]): string {
    let line = "";
    // Spaces are squeezed as the line grows: nothing looks at it again before it is whole.
    let ends = true;
    for (const id of ids) {
      const piece = this.piece(id);
      const begins = this.#begins[id]!;
      if (ends && begins) line += piece.slice(1);
      else line += ends || begins ? piece : ` ${piece}`;
      // Of nothing, or of a space that was there, the line ends as it did; or with the space before nothing.
      if (piece === "") ends = true;
      else if (!(ends && piece === " ")) ends = this.#ends[id]!;
    }
    return strip(line);
  }

  #read(id: number): string {
    const piece = escaped(this.#tokenizer.decode([id])).replace(/ {2,}/g, " ");
    this.#begins[id] = piece.startsWith(" ");
    this.#ends[id] = piece.endsWith(" ");
    return (this.#pieces[id] = piece);
  }
}
