// Lines of tokens: where each token's text stands by itself between spaces, its words are looked up once, and lines need no text.
import { CpmError } from "../errors.ts";
import type { Prediction } from "./classifier.ts";
import type { DataInstance } from "./module.ts";

/** Tokens and their texts as they stand in a line. */
export interface TokenTexts {
  /** Ids are below it. */
  readonly size: number;
  /** The text of a token: some words by themselves, whatever stands beside it. */
  piece(id: number): string;
}

/** What a classifier lends its scorer of tokens. */
export interface TokenPlaces {
  readonly data: DataInstance;
  /** Where `room` bytes may be put. @throws CpmError "closed" */
  text(room: number): number;
  /** Fresh bytes, for good. */
  take(bytes: number): number;
  /** Begins a line. */
  begin(): void;
  /** Makes room for so many words more. */
  reserve(words: number): void;
  /** The prediction at the line's end. */
  best(): Prediction;
}

/** Tokens handed over at once. */
const STEP = 1 << 14;
/** Words of many tokens lie in areas of this size. */
const AREA = 1 << 14;
/** White space for Python's strip(), but not for fastText: at a line's ends it is taken away. */
const STRIPPED = /[\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

const [SPACES, WORDS, MAYBE] = [1, 2, 3];
const utf8 = new TextEncoder();

/** Scores lines of tokens with one classifier, to the same bits as their text. */
export class TokenScorer {
  readonly #places: TokenPlaces;
  readonly #texts: TokenTexts;
  /** By token: 0 not yet entered, SPACES, WORDS, or MAYBE where a line's end may take some of it away. */
  readonly #kinds: Uint8Array;
  #slots = 0;
  #area = 0;
  #areaEnd = 0;
  /** Words of a token, at most. */
  #most = 1;

  constructor(places: TokenPlaces, texts: TokenTexts) {
    this.#places = places;
    this.#texts = texts;
    this.#kinds = new Uint8Array(texts.size);
  }

  /**
   * The best label of the line of these tokens' texts with spaces between; undefined where the text at its ends decides what is stripped.
   * @throws CpmError "bad-input" for ids outside the vocabulary, "closed".
   */
  score(ids: readonly number[]): Prediction | undefined {
    const { data } = this.#places;
    this.#slots ||= this.#places.take(16 * this.#texts.size);
    data.exports.tokens_open(this.#slots);
    let [first, last] = [0, 0];
    for (let i = 0; i < ids.length; i++) {
      const kind = this.#kinds[ids[i]!] || this.#enter(ids[i]!);
      if (kind === SPACES) continue;
      if (first === 0) first = kind;
      last = kind;
    }
    if (first === MAYBE || last === MAYBE) return undefined;
    this.#places.begin();
    for (let at = 0; at < ids.length; at += STEP) {
      const count = Math.min(STEP, ids.length - at);
      this.#places.reserve(count * this.#most + 1);
      const to = this.#places.text(4 * count);
      const places = data.i32(to, count);
      for (let i = 0; i < count; i++) places[i] = ids[at + i]!;
      if (data.exports.tokens_take(to, count) !== 0) return this.#places.best();
    }
    const end = this.#places.text(1);
    this.#places.reserve(1);
    data.u8(end, 1)[0] = 10;
    data.exports.line_take(end, end + 1, 1);
    return this.#places.best();
  }

  #enter(id: number): number {
    if (!(id < this.#kinds.length))
      throw new CpmError("bad-input", `token ${id}: expected one below ${this.#kinds.length}`, { field: "tokens" });
    const text = this.#texts.piece(id);
    const bytes = utf8.encode(text);
    const most = 8 * ((bytes.length >> 1) + 1);
    if (this.#area + most > this.#areaEnd) {
      this.#area = this.#places.take(AREA + most);
      this.#areaEnd = this.#area + AREA + most;
    }
    const { data } = this.#places;
    const at = this.#places.text(bytes.length);
    data.u8(at, bytes.length).set(bytes);
    const words = data.exports.tokens_put(id, at, at + bytes.length, this.#area);
    if (words > 1) this.#area += 8 * words;
    this.#most = Math.max(this.#most, words);
    return (this.#kinds[id] = STRIPPED.test(text) ? MAYBE : words === 0 ? SPACES : WORDS);
  }
}
