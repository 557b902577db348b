// Grammars in parts: what the compilers build and src/constrain/machine.ts turns into tables.
import type { Dfa } from "./dfa.ts";

/** Code points as sorted, disjoint, inclusive pairs: [low, high, low, high, …]. */
export type CodePoints = readonly number[];

/** A part of a grammar. Parts are immutable and may stand in several places. */
export type Part =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "chars"; readonly set: CodePoints }
  | { readonly kind: "seq"; readonly parts: readonly Part[] }
  | { readonly kind: "alt"; readonly parts: readonly Part[] }
  | { readonly kind: "repeat"; readonly part: Part; readonly least: number; readonly most: number; readonly counted?: boolean }
  | { readonly kind: "call"; readonly rule: Rule }
  | { readonly kind: "token"; readonly token: number }
  | { readonly kind: "not-tokens"; readonly tokens: readonly number[] }
  | { readonly kind: "dfa"; readonly dfa: Dfa }
  | { readonly kind: "graph"; readonly nodes: number; readonly edges: readonly GraphEdge[] };

/** From one node of a graph to another by a part, or by nothing. A graph begins at node 0 and ends at its last node. */
export interface GraphEdge {
  readonly from: number;
  readonly to: number;
  readonly part?: Part | undefined;
}

/**
 * A named part that others call; calls may be recursive, but not to the left. A rule is compiled once, however often it is
 * called. `body` may be set after the rule was made.
 */
export class Rule {
  /** Where it comes from, for messages: a JSON pointer into the schema, or a rule's name. */
  readonly path: string;
  body: Part | undefined;

  constructor(path: string, body?: Part) {
    this.path = path;
    this.body = body;
  }
}

const utf8 = new TextEncoder();
const nothing: Part = { kind: "seq", parts: [] };

/** The text itself. Lone surrogates become U+FFFD. */
export const literal = (text: string): Part => ({ kind: "bytes", bytes: utf8.encode(text) });

/** One character out of a set. */
export const chars = (set: CodePoints): Part => ({ kind: "chars", set });

/** One after the other. */
export const seq = (...parts: readonly Part[]): Part => (parts.length === 1 ? parts[0]! : { kind: "seq", parts });

/** One of several. Of none: nothing matches. */
export const alt = (...parts: readonly Part[]): Part => (parts.length === 1 ? parts[0]! : { kind: "alt", parts });

/** `part` from `least` to `most` times (Infinity: no bound). */
export function repeat(part: Part, least: number, most = Number.POSITIVE_INFINITY): Part {
  if (most === 0) return nothing;
  // Of what may be empty as many as are wanted are there: the two bounds are one.
  if (part.kind === "repeat" && part.least === 0) return { ...part, most: part.most * most };
  return { kind: "repeat", part, least, most };
}

/** As repeat, by a loop that counts however short it is: for characters of strings, of which masks know whole sets by length. */
export const counted = (part: Part, least: number, most: number): Part => ({ kind: "repeat", part, least, most, counted: true });

export const optional = (part: Part): Part => repeat(part, 0, 1);

/** What a rule stands for. */
export const call = (rule: Rule): Part => ({ kind: "call", rule });

/** A part as a rule of its own: compiled once, where the part stands in many places. */
export const shared = (path: string, part: Part): Part => call(new Rule(path, part));

/** One token by its id: special tokens, which no text matches. */
export const token = (id: number): Part => ({ kind: "token", token: id });

/** Any one token but these and those that end a text. */
export const anyTokenBut = (...ids: readonly number[]): Part => ({ kind: "not-tokens", tokens: ids });

/** Parts between numbered nodes, from node 0 to the last: what no tree of parts says without repeating itself. */
export const graph = (nodes: number, edges: readonly GraphEdge[]): Part => ({ kind: "graph", nodes, edges });

/** The words of an automaton over bytes. */
export const automaton = (dfa: Dfa): Part => ({ kind: "dfa", dfa });

/**
 * Free text up to the first of `triggers` and the trigger itself: for text around calls. Of triggers that begin one another,
 * the shorter one ends the text.
 */
export function textUntil(...triggers: readonly string[]): Part {
  return { kind: "dfa", dfa: searchDfa(triggers, true) };
}

/** Text that contains none of `texts`. */
export function textWithout(...texts: readonly string[]): Part {
  return { kind: "dfa", dfa: searchDfa(texts, false) };
}

/** UTF-8 text, states of Aho and Corasick's machine over bytes; `until`: with a trigger as its end. */
function searchDfa(texts: readonly string[], until: boolean): Dfa {
  const goto: Map<number, number>[] = [new Map()];
  const hit: boolean[] = [false];
  for (const text of texts) {
    let s = 0;
    for (const byte of utf8.encode(text)) {
      let t = goto[s]!.get(byte);
      if (t === undefined) {
        t = goto.length;
        goto.push(new Map());
        hit.push(false);
        goto[s]!.set(byte, t);
      }
      s = t;
    }
    hit[s] = true;
  }
  const fall = new Int32Array(goto.length);
  const order: number[] = [...goto[0]!.values()];
  for (let i = 0; i < order.length; i++) {
    const s = order[i]!;
    for (const [byte, t] of goto[s]!) {
      let f = fall[s]!;
      while (f && !goto[f]!.has(byte)) f = fall[f]!;
      const g = goto[f]!.get(byte);
      fall[t] = g !== undefined && g !== t ? g : 0;
      if (hit[fall[t]!]) hit[t] = true;
      order.push(t);
    }
  }
  const step = (s: number, byte: number): number => {
    for (let f = s; ; f = fall[f]!) {
      const t = goto[f]!.get(byte);
      if (t !== undefined) return t;
      if (f === 0) return 0;
    }
  };
  const n = goto.length;
  const edges: number[][] = [];
  const accepts: boolean[] = [];
  // State s * 8 + u: u is the place in a character, so that text stays whole characters.
  const id = new Map<number, number>();
  const queue: number[] = [];
  const state = (s: number, u: number): number => {
    const key = s * 8 + u;
    let i = id.get(key);
    if (i === undefined) {
      i = queue.length;
      id.set(key, i);
      queue.push(key);
    }
    return i;
  };
  state(0, 0);
  for (let i = 0; i < queue.length; i++) {
    const s = queue[i]! >> 3;
    const u = queue[i]! & 7;
    const ends = until && hit[s]! && u === 0;
    accepts.push(until ? ends : u === 0);
    const out: number[] = [];
    if (!ends && s < n)
      for (let byte = 0; byte < 256; byte++) {
        const v = utf8Step(u, byte);
        if (v < 0) continue;
        const t = step(s, byte);
        if (!until && hit[t] && v === 0) continue;
        const target = state(t, v);
        const last = out.length - 3;
        if (last >= 0 && out[last + 2] === target && out[last + 1] === byte - 1) out[last + 1] = byte;
        else out.push(byte, byte, target);
      }
    edges.push(out);
  }
  return { edges, accepts };
}

/** Places in a UTF-8 character: 0 between characters, 1 to 3 continuation bytes to come, 4 to 7 after e0, ed, f0, f4. -1: ill-formed. */
function utf8Step(u: number, byte: number): number {
  if (u === 0) {
    if (byte < 0x80) return 0;
    if (byte < 0xc2 || byte > 0xf4) return -1;
    if (byte < 0xe0) return 1;
    if (byte < 0xf0) return byte === 0xe0 ? 4 : byte === 0xed ? 5 : 2;
    return byte === 0xf0 ? 6 : byte === 0xf4 ? 7 : 3;
  }
  if (byte < 0x80 || byte > 0xbf) return -1;
  if (u < 4) return u - 1;
  if (u === 4) return byte >= 0xa0 ? 1 : -1;
  if (u === 5) return byte <= 0x9f ? 1 : -1;
  if (u === 6) return byte >= 0x90 ? 2 : -1;
  return byte <= 0x8f ? 2 : -1;
}
