// Sets of JSON numbers, and the texts that write them.
import type { Dfa } from "./dfa.ts";
import { alt, chars, literal, optional, type Part, repeat, seq } from "./grammar.ts";
import { MAX_STRING_STATES, tooLarge } from "./limits.ts";
import { combine, dfaOf } from "./strings.ts";

export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** Numbers between bounds, of a kind, that are (and are not) multiples of some. */
export interface NumberRange {
  /** "fraction": those that are no integers. */
  readonly kind: "any" | "integer" | "fraction";
  readonly low: Bound | undefined;
  readonly high: Bound | undefined;
  readonly multiples: readonly number[];
  readonly notMultiples: readonly number[];
  /** Single numbers that are not in it. */
  readonly not: readonly number[];
  /** Only these of them, written as JSON.stringify does. */
  readonly only?: readonly number[] | undefined;
}

export const anyNumber: NumberRange = {
  kind: "any",
  low: undefined,
  high: undefined,
  multiples: [],
  notMultiples: [],
  not: [],
};

const tighter = (a: Bound | undefined, b: Bound | undefined, sign: 1 | -1): Bound | undefined => {
  if (!a || !b) return a ?? b;
  if (a.value === b.value) return a.exclusive ? a : b;
  return sign * (a.value - b.value) > 0 ? a : b;
};

/** Numbers in both; undefined: there are none. */
export function intersectNumbers(a: NumberRange, b: NumberRange): NumberRange | undefined {
  if (a.kind !== b.kind && a.kind !== "any" && b.kind !== "any") return undefined;
  const range: NumberRange = {
    kind: a.kind === "any" ? b.kind : a.kind,
    low: tighter(a.low, b.low, 1),
    high: tighter(a.high, b.high, -1),
    multiples: [...new Set([...a.multiples, ...b.multiples])],
    notMultiples: [...new Set([...a.notMultiples, ...b.notMultiples])],
    not: [...new Set([...a.not, ...b.not])],
    only: a.only && b.only ? a.only.filter((x) => b.only!.includes(x)) : (a.only ?? b.only),
  };
  return isEmptyRange(range) ? undefined : range;
}

function isEmptyRange(range: NumberRange): boolean {
  const { kind, low, high, multiples, notMultiples, not, only } = range;
  if (only) return !only.some((x) => contains(range, x));
  if (multiples.some((m) => notMultiples.includes(m))) return true;
  if (kind === "fraction" && multiples.some((m) => Number.isInteger(m))) return true;
  if (!low || !high) return false;
  if (low.value > high.value || (low.value === high.value && (low.exclusive || high.exclusive))) return true;
  if (low.value === high.value) return !contains({ kind, low, high, multiples, notMultiples, not }, low.value);
  if (kind !== "integer") return false;
  const first = low.exclusive ? Math.floor(low.value) + 1 : Math.ceil(low.value);
  const last = high.exclusive ? Math.ceil(high.value) - 1 : Math.floor(high.value);
  if (first > last) return true;
  if (last - first > 1000) return false;
  for (let x = first; x <= last; x++) if (contains({ kind, low, high, multiples, notMultiples, not }, x)) return false;
  return true;
}

export function isMultiple(x: number, m: number): boolean {
  if (Number.isInteger(x) && Number.isInteger(m)) return x % m === 0;
  const [p, q] = [decimal(x), decimal(m)];
  const scale = Math.max(p.scale, q.scale);
  return (p.digits * 10n ** BigInt(scale - p.scale)) % (q.digits * 10n ** BigInt(scale - q.scale)) === 0n;
}

export function contains(r: NumberRange, x: number): boolean {
  if (r.kind === "integer" && !Number.isInteger(x)) return false;
  if (r.kind === "fraction" && Number.isInteger(x)) return false;
  if (r.low && (x < r.low.value || (r.low.exclusive && x === r.low.value))) return false;
  if (r.high && (x > r.high.value || (r.high.exclusive && x === r.high.value))) return false;
  if (r.not.includes(x) || (r.only && !r.only.includes(x))) return false;
  return r.multiples.every((m) => isMultiple(x, m)) && !r.notMultiples.some((m) => isMultiple(x, m));
}

/** A finite number exactly: digits / 10^scale. */
interface Decimal {
  readonly digits: bigint;
  readonly scale: number;
}

function decimal(x: number): Decimal {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(x))!;
  const fraction = match[3] ?? "";
  const exponent = Number(match[4] ?? 0);
  let digits = BigInt(match[2]! + fraction);
  let scale = fraction.length - exponent;
  if (scale < 0) {
    digits *= 10n ** BigInt(-scale);
    scale = 0;
  }
  return { digits: match[1] ? -digits : digits, scale };
}

const digit = chars([0x30, 0x39]);
const between = (low: number, high: number): Part => chars([0x30 + low, 0x30 + high]);

/** Integers from `low` to `high` (undefined: no bound), both at least 0, without leading zeros. */
function integers(low: bigint, high: bigint | undefined): Part[] {
  const parts: Part[] = [];
  if (high !== undefined && low > high) return parts;
  const text = low.toString();
  if (high === undefined) {
    // As many digits as `low` has and at least it, or more digits.
    parts.push(...sameLength(text, "9".repeat(text.length)));
    parts.push(seq(between(1, 9), repeat(digit, text.length)));
    return parts;
  }
  const last = high.toString();
  for (let n = text.length; n <= last.length; n++) {
    const from = n === text.length ? text : `1${"0".repeat(n - 1)}`;
    const to = n === last.length ? last : "9".repeat(n);
    parts.push(...sameLength(from, to));
  }
  return parts;
}

/** Texts of digits from `low` to `high`, of the same length. */
function sameLength(low: string, high: string): Part[] {
  if (low > high) return [];
  let same = 0;
  while (same < low.length && low[same] === high[same]) same++;
  const head = literal(low.slice(0, same));
  if (same === low.length) return [head];
  const rest = low.length - same - 1;
  const [a, b] = [Number(low[same]), Number(high[same])];
  const parts: Part[] = [];
  const push = (first: Part, tail: Part[]) => {
    for (const part of tail) parts.push(seq(head, first, part));
  };
  const all = repeat(digit, rest, rest);
  const lowTail = low.slice(same + 1);
  const highTail = high.slice(same + 1);
  const lowWhole = /^0*$/.test(lowTail);
  const highWhole = /^9*$/.test(highTail);
  const from = lowWhole ? a : a + 1;
  const to = highWhole ? b : b - 1;
  if (!lowWhole) push(between(a, a), sameLength(lowTail, "9".repeat(rest)));
  if (from <= to) push(between(from, to), [rest ? all : seq()]);
  if (!highWhole) push(between(b, b), sameLength("0".repeat(rest), highTail));
  return parts;
}

/** Digits behind the point that make at least (`sign` 1) or at most (-1) `digits`; "" is none at all. */
function fractions(digits: string, sign: 1 | -1, exclusive: boolean): Part[] {
  const parts: Part[] = [];
  const any = repeat(digit, 0);
  for (let i = 0; i < digits.length; i++) {
    const d = Number(digits[i]);
    const head = literal(digits.slice(0, i));
    if (sign > 0 && d < 9) parts.push(seq(head, between(d + 1, 9), any));
    if (sign < 0 && d > 0) parts.push(seq(head, between(0, d - 1), any));
    // Ending here counts as zeros to come.
    if (sign < 0 && i > 0) parts.push(head);
  }
  const whole = literal(digits);
  // A point is never the end.
  const least = digits === "" ? 1 : 0;
  if (sign > 0 && exclusive) parts.push(seq(whole, repeat(literal("0"), 0), between(1, 9), any));
  else if (sign > 0) parts.push(seq(whole, repeat(digit, least)));
  else if (!exclusive) parts.push(seq(whole, repeat(literal("0"), least)));
  return parts;
}

const point = literal(".");
const anyFraction = optional(seq(point, repeat(digit, 1)));
const naturals = alt(literal("0"), seq(between(1, 9), repeat(digit, 0)));

/** Plain decimals of at least 0 between two bounds that are at least 0. */
function positives(low: Bound, high: Bound | undefined): Part[] {
  const split = (b: Bound) => {
    const { digits, scale } = decimal(b.value);
    const unit = 10n ** BigInt(scale);
    const fraction = scale ? (digits % unit).toString().padStart(scale, "0").replace(/0+$/, "") : "";
    return { int: digits / unit, fraction };
  };
  const a = split(low);
  const b = high && split(high);
  const parts: Part[] = [];
  /** The integer part alone, or with a fraction on one side of `fraction`. */
  const edge = (int: bigint, fraction: string, sign: 1 | -1, exclusive: boolean) => {
    const head = literal(int.toString());
    parts.push(...fractions(fraction, sign, exclusive).map((f) => seq(head, point, f)));
    const bare = sign > 0 ? fraction === "" && !exclusive : fraction !== "" || !exclusive;
    if (bare) parts.push(head);
  };
  if (b && a.int === b.int) {
    const where = "number";
    const make = (sign: 1 | -1, fraction: string, exclusive: boolean): Dfa =>
      dfaOf(alt(...fractions(fraction, sign, exclusive)), where);
    const both = combine(make(1, a.fraction, low.exclusive), make(-1, b.fraction, high.exclusive), true, where);
    const nonEmpty = both && combine(both, dfaOf(seq(), where), false, where);
    if (nonEmpty) parts.push(seq(literal(a.int.toString()), point, { kind: "dfa", dfa: nonEmpty }));
    if (a.fraction === "" && !low.exclusive) parts.push(literal(a.int.toString()));
    return parts;
  }
  edge(a.int, a.fraction, 1, low.exclusive);
  if (b) edge(b.int, b.fraction, -1, high.exclusive);
  const middle = integers(a.int + 1n, b ? b.int - 1n : undefined);
  if (middle.length) parts.push(seq(alt(...middle), anyFraction));
  return parts;
}

const zero: Bound = { value: 0, exclusive: false };

/** Plain decimals (no exponent) between bounds; "-0" is left out. */
function decimals(low: Bound | undefined, high: Bound | undefined): Part {
  const parts: Part[] = [];
  if (!high || high.value > 0 || (high.value === 0 && !high.exclusive))
    parts.push(...positives(low && low.value >= 0 ? low : zero, high));
  if (!low || low.value < 0) {
    const from: Bound = high && high.value < 0 ? { ...high, value: -high.value } : { value: 0, exclusive: true };
    const negative = positives(from, low && { ...low, value: -low.value });
    if (negative.length) parts.push(seq(literal("-"), alt(...negative)));
  }
  return alt(...parts);
}

/** Integers between bounds. */
function wholes(low: Bound | undefined, high: Bound | undefined): Part {
  const first = low && BigInt(low.exclusive ? Math.floor(low.value) + 1 : Math.ceil(low.value));
  const last = high && BigInt(high.exclusive ? Math.ceil(high.value) - 1 : Math.floor(high.value));
  const parts: Part[] = [];
  const max = (x: bigint, y: bigint) => (x > y ? x : y);
  if (last === undefined || last >= 0n) parts.push(...integers(max(first ?? 0n, 0n), last));
  if (first === undefined || first < 0n) {
    const negative = integers(last !== undefined && last < 0n ? -last : 1n, first === undefined ? undefined : -first);
    if (negative.length) parts.push(seq(literal("-"), alt(...negative)));
  }
  return alt(...parts);
}

const exponent = optional(seq(chars([0x45, 0x45, 0x65, 0x65]), optional(chars([0x2b, 0x2b, 0x2d, 0x2d])), repeat(digit, 1)));
const anyNumberPart: Part = seq(optional(literal("-")), naturals, anyFraction, exponent);
const anyIntegerPart: Part = seq(optional(literal("-")), naturals);

/** Plain decimals that are multiples of m: the remainder of the digits so far, and how many stand behind the point. */
function multiplesDfa(m: number, path: string): Dfa {
  const { digits, scale } = decimal(m);
  const modulus = digits < 0n ? -digits : digits;
  if (modulus * BigInt(scale + 2) > BigInt(MAX_STRING_STATES)) throw tooLarge(path, `multipleOf ${m} takes too many states`);
  const q = Number(modulus);
  const edges: number[][] = [];
  const accepts: boolean[] = [];
  // 0: start; 1: behind "-"; then (place, remainder); place 0 before the point, i digits behind it, scale + 1: only zeros.
  const id = (place: number, rest: number) => 2 + place * q + rest;
  const weight = (place: number) => Number(10n ** BigInt(scale - Math.min(place, scale)) % modulus);
  const step = (out: number[], place: number, rest: number) => {
    for (let d = 0; d < 10; d++) out.push(0x30 + d, 0x30 + d, id(place, (rest * 10 + d) % q));
  };
  for (const sign of [true, false]) {
    const out: number[] = sign ? [0x2d, 0x2d, 1] : [];
    step(out, 0, 0);
    edges.push(out);
    accepts.push(false);
  }
  for (let place = 0; place <= scale; place++)
    for (let rest = 0; rest < q; rest++) {
      const out: number[] = [];
      // The point itself is a state's edge to the same remainder, one place on without a digit: folded into the first digit.
      if (place === 0) out.push(0x2e, 0x2e, 2 + (scale + 1) * q + rest);
      if (place === 0) step(out, 0, rest);
      else if (place < scale) step(out, place + 1, rest);
      else out.push(0x30, 0x30, id(place, rest));
      edges.push(out);
      accepts.push((rest * weight(place)) % q === 0);
    }
  for (let rest = 0; rest < q; rest++) {
    const out: number[] = [];
    if (scale > 0) step(out, 1, rest);
    else out.push(0x30, 0x30, 2 + (scale + 2) * q + rest);
    edges.push(out);
    accepts.push(false);
  }
  // Integers' multiples: zeros behind the point.
  for (let rest = 0; rest < q; rest++) {
    edges.push(scale === 0 ? [0x30, 0x30, 2 + (scale + 2) * q + rest] : []);
    accepts.push(scale === 0 && rest === 0);
  }
  return { edges, accepts };
}

/** The texts of a set of numbers; undefined: there are none. @throws CpmError "unsupported" beyond the caps */
export function numberPart(r: NumberRange, path: string): Part | undefined {
  if (isEmptyRange(r)) return undefined;
  if (r.only) return alt(...r.only.filter((x) => contains(r, x)).map((x) => literal(JSON.stringify(x))));
  const integer = r.kind === "integer" || r.multiples.some((m) => Number.isInteger(m));
  const plain = r.multiples.length === 0 && r.notMultiples.length === 0 && r.not.length === 0;
  if (plain && r.kind !== "fraction") {
    if (!r.low && !r.high) return integer ? anyIntegerPart : anyNumberPart;
    if (integer) return wholes(r.low, r.high);
    if (!r.high && r.low?.value === 0 && !r.low.exclusive) return seq(naturals, anyFraction, exponent);
    return decimals(r.low, r.high);
  }
  let dfa: Dfa | undefined = dfaOf(integer ? wholes(r.low, r.high) : decimals(r.low, r.high), path);
  const and = (other: Dfa, keep: boolean) => {
    if (dfa) dfa = combine(dfa, other, keep, path);
  };
  if (r.kind === "fraction")
    and(dfaOf(seq(optional(literal("-")), naturals, point, repeat(digit, 0), between(1, 9), repeat(digit, 0)), path), true);
  for (const m of r.multiples) if (!(integer && m === 1)) and(multiplesDfa(m, path), true);
  for (const m of r.notMultiples) and(multiplesDfa(m, path), false);
  for (const x of r.not) {
    const b = { value: x, exclusive: false };
    and(dfaOf(decimals(b, b), path), false);
  }
  return dfa && { kind: "dfa", dfa };
}
