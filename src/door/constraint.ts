// What a text must be, compiled: once for many calls, or for one.

import { type ConstraintInput, type ConstraintOptions, grammarOf } from "../constrain/compile.ts";
import { alt, chars, literal, type Part, Rule, repeat, seq, textUntil } from "../constrain/grammar.ts";
import { constraintKinds } from "../constrain/limits.ts";
import { compileMachine } from "../constrain/machine.ts";
import type { Note } from "../constrain/schema/compile.ts";
import type { ConstraintRequest } from "../engine/constraints.ts";
import type { GenerateRequest } from "../engine/types.ts";
import { marksOf, reasons, type ThinkingMarks } from "../text/marks.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { TokenizerData } from "../text/vocabulary.ts";
import { bad, given } from "./given.ts";

/** How JSON Schemas are read. */
export interface SchemaReading {
  /** White space of JSON: "single" (default: one space may stand behind `,` and `:`), "none", or "indented" (line breaks as well). */
  readonly whitespace?: "single" | "none" | "indented" | undefined;
  /** What a schema asks for and cannot be enforced becomes the list `refused`, instead of an error. Default false. */
  readonly lenient?: boolean | undefined;
}

/** What holds a text to a form; give one of the first five. */
export interface ConstraintChoice extends SchemaReading {
  /** JSON that this JSON Schema allows (2020-12; drafts 4 to 7 by `$schema`), or an object of Standard Schema (zod, valibot, arktype). The result has it parsed. */
  readonly schema?: unknown;
  /** Text that this ECMAScript expression matches as a whole. Without look-around and back references. */
  readonly regex?: string | RegExp | undefined;
  /** Text of a GBNF grammar, as llama.cpp reads them. */
  readonly grammar?: string | undefined;
  /** One of these texts. */
  readonly choices?: readonly string[] | undefined;
  /** A constraint from model.constraint(). */
  readonly constraint?: Constraint | undefined;
}

type Thinking = GenerateRequest["thinking"];

/** White space between the end of reasoning and what follows. */
const gap = repeat(chars([10, 10, 13, 13, 32, 32]), 0, 8);
let count = 0;
/** Tells the constraints of this thread from those of others that use the same engine. */
const origin = Math.random().toString(36).slice(2);

/** A compiled constraint of one model: from `model.constraint()`, for any number of calls. */
export class Constraint {
  /** The text is JSON. */
  readonly json: boolean;
  /** Unknown keywords of a schema, which are annotations. */
  readonly ignored: readonly Note[];
  /** What a schema asks for that is not enforced; empty unless lenient. */
  readonly refused: readonly Note[];
  readonly #part: Part | Rule;
  readonly #reasons: boolean;
  readonly #marks: ThinkingMarks;
  readonly #compiled = new Map<Thinking, ConstraintRequest>();

  /** @internal Constraints come from `model.constraint()`. */
  constructor(input: ConstraintInput | { readonly part: Part }, options: ConstraintOptions, tokenizer: TokenizerData) {
    let known: Tokenizer | undefined;
    const tokenId = (name: string) => (known ??= new Tokenizer(tokenizer)).id(name);
    const { part, json, ignored, refused } =
      "part" in input ? { part: input.part, json: false, ignored: [], refused: [] } : grammarOf(input, { tokenId, ...options });
    this.json = json;
    this.ignored = ignored;
    this.refused = refused;
    this.#part = part;
    this.#reasons = reasons(tokenizer.chatTemplate);
    this.#marks = marksOf(tokenizer.chatTemplate);
    this.request("none");
  }

  /** @internal As the engine takes it: with the reasoning that may come first. */
  request(thinking: Thinking): ConstraintRequest {
    const mode = thinking === "split" && !this.#reasons ? "none" : thinking;
    let made = this.#compiled.get(mode);
    if (!made) {
      const { tables, paths, states } = compileMachine(this.#whole(mode));
      // biome-ignore lint/plugin: the compiler's own array, made for this; it has no offset
      made = { id: `${origin}-${++count}`, tables: tables.buffer as ArrayBuffer, paths, states };
      this.#compiled.set(mode, made);
    }
    return made;
  }

  #whole(thinking: Thinking): Part | Rule {
    const part: Part = this.#part instanceof Rule ? { kind: "call", rule: this.#part } : this.#part;
    if (thinking === "none") return this.#part;
    const { open, close, answer } = this.#marks;
    const tagged = answer ? alt(part, seq(literal(answer[0]), gap, part, gap, literal(answer[1]))) : part;
    const reasoned = seq(textUntil(close), gap, tagged);
    return thinking === "open" ? reasoned : alt(part, seq(gap, literal(open), reasoned));
  }
}

/** The constraint that options name; undefined: none. Throws what compiling throws, "bad-option" for several. */
export function constraintOf(options: ConstraintChoice, tokenizer: TokenizerData): Constraint | undefined {
  const kinds = [...constraintKinds, "constraint" as const].filter(
    (kind) => options[kind] !== undefined && options[kind] !== null,
  );
  if (kinds.length > 1) bad(kinds[1]!, `nothing beside ${kinds[0]}`, "both");
  const { whitespace, lenient, constraint } = options;
  for (const name of ["whitespace", "lenient"] as const)
    if (options[name] !== undefined && options[name] !== null && kinds[0] !== "schema") bad(name, "a schema beside it", "none");
  if (constraint)
    return constraint instanceof Constraint ? constraint : bad("constraint", "one from model.constraint()", constraint);
  if (kinds.length === 0) return undefined;
  return newConstraint({ [kinds[0]!]: options[kinds[0]!] } as unknown as ConstraintInput, { whitespace, lenient }, tokenizer);
}

/** Compiles a constraint. Throws what compiling throws, "bad-option" for wrong options. */
export function newConstraint(input: ConstraintInput, reading: SchemaReading, tokenizer: TokenizerData): Constraint {
  const options = given(reading, ["whitespace", "lenient"]);
  if (options.whitespace !== undefined && !["single", "none", "indented"].includes(options.whitespace))
    bad("whitespace", `"single", "none" or "indented"`, options.whitespace);
  if (options.lenient !== undefined && typeof options.lenient !== "boolean") bad("lenient", "true or false", options.lenient);
  return new Constraint(input, options, tokenizer);
}
