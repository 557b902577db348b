// Rules -> all their states in one list.
import { determinise } from "./determinise.ts";
import type { Dfa } from "./dfa.ts";
import { Rule } from "./grammar.ts";
import { MAX_RANGES, MAX_STATES, tooLarge } from "./limits.ts";
import { type Loop, Nfa } from "./nfa.ts";
import { addPart, UNROLLED } from "./parts.ts";

/** A rule called from a state: which, in which loop, and where it returns to. */
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
export class Builder {
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
