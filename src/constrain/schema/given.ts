// What keywords are given: types, lists, counts, names, ranges of numbers; and shapes of one kind.
import { formats, numberFormats, plainFormats } from "../formats.ts";
import { UnsupportedSchemaError } from "../limits.ts";
import { anyNumber, type NumberRange } from "../numbers.ts";
import { regexDfa } from "../regex.ts";
import type { Document, Place } from "./document.ts";
import {
  any,
  anyArray,
  anyObject,
  anyString,
  type Group,
  type Lazy,
  type Literal,
  none,
  type ObjectSet,
  type Shape,
  union,
} from "./shape.ts";

/** What reading a keyword asks of the schema around it. */
export interface Reading {
  readonly document: Document;
  literal(literal: Literal): Shape;
  /** What all of these allow. */
  all(lazy: Lazy): Shape;
  surelyEmpty(lazy: Lazy): boolean;
}

export type Words = "null" | "true" | "false";
export const TYPES = ["null", "boolean", "object", "array", "number", "integer", "string"];
export const only = (part: Partial<Shape>): Shape => ({ ...none, ...part });
export const but = (part: Partial<Shape>): Shape => ({ ...any, ...part });
export const positive = (place: Place): Literal => ({ ...place, negated: false });
export const negative = (place: Place): Literal => ({ ...place, negated: true });

export function typesOf(value: unknown, bad: (expected: string) => never): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  for (const t of list) if (typeof t !== "string" || !TYPES.includes(t)) bad(`one of ${TYPES.join(", ")}`);
  return list as string[];
}

/** The schemas that a keyword lists. */
export function listOf(reader: Reading, place: Place, keyword: string, bad: (expected: string) => never): Place[] {
  const value = (place.schema as Record<string, unknown>)[keyword];
  if (!Array.isArray(value) || value.length === 0) return bad("a list of schemas");
  return value.map((_, i) => reader.document.at(place, keyword, i));
}

export function ofType(type: string): Shape {
  switch (type) {
    case "null":
      return only({ words: new Set(["null"]) });
    case "boolean":
      return only({ words: new Set(["true", "false"]) });
    case "number":
      return only({ numbers: [anyNumber] });
    case "integer":
      return only({ numbers: [{ ...anyNumber, kind: "integer" }] });
    case "string":
      return only({ strings: [anyString] });
    case "array":
      return only({ arrays: [anyArray] });
    default:
      return only({ objects: [anyObject] });
  }
}

/** An object in which `name`'s value is as said, and stands there if `required`. */
export function member(name: string, value: Lazy, required: boolean): ObjectSet {
  const group: Group = { names: new Map([[name, value]]), patterns: [], rest: [] };
  return { ...anyObject, groups: [group], required: new Set(required ? [name] : []) };
}

export function count(value: unknown, bad: (expected: string) => never): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0) return bad("a whole number from 0 on");
  return value;
}

export function names(value: unknown, bad: (expected: string) => never): string[] {
  if (!Array.isArray(value) || value.some((v) => typeof v !== "string")) return bad("a list of names");
  return value as string[];
}

/** What one keyword of numbers says; draft 4's boolean `exclusive…` is read with its bound. Undefined: nothing. */
export function numberRange(
  schema: Record<string, unknown>,
  keyword: string,
  bad: (expected: string) => never,
): NumberRange | undefined {
  const value = schema[keyword];
  if (keyword.startsWith("exclusive") && typeof value === "boolean") return undefined;
  if (typeof value !== "number" || !Number.isFinite(value)) return bad("a number");
  if (keyword === "multipleOf") return value > 0 ? { ...anyNumber, multiples: [value] } : bad("a number above 0");
  const low = keyword === "minimum" || keyword === "exclusiveMinimum";
  const exclusive = keyword.startsWith("exclusive") || schema[low ? "exclusiveMinimum" : "exclusiveMaximum"] === true;
  return { ...anyNumber, ...(low ? { low: { value, exclusive } } : { high: { value, exclusive } }) };
}

/** if, then, else; `opposite`: what they do not allow. */
export function conditional(reader: Reading, place: Place, schema: Record<string, unknown>, opposite: boolean): Shape {
  const { document } = reader;
  const test = document.at(place, "if");
  const branch = (keyword: string): Place =>
    keyword in schema ? document.at(place, keyword) : { schema: true, path: place.path, base: place.base };
  const sign = opposite ? negative : positive;
  if (!("then" in schema) && !("else" in schema)) return opposite ? none : any;
  return union([reader.all([positive(test), sign(branch("then"))]), reader.all([negative(test), sign(branch("else"))])]);
}

/** What `format` says, where there can be strings. */
export function formatOf(place: Place, schema: Record<string, unknown>, value: unknown): Shape {
  if (typeof value !== "string") throw new UnsupportedSchemaError(place.path, "format", "expected a text");
  const number = Object.hasOwn(numberFormats, value) ? numberFormats[value] : undefined;
  if (number) {
    const bound = (v: number | undefined) => (v === undefined ? undefined : { value: v, exclusive: false });
    const kind = number.integer ? "integer" : "any";
    return but({ numbers: [{ ...anyNumber, kind, low: bound(number.low), high: bound(number.high) }] });
  }
  const pattern = Object.hasOwn(formats, value) ? formats[value] : undefined;
  // A format of strings says nothing where there can be none.
  const types = schema["type"];
  const strings = types === undefined || types === "string" || (Array.isArray(types) && types.includes("string"));
  if (!strings) return any;
  if (pattern === undefined)
    throw new UnsupportedSchemaError(
      place.path,
      "format",
      `${JSON.stringify(value)} is not enforced; the known ones are ${Object.keys(formats).join(", ")}`,
    );
  const bounded = "maxLength" in schema || "minLength" in schema;
  const dfa = regexDfa((bounded && plainFormats[value]) || pattern, place.path, true, "format");
  return but({ strings: dfa ? [{ ...anyString, dfa }] : [] });
}
