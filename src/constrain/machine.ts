// Rules -> the tables that assembly/constrain/machine.ts runs.
import { emptyBodies, liveStates, nullableRules, refuseLeftRecursion } from "./analyse.ts";
import { Builder } from "./builder.ts";
import { type Part, Rule } from "./grammar.ts";
import { badGrammar, tooLarge } from "./limits.ts";
import { endsStrings, isCharacter, isFree } from "./safe.ts";

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
