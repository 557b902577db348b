// Whether a grammar takes a value when its members may come in any order.
import { type Automaton, DEAD } from "../../src/decode/constrain.ts";

const utf8 = new TextEncoder();
const MOST_STEPS = 100_000;

const step = (a: Automaton, state: number, text: string): number => a.advanceBytes(state, utf8.encode(text)).state;

/** States behind the value, its members in any order, each once; those that follow the given order come first. */
function* behind(a: Automaton, state: number, value: unknown, budget: { steps: number }): Generator<number> {
  if (budget.steps-- <= 0) throw new Error("too many orders to try");
  if (typeof value !== "object" || value === null) {
    const next = step(a, state, JSON.stringify(value));
    if (next !== DEAD) yield next;
    return;
  }
  const list = Array.isArray(value);
  const open = step(a, state, list ? "[" : "{");
  if (open === DEAD) return;
  const seen = new Set<string>();
  function* members(at: number, left: readonly string[]): Generator<number> {
    const key = `${at} ${left.join("\u0000")}`;
    if (seen.has(key)) return;
    seen.add(key);
    if (left.length === 0) {
      const end = step(a, at, list ? "]" : "}");
      if (end !== DEAD) yield end;
      return;
    }
    const first = left.length === Object.keys(value as object).length;
    const begin = (from: number, name: string, comma: boolean) =>
      step(a, from, `${comma ? "," : ""}${list ? "" : `${JSON.stringify(name)}:`}`);
    const choices = (list ? left.slice(0, 1) : left).flatMap((name) => {
      const begun = begin(at, name, !first);
      if (begun === DEAD) return [];
      const rest = left.filter((k) => k !== name);
      const ends = behind(a, begun, (value as Record<string, unknown>)[name], budget);
      const [after] = ends;
      // Behind the member that comes first in the grammar, all others may still come.
      const open = after === undefined ? 0 : rest.filter((k) => begin(after, k, true) !== DEAD).length;
      return after === undefined ? [] : [{ begun, name, rest, open }];
    });
    for (const { begun, name, rest, open } of choices.sort((x, y) => y.open - x.open)) {
      for (const after of behind(a, begun, (value as Record<string, unknown>)[name], budget)) {
        yield* members(after, rest);
        // A member that changes nothing may come at any time: no other order gives more.
        if (after === at) return;
      }
      // Nor where all others may follow this one.
      if (open === rest.length) return;
    }
  }
  yield* members(open, Object.keys(value));
}

/** undefined: there are more orders than were tried. */
export function takesInSomeOrder(a: Automaton, value: unknown): boolean | undefined {
  const budget = { steps: MOST_STEPS };
  try {
    for (const state of behind(a, a.start(), value, budget)) if (a.accepting(state)) return true;
    return false;
  } catch (error) {
    if (budget.steps > 0) throw error;
    return undefined;
  }
}
