// What a grammar may cost, and the errors of what costs more or cannot be.
import { CpmError } from "../errors.ts";

/** States of one automaton over a string's bytes, and of a whole machine. */
export const MAX_STRING_STATES = 40_000;
export const MAX_STATES = 400_000;
/** Ranges of bytes of a whole machine. */
export const MAX_RANGES = 3_000_000;
/** Sets that determinising may come to hold, elements in all. */
export const MAX_SET_WORK = 2_000_000;
/** Nesting of a grammar's parts, or of a schema. */
export const MAX_NESTING = 500;
/** Bytes of a schema or grammar as text. */
export const MAX_SOURCE = 8 << 20;

/** The ways to say what a text must be. */
export const constraintKinds = ["schema", "regex", "grammar", "choices"] as const;

/** A grammar that this engine does not take: what is wrong, where. */
export class UnsupportedSchemaError extends CpmError {
  /** JSON pointer to the schema that cannot be enforced ("" is the root). */
  readonly path: string;
  /** The keyword that cannot be enforced, or what else it is. */
  readonly keyword: string;

  constructor(path: string, keyword: string, why: string) {
    super("unsupported", `schema at ${path || "/"}: ${keyword}: ${why}`, { field: keyword });
    this.name = "UnsupportedSchemaError";
    this.path = path;
    this.keyword = keyword;
  }
}

/** "bad-input": a regex, grammar or schema that says nothing sensible. `where`: its path or place. */
export function badGrammar(where: string, what: string, todo: string): CpmError {
  return new CpmError("bad-input", `${where}: ${what} (${todo})`, { field: where });
}

/** "unsupported": takes more states than the caps allow. */
export function tooLarge(where: string, what: string): CpmError {
  return new CpmError("unsupported", `${where || "/"}: ${what}; make it simpler, or bound it less tightly`, { field: where });
}

/** Runs `make`; what it takes too much for is refused under a path and a keyword. */
export function refusing<T>(path: string, keyword: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof CpmError && error.code === "unsupported" && !(error instanceof UnsupportedSchemaError))
      throw new UnsupportedSchemaError(path, keyword, error.message);
    throw error;
  }
}
