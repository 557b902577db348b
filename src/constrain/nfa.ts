// Automata over bytes, calls and tokens as grammars are first written: states joined by edges, many of one byte, and by none.
import { type Dfa, edgesOf, flattened } from "./dfa.ts";
import type { Rule } from "./grammar.ts";
import { MAX_STATES, tooLarge } from "./limits.ts";
import { byteRanges } from "./utf8.ts";

/** A rule called over and over: at least `least` and at most `most` times. */
export interface Loop {
  readonly body: Rule;
  readonly least: number;
  readonly most: number;
}

/** Of the many states that have none: never written to. */
const NONE: number[] = [];

/** Where two texts of bytes first differ. */
function differ(a: Uint8Array, b: Uint8Array): number {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return i;
}

/**
 * The tree of the words' common beginnings, each node's bytes in rising order: `add` makes the node behind a byte and returns its
 * number (`last`: a word ends there), `end` is told each node where a word ends. Words that stand twice are one.
 */
export function tree(
  words: readonly Uint8Array[],
  add: (node: number, byte: number, last: boolean) => number,
  root = 0,
  end?: (node: number) => void,
): void {
  const sorted = words.slice().sort((a, b) => {
    const i = differ(a, b);
    return (a[i] ?? -1) - (b[i] ?? -1);
  });
  /** The nodes that the word before passed. */
  const path = [root];
  let before: Uint8Array | undefined;
  for (const word of sorted) {
    const shared = before ? differ(before, word) : 0;
    if (before && shared === word.length && before.length === word.length) continue;
    for (let i = shared; i < word.length; i++) path[i + 1] = add(path[i]!, word[i]!, i === word.length - 1);
    end?.(path[word.length]!);
    before = word;
  }
}

/** An automaton that may also call rules and take tokens; states are numbers, made by `state()`. */
export class Nfa {
  readonly eps: number[][] = [];
  /** Flat [low, high, target, …]. */
  readonly edges: number[][] = [];
  /** Epsilon edges at the beginning and at the end of the text alone (`^` and `$`). */
  readonly atStart = new Map<number, number[]>();
  readonly atEnd = new Map<number, number[]>();
  readonly calls = new Map<number, { rule: Rule | undefined; loop: Loop | undefined; target: number }[]>();
  readonly tokens = new Map<number, { token: number; not: readonly number[] | undefined; target: number }[]>();

  state(): number {
    this.eps.push(NONE);
    return this.edges.push(NONE) - 1;
  }

  edge(from: number, low: number, high: number, to: number): void {
    const own = this.edges[from]!;
    if (own === NONE) this.edges[from] = [low, high, to];
    else own.push(low, high, to);
  }

  /** From a state to another without a byte. */
  join(from: number, to: number): void {
    const own = this.eps[from]!;
    if (own === NONE) this.eps[from] = [to];
    else own.push(to);
  }

  /** A chain of bytes from `from`; its last state. */
  chain(from: number, bytes: Uint8Array): number {
    for (const byte of bytes) {
      const to = this.state();
      this.edge(from, byte, byte, to);
      from = to;
    }
    return from;
  }

  /** One character of a set, from `from` to `to`; states in the middle are shared. */
  chars(from: number, set: readonly number[], to: number): void {
    const tails = new Map<string, number>();
    byteRanges(set, (ranges) => {
      let at = to;
      for (let i = ranges.length - 2; i > 0; i -= 2) {
        const key = `${ranges[i]} ${ranges[i + 1]} ${at}`;
        let before = tails.get(key);
        if (before === undefined) {
          before = this.state();
          tails.set(key, before);
          this.edge(before, ranges[i]!, ranges[i + 1]!, at);
        }
        at = before;
      }
      this.edge(from, ranges[0]!, ranges[1]!, at);
    });
  }

  /** Words that are texts, as a tree of their common beginnings, from `from` to `to`. */
  words(from: number, words: readonly Uint8Array[], to: number, where = ""): void {
    tree(
      words,
      (node, byte) => {
        const next = this.state();
        this.edge(node, byte, byte, next);
        if (this.edges.length > MAX_STATES) throw tooLarge(where, `its texts take more than ${MAX_STATES} states`);
        return next;
      },
      from,
      (node) => this.join(node, to),
    );
  }

  /** Another automaton's states, from `from` to `to`. */
  embed(from: number, automaton: Dfa, to: number): void {
    const dfa = flattened(automaton);
    const base = this.edges.length;
    for (let i = 0; i < dfa.edges.length; i++) {
      this.eps.push(dfa.accepts[i] ? [to] : NONE);
      const edges = edgesOf(dfa, i).slice();
      for (let e = 2; e < edges.length; e += 3) edges[e] = edges[e]! + base;
      this.edges.push(edges);
    }
    this.join(from, base);
  }
}
