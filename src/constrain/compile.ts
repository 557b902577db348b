// What callers constrain a text with -> a machine.
import { CpmError } from "../errors.ts";
import { type GbnfOptions, readGbnf } from "./gbnf.ts";
import { alt, literal, type Part, type Rule } from "./grammar.ts";
import { badGrammar, constraintKinds, MAX_SOURCE } from "./limits.ts";
import { compileMachine, type Machine } from "./machine.ts";
import { regexDfa } from "./regex.ts";
import { type Note, type SchemaOptions, schemaGrammar } from "./schema/compile.ts";
import { jsonSchemaOf } from "./standard.ts";

/** One way to say what the text must be. */
export type ConstraintInput =
  /** JSON Schema (an object, true or false), or an object of Standard Schema: zod, valibot, arktype. */
  | { readonly schema: unknown }
  /** ECMAScript's expressions without look-around; the whole text must match. */
  | { readonly regex: string | RegExp }
  /** GBNF: the syntax of llama.cpp's grammar files. */
  | { readonly grammar: string }
  /** One of these texts. */
  | { readonly choices: readonly string[] };

export interface ConstraintOptions extends SchemaOptions, GbnfOptions {}

/** A compiled constraint: plain data. */
export interface CompiledConstraint {
  readonly machine: Machine;
  /** The text is JSON. */
  readonly json: boolean;
  readonly ignored: readonly Note[];
  readonly refused: readonly Note[];
}

/**
 * Compiles a constraint, in milliseconds.
 * @throws UnsupportedSchemaError (a CpmError "unsupported") with path and keyword of what cannot be enforced; CpmError "bad-input"
 * for what is no grammar or matches nothing, "unsupported" for what is too large, "bad-option" for wrong types.
 */
export function compileConstraint(input: ConstraintInput, options: ConstraintOptions = {}): CompiledConstraint {
  const { part, json, ignored, refused } = grammarOf(input, options);
  return { machine: compileMachine(part), json, ignored, refused };
}

/** As compileConstraint, as parts: to stand in a larger grammar. */
export function grammarOf(
  input: ConstraintInput,
  options: ConstraintOptions = {},
): { part: Part | Rule; json: boolean; ignored: readonly Note[]; refused: readonly Note[] } {
  const given = input as Readonly<Record<string, unknown>>;
  const kinds = constraintKinds.filter((kind) => given[kind] !== undefined);
  if (kinds.length !== 1)
    throw bad("constraint", `one of ${constraintKinds.join(", ")}`, kinds.length ? kinds.join(" and ") : "none");
  const kind = kinds[0]!;
  const value = given[kind];
  const nothing = { json: false, ignored: [], refused: [] };
  switch (kind) {
    case "schema": {
      const { part, ignored, refused } = schemaGrammar(jsonSchemaOf(value), options);
      return { part, json: true, ignored, refused };
    }
    case "regex": {
      if (value instanceof RegExp && /[^gudsy]/.test(value.flags.replaceAll("s", "i")))
        throw bad("regex", "an expression without flags that change what it matches (i, m, s, v)", String(value));
      const source = value instanceof RegExp ? value.source : value;
      if (typeof source !== "string" || source.length > MAX_SOURCE) throw bad("regex", "a text or an expression", typeof value);
      const dfa = regexDfa(source, "", true, "regex");
      if (!dfa) throw badGrammar("regex", "nothing matches it", "its anchors contradict what stands beside them");
      return { ...nothing, part: { kind: "dfa", dfa } };
    }
    case "grammar":
      if (typeof value !== "string") throw bad("grammar", "a text", typeof value);
      return { ...nothing, part: readGbnf(value, options) };
    case "choices":
      if (!Array.isArray(value) || value.length === 0 || value.some((v) => typeof v !== "string"))
        throw bad("choices", "a list of texts, at least one", Array.isArray(value) ? "another list" : typeof value);
      return { ...nothing, part: alt(...(value as string[]).map(literal)) };
  }
}

function bad(field: string, expected: string, found: string): CpmError {
  return new CpmError("bad-option", `${field}: expected ${expected}, found ${found}`, { field, expected, found });
}
