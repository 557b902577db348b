// JSON Schema -> a grammar.
import type { Part } from "../grammar.ts";
import { MAX_SOURCE, UnsupportedSchemaError } from "../limits.ts";
import { isObject, under } from "./document.ts";
import { Emitter, type Whitespace } from "./emit.ts";
import { type Note, Reader } from "./read.ts";

export type { Note, Whitespace };

export interface SchemaOptions {
  /** Default "single": one space may stand behind `,` and `:`. */
  readonly whitespace?: Whitespace | undefined;
  /** Turns refusals into the list `refused`; what they said is then not enforced. */
  readonly lenient?: boolean | undefined;
}

export interface SchemaGrammar {
  readonly part: Part;
  /** Unknown keywords, which are annotations. */
  readonly ignored: readonly Note[];
  /** What is not enforced; empty unless lenient. */
  readonly refused: readonly Note[];
}

/**
 * The grammar of the JSON texts that a schema allows: members in the order of `properties`, those that it does not name
 * last. JSON Schema 2020-12; drafts 4 to 7 are read where `$schema` names them.
 * @throws UnsupportedSchemaError naming path and keyword of what cannot be enforced
 */
export function schemaGrammar(schema: unknown, options: SchemaOptions = {}): SchemaGrammar {
  if (typeof schema !== "boolean" && !isObject(schema))
    throw new UnsupportedSchemaError("", "schema", "expected an object, true or false");
  const reader = readSchema(schema, options);
  const emitter = new Emitter(reader, options.whitespace ?? "single");
  const part = emitter.value([{ ...reader.document.root, negated: false }], "");
  return { part, ignored: reader.ignored, refused: reader.refused };
}

/** A schema, checked in size and ready to be read. @throws UnsupportedSchemaError */
export function readSchema(schema: boolean | Readonly<Record<string, unknown>>, { lenient = false }: SchemaOptions = {}): Reader {
  checkSize(schema);
  return new Reader(schema, lenient);
}

/** Values of a schema, at most. */
const MAX_VALUES = 1_000_000;

/** Refuses what is too large or deep before anything walks it by recursion. */
function checkSize(schema: unknown): void {
  let size = 0;
  let values = 0;
  const stack: [value: unknown, path: string, depth: number][] = [[schema, "", 0]];
  for (let top = stack.pop(); top; top = stack.pop()) {
    const [value, path, depth] = top;
    if (++values > MAX_VALUES) throw new UnsupportedSchemaError(path, "size", `more than ${MAX_VALUES} values`);
    if (typeof value === "string") size += value.length;
    if (size > MAX_SOURCE) throw new UnsupportedSchemaError(path, "size", `more than ${MAX_SOURCE} characters`);
    if (typeof value !== "object" || value === null) continue;
    if (depth > 400) throw new UnsupportedSchemaError(path.slice(0, 200), "nesting", "more than 400 levels deep");
    for (const [name, sub] of Object.entries(value)) {
      size += Array.isArray(value) ? 1 : name.length;
      if (typeof sub === "object" || typeof sub === "string") stack.push([sub, depth < 20 ? under(path, name) : path, depth + 1]);
    }
  }
}
