// Deterministic automata over bytes, and how they are made.
import type { Part, Rule } from "./grammar.ts";
import { MAX_SET_WORK, MAX_STATES, tooLarge } from "./limits.ts";
import { byteRanges } from "./utf8.ts";

/** State 0 is the start. A missing edge is death. */
export interface Dfa {
  /** Per state, flat [low, high, target, …]: sorted, disjoint ranges of bytes. */
  readonly edges: readonly (readonly number[])[];
  readonly accepts: readonly boolean[];
  /** Per state, the state whose edges it has beyond its own, -1: none; a target of -1 in `edges` is death. */
  readonly otherwise?: readonly number[];
  /** States that many automata share: in `otherwise` they are numbered from `edges.length` on. */
  readonly base?: Dfa;
}

/** The automaton with the shared states among its own. */
export function flattened(dfa: Dfa): Dfa {
  if (!dfa.base) return dfa;
  const count = dfa.edges.length;
  const base = flattened(dfa.base);
  const moved = base.edges.map((own) => own.map((x, i) => (i % 3 === 2 && x >= 0 ? x + count : x)));
  return {
    edges: [...dfa.edges, ...moved],
    accepts: [...dfa.accepts, ...base.accepts],
    otherwise: [...dfa.edges.map((_, i) => dfa.otherwise?.[i] ?? -1), ...moved.map(() => -1)],
  };
}

/** A rule called from a state: which, in which loop (-1: none), and where it returns to. */
export interface Loop {
  readonly body: Rule;
  readonly least: number;
  readonly most: number;
}

/** Of the many states that have none: never written to. */
const NONE: number[] = [];

/** Puts numbers in rising order: most lists have a few, for which the runtime's own sort allocates more than they take. */
function rising(list: number[]): number[] {
  if (list.length > 24) return list.sort((a, b) => a - b);
  for (let i = 1; i < list.length; i++) {
    const x = list[i]!;
    let at = i;
    for (; at > 0 && list[at - 1]! > x; at--) list[at] = list[at - 1]!;
    list[at] = x;
  }
  return list;
}

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

/** The edges of a state, those it has from others included. */
export function edgesOf(dfa: Dfa, state: number): readonly number[] {
  const other = dfa.otherwise?.[state] ?? -1;
  const own = dfa.edges[state]!;
  if (other < 0) return own;
  const out: number[] = [];
  let rest = edgesOf(dfa, other).slice();
  for (let i = 0; i < own.length; i += 3) {
    const [low, high] = [own[i]!, own[i + 1]!];
    const after: number[] = [];
    for (let r = 0; r < rest.length; r += 3) {
      const [a, b, t] = [rest[r]!, rest[r + 1]!, rest[r + 2]!];
      if (a < low) out.push(a, Math.min(b, low - 1), t);
      if (b > high) after.push(Math.max(a, high + 1), b, t);
    }
    if (own[i + 2]! >= 0) out.push(low, high, own[i + 2]!);
    rest = after;
  }
  out.push(...rest);
  return out;
}

/** What determinising gives: a Dfa whose states may call and take tokens, too. Calls and tokens name NFA edges' content. */
export interface Determined {
  readonly edges: number[][];
  readonly accepts: boolean[];
  readonly calls: Map<number, { rule: Rule | undefined; loop: Loop | undefined; target: number }[]>;
  readonly tokens: Map<number, { token: number; not: readonly number[] | undefined; target: number }[]>;
}

/**
 * The deterministic automaton of `nfa` from `start`, whose accepting state is `end`. `fresh`: nothing leads back to the start.
 * @throws CpmError "unsupported" beyond `limit` states.
 */
export function determinise(nfa: Nfa, start: number, end: number, where: string, limit: number, fresh = false): Determined {
  const sets = new Subsets(nfa, end, where, limit);
  const first = sets.closure([start], true);
  // `^` holds at the start alone, so the start is a state of its own where it matters.
  if (fresh && !first.includes(start)) first.push(start);
  sets.add(first, fresh || nfa.atStart.size > 0);
  const edges: number[][] = [];
  const calls: Determined["calls"] = new Map();
  const tokens: Determined["tokens"] = new Map();
  for (let i = 0; i < sets.list.length; i++) {
    const found = sets.list[i]!;
    if (typeof found === "number" && !nfa.calls.has(found) && !nfa.tokens.has(found)) {
      edges.push(edgesOfOne(found, nfa.edges, sets));
      continue;
    }
    const set = typeof found === "number" ? [found] : found;
    edges.push(edgesFrom(set, nfa.edges, sets));
    if (nfa.calls.size > 0) {
      const found = callsOf(nfa, set);
      if (found.length)
        calls.set(
          i,
          found
            .map(({ rule, loop, targets }) => ({ rule, loop, target: sets.from(targets) }))
            .filter(({ target }) => target >= 0),
        );
    }
    if (nfa.tokens.size > 0) {
      const found = set.flatMap((s) => nfa.tokens.get(s) ?? []);
      if (found.length)
        tokens.set(
          i,
          found.map((t) => ({ ...t, target: sets.one(t.target) })).filter(({ target }) => target >= 0),
        );
    }
  }
  return { edges, accepts: sets.accepts, calls, tokens };
}

/** Sets of an Nfa's states, each a state of the deterministic automaton. */
class Subsets {
  /** Most sets are one state: then it stands for its set. */
  readonly list: (number | readonly number[])[] = [];
  readonly accepts: boolean[] = [];
  readonly #nfa: Nfa;
  readonly #end: number;
  readonly #where: string;
  readonly #limit: number;
  readonly #seen: Int32Array;
  /** States that bytes, calls, tokens or the end leave; the others are only passed. */
  readonly #matters: Uint8Array;
  readonly #stack: number[] = [];
  #stamp = 0;
  #work = 0;
  /** The set behind each single state, -2: not yet asked for. */
  readonly #behind: Int32Array;
  readonly #single: Int32Array;
  readonly #several = new Map<string, number>();

  constructor(nfa: Nfa, end: number, where: string, limit: number) {
    const n = nfa.edges.length;
    this.#nfa = nfa;
    this.#end = end;
    this.#where = where;
    this.#limit = limit;
    this.#seen = new Int32Array(n);
    this.#behind = new Int32Array(n).fill(-2);
    this.#single = new Int32Array(n).fill(-1);
    this.#matters = new Uint8Array(n);
    for (let s = 0; s < n; s++) if (nfa.edges[s]!.length > 0) this.#matters[s] = 1;
    for (const s of [end, ...nfa.atEnd.keys(), ...nfa.calls.keys(), ...nfa.tokens.keys()]) this.#matters[s] = 1;
  }

  /** States that matter, reached from `from` without a byte, in rising order. `first`: at the beginning of the text. */
  closure(from: readonly number[], first = false): number[] {
    const { eps, atStart } = this.#nfa;
    const seen = this.#seen;
    const stamp = ++this.#stamp;
    const stack = this.#stack;
    const out: number[] = [];
    for (const s of from)
      if (seen[s] !== stamp) {
        seen[s] = stamp;
        stack.push(s);
      }
    while (stack.length) {
      const s = stack.pop()!;
      if (this.#matters[s]) out.push(s);
      const next = eps[s]!;
      for (let i = 0; i < next.length; i++) {
        const t = next[i]!;
        if (seen[t] === stamp) continue;
        seen[t] = stamp;
        stack.push(t);
      }
      if (first)
        for (const t of atStart.get(s) ?? [])
          if (seen[t] !== stamp) {
            seen[t] = stamp;
            stack.push(t);
          }
    }
    this.#work += out.length + 1;
    if (this.#work > MAX_SET_WORK) throw tooLarge(this.#where, "it takes too much work to compile");
    return rising(out);
  }

  /** The state behind one state of the Nfa, -1: nothing. */
  one(s: number): number {
    let id = this.#behind[s]!;
    // Most states are links of a chain: themselves, and nothing behind them.
    if (id === -2)
      this.#behind[s] = id = this.#nfa.eps[s]!.length === 0 && this.#matters[s] ? this.#alone(s) : this.add(this.closure([s]));
    return id;
  }

  /** The number of the set of one state. */
  #alone(s: number): number {
    let id = this.#single[s]!;
    if (id >= 0) return id;
    if (++this.#work > MAX_SET_WORK) throw tooLarge(this.#where, "it takes too much work to compile");
    this.#single[s] = id = this.#push(s, s === this.#end || (this.#nfa.atEnd.size > 0 && this.#accepting([s])));
    return id;
  }

  #push(set: number | readonly number[], accepts: boolean): number {
    const id = this.list.length;
    if (id >= this.#limit) throw tooLarge(this.#where, `it takes more than ${this.#limit} states`);
    this.list.push(set);
    this.accepts.push(accepts);
    return id;
  }

  from(states: readonly number[]): number {
    return states.length === 1 ? this.one(states[0]!) : this.add(this.closure(states));
  }

  /** The number of a set; `apart`: nothing leads back to it. */
  add(set: readonly number[], apart = false): number {
    if (set.length === 0 && !apart && this.list.length > 0) return -1;
    if (apart) return this.#push(set, this.#accepting(set));
    if (set.length === 1) return this.#alone(set[0]!);
    const key = set.join();
    let id = this.#several.get(key);
    if (id === undefined) this.#several.set(key, (id = this.#push(set, this.#accepting(set))));
    return id;
  }

  #accepting(set: readonly number[]): boolean {
    if (set.includes(this.#end)) return true;
    const { atEnd, eps } = this.#nfa;
    if (atEnd.size === 0) return false;
    const stack = set.slice() as number[];
    const done = new Set(stack);
    while (stack.length) {
      const s = stack.pop()!;
      if (s === this.#end) return true;
      for (const t of [...(atEnd.get(s) ?? []), ...eps[s]!]) {
        if (done.has(t)) continue;
        done.add(t);
        stack.push(t);
      }
    }
    return false;
  }
}

/** As edgesFrom, of one state: most have one edge, or none. */
function edgesOfOne(state: number, edges: readonly (readonly number[])[], sets: Subsets): number[] {
  const own = edges[state]!;
  if (own.length === 0) return [];
  if (own.length > 3) return edgesFrom([state], edges, sets);
  const target = sets.one(own[2]!);
  return target < 0 ? [] : [own[0]!, own[1]!, target];
}

/** Room for the edges of one set, used again for the next: last bytes and targets, and their order. */
let lasts = new Int32Array(256);
let goals = new Int32Array(256);
let order = new Int32Array(256);
let active = new Int32Array(256);
/** An edge's place in the order: its first byte, then its number. */
const PLACES = 1 << 22;

function gather(set: readonly number[], edges: readonly (readonly number[])[]): number {
  let count = 0;
  for (const s of set) count += edges[s]!.length / 3;
  if (count > lasts.length) {
    lasts = new Int32Array(2 * count);
    goals = new Int32Array(2 * count);
    order = new Int32Array(2 * count);
    active = new Int32Array(2 * count);
  }
  let at = 0;
  let sorted = true;
  for (const s of set) {
    const own = edges[s]!;
    for (let e = 0; e < own.length; e += 3) {
      const key = own[e]! * PLACES + at;
      lasts[at] = own[e + 1]!;
      goals[at] = own[e + 2]!;
      if (at > 0 && order[at - 1]! > key) sorted = false;
      order[at++] = key;
    }
  }
  if (!sorted) order.subarray(0, count).sort();
  return count;
}

/** The edges of a set of states: disjoint ranges, each to the set of all that its bytes lead to. */
function edgesFrom(set: readonly number[], edges: readonly (readonly number[])[], sets: Subsets): number[] {
  const count = gather(set, edges);
  const out: number[] = [];
  let live = 0;
  let next = 0;
  let at = 0;
  let known: Map<string, number> | undefined;
  while (next < count || live > 0) {
    if (live === 0) at = Math.max(at, (order[next]! / PLACES) | 0);
    while (next < count && ((order[next]! / PLACES) | 0) <= at) active[live++] = order[next++]! % PLACES;
    let stop = next < count ? ((order[next]! / PLACES) | 0) - 1 : 255;
    let same = true;
    const first = goals[active[0]!]!;
    for (let a = 0; a < live; a++) {
      const e = active[a]!;
      if (lasts[e]! < stop) stop = lasts[e]!;
      if (goals[e]! !== first) same = false;
    }
    let target: number;
    if (same) target = sets.one(first);
    else {
      const targets: number[] = [];
      for (let a = 0; a < live; a++) targets.push(goals[active[a]!]!);
      rising(targets);
      let kept = 0;
      for (const t of targets) if (kept === 0 || targets[kept - 1] !== t) targets[kept++] = t;
      targets.length = kept;
      const key = targets.join();
      known ??= new Map();
      const found = known.get(key);
      target = found ?? sets.from(targets);
      if (found === undefined) known.set(key, target);
    }
    const last = out.length - 3;
    if (last >= 0 && out[last + 2] === target && out[last + 1] === at - 1) out[last + 1] = stop;
    else if (target >= 0) out.push(at, stop, target);
    at = stop + 1;
    let kept = 0;
    for (let a = 0; a < live; a++) if (lasts[active[a]!]! >= at) active[kept++] = active[a]!;
    live = kept;
  }
  return out;
}

function callsOf(nfa: Nfa, set: readonly number[]) {
  const found: { rule: Rule | undefined; loop: Loop | undefined; targets: number[] }[] = [];
  for (const s of set)
    for (const { rule, loop, target } of nfa.calls.get(s) ?? []) {
      const same = found.find((f) => f.rule === rule && f.loop === loop);
      if (!same) found.push({ rule, loop, targets: [target] });
      else if (!same.targets.includes(target)) same.targets.push(target);
    }
  return found;
}

/** States that a part takes, roughly, at most `most`. */
function sizeOf(part: Part, most: number): number {
  let n = 0;
  const visit = (p: Part, times: number): void => {
    if (n > most) return;
    switch (p.kind) {
      case "bytes":
        n += times * p.bytes.length;
        break;
      case "chars":
        n += times * (p.set[p.set.length - 1]! < 0x80 ? 1 : 8);
        break;
      case "dfa":
        n += times * p.dfa.edges.length;
        break;
      case "seq":
      case "alt":
        for (const one of p.parts) visit(one, times);
        break;
      case "graph":
        n += times * p.nodes;
        for (const edge of p.edges) if (edge.part) visit(edge.part, times);
        break;
      case "repeat":
        visit(p.part, times * (p.most === Number.POSITIVE_INFINITY ? Math.max(1, p.least) : p.most));
        break;
      default:
        n += times;
    }
  };
  visit(part, 1);
  return n;
}

/** How far repetition is written out before it is counted. */
export const UNROLLED = 256;

/**
 * Adds a part from `from`; the state behind it. Repetitions of more than `unrolled` states become loops that count, as
 * rules made by `loop`.
 */
export function addPart(nfa: Nfa, part: Part, from: number, unrolled: number, loop?: (body: Part) => Rule): number {
  switch (part.kind) {
    case "bytes":
      return nfa.chain(from, part.bytes);
    case "chars": {
      const to = nfa.state();
      nfa.chars(from, part.set, to);
      return to;
    }
    case "seq":
      for (const one of part.parts) from = addPart(nfa, one, from, unrolled, loop);
      return from;
    case "alt": {
      const to = nfa.state();
      const words = part.parts.filter((p) => p.kind === "bytes");
      if (words.length > 3) {
        const root = nfa.state();
        nfa.join(from, root);
        nfa.words(
          root,
          words.map((w) => w.bytes),
          to,
        );
      }
      for (const one of part.parts) {
        if (words.length > 3 && one.kind === "bytes") continue;
        const begin = nfa.state();
        nfa.join(from, begin);
        nfa.join(addPart(nfa, one, begin, unrolled, loop), to);
      }
      return to;
    }
    case "dfa": {
      const to = nfa.state();
      nfa.embed(from, part.dfa, to);
      return to;
    }
    case "graph": {
      const nodes = Array.from({ length: part.nodes }, () => nfa.state());
      nfa.join(from, nodes[0]!);
      for (const edge of part.edges) {
        let at = nodes[edge.from]!;
        if (edge.part) {
          const begin = nfa.state();
          nfa.join(at, begin);
          at = addPart(nfa, edge.part, begin, unrolled, loop);
        }
        nfa.join(at, nodes[edge.to]!);
      }
      return nodes[part.nodes - 1]!;
    }
    case "call": {
      const to = nfa.state();
      push(nfa.calls, from, { rule: part.rule, loop: undefined, target: to });
      return to;
    }
    case "token":
    case "not-tokens": {
      const to = nfa.state();
      const edge =
        part.kind === "token" ? { token: part.token, not: undefined, target: to } : { token: -1, not: part.tokens, target: to };
      push(nfa.tokens, from, edge);
      return to;
    }
    case "repeat":
      return addRepeat(nfa, part, from, unrolled, loop);
  }
}

function addRepeat(
  nfa: Nfa,
  { part, least, most, counted }: Part & { kind: "repeat" },
  from: number,
  unrolled: number,
  loop?: (body: Part) => Rule,
): number {
  const endless = most === Number.POSITIVE_INFINITY;
  const copies = endless ? least : most;
  const to = nfa.state();
  if (loop && (counted || (copies > 1 && copies * sizeOf(part, unrolled) > unrolled))) {
    const begin = nfa.state();
    nfa.join(from, begin);
    push(nfa.calls, begin, { rule: undefined, loop: { body: loop(part), least, most }, target: to });
    return to;
  }
  for (let i = 0; i < copies; i++) {
    if (i >= least) nfa.join(from, to);
    from = addPart(nfa, part, from, unrolled, loop);
  }
  if (endless) {
    const again = nfa.state();
    nfa.join(from, again);
    nfa.join(addPart(nfa, part, again, unrolled, loop), again);
    from = again;
  }
  nfa.join(from, to);
  return to;
}

function push<V>(map: Map<number, V[]>, key: number, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
