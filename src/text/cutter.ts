// A text cut into words by splitters in turn, word by word: a long text need not be cut at once.
import { codeAt, type Units, unitsOf } from "./pattern/automaton.ts";
import type { Splitter } from "./split.ts";

/** One splitter at work on text[first, last), a part that the splitter before it left. */
class Level {
  readonly splitter: Splitter;
  readonly #text: Units;
  /** Matches or what lies between them are kept, or joined to their neighbours, which takes a list. */
  readonly #lists: boolean;
  #first = 0;
  #last = 0;
  /** Where the next match is looked for; where the last span ended. */
  #at = 0;
  #edge = 0;
  /** A match whose turn comes after the gap before it. */
  #heldEnd = -1;
  #spent = 0;
  #done = true;
  #list: number[] = [];
  #taken = 0;
  /** The word: text[begin, end). */
  begin = 0;
  end = 0;
  #isMatch = false;

  constructor(text: Units, splitter: Splitter) {
    this.#text = text;
    this.splitter = splitter;
    this.#lists = splitter.behaviour !== "Isolated" && splitter.behaviour !== "Removed";
  }

  open(first: number, last: number): void {
    this.#first = this.#at = this.#edge = first;
    this.#last = last;
    this.#heldEnd = -1;
    this.#spent = 0;
    this.#done = false;
    if (this.#lists) this.#join();
  }

  next(): boolean {
    if (this.#lists) {
      if (this.#taken >= this.#list.length) return false;
      this.begin = this.#list[this.#taken++]!;
      this.end = this.#list[this.#taken++]!;
      return true;
    }
    while (this.#span()) if (!this.#isMatch || this.splitter.behaviour === "Isolated") return true;
    return false;
  }

  /** The next match or gap that is not empty, in order. */
  #span(): boolean {
    const { matcher, invert } = this.splitter;
    if (this.#heldEnd >= 0) {
      this.begin = this.#edge;
      this.end = this.#edge = this.#heldEnd;
      this.#heldEnd = -1;
      this.#isMatch = !invert;
      return true;
    }
    while (!this.#done) {
      const before = matcher.looked;
      const found = this.#at <= this.#last && matcher.next(this.#text, this.#first, this.#last, this.#at);
      this.#spent += matcher.looked - before;
      const { begin, end } = matcher;
      this.begin = this.#edge;
      if (!found) {
        this.#done = true;
        this.end = this.#last;
        this.#isMatch = invert;
        return this.end > this.begin;
      }
      if (this.#spent > 64 * (this.#last - this.#first) + 65536) throw matcher.quadratic(this.#last - this.#first);
      this.#at = end > begin ? end : end + (end < this.#last && codeAt(this.#text.units, end, this.#last) > 0xffff ? 2 : 1);
      if (begin > this.#edge) {
        this.end = this.#edge = begin;
        if (end > begin) this.#heldEnd = end;
        this.#isMatch = invert;
        return true;
      }
      if (end > begin) {
        this.end = this.#edge = end;
        this.#isMatch = !invert;
        return true;
      }
    }
    return false;
  }

  /** Matches joined to their neighbours as the splitter says. */
  #join(): void {
    const spans: [number, number, boolean][] = [];
    while (this.#span()) spans.push([this.begin, this.end, this.#isMatch]);
    const next = this.splitter.behaviour === "MergedWithNext";
    if (next) spans.reverse();
    const joined: [number, number][] = [];
    let previous: boolean | undefined;
    for (const [begin, end, match] of spans) {
      const last = joined.at(-1);
      const joins = this.splitter.behaviour === "Contiguous" ? match === previous : match && !previous;
      if (last !== undefined && joins) last[next ? 0 : 1] = next ? begin : end;
      else joined.push([begin, end]);
      previous = match;
    }
    if (next) joined.reverse();
    this.#list = joined.flat();
    this.#taken = 0;
  }
}

/** What next() came to. */
export const DONE = 0;
/** A part that further splitters cut, unless pass() says otherwise; when they have, LEFT is told of it. */
export const PART = 1;
export const WORD = 2;
export const LEFT = 3;

/** The words of a text, each cut by every splitter in turn. */
export class Cutter {
  readonly #levels: readonly Level[];
  /** The word or part: text[begin, end), and how many splitters cut it. */
  begin = 0;
  end: number;
  level = 0;
  /** A part whose turn to be cut it is. */
  #part = false;
  #whole: boolean;

  constructor(text: Units, splits: readonly Splitter[]) {
    this.#levels = splits.map((split) => new Level(text, split));
    this.end = text.units.length;
    this.#whole = splits.length === 0;
    this.#levels[0]?.open(0, text.units.length);
  }

  /** Goes on to a word, or a part of the text. @throws CpmError "bad-input" where a splitter's matches take quadratic time. */
  next(): typeof DONE | typeof PART | typeof WORD | typeof LEFT {
    const levels = this.#levels;
    if (levels.length === 0) {
      const kind = this.#whole ? WORD : DONE;
      this.#whole = false;
      return kind;
    }
    if (this.#part) levels[this.level]!.open(this.begin, this.end);
    else if (this.level > 0) this.level--;
    this.#part = false;
    const level = levels[this.level]!;
    const found = level.next();
    if (found) this.level++;
    else if (this.level === 0) return DONE;
    const at = found ? level : levels[this.level - 1]!;
    this.begin = at.begin;
    this.end = at.end;
    this.#part = found && this.level < levels.length;
    return found ? (this.#part ? PART : WORD) : LEFT;
  }

  /** The part is not to be cut. */
  pass(): void {
    this.#part = false;
  }
}

/** The words of a text. */
export function cut(text: string, splits: readonly Splitter[]): string[] {
  const words: string[] = [];
  const cutter = new Cutter(unitsOf(text), splits);
  for (let kind = cutter.next(); kind !== DONE; kind = cutter.next())
    if (kind === WORD) words.push(text.slice(cutter.begin, cutter.end));
  return words;
}
