// What a schema allows, by kind of value: unions of alternatives that can be intersected. What lies inside arrays and objects
// stays unread until it is needed, so that schemas may be recursive.
import type { Dfa } from "../dfa.ts";
import { UnsupportedSchemaError } from "../limits.ts";
import { anyNumber, intersectNumbers, type NumberRange } from "../numbers.ts";
import { combine, matches } from "../strings.ts";
import type { Place } from "./document.ts";

/** A schema, or (negated) all that it does not allow. */
export interface Literal extends Place {
  readonly negated: boolean;
}

/** Values that all these allow. */
export type Lazy = readonly Literal[];

export interface StringSet {
  /** Only these; the other fields were applied to them. */
  readonly words: readonly string[] | undefined;
  readonly dfa: Dfa | undefined;
  /** Code points. */
  readonly least: number;
  readonly most: number;
}

/** What one schema says of members: by name, by pattern, and of all others. */
export interface Group {
  readonly names: ReadonlyMap<string, Lazy>;
  readonly patterns: readonly { readonly source: string; readonly dfa: Dfa | undefined; readonly value: Lazy }[];
  readonly rest: Lazy;
}

export interface ObjectSet {
  readonly groups: readonly Group[];
  readonly required: ReadonlySet<string>;
  readonly least: number;
  readonly most: number;
  /** Names must be in all of these. */
  readonly nameSets: readonly StringSet[];
}

export interface ArraySet {
  readonly groups: readonly { readonly prefix: readonly Lazy[]; readonly rest: Lazy }[];
  readonly least: number;
  readonly most: number;
}

export interface Shape {
  readonly words: ReadonlySet<"null" | "true" | "false">;
  readonly numbers: readonly NumberRange[];
  readonly strings: readonly StringSet[];
  readonly arrays: readonly ArraySet[];
  readonly objects: readonly ObjectSet[];
}

const INFINITY = Number.POSITIVE_INFINITY;
export const anyString: StringSet = { words: undefined, dfa: undefined, least: 0, most: INFINITY };
export const anyArray: ArraySet = { groups: [], least: 0, most: INFINITY };
export const anyObject: ObjectSet = { groups: [], required: new Set(), least: 0, most: INFINITY, nameSets: [] };
export const none: Shape = { words: new Set(), numbers: [], strings: [], arrays: [], objects: [] };
export const any: Shape = {
  words: new Set(["null", "true", "false"]),
  numbers: [anyNumber],
  strings: [anyString],
  arrays: [anyArray],
  objects: [anyObject],
};

/** Alternatives of one kind of value, at most: products of unions grow fast. */
const MAX_ALTERNATIVES = 256;

const codePoints = (text: string): number => {
  let n = 0;
  for (const _ of text) n++;
  return n;
};

export function hasString(set: StringSet, text: string): boolean {
  if (set.words) return set.words.includes(text);
  const n = codePoints(text);
  return n >= set.least && n <= set.most && (!set.dfa || matches(set.dfa, text));
}

export function intersectStrings(a: StringSet, b: StringSet, path: string): StringSet | undefined {
  if (a.words || b.words) {
    const [list, other] = a.words ? [a.words, b] : [b.words!, a];
    const words = list.filter((w) => hasString(other, w));
    return words.length ? { words, dfa: undefined, least: 0, most: INFINITY } : undefined;
  }
  const least = Math.max(a.least, b.least);
  const most = Math.min(a.most, b.most);
  if (least > most) return undefined;
  let dfa = a.dfa ?? b.dfa;
  if (a.dfa && b.dfa && a.dfa !== b.dfa) {
    dfa = combine(a.dfa, b.dfa, true, path);
    if (!dfa) return undefined;
  }
  return { words: undefined, dfa, least, most };
}

function intersectObjects(a: ObjectSet, b: ObjectSet): ObjectSet | undefined {
  if (a === anyObject) return b;
  if (b === anyObject) return a;
  const least = Math.max(a.least, b.least);
  const most = Math.min(a.most, b.most);
  const required = new Set([...a.required, ...b.required]);
  if (least > most || required.size > most) return undefined;
  return { groups: [...a.groups, ...b.groups], required, least, most, nameSets: [...a.nameSets, ...b.nameSets] };
}

function intersectArrays(a: ArraySet, b: ArraySet): ArraySet | undefined {
  const least = Math.max(a.least, b.least);
  const most = Math.min(a.most, b.most);
  return least > most ? undefined : { groups: [...a.groups, ...b.groups], least, most };
}

function product<T>(a: readonly T[], b: readonly T[], both: (x: T, y: T) => T | undefined, path: string, keyword: string): T[] {
  const out: T[] = [];
  for (const x of a)
    for (const y of b) {
      const z = both(x, y);
      if (z === undefined) continue;
      out.push(z);
      if (out.length > MAX_ALTERNATIVES)
        throw new UnsupportedSchemaError(path, keyword, `its alternatives multiply to more than ${MAX_ALTERNATIVES}`);
    }
  return out;
}

export function intersect(a: Shape, b: Shape, path: string, keyword: string): Shape {
  if (a === any) return b;
  if (b === any) return a;
  return {
    words: new Set([...a.words].filter((w) => b.words.has(w))),
    numbers: product(a.numbers, b.numbers, intersectNumbers, path, keyword),
    strings: product(a.strings, b.strings, (x, y) => intersectStrings(x, y, path), path, keyword),
    arrays: product(a.arrays, b.arrays, intersectArrays, path, keyword),
    objects: product(a.objects, b.objects, intersectObjects, path, keyword),
  };
}

const isAnyNumber = (r: NumberRange): boolean =>
  r.kind === "any" && !r.low && !r.high && !r.only && !r.multiples.length && !r.notMultiples.length && !r.not.length;
const isAnyString = (s: StringSet): boolean => !s.words && !s.dfa && s.least === 0 && s.most === INFINITY;

/** One list of alternatives; one that allows all makes the others needless. */
function either<T>(lists: readonly (readonly T[])[], isAny: (x: T) => boolean): T[] {
  const all = lists.flat();
  const widest = all.find(isAny);
  return widest === undefined ? [...new Set(all)] : [widest];
}

export function union(shapes: readonly Shape[]): Shape {
  if (shapes.includes(any)) return any;
  return {
    words: new Set(shapes.flatMap((s) => [...s.words])),
    numbers: either(
      shapes.map((s) => s.numbers),
      isAnyNumber,
    ),
    strings: joinWords(
      either(
        shapes.map((s) => s.strings),
        isAnyString,
      ),
    ),
    arrays: either(
      shapes.map((s) => s.arrays),
      (a) => a === anyArray,
    ),
    objects: either(
      shapes.map((s) => s.objects),
      (o) => o === anyObject,
    ),
  };
}

/** Sets of words become one. */
function joinWords(sets: StringSet[]): StringSet[] {
  const listed = sets.filter((s) => s.words);
  if (listed.length < 2) return sets;
  const words = [...new Set(listed.flatMap((s) => s.words!))];
  return [...sets.filter((s) => !s.words), { ...anyString, words }];
}

/** What a name's value must be, in one object. */
export function memberOf({ groups }: ObjectSet, name: string): Lazy {
  const all: Literal[] = [];
  for (const group of groups) {
    const named = group.names.get(name);
    const matching = group.patterns.filter((p) => p.dfa && matches(p.dfa, name));
    if (named) all.push(...named);
    for (const p of matching) all.push(...p.value);
    if (!named && matching.length === 0) all.push(...group.rest);
  }
  return all;
}

/** What the item at `index` must be. */
export const itemOf = ({ groups }: ArraySet, index: number): Lazy => groups.flatMap((g) => g.prefix[index] ?? g.rest);
