// Rules -> the tables that assembly/constrain/machine.ts runs.
import { addPart, type Dfa, determinise, type Loop, Nfa, UNROLLED } from "./dfa.ts";
import { type Part, Rule } from "./grammar.ts";
import { badGrammar, MAX_RANGES, MAX_STATES, tooLarge } from "./limits.ts";

/** A compiled grammar: plain data that can cross a worker boundary. */
export interface Machine {
  readonly tables: Int32Array;
  /** Where each rule comes from, for messages. */
  readonly paths: readonly string[];
  readonly states: number;
}

const ACCEPTS = 1;
const DENSE = 2;
const CALLS = 4;
const TOKENS = 8;
const FREE = 16;
const EDGES = 32;
const CHARACTER = 1;
/** Ranges from which on a state has a row of 256 targets. */
const DENSE_FROM = 6;
/** Bytes that a row of 256 targets is worth, in states: beyond this many, ranges are kept. */
const MAX_ROWS = 20_000;

interface Call {
  rule: number;
  /** Index of a loop, -1: none. */
  loop: number;
  target: number;
}

interface LoopEntry {
  readonly rule: number;
  least: number;
  readonly most: number;
  back: number;
}

/** All rules' states in one list; state 0 is dead. */
class Builder {
  readonly edges: (readonly number[])[] = [[]];
  readonly accepts: boolean[] = [false];
  readonly otherwise: number[] = [0];
  readonly ruleAt: number[] = [0];
  readonly calls = new Map<number, Call[]>();
  readonly tokens = new Map<number, { token: number; not: readonly number[] | undefined; target: number }[]>();
  readonly rules: Rule[] = [];
  readonly starts: number[] = [];
  readonly loops: LoopEntry[] = [];
  readonly #index = new Map<Rule, number>();
  readonly #loopIndex = new Map<Loop, number>();
  readonly #bodies = new Set<Rule>();
  /** Where automata that others share begin. */
  readonly #shared = new Map<Dfa, number>();
  #ranges = 0;

  indexOf(rule: Rule): number {
    let i = this.#index.get(rule);
    if (i === undefined) {
      i = this.rules.length;
      this.#index.set(rule, i);
      this.rules.push(rule);
    }
    return i;
  }

  /** Adds the states of rule i. */
  add(i: number): void {
    const rule = this.rules[i]!;
    if (!rule.body) throw new Error(`rule ${rule.path} has no body`);
    if (rule.body.kind === "dfa") {
      this.starts[i] = this.#addDfa(rule.body.dfa, i);
      return;
    }
    const base = this.edges.length;
    this.starts[i] = base;
    const nfa = new Nfa();
    const start = nfa.state();
    const end = addPart(nfa, rule.body, start, UNROLLED, (body) => {
      const made = new Rule(rule.path, body);
      this.#bodies.add(made);
      return made;
    });
    const fresh = this.#bodies.has(rule);
    const made = determinise(nfa, start, end, rule.path, MAX_STATES - base, fresh);
    for (let s = 0; s < made.edges.length; s++) {
      this.#push(shift(made.edges[s]!, made.edges[s]!, base), made.accepts[s]!, 0, i);
      const calls = made.calls.get(s);
      if (calls)
        this.calls.set(
          base + s,
          calls.map((c) => this.#call(c, base)).filter((c) => c.target > 0),
        );
      const tokens = made.tokens.get(s);
      if (tokens)
        this.tokens.set(
          base + s,
          tokens.map((t) => ({ ...t, target: t.target < 0 ? 0 : base + t.target })),
        );
    }
  }

  #call({ rule, loop, target }: { rule: Rule | undefined; loop: Loop | undefined; target: number }, base: number): Call {
    const back = target < 0 ? 0 : base + target;
    if (!loop) return { rule: this.indexOf(rule!), loop: -1, target: back };
    let i = this.#loopIndex.get(loop);
    if (i === undefined) {
      i = this.loops.length;
      this.#loopIndex.set(loop, i);
      this.loops.push({ rule: this.indexOf(loop.body), least: loop.least, most: loop.most, back });
    } else if (this.loops[i]!.back !== back) this.loops[i]!.back = -1;
    return { rule: this.loops[i]!.rule, loop: i, target: back };
  }

  /** Adds an automaton's states, and those it shares with others once; its start. */
  #addDfa(dfa: Dfa, rule: number): number {
    let shared = 0;
    if (dfa.base) {
      shared = this.#shared.get(dfa.base) ?? this.#addDfa(dfa.base, rule);
      this.#shared.set(dfa.base, shared);
    }
    const base = this.edges.length;
    const count = dfa.edges.length;
    for (let s = 0; s < dfa.edges.length; s++) {
      const other = dfa.otherwise?.[s] ?? -1;
      this.#push(
        shift(dfa.edges[s]!, dfa.edges[s]!.slice(), base),
        dfa.accepts[s]!,
        other < 0 ? 0 : other < count ? base + other : shared + other - count,
        rule,
      );
    }
    return base;
  }

  #push(edges: readonly number[], accepts: boolean, otherwise: number, rule: number): void {
    this.edges.push(edges);
    this.accepts.push(accepts);
    this.otherwise.push(otherwise);
    this.ruleAt.push(rule);
    this.#ranges += edges.length / 3;
    const { path } = this.rules[rule]!;
    if (this.edges.length > MAX_STATES) throw tooLarge(path, `the grammar takes more than ${MAX_STATES} states`);
    if (this.#ranges > MAX_RANGES) throw tooLarge(path, `the grammar takes more than ${MAX_RANGES} ranges of bytes`);
  }
}

/** `edges` with targets counted from `base` on, written to `out`. */
function shift(edges: readonly number[], out: number[], base: number): number[] {
  for (let i = 2; i < out.length; i += 3) out[i] = edges[i]! < 0 ? 0 : edges[i]! + base;
  return out;
}

/**
 * Compiles a grammar. `root` may be given as a part.
 * @throws CpmError "bad-input" for a grammar that matches nothing or is left-recursive; "unsupported" for one that is too large.
 */
export function compileMachine(root: Part | Rule, path = ""): Machine {
  const b = new Builder();
  b.indexOf(root instanceof Rule ? root : new Rule(path, root));
  for (let i = 0; i < b.rules.length; i++) b.add(i);
  const nullable = nullableRules(b);
  emptyBodies(b, nullable);
  refuseLeftRecursion(b, nullable);
  const live = liveStates(b);
  if (!live[b.starts[0]!])
    throw badGrammar(b.rules[0]!.path || "/", "nothing matches it", "its parts contradict one another, or recursion has no end");
  return serialise(b, live);
}

/**
 * Bodies of loops that may be empty: counting needs bodies that take something. As many empty ones as are wanted can always be
 * there, so the loop has no lower bound, and its body is made one that takes something.
 */
function emptyBodies(b: Builder, nullable: boolean[]): void {
  const bodies = b.loops.filter((loop) => nullable[loop.rule]);
  if (bodies.length === 0) return;
  for (const loop of bodies) {
    loop.least = 0;
    b.accepts[b.starts[loop.rule]!] = false;
  }
  const again = nullableRules(b);
  for (const loop of bodies)
    if (again[loop.rule]) throw tooLarge(b.rules[loop.rule]!.path, "a counted repetition of rules that may all be empty");
  nullable.splice(0, nullable.length, ...again);
}

/** Which rules match the empty text. */
function nullableRules(b: Builder): boolean[] {
  const nullable = b.rules.map(() => false);
  const reach = (start: number): boolean => {
    const stack = [start];
    const seen = new Set(stack);
    while (stack.length) {
      const s = stack.pop()!;
      if (b.accepts[s]) return true;
      for (const c of b.calls.get(s) ?? []) {
        const passes = nullable[c.rule] || (c.loop >= 0 && b.loops[c.loop]!.least === 0);
        if (!passes || seen.has(c.target)) continue;
        seen.add(c.target);
        stack.push(c.target);
      }
    }
    return false;
  };
  for (let again = true; again; ) {
    again = false;
    for (let i = 0; i < b.rules.length; i++) if (!nullable[i] && reach(b.starts[i]!)) again = nullable[i] = true;
  }
  return nullable;
}

function refuseLeftRecursion(b: Builder, nullable: readonly boolean[]): void {
  const first = b.starts.map((start) => {
    const found = new Set<number>();
    const stack = [start];
    const seen = new Set(stack);
    while (stack.length) {
      for (const c of b.calls.get(stack.pop()!) ?? []) {
        found.add(c.rule);
        const passes = nullable[c.rule] || (c.loop >= 0 && b.loops[c.loop]!.least === 0);
        if (!passes || seen.has(c.target)) continue;
        seen.add(c.target);
        stack.push(c.target);
      }
    }
    return [...found];
  });
  // Depth first with a stack of its own: a chain of rules may be long.
  const mark = new Uint8Array(b.rules.length);
  for (let root = 0; root < b.rules.length; root++) {
    if (mark[root]) continue;
    const stack: [rule: number, next: number][] = [[root, 0]];
    mark[root] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1]!;
      const next = first[top[0]]![top[1]++];
      if (next === undefined) {
        mark[top[0]] = 2;
        stack.pop();
      } else if (mark[next] === 1) {
        const { path } = b.rules[next]!;
        throw badGrammar(path || "/", "left recursion: it begins with itself", "let it take something before it comes again");
      } else if (mark[next] === 0) {
        mark[next] = 1;
        stack.push([next, 0]);
      }
    }
  }
}

/** States from which the end of their rule can be reached, by calls of rules that can end. */
function liveStates(b: Builder): Uint8Array {
  const n = b.edges.length;
  const live = new Uint8Array(n);
  // Who becomes live when a state does: the sources of its edges, listed one behind the other by target…
  const begin = new Int32Array(n + 1);
  const each = (use: (source: number, target: number) => void): void => {
    for (let s = 1; s < n; s++) {
      const edges = b.edges[s]!;
      for (let e = 2; e < edges.length; e += 3) use(s, edges[e]!);
      if (b.otherwise[s]) use(s, b.otherwise[s]!);
    }
    for (const [s, tokens] of b.tokens) for (const t of tokens) use(s, t.target);
    for (const [s, calls] of b.calls) for (const c of calls) if (c.loop >= 0 && b.loops[c.loop]!.least === 0) use(s, c.target);
  };
  each((_, target) => begin[target + 1]!++);
  for (let s = 0; s < n; s++) begin[s + 1] = begin[s + 1]! + begin[s]!;
  const sources = new Int32Array(begin[n]!);
  const filled = begin.slice();
  each((source, target) => {
    sources[filled[target]!++] = source;
  });
  // …and callers, which need the start of the rule and where it returns to.
  const callers = new Map<number, [state: number, other: number][]>();
  const wait = (on: number, state: number, other: number) => {
    const list = callers.get(on);
    if (list) list.push([state, other]);
    else callers.set(on, [[state, other]]);
  };
  for (const [s, calls] of b.calls)
    for (const c of calls) {
      wait(b.starts[c.rule]!, s, c.target);
      wait(c.target, s, b.starts[c.rule]!);
    }
  const queue: number[] = [];
  const set = (s: number) => {
    if (s === 0 || live[s]) return;
    live[s] = 1;
    queue.push(s);
  };
  for (let s = 1; s < n; s++) if (b.accepts[s]) set(s);
  while (queue.length) {
    const s = queue.pop()!;
    for (let i = begin[s]!; i < begin[s + 1]!; i++) set(sources[i]!);
    for (const [source, other] of callers.get(s) ?? []) if (live[other]) set(source);
  }
  return live;
}

/** Numbers, as many as come. */
class Words {
  #words = new Int32Array(1024);
  length = 0;

  /** Room for `count` more, from `length` on. */
  take(count: number): Int32Array {
    if (this.length + count > this.#words.length) {
      const more = new Int32Array(Math.max(2 * this.#words.length, this.length + count));
      more.set(this.#words.subarray(0, this.length));
      this.#words = more;
    }
    return this.#words;
  }

  push(...values: readonly number[]): void {
    const words = this.take(values.length);
    for (const value of values) words[this.length++] = value;
  }

  get all(): Int32Array {
    return this.#words.subarray(0, this.length);
  }
}

function serialise(b: Builder, live: Uint8Array): Machine {
  const n = b.edges.length;
  // Live states that the start comes to, in the order they are found.
  const id = new Int32Array(n);
  const order: number[] = [0];
  const reach = (s: number): number => {
    if (!live[s]) return 0;
    if (!id[s]) id[s] = order.push(s) - 1;
    return id[s]!;
  };
  const out = new Words();
  reach(b.starts[0]!);
  const records = new Words();
  records.push(0, 0, 0, 0, 0);
  const loopIds = new Int32Array(b.loops.length);
  const loopOrder: number[] = [];
  let rows = 0;
  const header = 8;
  for (let i = 1; i < order.length; i++) {
    const s = order[i]!;
    let flags = b.accepts[s] ? ACCEPTS : 0;
    const edges = b.edges[s]!;
    const at = header + out.length;
    const other = b.otherwise[s]!;
    const words = out.take(256 + edges.length);
    let count = 0;
    for (let e = 0; e < edges.length; e += 3) {
      const target = reach(edges[e + 2]!);
      // A dead edge still hides the other state's.
      if (!target && !other) continue;
      words[out.length + 2 * count] = edges[e]! | (edges[e + 1]! << 8);
      words[out.length + 2 * count + 1] = target;
      count++;
    }
    if (other) reach(other);
    if (count > 0 || (other && live[other])) flags |= EDGES;
    if (count >= DENSE_FROM && !other && rows < MAX_ROWS) {
      rows++;
      flags |= DENSE;
      if (isFree(b.edges, s)) flags |= FREE;
      words.fill(0, out.length, out.length + 256);
      for (let e = 0; e < edges.length; e += 3)
        words.fill(reach(edges[e + 2]!), out.length + edges[e]!, out.length + edges[e + 1]! + 1);
      out.length += 256;
      count = 0;
    } else out.length += 2 * count;
    const extras = addExtras(b, s, live, reach, out, header, (loop) => {
      if (!loopIds[loop]) loopIds[loop] = loopOrder.push(loop);
      return loopIds[loop]!;
    });
    flags |= extras.flags;
    records.push(flags | (count << 8), at, extras.at, other ? reach(other) : 0, b.ruleAt[s]!);
  }
  const states = header + out.length;
  const loops = states + records.length;
  const tables = new Int32Array(loops + 4 * loopOrder.length);
  tables.set([1, order.length, 1, states, loops, loopOrder.length]);
  tables.set(out.all, header);
  tables.set(records.all, states);
  loopOrder.forEach((l, i) => {
    const { rule, least, most, back } = b.loops[l]!;
    const body = b.starts[rule]!;
    const character = back > 0 && isCharacter(b, body) && endsStrings(b, back) ? CHARACTER : 0;
    tables.set([least, most === Number.POSITIVE_INFINITY ? -1 : most, id[body]!, character], loops + 4 * i);
  });
  return { tables, paths: b.rules.map((r) => r.path), states: order.length };
}

const NO_EXTRAS = { at: 0, flags: 0 };

/** Calls, token edges and edges of all other tokens of a state, behind `out`. */
function addExtras(
  b: Builder,
  s: number,
  live: Uint8Array,
  reach: (s: number) => number,
  out: Words,
  header: number,
  loopId: (loop: number) => number,
): { at: number; flags: number } {
  const [ownCalls, ownTokens] = [b.calls.get(s), b.tokens.get(s)];
  if (!ownCalls && !ownTokens) return NO_EXTRAS;
  const calls = (ownCalls ?? []).filter((c) => live[c.target] && live[b.starts[c.rule]!]);
  // A loop whose body can never end is passed where it may be left out.
  const skips = (ownCalls ?? []).filter((c) => live[c.target] && !live[b.starts[c.rule]!] && c.loop >= 0);
  if (skips.some((c) => b.loops[c.loop]!.least === 0)) throw tooLarge(b.rules[b.ruleAt[s]!]!.path, "a repetition of nothing");
  const tokens = (ownTokens ?? []).filter((t) => live[t.target]);
  if (!calls.length && !tokens.length) return NO_EXTRAS;
  const ids = tokens.filter((t) => !t.not);
  const nots = tokens.filter((t) => t.not);
  const lists = nots.map(({ not }) => {
    const at = header + out.length;
    const sorted = [...new Set(not)].sort((x, y) => x - y);
    out.push(sorted.length, ...sorted);
    return at;
  });
  const at = header + out.length;
  out.push(calls.length);
  for (const c of calls) out.push(reach(b.starts[c.rule]!), reach(c.target), c.loop < 0 ? 0 : loopId(c.loop));
  out.push(ids.length);
  for (const t of ids) out.push(t.token, reach(t.target));
  out.push(nots.length);
  nots.forEach((t, i) => {
    out.push(lists[i]!, reach(t.target));
  });
  return { at, flags: (calls.length ? CALLS : 0) | (tokens.length ? TOKENS : 0) };
}

type Edges = readonly (readonly number[])[];

function target(edges: Edges, state: number, byte: number): number {
  const own = edges[state]!;
  for (let e = 0; e < own.length; e += 3) if (byte >= own[e]! && byte <= own[e + 1]!) return own[e + 2]!;
  return 0;
}

/** Byte ranges of each safe character of two and more bytes; U+2028 and U+2029 are none, which `.` leaves out. */
const SEQUENCES = [
  [0xc2, 0xdf, 0x80, 0xbf],
  [0xe0, 0xe0, 0xa0, 0xbf, 0x80, 0xbf],
  [0xe1, 0xe1, 0x80, 0xbf, 0x80, 0xbf],
  [0xe2, 0xe2, 0x80, 0x80, 0x80, 0xa7],
  [0xe2, 0xe2, 0x80, 0x80, 0xaa, 0xbf],
  [0xe2, 0xe2, 0x81, 0xbf, 0x80, 0xbf],
  [0xe3, 0xec, 0x80, 0xbf, 0x80, 0xbf],
  [0xed, 0xed, 0x80, 0x9f, 0x80, 0xbf],
  [0xee, 0xef, 0x80, 0xbf, 0x80, 0xbf],
  [0xf0, 0xf0, 0x90, 0xbf, 0x80, 0xbf, 0x80, 0xbf],
  [0xf1, 0xf3, 0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf],
  [0xf4, 0xf4, 0x80, 0x8f, 0x80, 0xbf, 0x80, 0xbf],
];

/** Whether every safe character leads from `state` to a state that `ok` takes. */
function afterSafe(edges: Edges, state: number, ok: (to: number) => boolean): boolean {
  for (let byte = 0x20; byte < 0x80; byte++) if (byte !== 0x22 && byte !== 0x5c && !ok(target(edges, state, byte))) return false;
  return SEQUENCES.every((ranges) => {
    let now = new Set([state]);
    for (let i = 0; i < ranges.length; i += 2) {
      const next = new Set<number>();
      for (const s of now) for (let byte = ranges[i]!; byte <= ranges[i + 1]!; byte++) next.add(target(edges, s, byte));
      now = next;
    }
    return [...now].every(ok);
  });
}

/** Safe characters lead back to the state itself. */
const isFree = (edges: Edges, state: number): boolean =>
  target(edges, state, 0x61) === state && afterSafe(edges, state, (to) => to === state);

/** The rule from `start` on takes any one safe character, and what else begins with no safe one. */
function isCharacter(b: Builder, start: number): boolean {
  const ends = (s: number) => s > 0 && b.accepts[s]! && b.edges[s]!.length === 0 && !b.calls.has(s) && !b.tokens.has(s);
  return !b.accepts[start] && !b.calls.has(start) && !b.tokens.has(start) && afterSafe(b.edges, start, ends);
}

/** A state that takes no safe character, by itself or by returning. */
function endsStrings(b: Builder, state: number): boolean {
  if (b.accepts[state] || b.calls.has(state) || b.otherwise[state]) return false;
  const edges = b.edges[state]!;
  for (let e = 0; e < edges.length; e += 3) if (edges[e] !== 0x22 || edges[e + 1] !== 0x22) return false;
  return true;
}
