// Keywords -> shapes, for a schema and for its opposite.
import type { Dfa } from "../dfa.ts";
import { formats, numberFormats, plainFormats } from "../formats.ts";
import { refusing, UnsupportedSchemaError } from "../limits.ts";
import { anyNumber, type NumberRange } from "../numbers.ts";
import { regexDfa } from "../regex.ts";
import { anyText, combine, wordsDfa } from "../strings.ts";
import { Document, isObject, type Place, under } from "./document.ts";
import { ANNOTATIONS, ENFORCED, misspelt, REFUSED } from "./keywords.ts";
import {
  type ArraySet,
  any,
  anyArray,
  anyObject,
  anyString,
  type Group,
  intersect,
  itemOf,
  type Lazy,
  type Literal,
  memberOf,
  none,
  type ObjectSet,
  type Shape,
  type StringSet,
  union,
} from "./shape.ts";

/** What was left out of the grammar: unknown keywords, and refusals that `lenient` turned into a list. */
export interface Note {
  readonly path: string;
  readonly keyword: string;
  readonly why: string;
}

type Words = "null" | "true" | "false";
const TYPES = ["null", "boolean", "object", "array", "number", "integer", "string"];
const only = (part: Partial<Shape>): Shape => ({ ...none, ...part });
const but = (part: Partial<Shape>): Shape => ({ ...any, ...part });
const positive = (place: Place): Literal => ({ ...place, negated: false });
const negative = (place: Place): Literal => ({ ...place, negated: true });

export class Reader {
  readonly document: Document;
  readonly ignored: Note[] = [];
  readonly refused: Note[] = [];
  readonly #lenient: boolean;
  readonly #ids = new Map<unknown, Map<string, number>>();
  readonly #shapes = new Map<string, Shape>();
  readonly #reading = new Set<string>();
  readonly #checked = new Set<unknown>();
  readonly #empty = new Map<string, boolean>();
  #count = 0;

  constructor(schema: unknown, lenient: boolean) {
    this.document = new Document(schema);
    this.#lenient = lenient;
  }

  /** A name for what `lazy` allows: equal ones say the same. "" is anything. */
  key(lazy: Lazy): string {
    const ids: string[] = [];
    for (const one of lazy) {
      const l = this.named(one);
      const { schema, negated } = l;
      if (schema === !negated || (isObject(schema) && !negated && Object.keys(schema).length === 0)) continue;
      ids.push((negated ? "-" : "+") + this.#id(l));
    }
    return [...new Set(ids)].sort().join(" ");
  }

  /** What a schema refers to that says nothing else: so that all references to one thing are that thing. */
  named(l: Literal): Literal {
    for (let i = 0; i < 32; i++) {
      const { schema } = l;
      if (!isObject(schema) || typeof schema["$ref"] !== "string") return l;
      for (const name of Object.keys(schema)) if (name !== "$ref" && !(this.document.old || ANNOTATIONS.has(name))) return l;
      try {
        l = { ...this.document.resolve(schema["$ref"], l), negated: l.negated };
      } catch {
        // Reading it will tell.
        return l;
      }
    }
    return l;
  }

  #id({ schema, base }: Literal): number | string {
    if (typeof schema !== "object" || schema === null) return `=${JSON.stringify(schema)}`;
    let byBase = this.#ids.get(schema);
    if (!byBase) this.#ids.set(schema, (byBase = new Map()));
    let id = byBase.get(base);
    if (id === undefined) byBase.set(base, (id = this.#count++));
    return id;
  }

  /** What all of `lazy` allow, without alternatives that surely hold nothing. @throws UnsupportedSchemaError */
  shape(lazy: Lazy): Shape {
    const shape = this.#shape(lazy);
    const arrays = shape.arrays.flatMap((a) => this.#possibleArray(a) ?? []);
    return { ...shape, arrays, objects: shape.objects.filter((o) => this.#possibleObject(o)) };
  }

  #shape(lazy: Lazy): Shape {
    const key = this.key(lazy);
    const known = this.#shapes.get(key);
    if (known) return known;
    let shape = any;
    for (const l of lazy) shape = intersect(shape, this.#literal(l), l.path, "allOf");
    this.#shapes.set(key, shape);
    return shape;
  }

  /** Whether surely nothing is allowed. What is recursive counts as something. */
  isEmpty(lazy: Lazy): boolean {
    const key = this.key(lazy);
    const known = this.#empty.get(key);
    if (known !== undefined) return known;
    this.#empty.set(key, false);
    const { words, numbers, strings, arrays, objects } = this.#shape(lazy);
    const empty =
      words.size + numbers.length + strings.length === 0 &&
      !arrays.some((a) => this.#possibleArray(a)) &&
      !objects.some((o) => this.#possibleObject(o));
    this.#empty.set(key, empty);
    return empty;
  }

  /** Whether every member that must be there can be. */
  #possibleObject(o: ObjectSet): boolean {
    for (const name of o.required) if (this.#surelyEmpty(memberOf(o, name))) return false;
    return true;
  }

  /** The array with as many items as there can be; undefined: fewer than there must be. */
  #possibleArray(a: ArraySet): ArraySet | undefined {
    let { most } = a;
    const prefix = Math.max(0, ...a.groups.map((g) => g.prefix.length));
    for (let i = 0; i <= prefix && i < most; i++) if (this.#surelyEmpty(itemOf(a, i))) most = i;
    return most < a.least ? undefined : most === a.most ? a : { ...a, most };
  }

  /** As isEmpty, of what may just be being read, or cannot be read: then it counts as something. */
  #surelyEmpty(lazy: Lazy): boolean {
    try {
      return this.isEmpty(lazy);
    } catch (error) {
      if (!(error instanceof UnsupportedSchemaError)) throw error;
      this.#empty.delete(this.key(lazy));
      return false;
    }
  }

  #literal(l: Literal): Shape {
    const id = `${l.negated ? "-" : "+"}${this.#id(l)}`;
    const known = this.#shapes.get(id);
    if (known) return known;
    if (this.#reading.has(id))
      throw new UnsupportedSchemaError(l.path, "$ref", "it refers to itself without anything in between");
    this.#reading.add(id);
    try {
      const shape = l.negated ? this.#opposite(l) : this.#meaning(l);
      this.#shapes.set(id, shape);
      return shape;
    } finally {
      this.#reading.delete(id);
    }
  }

  /** Runs the reading of one keyword; what it refuses is noted instead when the reader is lenient. */
  #keyword(place: Place, keyword: string, read: () => Shape): Shape {
    try {
      return refusing(place.path, keyword, read);
    } catch (error) {
      if (!(error instanceof UnsupportedSchemaError)) throw error;
      const named =
        error.path === "" && place.path !== "" ? new UnsupportedSchemaError(place.path, keyword, error.message) : error;
      if (!this.#lenient) throw named;
      const why = named.message;
      if (!this.refused.some((n) => n.path === named.path && n.keyword === named.keyword))
        this.refused.push({ path: named.path, keyword: named.keyword, why });
      return any;
    }
  }

  /** Keywords of a schema object that say something, after those that are unknown or refused were seen to. */
  #keywords(place: Place): string[] {
    const schema = place.schema as Record<string, unknown>;
    if (this.document.old && typeof schema["$ref"] === "string") return ["$ref"];
    const names = Object.keys(schema);
    if (!this.#checked.has(schema)) {
      this.#checked.add(schema);
      for (const name of names)
        if (!ENFORCED.has(name) && !REFUSED.has(name) && !ANNOTATIONS.has(name)) this.#unknown(place, name);
    }
    return names.filter((name) => ENFORCED.has(name) || REFUSED.has(name));
  }

  #unknown(place: Place, name: string): void {
    const meant = misspelt(name);
    if (meant !== undefined)
      this.#keyword(place, name, () => {
        throw new UnsupportedSchemaError(place.path, name, `unknown; is ${meant} meant?`);
      });
    else this.ignored.push({ path: place.path, keyword: name, why: "unknown keywords are annotations" });
  }

  #meaning(place: Place): Shape {
    const { schema, path } = place;
    if (schema === true) return any;
    if (schema === false) return none;
    if (!isObject(schema)) throw new UnsupportedSchemaError(path, "schema", "expected an object, true or false");
    let shape = any;
    for (const keyword of this.#keywords(place)) {
      const says = this.#keyword(place, keyword, () => this.#positive(place, schema, keyword));
      shape = intersect(shape, says, path, keyword);
    }
    return shape;
  }

  /** All that the schema does not allow: what one of its keywords does not. */
  #opposite(place: Place): Shape {
    const { schema, path } = place;
    if (schema === true) return none;
    if (schema === false) return any;
    if (!isObject(schema)) throw new UnsupportedSchemaError(path, "schema", "expected an object, true or false");
    return union(
      this.#keywords(place).map((keyword) => this.#keyword(place, keyword, () => this.#negative(place, schema, keyword))),
    );
  }

  #positive(place: Place, schema: Record<string, unknown>, keyword: string): Shape {
    const value = schema[keyword];
    const { path } = place;
    const bad = (expected: string): never => {
      throw new UnsupportedSchemaError(path, keyword, `expected ${expected}`);
    };
    switch (keyword) {
      case "type":
        return union(this.#types(value, bad).map((t) => ofType(t)));
      case "enum":
        return union((Array.isArray(value) ? value : bad("a list")).map((v, i) => this.#value(v, under(path, keyword, i))));
      case "const":
        return this.#value(value, under(path, keyword));
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
        return this.#format(place, schema, value);
      case "minItems":
        return but({ arrays: [{ ...anyArray, least: count(value, bad) }] });
      case "maxItems":
        return but({ arrays: [{ ...anyArray, most: count(value, bad) }] });
      case "items":
      case "prefixItems":
      case "additionalItems":
        return this.#items(place, schema, keyword, bad);
      case "minProperties":
        return but({ objects: [{ ...anyObject, least: count(value, bad) }] });
      case "maxProperties":
        return but({ objects: [{ ...anyObject, most: count(value, bad) }] });
      case "required":
        // Draft 3 wrote true or false in the member's own schema.
        if (typeof value === "boolean") return this.#draft3(place, value);
        return but({ objects: [{ ...anyObject, required: new Set(names(value, bad)) }] });
      case "properties":
      case "patternProperties":
      case "additionalProperties":
        return this.#members(place, schema, keyword, bad);
      case "propertyNames": {
        const sets = this.#shape([positive(this.document.at(place, keyword))]).strings;
        if (sets.length > 1) throw new UnsupportedSchemaError(path, keyword, "names of several kinds");
        return but({ objects: sets.length ? [{ ...anyObject, nameSets: sets }] : [{ ...anyObject, most: 0 }] });
      }
      case "$ref":
        return this.#literal(positive(this.document.resolve(typeof value === "string" ? value : bad("a text"), place)));
      case "allOf":
        return this.#shape(this.#list(place, keyword, bad).map(positive));
      case "anyOf":
        return union(this.#list(place, keyword, bad).map((p) => this.#literal(positive(p))));
      case "oneOf":
        return this.#oneOf(place, this.#list(place, keyword, bad));
      case "not":
        return this.#literal(negative(this.document.at(place, keyword)));
      case "if":
        return this.#conditional(place, schema, false);
      case "then":
      case "else":
        return any;
      case "dependentRequired":
      case "dependentSchemas":
      case "dependencies":
        return this.#dependent(place, keyword, bad);
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

  #negative(place: Place, schema: Record<string, unknown>, keyword: string): Shape {
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
        const types = new Set(this.#types(value, bad));
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
        return only({ strings: this.#notDfa(dfa, path) });
      }
      case "format": {
        const shape = this.#format(place, schema, value);
        if (shape === any) return none;
        if (shape.numbers !== any.numbers) return refuse();
        const [set] = shape.strings;
        if (!set?.dfa) return refuse();
        return only({ strings: this.#notDfa(set.dfa, path) });
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
            member(name, [negative(this.document.at(place, keyword, name))], true),
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
        return this.#literal(negative(this.document.resolve(typeof value === "string" ? value : bad("a text"), place)));
      case "allOf":
        return union(this.#list(place, keyword, bad).map((p) => this.#literal(negative(p))));
      case "anyOf":
        return this.#shape(this.#list(place, keyword, bad).map(negative));
      case "oneOf": {
        const list = this.#list(place, keyword, bad);
        const shapes = [this.#shape(list.map(negative))];
        for (let i = 0; i < list.length; i++)
          for (let j = 0; j < i; j++) shapes.push(this.#shape([positive(list[i]!), positive(list[j]!)]));
        return union(shapes);
      }
      case "not":
        return this.#literal(positive(this.document.at(place, keyword)));
      case "if":
        return this.#conditional(place, schema, true);
      default:
        return refuse();
    }
  }

  #notDfa(dfa: Dfa | undefined, path: string): StringSet[] {
    if (!dfa) return [anyString];
    const rest = combine(anyText, dfa, false, path);
    return rest ? [{ ...anyString, dfa: rest }] : [];
  }

  #types(value: unknown, bad: (expected: string) => never): string[] {
    const list: unknown[] = Array.isArray(value) ? value : [value];
    for (const t of list) if (typeof t !== "string" || !TYPES.includes(t)) bad(`one of ${TYPES.join(", ")}`);
    return list as string[];
  }

  #list(place: Place, keyword: string, bad: (expected: string) => never): Place[] {
    const value = (place.schema as Record<string, unknown>)[keyword];
    if (!Array.isArray(value) || value.length === 0) return bad("a list of schemas");
    return value.map((_, i) => this.document.at(place, keyword, i));
  }

  /** One value alone. */
  #value(value: unknown, path: string): Shape {
    if (value === null || typeof value === "boolean") return only({ words: new Set([String(value) as Words]) });
    if (typeof value === "number") return only({ numbers: [{ ...anyNumber, only: [value] }] });
    if (typeof value === "string") return only({ strings: [{ ...anyString, words: [value] }] });
    const place = (v: unknown, i: string | number): Lazy => [
      { schema: { const: v }, path: under(path, i), base: this.document.root.base, negated: false },
    ];
    const never: Lazy = [{ schema: false, path, base: this.document.root.base, negated: false }];
    if (Array.isArray(value))
      return only({ arrays: [{ groups: [{ prefix: value.map(place), rest: never }], least: value.length, most: value.length }] });
    const entries = Object.entries(value as object);
    const group: Group = { names: new Map(entries.map(([name, v]) => [name, place(v, name)])), patterns: [], rest: never };
    return only({ objects: [{ ...anyObject, groups: [group], required: new Set(entries.map(([name]) => name)) }] });
  }

  #format(place: Place, schema: Record<string, unknown>, value: unknown): Shape {
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

  /** `items` and what stands before and behind it, read together where the first of them stands. */
  #items(place: Place, schema: Record<string, unknown>, keyword: string, bad: (expected: string) => never): Shape {
    const group = ["prefixItems", "items", "additionalItems"].find((k) => k in schema);
    if (keyword !== group) return any;
    const { document } = this;
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
  #members(place: Place, schema: Record<string, unknown>, keyword: string, bad: (expected: string) => never): Shape {
    const first = ["properties", "patternProperties", "additionalProperties"].find((k) => k in schema);
    if (keyword !== first) return any;
    const { document } = this;
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

  #draft3(place: Place, value: boolean): Shape {
    if (!value) return any;
    // Seen to by the object that the member is of; elsewhere it has no meaning.
    if (/\/properties\/[^/]*$/.test(place.path)) return any;
    throw new UnsupportedSchemaError(place.path, "required", "expected a list of names");
  }

  #oneOf(place: Place, list: readonly Place[]): Shape {
    const lits = list.map(positive);
    const shapes = lits.map((l) => this.#literal(l));
    const overlaps = lits.some((a, i) => lits.some((b, j) => j < i && !this.#surelyEmpty([a, b])));
    if (!overlaps) return union(shapes);
    try {
      return union(lits.map((l, i) => this.#shape([l, ...list.filter((_, j) => j !== i).map(negative)])));
    } catch (error) {
      if (!(error instanceof UnsupportedSchemaError)) throw error;
      throw new UnsupportedSchemaError(
        place.path,
        "oneOf",
        `its branches may overlap, and cannot be told apart (${error.message})`,
      );
    }
  }

  /** if, then, else; `opposite`: what they do not allow. */
  #conditional(place: Place, schema: Record<string, unknown>, opposite: boolean): Shape {
    const { document } = this;
    const test = document.at(place, "if");
    const branch = (keyword: string): Place =>
      keyword in schema ? document.at(place, keyword) : { schema: true, path: place.path, base: place.base };
    const sign = opposite ? negative : positive;
    if (!("then" in schema) && !("else" in schema)) return opposite ? none : any;
    return union([this.#shape([positive(test), sign(branch("then"))]), this.#shape([negative(test), sign(branch("else"))])]);
  }

  #dependent(place: Place, keyword: string, bad: (expected: string) => never): Shape {
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
        : this.#literal(positive(this.document.at(place, keyword, name)));
      const says = union([others, absent, intersect(has, then, place.path, keyword)]);
      shape = intersect(shape, says, place.path, keyword);
    }
    return shape;
  }
}

function ofType(type: string): Shape {
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
function member(name: string, value: Lazy, required: boolean): ObjectSet {
  const group: Group = { names: new Map([[name, value]]), patterns: [], rest: [] };
  return { ...anyObject, groups: [group], required: new Set(required ? [name] : []) };
}

const upTo = (most: number, make: (most: number) => Shape): Shape => (most < 0 ? none : make(most));

function count(value: unknown, bad: (expected: string) => never): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0) return bad("a whole number from 0 on");
  return value;
}

function names(value: unknown, bad: (expected: string) => never): string[] {
  if (!Array.isArray(value) || value.some((v) => typeof v !== "string")) return bad("a list of names");
  return value as string[];
}

/** What one keyword of numbers says; draft 4's boolean `exclusive…` is read with its bound. Undefined: nothing. */
function numberRange(
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
