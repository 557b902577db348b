// A schema as a document: its resources, anchors and references, and which draft it is read by.
import { MAX_NESTING, UnsupportedSchemaError } from "../limits.ts";

/** A subschema: what it says, where it stands, and which resource's URI its references are relative to. */
export interface Place {
  readonly schema: unknown;
  readonly path: string;
  readonly base: string;
}

/** Keywords whose values are schemas, or lists of them. Nothing else holds any: an `$id` elsewhere is data. */
const APPLICATORS = new Set(
  "items additionalItems prefixItems contains additionalProperties propertyNames unevaluatedItems unevaluatedProperties if then else not allOf anyOf oneOf contentSchema extends disallow".split(
    " ",
  ),
);

const ROOT = "https://schema.invalid/";
/** Keywords whose values are schemas by name. */
export const BY_NAME = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"]);

const pointerName = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");
export const under = (path: string, ...names: (string | number)[]): string =>
  names.reduce<string>((p, name) => `${p}/${pointerName(String(name))}`, path);

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Resolves a reference; undefined where it is none. */
function resolve(reference: string, base: string): string | undefined {
  // Within the document, spelled plainly: what URL would make of it, sooner.
  if (/^#[\w/.~-]*$/.test(reference)) {
    const hash = base.indexOf("#");
    return (hash < 0 ? base : base.slice(0, hash)) + reference;
  }
  try {
    return new URL(reference, base).href;
  } catch {
    return undefined;
  }
}

export class Document {
  readonly root: Place;
  /** Drafts up to 7: `$ref` hides what stands beside it, and `$id` may be an anchor. */
  readonly old: boolean;
  readonly #resources = new Map<string, Place>();
  /** What references name, by the base they are read from. */
  readonly #named = new Map<string, Map<string, Place>>();
  readonly #anchors = new Map<string, Place>();

  constructor(schema: unknown) {
    const named = isObject(schema) && typeof schema["$schema"] === "string" ? schema["$schema"] : "";
    this.old = /draft-0[3-7]/.test(named);
    this.root = this.#scan(schema, "", ROOT, 0);
    if (!this.#resources.has(ROOT)) this.#resources.set(ROOT, this.root);
  }

  /** Finds resources and anchors in a schema and below it. */
  #scan(schema: unknown, path: string, base: string, depth: number): Place {
    if (depth > MAX_NESTING) throw new UnsupportedSchemaError(path, "nesting", `more than ${MAX_NESTING} levels deep`);
    if (!isObject(schema)) return { schema, path, base };
    const id = schema["$id"] ?? (this.old ? schema["id"] : undefined);
    if (typeof id === "string" && !(this.old && "$ref" in schema)) {
      if (id.startsWith("#")) this.#anchors.set(base.split("#")[0] + id, { schema, path, base });
      else {
        const own = resolve(id, base)?.replace(/#$/, "");
        if (own !== undefined) {
          base = own;
          this.#resources.set(own, { schema, path, base });
        }
      }
    }
    const place = { schema, path, base };
    for (const key of ["$anchor", "$dynamicAnchor"]) {
      const anchor = schema[key];
      if (typeof anchor === "string") this.#anchors.set(`${base}#${anchor}`, place);
    }
    for (const [key, value] of Object.entries(schema)) {
      if (typeof value !== "object" || value === null || !(APPLICATORS.has(key) || BY_NAME.has(key))) continue;
      if (Array.isArray(value)) for (let i = 0; i < value.length; i++) this.#scan(value[i], under(path, key, i), base, depth + 1);
      else if (BY_NAME.has(key))
        for (const [name, sub] of Object.entries(value)) this.#scan(sub, under(path, key, name), base, depth + 1);
      else this.#scan(value, under(path, key), base, depth + 1);
    }
    return place;
  }

  /** A subschema of a place. */
  at({ schema, path, base }: Place, ...names: (string | number)[]): Place {
    let at = schema as Record<string | number, unknown>;
    for (const name of names) at = at[name] as Record<string | number, unknown>;
    return this.#based({ schema: at, path: under(path, ...names), base });
  }

  #based(place: Place): Place {
    const { schema, base } = place;
    if (!isObject(schema)) return place;
    const id = schema["$id"] ?? (this.old ? schema["id"] : undefined);
    if (typeof id !== "string" || id.startsWith("#") || (this.old && "$ref" in schema)) return place;
    const own = resolve(id, base)?.replace(/#$/, "");
    return own === undefined ? place : { ...place, base: own };
  }

  /** What a reference names. @throws UnsupportedSchemaError where nothing in this document has that name */
  resolve(reference: string, from: Place): Place {
    let known = this.#named.get(from.base);
    if (!known) this.#named.set(from.base, (known = new Map()));
    let place = known.get(reference);
    if (!place) known.set(reference, (place = this.#resolve(reference, from)));
    return place;
  }

  #resolve(reference: string, from: Place): Place {
    const refuse = (why: string): never => {
      throw new UnsupportedSchemaError(from.path, "$ref", `${JSON.stringify(reference.slice(0, 120))} ${why}`);
    };
    const full = resolve(reference, from.base);
    if (full === undefined) return refuse("is no reference");
    const hash = full.indexOf("#");
    const uri = hash < 0 ? full : full.slice(0, hash);
    const fragment = hash < 0 ? "" : full.slice(hash + 1);
    const resource = this.#resources.get(uri) ?? (uri === ROOT ? this.root : undefined);
    if (!resource) return refuse("is not part of this schema; put what it names into $defs");
    if (fragment === "") return resource;
    if (!fragment.startsWith("/")) {
      const anchor = this.#anchors.get(`${uri}#${fragment}`) ?? this.#anchors.get(`${uri}#${safeDecode(fragment)}`);
      return anchor ?? refuse("names no anchor of this schema");
    }
    let at: Place = resource;
    for (const part of fragment.slice(1).split("/")) {
      const name = safeDecode(part).replaceAll("~1", "/").replaceAll("~0", "~");
      const value = at.schema as Record<string, unknown>;
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, name))
        return refuse("names nothing in this schema");
      at = this.#based({ schema: value[name], path: under(at.path, name), base: at.base });
    }
    return at;
  }
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
