// Sets of texts as automata over their UTF-8 bytes, and the same texts as JSON strings.
import { determinise } from "./determinise.ts";
import { type Dfa, edgesOf, flattened } from "./dfa.ts";
import { alt, automaton, chars, counted, literal, type Part, repeat, seq, shared } from "./grammar.ts";
import { MAX_STRING_STATES, tooLarge } from "./limits.ts";
import { Nfa, tree } from "./nfa.ts";
import { addPart } from "./parts.ts";
import { ALL } from "./utf8.ts";

/** The automaton of a part without calls. */
export function dfaOf(part: Part, where: string, limit = MAX_STRING_STATES): Dfa {
  const nfa = new Nfa();
  const start = nfa.state();
  const end = addPart(nfa, part, start, limit);
  return determinise(nfa, start, end, where, limit);
}

/** Any text. */
export const anyText: Dfa = dfaOf(repeat(chars(ALL), 0), "any text");

const utf8 = new TextEncoder();

export function wordsDfa(words: readonly string[], where: string): Dfa {
  const nfa = new Nfa();
  const start = nfa.state();
  const end = nfa.state();
  nfa.words(
    start,
    words.map((w) => utf8.encode(w)),
    end,
  );
  return determinise(nfa, start, end, where, MAX_STRING_STATES);
}

/** States that can come to acceptance, in the order they are reached; undefined: it accepts nothing. */
export function trimmed(dfa: Dfa): Dfa | undefined {
  const n = dfa.edges.length;
  // Where the edges into each state come from, one state's behind another's.
  const begin = new Int32Array(n + 1);
  for (const own of dfa.edges) for (let e = 2; e < own.length; e += 3) begin[own[e]! + 1]!++;
  for (let s = 0; s < n; s++) begin[s + 1] = begin[s + 1]! + begin[s]!;
  const from = new Int32Array(begin[n]!);
  const filled = begin.slice();
  for (let s = 0; s < n; s++) {
    const own = dfa.edges[s]!;
    for (let e = 2; e < own.length; e += 3) from[filled[own[e]!]!++] = s;
  }
  const live = new Uint8Array(n);
  const queue: number[] = [];
  for (let s = 0; s < n; s++) if (dfa.accepts[s]) queue.push(s);
  for (const s of queue) live[s] = 1;
  while (queue.length) {
    const s = queue.pop()!;
    for (let i = begin[s]!; i < begin[s + 1]!; i++) {
      const t = from[i]!;
      if (live[t]) continue;
      live[t] = 1;
      queue.push(t);
    }
  }
  if (!live[0]) return undefined;
  const id = new Int32Array(n).fill(-1);
  const order = [0];
  id[0] = 0;
  const edges: number[][] = [];
  for (let i = 0; i < order.length; i++) {
    const own = dfa.edges[order[i]!]!;
    const out: number[] = [];
    for (let e = 0; e < own.length; e += 3) {
      const t = own[e + 2]!;
      if (!live[t]) continue;
      if (id[t]! < 0) id[t] = order.push(t) - 1;
      out.push(own[e]!, own[e + 1]!, id[t]!);
    }
    edges.push(out);
  }
  return { edges, accepts: order.map((s) => dfa.accepts[s]!) };
}

/**
 * Texts of `a` that are (`keep`) or are not in `b`; undefined: there are none.
 * @throws CpmError "unsupported" beyond the cap of states.
 */
export function combine(a: Dfa, b: Dfa, keep: boolean, where: string): Dfa | undefined {
  const id = new Map<number, number>();
  const pairs: [number, number][] = [];
  const width = b.edges.length + 1;
  const enter = (x: number, y: number): number => {
    const key = x * width + y + 1;
    let i = id.get(key);
    if (i === undefined) {
      i = pairs.length;
      if (i >= MAX_STRING_STATES) throw tooLarge(where, `it takes more than ${MAX_STRING_STATES} states`);
      id.set(key, i);
      pairs.push([x, y]);
    }
    return i;
  };
  enter(0, 0);
  const edges: number[][] = [];
  const accepts: boolean[] = [];
  for (let i = 0; i < pairs.length; i++) {
    const [x, y] = pairs[i]!;
    const p = a.edges[x]!;
    const q = y < 0 ? [] : b.edges[y]!;
    const out: number[] = [];
    const push = (low: number, high: number, x2: number, y2: number) => {
      const t = enter(x2, y2);
      const last = out.length - 3;
      if (last >= 0 && out[last + 2] === t && out[last + 1] === low - 1) out[last + 1] = high;
      else out.push(low, high, t);
    };
    let j = 0;
    for (let e = 0; e < p.length; e += 3) {
      let low = p[e]!;
      const high = p[e + 1]!;
      while (low <= high) {
        while (j < q.length && q[j + 1]! < low) j += 3;
        if (j >= q.length || q[j]! > high) {
          if (!keep) push(low, high, p[e + 2]!, -1);
          break;
        }
        if (q[j]! > low) {
          if (!keep) push(low, q[j]! - 1, p[e + 2]!, -1);
          low = q[j]!;
        }
        const end = Math.min(high, q[j + 1]!);
        push(low, end, p[e + 2]!, q[j + 2]!);
        low = end + 1;
      }
    }
    edges.push(out);
    accepts.push(a.accepts[x]! && (y >= 0 && b.accepts[y]!) === keep);
  }
  return trimmed({ edges, accepts });
}

/**
 * Texts of `dfa` that have `least` to `most` code points; undefined: there are none. Characters are counted at their first bytes.
 * @throws CpmError "unsupported" beyond the cap of states.
 */
export function limited(dfa: Dfa, least: number, most: number, where: string): Dfa | undefined {
  const endless = most === Number.POSITIVE_INFINITY;
  const width = (endless ? least : most) + 1;
  const id = new Map<number, number>();
  const states: number[] = [];
  const enter = (x: number, count: number): number => {
    const key = x * width + count;
    let i = id.get(key);
    if (i === undefined) {
      i = states.push(key) - 1;
      if (i >= MAX_STRING_STATES) throw tooLarge(where, `it takes more than ${MAX_STRING_STATES} states`);
      id.set(key, i);
    }
    return i;
  };
  enter(0, 0);
  const edges: number[][] = [];
  const accepts: boolean[] = [];
  for (let i = 0; i < states.length; i++) {
    const key = states[i]!;
    const x = Math.floor(key / width);
    const count = key % width;
    const own = dfa.edges[x]!;
    const more = count + 1 < width ? count + 1 : endless ? count : -1;
    const out: number[] = [];
    for (let e = 0; e < own.length; e += 3) {
      const [low, high, to] = [own[e]!, own[e + 1]!, own[e + 2]!];
      // What goes on with a character, and what begins one.
      if (low < 0x80 && more >= 0) out.push(low, Math.min(high, 0x7f), enter(to, more));
      if (low < 0xc0 && high >= 0x80) out.push(Math.max(low, 0x80), Math.min(high, 0xbf), enter(to, count));
      if (high >= 0xc0 && more >= 0) out.push(Math.max(low, 0xc0), high, enter(to, more));
    }
    edges.push(out);
    accepts.push(dfa.accepts[x]! && count >= least);
  }
  return trimmed({ edges, accepts });
}

export function matches(automaton: Dfa, text: string): boolean {
  const dfa = flattened(automaton);
  let s = 0;
  for (const byte of utf8.encode(text)) {
    const own = edgesOf(dfa, s);
    let t = -1;
    for (let e = 0; e < own.length; e += 3) if (byte >= own[e]! && byte <= own[e + 1]!) t = own[e + 2]!;
    if (t < 0) return false;
    s = t;
  }
  return dfa.accepts[s]!;
}

const hex = chars([0x30, 0x39, 0x41, 0x46, 0x61, 0x66]);
const letters = (text: string): Part => chars([...text].sort().flatMap((c) => [c.codePointAt(0)!, c.codePointAt(0)!]));
/** What follows a backslash: surrogates only in pairs. */
const escaped = alt(
  letters('"/\\bfnrt'),
  seq(
    literal("u"),
    alt(
      seq(chars([0x30, 0x39, 0x41, 0x43, 0x45, 0x46, 0x61, 0x63, 0x65, 0x66]), hex, hex, hex),
      seq(letters("Dd"), chars([0x30, 0x37]), hex, hex),
      seq(letters("Dd"), letters("89ABab"), hex, hex, literal("\\u"), letters("Dd"), letters("CDEFcdef"), hex, hex),
    ),
  ),
);
/** One character of a JSON string's body, however it is written. */
const jsonCharacter: Part = alt(chars([0x20, 0x21, 0x23, 0x5b, 0x5d, 0x10ffff]), seq(literal("\\"), escaped));

/** The rest of a JSON string behind its opening quote. Parts are shared, so that machines have it once. */
export const stringTail: Part = automaton(dfaOf(seq(repeat(jsonCharacter, 0), literal('"')), "string"));

/** As stringTail, of `least` to `most` code points: counted where that is more than a few. */
export const stringTailOf = (least: number, most: number, path: string): Part =>
  shared(path, seq(counted(jsonCharacter, least, most), literal('"')));

const ESCAPES: readonly (readonly [letter: number, byte: number])[] = [
  [0x22, 0x22],
  [0x2f, 0x2f],
  [0x5c, 0x5c],
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
];

/** Those of characters that are no controls. */
const VISIBLE = ESCAPES.filter(([, byte]) => byte >= 0x20);

/**
 * The texts of `dfa` as JSON strings behind the opening quote, the closing one included. Each has the spelling of
 * JSON.stringify; `\/` and `\u00xx` for controls are taken as well.
 */
export function quoted(dfa: Dfa): Dfa {
  let made = quotedOnes.get(dfa);
  if (!made) quotedOnes.set(dfa, (made = quote(dfa)));
  return made;
}

/** Of patterns and formats that are kept, too. */
const quotedOnes = new WeakMap<Dfa, Dfa>();

function quote(dfa: Dfa): Dfa {
  const n = dfa.edges.length;
  const edges: number[][] = [];
  const accepts: boolean[] = new Array<boolean>(n).fill(false);
  const end = n;
  const extra: number[][] = [[]];
  const add = (out: number[]): number => n + extra.push(out) - 1;
  for (let s = 0; s < n; s++) {
    const own = edgesOf(dfa, s);
    const raw: number[] = [];
    const to = (byte: number): number => {
      for (let e = 0; e < own.length; e += 3) if (byte >= own[e]! && byte <= own[e + 1]!) return own[e + 2]!;
      return -1;
    };
    const put = (low: number, high: number, t: number) => {
      if (low <= high) raw.push(low, high, t);
    };
    for (let e = 0; e < own.length; e += 3) {
      const [low, high, t] = [own[e]!, own[e + 1]!, own[e + 2]!];
      put(Math.max(low, 0x20), Math.min(high, 0x21), t);
      put(Math.max(low, 0x23), Math.min(high, 0x5b), t);
      put(Math.max(low, 0x5d), high, t);
    }
    if (dfa.accepts[s]) raw.push(0x22, 0x22, end);
    const after: number[] = [];
    const control = own.length > 0 && own[0]! < 0x20;
    for (const [letter, byte] of control ? ESCAPES : VISIBLE) {
      const t = to(byte);
      if (t >= 0) after.push(letter, letter, t);
    }
    const controls = (control ? [0, 1] : []).map((high) => {
      const out: number[] = [];
      for (let low = 0; low < 16; low++) {
        const t = to(16 * high + low);
        if (t < 0) continue;
        if (low < 10) out.push(0x30 + low, 0x30 + low, t);
        else out.push(0x37 + low, 0x37 + low, t, 0x57 + low, 0x57 + low, t);
      }
      return sortEdges(out);
    });
    if (controls.some((c) => c.length)) {
      const digit = controls.flatMap((c, high) => (c.length ? [0x30 + high, 0x30 + high, add(c)] : []));
      after.push(0x75, 0x75, add([0x30, 0x30, add([0x30, 0x30, add(digit)])]));
    }
    if (after.length) raw.push(0x5c, 0x5c, add(sortEdges(after)));
    edges.push(sortEdges(raw));
  }
  for (const out of extra) {
    edges.push(out);
    accepts.push(false);
  }
  accepts[end] = true;
  return { edges, accepts };
}

/** Sorts edges that are nearly in order, and joins those that belong together. */
function sortEdges(edges: number[]): number[] {
  for (let e = 3; e < edges.length; e += 3) {
    const [low, high, to] = [edges[e]!, edges[e + 1]!, edges[e + 2]!];
    let at = e;
    for (; at > 0 && edges[at - 3]! > low; at -= 3) {
      edges[at] = edges[at - 3]!;
      edges[at + 1] = edges[at - 2]!;
      edges[at + 2] = edges[at - 1]!;
    }
    edges[at] = low;
    edges[at + 1] = high;
    edges[at + 2] = to;
  }
  let kept = 0;
  for (let e = 0; e < edges.length; e += 3) {
    if (kept > 0 && edges[kept - 1] === edges[e + 2] && edges[kept - 2] === edges[e]! - 1) edges[kept - 2] = edges[e + 1]!;
    else {
      edges[kept] = edges[e]!;
      edges[kept + 1] = edges[e + 1]!;
      edges[kept + 2] = edges[e + 2]!;
      kept += 3;
    }
  }
  edges.length = kept;
  return edges;
}

const stringDfa: Dfa = quoted(anyText);

/**
 * JSON strings behind the opening quote that are none of `words`, spelled as by JSON.stringify: the tree of the words, and
 * from each of its states the edges of any string.
 */
export function anyBut(words: readonly string[]): Dfa {
  if (words.length === 0) return stringDfa;
  const edges: number[][] = [[]];
  /** The state of any string that each node of the tree comes to; -1: a word has ended there, which leads nowhere. */
  const meant = [0];
  tree(
    words.map((word) => utf8.encode(JSON.stringify(word).slice(1))),
    (node, byte, last) => {
      const child = meant.push(last ? -1 : step(stringDfa.edges, meant[node]!, byte)) - 1;
      edges.push([]);
      edges[node]!.push(byte, byte, last ? -1 : child);
      return child;
    },
  );
  const count = edges.length;
  return { edges, accepts: edges.map(() => false), otherwise: meant.map((t) => (t < 0 ? -1 : count + t)), base: stringDfa };
}

function step(edges: readonly (readonly number[])[], state: number, byte: number): number {
  const own = edges[state]!;
  for (let e = 0; e < own.length; e += 3) if (byte >= own[e]! && byte <= own[e + 1]!) return own[e + 2]!;
  return -1;
}
