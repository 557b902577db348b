// Are tool calls such that the tools would take them? Names against the list, arguments against JSON Schema.
import { type OutputUnit, Validator } from "@cfworker/json-schema";
import { toolSchema } from "../../constrain/tools.ts";
import type { DialectName } from "../../text/calls/dialect.ts";
import { dialectOf, parseCalls } from "../../text/calls/parse.ts";
import { ToolTable } from "../../text/calls/tools.ts";
import { lastCaller, type PlainCall, type Sample, type Verdict, verdict, type WireCall } from "./types.ts";

export interface CallOptions {
  /** How the response writes its calls, where the message has no `tool_calls`. Default "hermes-json". */
  readonly dialect?: DialectName | undefined;
  /** An answer without a call is right, too. Default false, unless `expected_calls` is empty. */
  readonly optional?: boolean | undefined;
  /**
   * A text that names a variable of the prompt, or a constant of the tool's description, may stand for a value of any type, as in code
   * that calls a function. "auto" (default): where the tool's types are not JSON Schema's (Java's HashMap, Python's dict), never else.
   */
  readonly variables?: "auto" | boolean | undefined;
  /** Calls of earlier turns are held to the tools as well. Default true. */
  readonly earlier?: boolean | undefined;
  /** Arguments that a tool does not have are wrong, unless its schema allows them by `additionalProperties`. Default true. */
  readonly closed?: boolean | undefined;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Calls as messages hold them, with their arguments as values; a reason for each that cannot be read. */
class Read {
  readonly calls: PlainCall[] = [];
  readonly reasons: string[] = [];

  take(name: string, given: unknown): void {
    let value = given;
    try {
      if (typeof given === "string") value = JSON.parse(given.trim() === "" ? "{}" : given);
    } catch (error) {
      return void this.reasons.push(`arguments of ${name}: no JSON (${(error as Error).message})`);
    }
    if (!isObject(value))
      return void this.reasons.push(`arguments of ${name}: expected an object, found ${JSON.stringify(value)}`);
    this.calls.push({ name, arguments: value });
  }

  wire(calls: readonly WireCall[]): void {
    for (const call of calls) {
      const name: unknown = call?.function?.name;
      if (typeof name === "string") this.take(name, call.function.arguments);
      else this.reasons.push(`call without a name: ${JSON.stringify(call)}`);
    }
  }
}

/** The calls of the sample's answer; a reason for each that cannot be read. */
export function callsOf(sample: Sample, options: CallOptions = {}): { calls: readonly PlainCall[]; reasons: readonly string[] } {
  const answer = lastCaller(sample);
  const read = new Read();
  const { calls, reasons } = read;
  if (answer?.tool_calls?.length && sample.response === undefined) {
    read.wire(answer.tool_calls);
    return { calls, reasons };
  }
  const text = sample.response ?? answer?.content ?? "";
  const dialect = options.dialect ?? "hermes-json";
  const parsed = parseCalls(text, { dialect, tools: sample.tools ?? [] });
  for (const call of parsed.calls) read.take(call.name, call.arguments);
  // A block that was begun and could not be read is a call that failed.
  const marked = dialectOf(dialect).openers.filter((opener) => opener.length > 1);
  if (marked.some((opener) => parsed.content?.includes(opener)))
    reasons.push(`call that cannot be read (${parsed.problems[0] ?? "its block is not closed"})`);
  return { calls, reasons };
}

/** Calls of earlier messages, as far as these hold them beside their text. */
function earlierCalls(sample: Sample): { calls: readonly PlainCall[]; reasons: readonly string[] } {
  const read = new Read();
  const judged = sample.response === undefined ? lastCaller(sample) : undefined;
  for (const message of sample.messages ?? [])
    if (message !== judged && message.role === "assistant" && Array.isArray(message.tool_calls)) read.wire(message.tool_calls);
  return read;
}

/** JSON values, equal whatever the order of members. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => sameValue(item, b[i]));
  if (isObject(a) && isObject(b)) {
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameValue(a[key], b[key]));
  }
  return a === b;
}

const known = new Set(["object", "array", "number", "integer", "boolean", "string", "null"]);

/** Does a schema write types as another language does? */
function foreign(schema: unknown, depth = 0): boolean {
  if (typeof schema !== "object" || schema === null || depth > 100) return false;
  if (Array.isArray(schema)) return schema.some((item) => foreign(item, depth + 1));
  return Object.entries(schema).some(([key, value]) =>
    key === "type" && typeof value === "string" ? !known.has(value) : typeof value === "object" && foreign(value, depth + 1),
  );
}

/**
 * A copy with `additionalProperties: false` where an object lists its properties and says nothing of others: at the top, and everywhere in
 * lists with types of other languages, whose objects are the arguments of a function as well (BFCL's checker takes them so).
 */
function closedSchema(schema: unknown, deep: boolean, depth = 0): unknown {
  if (!isObject(schema) || depth > 100) return schema;
  const says = ["additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref", "if"];
  const open = says.some((key) => Object.hasOwn(schema, key));
  const { properties, items } = schema;
  const inner = (value: unknown) => closedSchema(value, deep, depth + 1);
  const listed = isObject(properties) && Object.keys(properties).length > 0;
  return {
    ...schema,
    ...(deep && isObject(items) ? { items: inner(items) } : {}),
    ...(deep && listed
      ? { properties: Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, inner(value)])) }
      : {}),
    ...(!open && (depth === 0 || listed) ? { ...(listed ? {} : { properties: {} }), additionalProperties: false } : {}),
  };
}

class Tools {
  readonly #table: ToolTable;
  readonly #validators = new Map<string, Validator>();
  readonly #closed: boolean;

  constructor(definitions: readonly unknown[], closed: boolean) {
    this.#table = new ToolTable(definitions);
    this.#closed = closed;
  }

  has(name: string): boolean {
    return this.#table.get(name) !== undefined;
  }

  parameters(name: string): Readonly<Record<string, unknown>> {
    return this.#table.get(name)!.parameters;
  }

  /** What the schema has against the arguments. @throws where the schema cannot be used */
  problems(name: string, given: Readonly<Record<string, unknown>>): readonly OutputUnit[] {
    let validator = this.#validators.get(name);
    if (!validator) {
      const parameters = this.parameters(name);
      const schema = toolSchema(parameters);
      const whole = this.#closed ? closedSchema(schema, foreign(parameters)) : schema;
      this.#validators.set(name, (validator = new Validator(whole as object, "2020-12", false)));
    }
    const { valid, errors } = validator.validate(given);
    return valid ? [] : errors;
  }
}

/** The value at a JSON pointer of the validator ("#/a/0/b"). */
function valueAt(root: unknown, pointer: string): unknown {
  let value = root;
  for (const step of pointer.split("/").slice(1)) {
    const key = decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~");
    value = Array.isArray(value) ? value[Number(key)] : isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  }
  return value;
}

/** Errors of leaves: those of a branch say only that one of its leaves failed. */
const leaves = (errors: readonly OutputUnit[]): readonly OutputUnit[] =>
  errors.filter(({ keyword }) => !["properties", "items", "prefixItems", "$ref", "allOf", "anyOf", "oneOf"].includes(keyword));

const isReference = (value: unknown, context: string): boolean =>
  typeof value === "string" &&
  /^[A-Za-z_$]/.test(value) &&
  !/^(?:true|false|null|none|undefined|nan|infinity)$/i.test(value) &&
  context.includes(value);

/**
 * Are the calls of the answer such that the tools would take them: a name in `tools`, arguments that hold to its JSON Schema, all that
 * are required, none that it does not have? Calls of earlier turns are held to the same. With `expected_calls`: are those of the answer
 * exactly these, in any order? Type names of Java, JavaScript
 * and Python in schemas count as the JSON Schema types that they mean.
 * @throws CpmError "bad-option" for tools that are none
 */
export function verifyToolCalls(sample: Sample, options: CallOptions = {}): Verdict {
  const tools = new Tools(sample.tools ?? [], options.closed ?? true);
  const { calls, reasons: unread } = callsOf(sample, options);
  const reasons = [...unread];
  const expected = sample.expected_calls;
  if (calls.length === 0 && reasons.length === 0 && !(options.optional ?? expected?.length === 0))
    reasons.push("no call, where one is wanted");
  const users = sample.messages?.filter(({ role }) => role !== "assistant").map(({ content }) => content ?? "") ?? [];
  const context = [sample.prompt ?? "", ...users, JSON.stringify(sample.tools ?? [])].join("\n");
  const earlier = options.earlier === false ? { calls: [], reasons: [] } : earlierCalls(sample);
  reasons.push(...earlier.reasons);
  for (const { name, arguments: given } of [...earlier.calls, ...calls]) {
    if (!tools.has(name)) {
      reasons.push(`tool that is not in the list: ${JSON.stringify(name)}`);
      continue;
    }
    try {
      const schema = tools.parameters(name);
      const variables = options.variables === "auto" || options.variables === undefined ? foreign(schema) : options.variables;
      const errors = leaves(tools.problems(name, given));
      const wrong = errors.filter(
        ({ keyword, instanceLocation }) =>
          !(variables && keyword === "type" && isReference(valueAt(given, instanceLocation), context)),
      );
      // An error below a reference's own place cannot be: what is left is what is wrong.
      for (const { keyword, instanceLocation, error } of wrong)
        if (!(keyword === "false" || (keyword === "additionalProperties" && wrong.some((w) => w.keyword === "false"))))
          reasons.push(`arguments of ${name}: ${instanceLocation.slice(2) || "."}: ${error} (${keyword})`);
      const surplus = wrong.filter(({ keyword }) => keyword === "false").map(({ instanceLocation }) => instanceLocation.slice(2));
      for (const key of new Set(surplus)) reasons.push(`arguments of ${name}: it has no argument ${JSON.stringify(key)}`);
    } catch (error) {
      reasons.push(`schema of ${name} cannot be used: ${(error as Error).message}`);
    }
  }
  if (expected) {
    const left = [...calls];
    for (const wanted of expected) {
      const at = left.findIndex((made) => made.name === wanted.name && sameValue(made.arguments, wanted.arguments));
      if (at < 0) reasons.push(`expected call is missing: ${wanted.name}(${JSON.stringify(wanted.arguments)})`);
      else left.splice(at, 1);
    }
    for (const extra of left) reasons.push(`call that was not expected: ${extra.name}(${JSON.stringify(extra.arguments)})`);
  }
  return verdict([...new Set(reasons)]);
}
