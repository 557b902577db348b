// Nfa -> Dfa: sets of states that the same bytes lead to.
import type { Rule } from "./grammar.ts";
import { MAX_SET_WORK, tooLarge } from "./limits.ts";
import type { Loop, Nfa } from "./nfa.ts";

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
