// Constraints that a program can check: the 25 classes of IFEval, how they are drawn for a request, and read off a text that follows them.
import { contentKinds } from "./constraints/content.ts";
import { formKinds } from "./constraints/form.ts";
import type { Constraint, Kind, Kwargs } from "./constraints/kind.ts";
import type { Random } from "./random.ts";

export type { Constraint, Kwargs } from "./constraints/kind.ts";

/** All classes by their published names. */
export const kinds: Readonly<Record<string, Kind>> = { ...contentKinds, ...formKinds };

export const constraintNames: readonly string[] = Object.keys(kinds);

const clash = (a: string, b: string): boolean =>
  a === b || [a, b].some((one, i) => kinds[one]!.without.includes("*") || kinds[one]!.without.includes(i ? a : b));

/** A constraint with its arguments, in words. */
const told = (id: string, kwargs: Kwargs, random: Random): Constraint => ({
  id,
  kwargs,
  text: random.pick(kinds[id]!.say(kwargs)),
});

/** Up to `most` constraints that go together, for a request: never a class twice, none that another makes impossible. */
export function drawConstraints(random: Random, request: string, most: number, among: readonly string[]): Constraint[] {
  const out: Constraint[] = [];
  for (const id of random.shuffled(among)) {
    if (out.length >= most) break;
    if (out.some((other) => clash(other.id, id))) continue;
    out.push(told(id, kinds[id]!.draw(random, request), random));
  }
  return out;
}

/**
 * Up to `most` constraints that a text follows, by `follows`. Those that few texts follow come first: they say more of this one.
 */
export function readConstraints(
  random: Random,
  text: string,
  most: number,
  among: readonly string[],
  follows: (id: string, kwargs: Kwargs) => boolean,
): Constraint[] {
  const found: Constraint[] = [];
  const rare = (id: string) => (/^(?:keywords|length_constraints:number_[sw]|change_case:capital_w)/.test(id) ? 1 : 0);
  const order = random.shuffled(among).sort((a, b) => rare(a) - rare(b));
  for (const id of order) {
    const kwargs = kinds[id]!.read(text, random);
    if (kwargs === undefined || !follows(id, kwargs) || found.some((other) => clash(other.id, id))) continue;
    found.push(told(id, kwargs, random));
  }
  return random.shuffled(found.slice(0, Math.max(most, 1)));
}
