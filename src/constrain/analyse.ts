// What a grammar's states come to: rules that match nothing at all, rules that begin with themselves, states that lead nowhere.
import type { Builder } from "./builder.ts";
import { badGrammar, tooLarge } from "./limits.ts";

/**
 * Bodies of loops that may be empty: counting needs bodies that take something. As many empty ones as are wanted can always be
 * there, so the loop has no lower bound, and its body is made one that takes something.
 * @throws CpmError where a body may be empty in a way that this does not undo
 */
export function emptyBodies(b: Builder, nullable: boolean[]): void {
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
export function nullableRules(b: Builder): boolean[] {
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

/** `nullable`: which rules match the empty text. @throws CpmError for a rule that begins with itself */
export function refuseLeftRecursion(b: Builder, nullable: readonly boolean[]): void {
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
export function liveStates(b: Builder): Uint8Array {
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
