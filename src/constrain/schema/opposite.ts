// What each keyword does not allow.
import type { Dfa } from "../dfa.ts";
import { UnsupportedSchemaError } from "../limits.ts";
import { anyNumber, type NumberRange } from "../numbers.ts";
import { regexDfa } from "../regex.ts";
import { anyText, combine, wordsDfa } from "../strings.ts";
import { isObject, type Place } from "./document.ts";
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
  TYPES,
  typesOf,
  type Words,
} from "./given.ts";
import { any, anyArray, anyObject, anyString, none, type Shape, type StringSet, union } from "./shape.ts";

/** What one keyword of a schema does not allow. @throws UnsupportedSchemaError */
export function oppositeOf(reader: Reading, place: Place, schema: Record<string, unknown>, keyword: string): Shape {
  const value = schema[keyword];
  const { path } = place;
  const bad = (expected: string): never => {
    throw new UnsupportedSchemaError(path, keyword, `expected ${expected}`);
  };
  const refuse = (): never => {
    throw new UnsupportedSchemaError(path, "not", `its opposite of ${keyword} is not enforced`);
  };
  switch (keyword) {
    case "type": {
      const types = new Set(typesOf(value, bad));
      if (types.has("number")) types.add("integer");
      const rest = TYPES.filter((t) => !types.has(t) && t !== "number" && t !== "integer").map((t) => ofType(t));
      const numbers: NumberRange[] = types.has("number")
        ? []
        : [types.has("integer") ? { ...anyNumber, kind: "fraction" } : anyNumber];
      return union([...rest, only({ numbers })]);
    }
    case "then":
    case "else":
      return none;
    case "enum":
    case "const": {
      let shape = any;
      const list = keyword === "const" ? [value] : Array.isArray(value) ? value : bad("a list");
      const texts = list.filter((v) => typeof v === "string") as string[];
      const numbers = list.filter((v) => typeof v === "number") as number[];
      const words = new Set<Words>(["null", "true", "false"]);
      for (const v of list)
        if (v === null || typeof v === "boolean") words.delete(String(v) as Words);
        else if (typeof v === "object") refuse();
      shape = but({ words });
      if (numbers.length) shape = { ...shape, numbers: [{ ...anyNumber, not: numbers }] };
      if (texts.length) {
        const dfa = combine(anyText, wordsDfa(texts, path), false, path);
        shape = { ...shape, strings: dfa ? [{ ...anyString, dfa }] : [] };
      }
      return shape;
    }
    case "minimum":
    case "maximum":
    case "exclusiveMinimum":
    case "exclusiveMaximum": {
      const range = numberRange(schema, keyword, bad);
      if (!range) return none;
      const bound = range.low ?? range.high!;
      const flipped = { value: bound.value, exclusive: !bound.exclusive };
      return only({ numbers: [{ ...anyNumber, ...(range.low ? { high: flipped } : { low: flipped }) }] });
    }
    case "multipleOf": {
      const { multiples } = numberRange(schema, keyword, bad)!;
      return only({ numbers: [{ ...anyNumber, notMultiples: multiples }] });
    }
    case "minLength":
      return upTo(count(value, bad) - 1, (most) => only({ strings: [{ ...anyString, most }] }));
    case "maxLength":
      return only({ strings: [{ ...anyString, least: count(value, bad) + 1 }] });
    case "pattern": {
      const dfa = regexDfa(typeof value === "string" ? value : bad("a text"), path);
      return only({ strings: notDfa(dfa, path) });
    }
    case "format": {
      const shape = formatOf(place, schema, value);
      if (shape === any) return none;
      if (shape.numbers !== any.numbers) return refuse();
      const [set] = shape.strings;
      if (!set?.dfa) return refuse();
      return only({ strings: notDfa(set.dfa, path) });
    }
    case "minItems":
      return upTo(count(value, bad) - 1, (most) => only({ arrays: [{ ...anyArray, most }] }));
    case "maxItems":
      return only({ arrays: [{ ...anyArray, least: count(value, bad) + 1 }] });
    case "minProperties":
      return upTo(count(value, bad) - 1, (most) => only({ objects: [{ ...anyObject, most }] }));
    case "maxProperties":
      return only({ objects: [{ ...anyObject, least: count(value, bad) + 1 }] });
    case "required":
      return only({
        objects: names(value, bad).map((name) =>
          member(name, [{ schema: false, path, base: place.base, negated: false }], false),
        ),
      });
    case "properties":
      return only({
        objects: Object.keys(isObject(value) ? value : bad("an object")).map((name) =>
          member(name, [negative(reader.document.at(place, keyword, name))], true),
        ),
      });
    case "additionalProperties":
      if (value === true || (isObject(value) && Object.keys(value).length === 0)) return none;
      if (value === false && !schema["properties"] && !schema["patternProperties"])
        return only({ objects: [{ ...anyObject, least: 1 }] });
      return refuse();
    case "items":
      if (value === true || (isObject(value) && Object.keys(value).length === 0)) return none;
      return refuse();
    case "$ref":
      return reader.literal(negative(reader.document.resolve(typeof value === "string" ? value : bad("a text"), place)));
    case "allOf":
      return union(listOf(reader, place, keyword, bad).map((p) => reader.literal(negative(p))));
    case "anyOf":
      return reader.all(listOf(reader, place, keyword, bad).map(negative));
    case "oneOf": {
      const list = listOf(reader, place, keyword, bad);
      const shapes = [reader.all(list.map(negative))];
      for (let i = 0; i < list.length; i++)
        for (let j = 0; j < i; j++) shapes.push(reader.all([positive(list[i]!), positive(list[j]!)]));
      return union(shapes);
    }
    case "not":
      return reader.literal(positive(reader.document.at(place, keyword)));
    case "if":
      return conditional(reader, place, schema, true);
    default:
      return refuse();
  }
}

function notDfa(dfa: Dfa | undefined, path: string): StringSet[] {
  if (!dfa) return [anyString];
  const rest = combine(anyText, dfa, false, path);
  return rest ? [{ ...anyString, dfa: rest }] : [];
}

const upTo = (most: number, make: (most: number) => Shape): Shape => (most < 0 ? none : make(most));
