// Deterministic automata over bytes, and how they are made.
import type { Part, Rule } from "./grammar.ts";
import { MAX_SET_WORK, tooLarge } from "./limits.ts";
import { byteRanges } from "./utf8.ts";

/** State 0 is the start. A missing edge is death. */
export interface Dfa {
  /** Per state, flat [low, high, target, …]: sorted, disjoint ranges of bytes. */
  readonly edges: readonly (readonly number[])[];
  readonly accepts: readonly boolean[];
  /** Per state, the state whose edges it has beyond its own, -1: none; a target of -1 in `edges` is death. */
  readonly otherwise?: readonly number[];
}

/** A rule called from a state: which, in which loop (-1: none), and where it returns to. */
export interface Loop {
  readonly body: Rule;
  readonly least: number;
  readonly most: number;
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
    this.eps.push([]);
    return this.edges.push([]) - 1;
  }

  edge(from: number, low: number, high: number, to: number): void {
    this.edges[from]!.push(low, high, to);
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
  words(from: number, words: readonly Uint8Array[], to: number): void {
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
      this.eps[at]!.push(to);
    }
  }

  /** Another automaton's states, from `from` to `to`. */
  embed(from: number, dfa: Dfa, to: number): void {
    const base = this.edges.length;
    for (let i = 0; i < dfa.edges.length; i++) this.state();
    for (let i = 0; i < dfa.edges.length; i++) {
      const edges = edgesOf(dfa, i);
      for (let e = 0; e < edges.length; e += 3) this.edge(base + i, edges[e]!, edges[e + 1]!, base + edges[e + 2]!);
      if (dfa.accepts[i]) this.eps[base + i]!.push(to);
    }
    this.eps[from]!.push(base);
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
  const { eps, edges } = nfa;
  const seen = new Int32Array(edges.length);
  let stamp = 0;
  let work = 0;
  const sets: (readonly number[])[] = [];
  const single = new Map<number, number>();
  const several = new Map<string, number>();
  const accepts: boolean[] = [];

  /** States that matter, reached from `from` without a byte, in rising order. */
  const closure = (from: readonly number[], first: boolean): number[] => {
    stamp++;
    const stack = from.slice();
    const out: number[] = [];
    for (const s of stack) seen[s] = stamp;
    while (stack.length) {
      const s = stack.pop()!;
      const matters =
        edges[s]!.length > 0 || s === end || nfa.atEnd.has(s) || nfa.calls.has(s) || nfa.tokens.has(s) || (first && fresh);
      if (matters) out.push(s);
      const visit = (t: number) => {
        if (seen[t] === stamp) return;
        seen[t] = stamp;
        stack.push(t);
      };
      for (const t of eps[s]!) visit(t);
      if (first) for (const t of nfa.atStart.get(s) ?? []) visit(t);
    }
    work += out.length + 1;
    if (work > MAX_SET_WORK) throw tooLarge(where, "it takes too much work to compile");
    return out.length > 1 ? out.sort((a, b) => a - b) : out;
  };

  const acceptsAt = (set: readonly number[]): boolean => {
    if (set.includes(end)) return true;
    if (nfa.atEnd.size === 0) return false;
    const stack = set.slice() as number[];
    const done = new Set(stack);
    while (stack.length) {
      const s = stack.pop()!;
      if (s === end) return true;
      for (const t of [...(nfa.atEnd.get(s) ?? []), ...eps[s]!]) {
        if (done.has(t)) continue;
        done.add(t);
        stack.push(t);
      }
    }
    return false;
  };

  const enter = (set: readonly number[], isStart = false): number => {
    if (set.length === 0) return -1;
    let id = isStart ? undefined : set.length === 1 ? single.get(set[0]!) : several.get(set.join());
    if (id !== undefined) return id;
    id = sets.length;
    if (id >= limit) throw tooLarge(where, `it takes more than ${limit} states`);
    sets.push(set);
    accepts.push(acceptsAt(set));
    if (isStart && (fresh || nfa.atStart.size > 0)) return id;
    if (set.length === 1) single.set(set[0]!, id);
    else several.set(set.join(), id);
    return id;
  };

  // `^` holds at the start alone, so the start is a state of its own where it matters.
  enter(closure([start], true), true);
  if (sets.length === 0) {
    sets.push([]);
    accepts.push(false);
  }
  const out: Determined = { edges: [], accepts, calls: new Map(), tokens: new Map() };
  for (let i = 0; i < sets.length; i++) {
    const set = sets[i]!;
    out.edges.push(set.length === 1 ? lone(edges[set[0]!]!, closure, enter) : merged(set, edges, closure, enter));
    const calls = callsOf(nfa, set);
    if (calls.length)
      out.calls.set(
        i,
        calls.map(({ rule, loop, targets }) => ({ rule, loop, target: enter(closure(targets, false)) })),
      );
    const tokens = set.flatMap((s) => nfa.tokens.get(s) ?? []);
    if (tokens.length)
      out.tokens.set(
        i,
        tokens.map((t) => ({ ...t, target: enter(closure([t.target], false)) })),
      );
  }
  return out;
}

type Closure = (from: readonly number[], first: boolean) => number[];
type Enter = (set: readonly number[]) => number;

/** One state's edges, where they are disjoint (the usual case), else merged. */
function lone(own: readonly number[], closure: Closure, enter: Enter): number[] {
  if (own.length === 3) return [own[0]!, own[1]!, enter(closure([own[2]!], false))];
  if (own.length === 0) return [];
  return merged([0], [own], closure, enter);
}

/** The edges of a set of states: disjoint ranges, each to the set of all that its bytes lead to. */
function merged(set: readonly number[], edges: readonly (readonly number[])[], closure: Closure, enter: Enter): number[] {
  const list: number[] = [];
  for (const s of set) {
    const own = edges[s]!;
    for (let e = 0; e < own.length; e += 3) list.push(own[e]! * 512 + own[e + 1]!, own[e + 2]!);
  }
  const order = Array.from({ length: list.length / 2 }, (_, i) => 2 * i).sort((a, b) => list[a]! - list[b]!);
  const out: number[] = [];
  let active: number[] = [];
  let next = 0;
  let at = 0;
  const known = new Map<string, number>();
  while (next < order.length || active.length) {
    if (active.length === 0) at = Math.max(at, list[order[next]!]! >> 9);
    while (next < order.length && list[order[next]!]! >> 9 <= at) active.push(order[next++]!);
    let stop = next < order.length ? (list[order[next]!]! >> 9) - 1 : 255;
    for (const e of active) stop = Math.min(stop, list[e]! & 511);
    const targets = active.length === 1 ? [list[active[0]! + 1]!] : [...new Set(active.map((e) => list[e + 1]!))];
    const key = targets.length === 1 ? String(targets[0]) : targets.sort((a, b) => a - b).join();
    let target = known.get(key);
    if (target === undefined) known.set(key, (target = enter(closure(targets, false))));
    const last = out.length - 3;
    if (last >= 0 && out[last + 2] === target && out[last + 1] === at - 1) out[last + 1] = stop;
    else if (target >= 0) out.push(at, stop, target);
    at = stop + 1;
    active = active.filter((e) => (list[e]! & 511) >= at);
  }
  return out;
}

function callsOf(nfa: Nfa, set: readonly number[]) {
  const found: { rule: Rule | undefined; loop: Loop | undefined; targets: number[] }[] = [];
  if (nfa.calls.size === 0) return found;
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
        nfa.eps[from]!.push(root);
        nfa.words(
          root,
          words.map((w) => w.bytes),
          to,
        );
      }
      for (const one of part.parts) {
        if (words.length > 3 && one.kind === "bytes") continue;
        const begin = nfa.state();
        nfa.eps[from]!.push(begin);
        nfa.eps[addPart(nfa, one, begin, unrolled, loop)]!.push(to);
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
      nfa.eps[from]!.push(nodes[0]!);
      for (const edge of part.edges) {
        let at = nodes[edge.from]!;
        if (edge.part) {
          const begin = nfa.state();
          nfa.eps[at]!.push(begin);
          at = addPart(nfa, edge.part, begin, unrolled, loop);
        }
        nfa.eps[at]!.push(nodes[edge.to]!);
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
  { part, least, most }: Part & { kind: "repeat" },
  from: number,
  unrolled: number,
  loop?: (body: Part) => Rule,
): number {
  const endless = most === Number.POSITIVE_INFINITY;
  const copies = endless ? least : most;
  const to = nfa.state();
  if (loop && copies > 1 && copies * sizeOf(part, unrolled) > unrolled) {
    const begin = nfa.state();
    nfa.eps[from]!.push(begin);
    push(nfa.calls, begin, { rule: undefined, loop: { body: loop(part), least, most }, target: to });
    return to;
  }
  for (let i = 0; i < copies; i++) {
    if (i >= least) nfa.eps[from]!.push(to);
    from = addPart(nfa, part, from, unrolled, loop);
  }
  if (endless) {
    const again = nfa.state();
    nfa.eps[from]!.push(again);
    nfa.eps[addPart(nfa, part, again, unrolled, loop)]!.push(again);
    from = again;
  }
  nfa.eps[from]!.push(to);
  return to;
}

function push<V>(map: Map<number, V[]>, key: number, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
