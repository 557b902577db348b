// Parts of a grammar -> states of an Nfa; repetition is written out, or becomes a loop that counts.
import type { Part, Rule } from "./grammar.ts";
import type { Nfa } from "./nfa.ts";

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
