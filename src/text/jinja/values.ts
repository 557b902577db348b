// Python's values as chat templates see them: None is null, int a bigint, float a number, str a string.
import { codePoints, compareText, floatText, quoted } from "./strings.ts";

/** What a template asked for and is not there. Printing it gives nothing, iterating it nothing; all else fails. */
export class Undefined {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}
export class PyList {
  readonly items: readonly Value[];
  /** The JSON text this came from, when a caller passed text where templates may want either. */
  readonly source: string | undefined;
  constructor(items: readonly Value[], source?: string) {
    this.items = items;
    this.source = source;
  }
}
export class PyTuple {
  readonly items: readonly Value[];
  /** Names of the items, in a named tuple. */
  readonly names: readonly string[] | undefined;
  constructor(items: readonly Value[], names?: readonly string[]) {
    this.items = items;
    this.names = names;
  }
}
/** By hashed key, in the order of insertion. */
export class PyDict {
  readonly map = new Map<string, readonly [Value, Value]>();
  readonly source: string | undefined;
  constructor(entries: Iterable<readonly [Value, Value]> = [], source?: string) {
    for (const [key, value] of entries) this.set(key, value);
    this.source = source;
  }
  set(key: Value, value: Value): void {
    const at = hashKey(key);
    this.map.set(at, [this.map.get(at)?.[0] ?? key, value]);
  }
  get(key: Value): Value | undefined {
    return this.map.get(hashKey(key))?.[1];
  }
  has(key: Value): boolean {
    return this.map.has(hashKey(key));
  }
  entries(): (readonly [Value, Value])[] {
    return [...this.map.values()];
  }
}
export class PyRange {
  readonly start: bigint;
  readonly stop: bigint;
  readonly step: bigint;
  readonly items: readonly bigint[];
  constructor(start: bigint, stop: bigint, step: bigint) {
    if (step === 0n) throw new Error("ValueError: range() arg 3 must not be zero");
    const span = step > 0n ? stop - start : start - stop;
    const unit = step > 0n ? step : -step;
    const count = span <= 0n ? 0n : (span + unit - 1n) / unit;
    if (count > 100_000n) throw new Error(`range() of ${count} numbers; at most 100000 are allowed`);
    [this.start, this.stop, this.step] = [start, stop, step];
    this.items = Array.from({ length: Number(count) }, (_, i) => start + BigInt(i) * step);
  }
}
/** dict.keys(), .values() and .items(). */
export class PyView {
  readonly kind: "dict_keys" | "dict_values" | "dict_items";
  readonly items: readonly Value[];
  constructor(kind: PyView["kind"], items: readonly Value[]) {
    this.kind = kind;
    this.items = items;
  }
}
/** What filters like map and select give: iterated once, without a length. */
export class PyGenerator {
  #items: readonly Value[];
  constructor(items: readonly Value[]) {
    this.#items = items;
  }
  take(count = Number.POSITIVE_INFINITY): readonly Value[] {
    const taken = this.#items.slice(0, count);
    this.#items = this.#items.slice(taken.length);
    return taken;
  }
}
export class Namespace {
  readonly attributes = new Map<string, Value>();
}
/** An object with attributes: loop, cycler, joiner. */
export interface Fields {
  readonly fields: ReadonlyMap<string, () => Value>;
}
export class PyObject implements Fields {
  readonly label: string;
  readonly fields: ReadonlyMap<string, () => Value>;
  readonly call: Callable["call"] | undefined;
  constructor(label: string, fields: Iterable<readonly [string, () => Value]>, call?: Callable["call"]) {
    this.label = label;
    this.fields = new Map(fields);
    this.call = call;
  }
}
export interface Args {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}
export class Callable {
  readonly name: string;
  readonly call: (args: Args) => Value;
  readonly fields: ReadonlyMap<string, () => Value>;
  constructor(name: string, call: (args: Args) => Value, fields: Iterable<readonly [string, () => Value]> = []) {
    this.name = name;
    this.call = call;
    this.fields = new Map(fields);
  }
}
export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Undefined
  | PyList
  | PyTuple
  | PyDict
  | PyRange
  | PyView
  | PyGenerator
  | Namespace
  | PyObject
  | Callable;

/** Python's name for the type of a value. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "float";
  if (typeof value === "string") return "str";
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof PyList) return "list";
  if (value instanceof PyTuple) return "tuple";
  if (value instanceof PyDict) return "dict";
  if (value instanceof PyRange) return "range";
  if (value instanceof PyView) return value.kind;
  if (value instanceof PyGenerator) return "generator";
  if (value instanceof Namespace) return "Namespace";
  return value instanceof PyObject ? value.label : "function";
}

/** The error for using what is undefined. */
export const undefinedError = (value: Undefined): Error => new Error(`${value.name} is undefined`);

/** Two keys are the same key where Python's == and hash() say so: 1, 1.0 and True are. */
export function hashKey(key: Value): string {
  if (typeof key === "string") return `s${key}`;
  if (typeof key === "boolean") return key ? "n1" : "n0";
  if (typeof key === "bigint") return `n${key}`;
  if (typeof key === "number") return Number.isInteger(key) ? `n${BigInt(key)}` : `f${key}`;
  if (key === null) return "N";
  if (key instanceof PyTuple) {
    const parts = key.items.map(hashKey);
    return `t${parts.map((part) => `${part.length}:${part}`).join("")}`;
  }
  if (key instanceof Undefined) throw undefinedError(key);
  throw new Error(`TypeError: unhashable type: '${typeName(key)}'`);
}

export function truthy(value: Value): boolean {
  if (value === null || typeof value !== "object") return Boolean(value);
  if (value instanceof Undefined) return false;
  if (value instanceof PyDict) return value.map.size > 0;
  if (value instanceof PyList || value instanceof PyTuple || value instanceof PyRange || value instanceof PyView)
    return value.items.length > 0;
  return true;
}

export const isNumber = (value: Value): value is boolean | bigint | number =>
  typeof value === "boolean" || typeof value === "bigint" || typeof value === "number";
/** Whole numbers: int and bool. */
export const asInt = (value: Value): bigint | undefined =>
  typeof value === "bigint" ? value : typeof value === "boolean" ? (value ? 1n : 0n) : undefined;
export const asFloat = (value: boolean | bigint | number): number => Number(value);

/** The text of a value that is one, or that a caller gave as JSON text. */
export function textOf(value: Value): string | undefined {
  if (typeof value === "string") return value;
  return value instanceof PyDict || value instanceof PyList ? value.source : undefined;
}

export function equal(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [asInt(a) ?? a, asInt(b) ?? b];
    // JavaScript compares a bigint with a number exactly, as Python does.
    // biome-ignore lint/suspicious/noDoubleEquals: see above
    return x == y;
  }
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") {
    if (a === b) return true;
    const [s, t] = [textOf(a), textOf(b)];
    return s !== undefined && s === t;
  }
  if (a instanceof Undefined) return b instanceof Undefined;
  if (
    (a instanceof PyList && b instanceof PyList) ||
    (a instanceof PyTuple && b instanceof PyTuple) ||
    (a instanceof PyRange && b instanceof PyRange)
  )
    return a.items.length === b.items.length && a.items.every((item, i) => equal(item, b.items[i]!));
  if (a instanceof PyDict && b instanceof PyDict) {
    if (a.map.size !== b.map.size) return false;
    for (const [key, [, value]] of a.map) {
      const other = b.map.get(key);
      if (other === undefined || !equal(value, other[1])) return false;
    }
    return true;
  }
  if (a instanceof PyView && b instanceof PyView && a.kind === b.kind && a.kind !== "dict_values")
    return a.items.length === b.items.length && a.items.every((item) => b.items.some((other) => equal(item, other)));
  return a === b;
}

/** Negative, 0 or positive. Throws for what Python does not order. NaN gives NaN. */
export function compare(a: Value, b: Value, sign = "<"): number {
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [asInt(a) ?? a, asInt(b) ?? b];
    return x < y ? -1 : x > y ? 1 : Number.isNaN(x as number) || Number.isNaN(y as number) ? Number.NaN : 0;
  }
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if ((a instanceof PyList && b instanceof PyList) || (a instanceof PyTuple && b instanceof PyTuple)) {
    for (let i = 0; i < a.items.length && i < b.items.length; i++)
      if (!equal(a.items[i]!, b.items[i]!)) return compare(a.items[i]!, b.items[i]!, sign);
    return a.items.length - b.items.length;
  }
  for (const value of [a, b]) if (value instanceof Undefined) throw undefinedError(value);
  throw new Error(`TypeError: '${sign}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** The values that iterating gives. A generator is used up. */
export function iterate(value: Value): readonly Value[] {
  if (typeof value === "string") return codePoints(value);
  if (value instanceof Undefined) return [];
  if (value instanceof PyDict) return [...value.map.values()].map(([key]) => key);
  if (value instanceof PyList || value instanceof PyTuple || value instanceof PyRange || value instanceof PyView)
    return value.items;
  if (value instanceof PyGenerator) return value.take();
  throw new Error(`TypeError: '${typeName(value)}' object is not iterable`);
}

export const isIterable = (value: Value): boolean =>
  typeof value === "string" ||
  (typeof value === "object" &&
    value !== null &&
    !(value instanceof Callable || value instanceof Namespace || value instanceof PyObject));

/** str(value). `spend` is told of every value and character made. */
export function text(value: Value, spend: (work: number) => void): string {
  if (typeof value === "string") return value;
  if (value instanceof Undefined) return "";
  return textOf(value) ?? repr(value, spend);
}

/** Python's repr(). */
export function repr(value: Value, spend: (work: number) => void, depth = 0): string {
  spend(1 / 16);
  if (depth > 300) throw new Error("RecursionError: a value nested more than 300 deep");
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return floatText(value);
  if (typeof value === "string") {
    spend(value.length / 64);
    return quoted(value);
  }
  if (value instanceof Undefined) return "Undefined";
  const list = (items: readonly Value[]) => items.map((item) => repr(item, spend, depth + 1)).join(", ");
  if (value instanceof PyList) return `[${list(value.items)}]`;
  if (value instanceof PyTuple) return `(${list(value.items)}${value.items.length === 1 ? "," : ""})`;
  const pairs = (entries: Iterable<readonly [Value, Value]>) =>
    [...entries].map(([key, item]) => `${repr(key, spend, depth + 1)}: ${repr(item, spend, depth + 1)}`).join(", ");
  if (value instanceof PyDict) return `{${pairs(value.map.values())}}`;
  if (value instanceof PyRange) return `range(${value.start}, ${value.stop}${value.step === 1n ? "" : `, ${value.step}`})`;
  if (value instanceof PyView) return `${value.kind}([${list(value.items)}])`;
  if (value instanceof Namespace) return `<Namespace {${pairs(value.attributes)}}>`;
  return `<${typeName(value)}>`;
}

const MOST_DIGITS = 10n ** 4300n;
/** A whole number that is not too long to be worked with. */
export function bounded(value: bigint): bigint {
  if (value >= MOST_DIGITS || value <= -MOST_DIGITS) throw new Error("it makes a number of more than 4300 characters");
  return value;
}

/** A caller's plain data (already checked) as Python's. */
export function fromJs(value: unknown): Value {
  if (value === null || typeof value === "boolean" || typeof value === "bigint") return value;
  if (typeof value === "number")
    return Number.isInteger(value) && Math.abs(value) < 1e21 && !Object.is(value, -0) ? BigInt(value) : value;
  if (typeof value === "string") return value;
  if (value === undefined) return new Undefined("a value");
  if (
    value instanceof Undefined ||
    value instanceof PyList ||
    value instanceof PyTuple ||
    value instanceof PyDict ||
    value instanceof Callable ||
    value instanceof PyObject ||
    value instanceof PyRange
  )
    return value;
  if (Array.isArray(value)) return new PyList(value.map(fromJs));
  const entries = Object.entries(value as Record<string, unknown>).filter(([, item]) => item !== undefined);
  return new PyDict(entries.map(([key, item]) => [key, fromJs(item)]));
}
