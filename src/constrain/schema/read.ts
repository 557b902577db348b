// Schemas -> shapes, read once each: what their keywords mean together.
import { refusing, UnsupportedSchemaError } from "../limits.ts";
import { Document, isObject, type Place } from "./document.ts";
import type { Reading } from "./given.ts";
import { ANNOTATIONS, ENFORCED, misspelt, REFUSED } from "./keywords.ts";
import { meaningOf } from "./meaning.ts";
import { oppositeOf } from "./opposite.ts";
import {
  type ArraySet,
  any,
  intersect,
  itemOf,
  type Lazy,
  type Literal,
  memberOf,
  none,
  type ObjectSet,
  type Shape,
  union,
} from "./shape.ts";

/** What was left out of the grammar: unknown keywords, and refusals that `lenient` turned into a list. */
export interface Note {
  readonly path: string;
  readonly keyword: string;
  readonly why: string;
}

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
  /** What keywords see of this. */
  readonly #within: Reading;

  constructor(schema: unknown, lenient: boolean) {
    this.document = new Document(schema);
    this.#lenient = lenient;
    this.#within = {
      document: this.document,
      literal: (literal) => this.#literal(literal),
      all: (lazy) => this.#shape(lazy),
      surelyEmpty: (lazy) => this.#surelyEmpty(lazy),
    };
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
      const says = this.#keyword(place, keyword, () => meaningOf(this.#within, place, schema, keyword));
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
      this.#keywords(place).map((keyword) =>
        this.#keyword(place, keyword, () => oppositeOf(this.#within, place, schema, keyword)),
      ),
    );
  }
}
