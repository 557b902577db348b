// Deterministic automata over bytes.

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
