// What each keyword allows.
import { UnsupportedSchemaError } from "../limits.ts";
import { anyNumber } from "../numbers.ts";
import { regexDfa } from "../regex.ts";
import { isObject, type Place, under } from "./document.ts";
import {
  but,
  conditional,
  count,
  formatOf,
  listOf,
  member,
  names,
  negative,
  numberRange,
  ofType,
  only,
  positive,
  type Reading,
  typesOf,
  type Words,
} from "./given.ts";
import { any, anyArray, anyObject, anyString, type Group, intersect, type Lazy, type Shape, union } from "./shape.ts";

/** What one keyword of a schema allows. @throws UnsupportedSchemaError */
export function meaningOf(reader: Reading, place: Place, schema: Record<string, unknown>, keyword: string): Shape {
  const value = schema[keyword];
  const { path } = place;
  const bad = (expected: string): never => {
    throw new UnsupportedSchemaError(path, keyword, `expected ${expected}`);
  };
  switch (keyword) {
    case "type":
      return union(typesOf(value, bad).map((t) => ofType(t)));
    case "enum":
      return union((Array.isArray(value) ? value : bad("a list")).map((v, i) => oneValue(reader, v, under(path, keyword, i))));
    case "const":
      return oneValue(reader, value, under(path, keyword));
    case "minimum":
    case "maximum":
    case "exclusiveMinimum":
    case "exclusiveMaximum":
    case "multipleOf": {
      const range = numberRange(schema, keyword, bad);
      return range ? but({ numbers: [range] }) : any;
    }
    case "minLength":
      return but({ strings: [{ ...anyString, least: count(value, bad) }] });
    case "maxLength":
      return but({ strings: [{ ...anyString, most: count(value, bad) }] });
    case "pattern": {
      const dfa = regexDfa(typeof value === "string" ? value : bad("a text"), path);
      return but({ strings: dfa ? [{ ...anyString, dfa }] : [] });
    }
    case "format":
      return formatOf(place, schema, value);
    case "minItems":
      return but({ arrays: [{ ...anyArray, least: count(value, bad) }] });
    case "maxItems":
      return but({ arrays: [{ ...anyArray, most: count(value, bad) }] });
    case "items":
    case "prefixItems":
    case "additionalItems":
      return itemsOf(reader, place, schema, keyword, bad);
    case "minProperties":
      return but({ objects: [{ ...anyObject, least: count(value, bad) }] });
    case "maxProperties":
      return but({ objects: [{ ...anyObject, most: count(value, bad) }] });
    case "required":
      // Draft 3 wrote true or false in the member's own schema.
      if (typeof value === "boolean") return draft3(place, value);
      return but({ objects: [{ ...anyObject, required: new Set(names(value, bad)) }] });
    case "properties":
    case "patternProperties":
    case "additionalProperties":
      return membersOf(reader, place, schema, keyword, bad);
    case "propertyNames": {
      const sets = reader.all([positive(reader.document.at(place, keyword))]).strings;
      if (sets.length > 1) throw new UnsupportedSchemaError(path, keyword, "names of several kinds");
      return but({ objects: sets.length ? [{ ...anyObject, nameSets: sets }] : [{ ...anyObject, most: 0 }] });
    }
    case "$ref":
      return reader.literal(positive(reader.document.resolve(typeof value === "string" ? value : bad("a text"), place)));
    case "allOf":
      return reader.all(listOf(reader, place, keyword, bad).map(positive));
    case "anyOf":
      return union(listOf(reader, place, keyword, bad).map((p) => reader.literal(positive(p))));
    case "oneOf":
      return oneOf(reader, place, listOf(reader, place, keyword, bad));
    case "not":
      return reader.literal(negative(reader.document.at(place, keyword)));
    case "if":
      return conditional(reader, place, schema, false);
    case "then":
    case "else":
      return any;
    case "dependentRequired":
    case "dependentSchemas":
    case "dependencies":
      return dependent(reader, place, keyword, bad);
    case "uniqueItems":
      if (value !== true) return any;
      // One item is unlike no other.
      if (typeof schema["maxItems"] === "number" && schema["maxItems"] <= 1) return any;
      break;
    case "minContains":
    case "maxContains":
      if (!("contains" in schema)) return any;
      break;
    case "unevaluatedItems":
    case "unevaluatedProperties":
      if (value === true || (isObject(value) && Object.keys(value).length === 0)) return any;
      break;
  }
  throw new UnsupportedSchemaError(path, keyword, "not enforced");
}

/** One value alone. */
function oneValue(reader: Reading, value: unknown, path: string): Shape {
  if (value === null || typeof value === "boolean") return only({ words: new Set([String(value) as Words]) });
  if (typeof value === "number") return only({ numbers: [{ ...anyNumber, only: [value] }] });
  if (typeof value === "string") return only({ strings: [{ ...anyString, words: [value] }] });
  const place = (v: unknown, i: string | number): Lazy => [
    { schema: { const: v }, path: under(path, i), base: reader.document.root.base, negated: false },
  ];
  const never: Lazy = [{ schema: false, path, base: reader.document.root.base, negated: false }];
  if (Array.isArray(value))
    return only({ arrays: [{ groups: [{ prefix: value.map(place), rest: never }], least: value.length, most: value.length }] });
  const entries = Object.entries(value as object);
  const group: Group = { names: new Map(entries.map(([name, v]) => [name, place(v, name)])), patterns: [], rest: never };
  return only({ objects: [{ ...anyObject, groups: [group], required: new Set(entries.map(([name]) => name)) }] });
}

/** `items` and what stands before and behind it, read together where the first of them stands. */
function itemsOf(
  reader: Reading,
  place: Place,
  schema: Record<string, unknown>,
  keyword: string,
  bad: (expected: string) => never,
): Shape {
  const group = ["prefixItems", "items", "additionalItems"].find((k) => k in schema);
  if (keyword !== group) return any;
  const { document } = reader;
  const listed = "prefixItems" in schema ? "prefixItems" : Array.isArray(schema["items"]) ? "items" : undefined;
  const prefix = listed ? (Array.isArray(schema[listed]) ? (schema[listed] as unknown[]) : bad("a list of schemas")) : [];
  // Beside a list in `items`, additionalItems is for the rest; beside a schema it says nothing.
  const rest = listed === "items" ? "additionalItems" : "items";
  const after: Lazy = rest in schema ? [positive(document.at(place, rest))] : [];
  return but({
    arrays: [
      { ...anyArray, groups: [{ prefix: prefix.map((_, i) => [positive(document.at(place, listed!, i))]), rest: after }] },
    ],
  });
}

/** The three keywords of members, read together where the first of them stands. */
function membersOf(
  reader: Reading,
  place: Place,
  schema: Record<string, unknown>,
  keyword: string,
  bad: (expected: string) => never,
): Shape {
  const first = ["properties", "patternProperties", "additionalProperties"].find((k) => k in schema);
  if (keyword !== first) return any;
  const { document } = reader;
  const named = schema["properties"] ?? {};
  const byPattern = schema["patternProperties"] ?? {};
  if (!isObject(named) || !isObject(byPattern)) return bad("an object");
  const group: Group = {
    names: new Map(Object.keys(named).map((name) => [name, [positive(document.at(place, "properties", name))]])),
    patterns: Object.keys(byPattern).map((source) => ({
      source,
      dfa: regexDfa(source, under(place.path, "patternProperties"), false, "patternProperties"),
      value: [positive(document.at(place, "patternProperties", source))],
    })),
    rest: "additionalProperties" in schema ? [positive(document.at(place, "additionalProperties"))] : [],
  };
  const required = Object.entries(named).filter(([, s]) => isObject(s) && s["required"] === true);
  return but({ objects: [{ ...anyObject, groups: [group], required: new Set(required.map(([name]) => name)) }] });
}

function draft3(place: Place, value: boolean): Shape {
  if (!value) return any;
  // Seen to by the object that the member is of; elsewhere it has no meaning.
  if (/\/properties\/[^/]*$/.test(place.path)) return any;
  throw new UnsupportedSchemaError(place.path, "required", "expected a list of names");
}

function oneOf(reader: Reading, place: Place, list: readonly Place[]): Shape {
  const lits = list.map(positive);
  const shapes = lits.map((l) => reader.literal(l));
  const overlaps = lits.some((a, i) => lits.some((b, j) => j < i && !reader.surelyEmpty([a, b])));
  if (!overlaps) return union(shapes);
  try {
    return union(lits.map((l, i) => reader.all([l, ...list.filter((_, j) => j !== i).map(negative)])));
  } catch (error) {
    if (!(error instanceof UnsupportedSchemaError)) throw error;
    throw new UnsupportedSchemaError(
      place.path,
      "oneOf",
      `its branches may overlap, and cannot be told apart (${error.message})`,
    );
  }
}

function dependent(reader: Reading, place: Place, keyword: string, bad: (expected: string) => never): Shape {
  const value = (place.schema as Record<string, unknown>)[keyword];
  if (!isObject(value)) return bad("an object");
  let shape = any;
  for (const [name, needs] of Object.entries(value)) {
    const absent = only({
      objects: [member(name, [{ schema: false, path: place.path, base: place.base, negated: false }], false)],
    });
    const others = but({ objects: [] });
    const has = only({ objects: [{ ...anyObject, required: new Set([name]) }] });
    const then = Array.isArray(needs)
      ? but({ objects: [{ ...anyObject, required: new Set(names(needs, bad)) }] })
      : reader.literal(positive(reader.document.at(place, keyword, name)));
    const says = union([others, absent, intersect(has, then, place.path, keyword)]);
    shape = intersect(shape, says, place.path, keyword);
  }
  return shape;
}
