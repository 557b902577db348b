// A linear pattern as a finite automaton, made as texts ask for it: one table look-up a character.
// Source: subset construction (Rabin and Scott 1959) over ordered threads, so that the first choice stays first.
import type { LinearPattern, Step, Test } from "./linear.ts";

/** Kinds of characters beside those that the pattern tells apart: where the text ends, and a newline there. */
const END = 1;
const LAST_NEWLINE = 2;
const maxKinds = 255;
/** What is made is bounded; beyond that the pattern runs step by step. */
const maxStates = 2048;
const maxWork = 1 << 22;
/** A search that failed after so many characters goes on step by step: trying again from each place could be quadratic. */
const patience = 256;

const DEAD = 0;
const UNKNOWN = -1;

/** A text and its UTF-16 units. */
export interface Units {
  readonly text: string;
  readonly units: Uint16Array;
}

/** The units of a text, which are read many times. One of them may be given another number. */
export function unitsOf(text: string, from = -1, to = -1): Units {
  const units = new Uint16Array(text.length);
  for (let i = 0; i < units.length; i++) {
    const unit = text.charCodeAt(i);
    units[i] = unit === from ? to : unit;
  }
  return { text, units };
}

/** The code point at `at` of units[…end). */
export function codeAt(units: Uint16Array, at: number, end: number): number {
  const unit = units[at]!;
  if ((unit & 0xfc00) !== 0xd800 || at + 1 >= end) return unit;
  const low = units[at + 1]!;
  return (low & 0xfc00) === 0xdc00 ? (unit - 0xd800) * 0x400 + low - 0xdc00 + 0x10000 : unit;
}

export class Automaton {
  readonly #pattern: LinearPattern;
  readonly #tests: readonly Test[];
  /** Whether what stands before a place matters, and whether newlines do. */
  readonly #looksBack: boolean;
  readonly #lines: boolean;
  readonly #lastLine: boolean;
  /** Kind of each UTF-16 unit, 0 where it is not known or depends on what follows; of other code points. */
  readonly #kinds = new Uint8Array(0x10000);
  readonly #others = new Map<number, number>();
  readonly #bySignature = new Map<string, number>();
  /** One code point of each kind; -1 for none. */
  readonly #codes: number[] = [-1, -1, 10];
  /** By state and kind: the next state doubled, plus one where a match ends before the character; UNKNOWN. */
  #table = new Int32Array(16 << 8).fill(UNKNOWN);
  /** By state: the kind that stands before it (0 where it does not matter), and its threads in order. */
  readonly #before: number[] = [0];
  readonly #threads: (readonly number[])[] = [[]];
  readonly #states = new Map<string, number>();
  readonly #seen: Int32Array;
  #round = 0;
  #work = 0;
  #broken = false;
  #own = 0;
  /** State of a search that begins behind each kind. */
  readonly #starts = new Int32Array(maxKinds + 1).fill(UNKNOWN);
  /** Characters of the last run. */
  #ran = 0;
  /** The last match: text[begin, end). */
  begin = 0;
  end = 0;

  constructor(pattern: LinearPattern) {
    this.#pattern = pattern;
    const { program } = pattern;
    const tests = new Set<Test>();
    const places = new Set<string>();
    for (const step of program) {
      if (step.op === "set" || step.op === "look") tests.add(step.test);
      if (step.op === "at") places.add(step.what);
    }
    const words = places.has("boundary") || places.has("noBoundary");
    if (words) tests.add(pattern.isWord);
    this.#tests = [...tests];
    this.#lastLine = places.has("lastLineEnd");
    this.#lines = this.#lastLine || places.has("lineStart") || places.has("lineEnd");
    this.#looksBack =
      words || places.has("textStart") || places.has("lineStart") || program.some((step) => step.op === "look" && !step.ahead);
    this.#seen = new Int32Array(program.length);
  }

  /** Characters looked at so far. */
  get looked(): number {
    return this.#own + this.#pattern.looked;
  }

  /** The leftmost match from `from` on in text[first, last), taken as a text of its own, by the order of alternatives. */
  find(whole: Units, first: number, last: number, from: number): boolean {
    const { units } = whole;
    for (let at = from; at <= last && !this.#broken; ) {
      at = this.#skip(units, first, last, at);
      const end = this.#run(units, first, last, at);
      if (this.#broken) break;
      if (end >= 0) {
        this.begin = at;
        this.end = end;
        return true;
      }
      if (at === last) return false;
      if (this.#ran > patience) return this.#slowly(whole, first, last, at);
      at += codeAt(units, at, last) > 0xffff ? 2 : 1;
      from = at;
    }
    return this.#broken && this.#slowly(whole, first, last, from);
  }

  #slowly({ text }: Units, first: number, last: number, from: number): boolean {
    const own = first === 0 && last === text.length ? text : text.slice(first, last);
    const found = this.#pattern.find(own, from - first);
    if (found === undefined) return false;
    this.begin = first + found[0];
    this.end = first + found[1];
    return true;
  }

  /** The first place from `from` on where a match may begin, as far as its first character tells. */
  #skip(units: Uint16Array, first: number, last: number, from: number): number {
    const [kinds, table, starts, back] = [this.#kinds, this.#table, this.#starts, this.#looksBack];
    let row = this.#start(units, first, from) << 8;
    let at = from;
    for (; at < last; at++) {
      const kind = kinds[units[at]!]!;
      // A known kind, by which the search comes to nothing.
      if (kind === 0 || table[row | kind] !== DEAD) break;
      if (!back) continue;
      const start = starts[kind]!;
      if (start === UNKNOWN) {
        at++;
        break;
      }
      row = start << 8;
    }
    this.#own += at - from;
    return at;
  }

  /** The end of the match that begins at `from`; -1. */
  #run(units: Uint16Array, first: number, last: number, from: number): number {
    const kinds = this.#kinds;
    let table = this.#table;
    let state = this.#start(units, first, from);
    let found = -1;
    let at = from;
    for (;;) {
      let kind = END;
      let size = 1;
      if (at < last) {
        kind = kinds[units[at]!]!;
        if (kind === 0) {
          const code = codeAt(units, at, last);
          kind = this.#kindOf(code, at + 1 === last);
          if (code > 0xffff) size = 2;
          if (kind === 0) return -1;
        }
      }
      let next = table[(state << 8) | kind]!;
      if (next === UNKNOWN) {
        next = this.#make(state, kind);
        if (next === UNKNOWN) return -1;
        table = this.#table;
      }
      if ((next & 1) === 1) found = at;
      state = next >> 1;
      if (state === DEAD) break;
      at += size;
    }
    this.#ran = at - from + 1;
    this.#own += this.#ran;
    return found;
  }

  #start(units: Uint16Array, first: number, from: number): number {
    let kind = 0;
    if (this.#looksBack && from === first) kind = END;
    else if (this.#looksBack) {
      const unit = units[from - 1]!;
      const pair = (unit & 0xfc00) === 0xdc00 && from - 1 > first ? codeAt(units, from - 2, from) : 0;
      kind = this.#kindOf(pair > 0xffff ? pair : unit, false);
    }
    if (this.#starts[kind] === UNKNOWN) this.#starts[kind] = this.#state(kind, [0]);
    return this.#starts[kind]!;
  }

  /** 0, and the automaton broken, where there are too many. */
  #kindOf(code: number, ends: boolean): number {
    if (code === 10 && ends && this.#lastLine) return LAST_NEWLINE;
    const apart = code > 0xffff || (code === 10 && this.#lastLine);
    const known = apart ? this.#others.get(code) : this.#kinds[code];
    if (known) return known;
    let signature = this.#lines && code === 10 ? "\n" : "";
    for (const test of this.#tests) signature += test(code) ? "1" : "0";
    let kind = this.#bySignature.get(signature);
    if (kind === undefined) {
      if (this.#codes.length > maxKinds) {
        this.#broken = true;
        return 0;
      }
      kind = this.#codes.push(code) - 1;
      this.#bySignature.set(signature, kind);
    }
    if (apart) {
      if (this.#others.size >= 0x10000) this.#others.clear();
      this.#others.set(code, kind);
      // A high surrogate stays unknown: what it is depends on what follows.
    } else if ((code & 0xfc00) !== 0xd800) this.#kinds[code] = kind;
    return kind;
  }

  #state(before: number, threads: readonly number[]): number {
    if (threads.length === 0) return DEAD;
    const key = `${before}:${threads.join()}`;
    let state = this.#states.get(key);
    if (state === undefined) {
      state = this.#threads.push(threads) - 1;
      this.#before.push(before);
      this.#states.set(key, state);
      if (state > maxStates) this.#broken = true;
      else if (state << 8 >= this.#table.length) {
        const larger = new Int32Array(2 * this.#table.length).fill(UNKNOWN);
        larger.set(this.#table);
        this.#table = larger;
      }
    }
    return state;
  }

  /** Where `state` leads by a character of `kind`: all its threads closed over what takes no character, in order, up to a match. */
  #make(state: number, kind: number): number {
    const { program } = this.#pattern;
    const before = this.#before[state]!;
    const [previous, code] = [this.#codes[before]!, this.#codes[kind]!];
    const threads: number[] = [];
    let match = 0;
    this.#round++;
    const pending = [...this.#threads[state]!].reverse();
    for (let pc = pending.pop(); pc !== undefined; pc = pending.pop()) {
      if (this.#seen[pc] === this.#round) continue;
      this.#seen[pc] = this.#round;
      if (++this.#work > maxWork) this.#broken = true;
      const step = program[pc]!;
      if (step.op === "match") {
        match = 1;
        break;
      }
      if (step.op === "split") pending.push(step.second, step.first);
      else if (step.op === "set") {
        if (code >= 0 && step.test(code)) threads.push(pc + 1);
      } else if (this.#holds(step, previous, code, kind)) pending.push(pc + 1);
    }
    const next = 2 * this.#state(this.#looksBack ? kind : 0, threads) + match;
    if (this.#broken) return UNKNOWN;
    this.#table[(state << 8) | kind] = next;
    return next;
  }

  #holds(step: Extract<Step, { op: "at" | "look" }>, previous: number, code: number, kind: number): boolean {
    if (step.op === "look") {
      const near = step.ahead ? code : previous;
      return (near >= 0 && step.test(near)) !== step.negated;
    }
    const { what } = step;
    if (what === "textStart") return previous < 0;
    if (what === "textEnd") return code < 0;
    if (what === "lastLineEnd") return code < 0 || kind === LAST_NEWLINE;
    if (what === "lineStart") return previous < 0 || (previous === 10 && code >= 0);
    if (what === "lineEnd") return code < 0 || code === 10;
    const { isWord } = this.#pattern;
    const edge = (previous >= 0 && isWord(previous)) !== (code >= 0 && isWord(code));
    return edge === (what === "boundary");
  }
}
