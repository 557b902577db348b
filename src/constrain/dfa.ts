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
    const children = new Map<number, Map<number, number>>();
    for (const word of words) {
      let at = from;
      for (const byte of word) {
        let row = children.get(at);
        if (!row) children.set(at, (row = new Map()));
        let next = row.get(byte);
        if (next === undefined) {
          next = this.state();
          row.set(byte, next);
          this.edge(at, byte, byte, next);
        }
        at = next;
      }
      this.join(at, to);
      if (this.edges.length > MAX_STATES) throw tooLarge(where, `its texts take more than ${MAX_STATES} states`);
    }
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
    const set = sets.list[i]!;
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
  readonly list: (readonly number[])[] = [];
  readonly accepts: boolean[] = [];
  readonly #nfa: Nfa;
  readonly #end: number;
  readonly #where: string;
  readonly #limit: number;
  readonly #seen: Int32Array;
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
  }

  #matters(s: number): boolean {
    const { edges, atEnd, calls, tokens } = this.#nfa;
    return edges[s]!.length > 0 || s === this.#end || atEnd.has(s) || calls.has(s) || tokens.has(s);
  }

  /** States that matter, reached from `from` without a byte, in rising order. `first`: at the beginning of the text. */
  closure(from: readonly number[], first = false): number[] {
    const { eps, atStart } = this.#nfa;
    const seen = this.#seen;
    const stamp = ++this.#stamp;
    const stack: number[] = [];
    const out: number[] = [];
    for (const s of from)
      if (seen[s] !== stamp) {
        seen[s] = stamp;
        stack.push(s);
      }
    while (stack.length) {
      const s = stack.pop()!;
      if (this.#matters(s)) out.push(s);
      for (const t of eps[s]!)
        if (seen[t] !== stamp) {
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
    return out.length > 1 ? out.sort((a, b) => a - b) : out;
  }

  /** The state behind one state of the Nfa, -1: nothing. */
  one(s: number): number {
    let id = this.#behind[s]!;
    if (id === -2) this.#behind[s] = id = this.add(this.closure([s]));
    return id;
  }

  from(states: readonly number[]): number {
    return states.length === 1 ? this.one(states[0]!) : this.add(this.closure(states));
  }

  /** The number of a set; `apart`: nothing leads back to it. */
  add(set: readonly number[], apart = false): number {
    if (set.length === 0 && !apart && this.list.length > 0) return -1;
    let id = -1;
    let key = "";
    if (!apart) {
      if (set.length === 1) id = this.#single[set[0]!]!;
      else {
        key = set.join();
        id = this.#several.get(key) ?? -1;
      }
      if (id >= 0) return id;
    }
    id = this.list.length;
    if (id >= this.#limit) throw tooLarge(this.#where, `it takes more than ${this.#limit} states`);
    this.list.push(set);
    this.accepts.push(this.#accepting(set));
    if (apart) return id;
    if (set.length === 1) this.#single[set[0]!] = id;
    else this.#several.set(key, id);
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

/** The edges of a set of states: disjoint ranges, each to the set of all that its bytes lead to. */
function edgesFrom(set: readonly number[], edges: readonly (readonly number[])[], sets: Subsets): number[] {
  if (set.length === 1) {
    const own = edges[set[0]!]!;
    if (own.length === 0) return [];
    if (own.length === 3) {
      const target = sets.one(own[2]!);
      return target < 0 ? [] : [own[0]!, own[1]!, target];
    }
  }
  // Edges in the order of their first bytes: low * 65536 + place.
  const list: number[] = [];
  const order: number[] = [];
  for (const s of set) {
    const own = edges[s]!;
    for (let e = 0; e < own.length; e += 3) {
      order.push(own[e]! * 4194304 + list.length);
      list.push(own[e + 1]!, own[e + 2]!);
    }
  }
  order.sort((a, b) => a - b);
  const out: number[] = [];
  const active: number[] = [];
  let next = 0;
  let at = 0;
  let known: Map<string, number> | undefined;
  while (next < order.length || active.length) {
    if (active.length === 0) at = Math.max(at, Math.floor(order[next]! / 4194304));
    while (next < order.length && Math.floor(order[next]! / 4194304) <= at) active.push(order[next++]! % 4194304);
    let stop = next < order.length ? Math.floor(order[next]! / 4194304) - 1 : 255;
    for (const e of active) if (list[e]! < stop) stop = list[e]!;
    let target: number;
    if (active.length === 1) target = sets.one(list[active[0]! + 1]!);
    else {
      const targets = [...new Set(active.map((e) => list[e + 1]!))];
      if (targets.length === 1) target = sets.one(targets[0]!);
      else {
        const key = targets.sort((a, b) => a - b).join();
        known ??= new Map();
        const found = known.get(key);
        target = found ?? sets.from(targets);
        if (found === undefined) known.set(key, target);
      }
    }
    const last = out.length - 3;
    if (last >= 0 && out[last + 2] === target && out[last + 1] === at - 1) out[last + 1] = stop;
    else if (target >= 0) out.push(at, stop, target);
    at = stop + 1;
    let kept = 0;
    for (const e of active) if (list[e]! >= at) active[kept++] = e;
    active.length = kept;
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
