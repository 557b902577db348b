// Tools as OpenAI's interface lists them, looked up by name, and what they ask of a call's arguments.
import { CpmError } from "../../errors.ts";

/** Names of types that are no JSON Schema's, as tool lists of other languages write them. */
const foreign: Readonly<Record<string, string | undefined>> = {
  dict: "object",
  hashmap: "object",
  hashtable: "object",
  map: "object",
  list: "array",
  tuple: "array",
  set: "array",
  arraylist: "array",
  queue: "array",
  stack: "array",
  float: "number",
  double: "number",
  int: "integer",
  long: "integer",
  short: "integer",
  byte: "integer",
  bigint: "integer",
  bool: "boolean",
  char: "string",
  str: "string",
  none: "null",
  any: undefined,
};
const known = new Set(["object", "array", "number", "integer", "boolean", "string", "null"]);

/** The type of JSON Schema that a name means, also of other languages; undefined: anything. */
export function schemaType(name: string): string | undefined {
  const lower = name.toLowerCase();
  return known.has(lower) ? lower : foreign[lower];
}

/** A function that a model may call. `parameters`: JSON Schema of an object. */
export interface ToolDefinition {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string | undefined;
    readonly parameters?: Readonly<Record<string, unknown>> | undefined;
    readonly strict?: boolean | null | undefined;
  };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export interface Tool {
  readonly name: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly required: readonly string[];
}

/** What is wrong with a call: no such tool, arguments that it does not have, arguments that it needs. */
export interface Problems {
  readonly unknown: boolean;
  readonly surplus: readonly string[];
  readonly missing: readonly string[];
  readonly messages: readonly string[];
}

export class ToolTable {
  readonly #tools = new Map<string, Tool>();

  /** @throws CpmError "bad-option" for tools without a name, or two of one name. */
  constructor(definitions: readonly unknown[]) {
    for (const [i, definition] of definitions.entries()) {
      const inner = isRecord(definition) && isRecord(definition["function"]) ? definition["function"] : definition;
      const name = isRecord(inner) ? inner["name"] : undefined;
      if (typeof name !== "string" || name === "")
        throw new CpmError("bad-option", `tools[${i}]: expected { type: "function", function: { name, parameters } }`, {
          field: `tools[${i}]`,
        });
      if (this.#tools.has(name))
        throw new CpmError("bad-option", `tools[${i}]: there are two tools named ${JSON.stringify(name)}`, {
          field: `tools[${i}]`,
        });
      const given = (inner as Readonly<Record<string, unknown>>)["parameters"];
      if (given !== undefined && given !== null && !isRecord(given))
        throw new CpmError("bad-option", `tools[${i}].function.parameters: expected a JSON Schema`, {
          field: `tools[${i}].function.parameters`,
        });
      const parameters = isRecord(given) ? given : {};
      const properties = isRecord(parameters["properties"]) ? parameters["properties"] : {};
      const required = Array.isArray(parameters["required"])
        ? parameters["required"].filter((r): r is string => typeof r === "string")
        : [];
      this.#tools.set(name, { name, parameters, properties, required });
    }
  }

  get names(): readonly string[] {
    return [...this.#tools.keys()];
  }

  get(name: string): Tool | undefined {
    return this.#tools.get(name);
  }

  /** What a tool would say to these arguments (names alone: values are held to schemas by grammars). Without tools everything goes. */
  problems(name: string, given: readonly string[]): Problems {
    if (this.#tools.size === 0) return { unknown: false, surplus: [], missing: [], messages: [] };
    const tool = this.#tools.get(name);
    if (!tool) return { unknown: true, surplus: [], missing: [], messages: [`there is no tool ${JSON.stringify(name)}`] };
    const open = tool.parameters["additionalProperties"];
    const closed = open === undefined || open === false;
    const surplus = given.filter((key) => closed && !Object.hasOwn(tool.properties, key));
    const missing = tool.required.filter((key) => !given.includes(key));
    return {
      unknown: false,
      surplus,
      missing,
      messages: [
        ...surplus.map((key) => `${name} has no argument ${JSON.stringify(key)}`),
        ...missing.map((key) => `${name} needs the argument ${JSON.stringify(key)}`),
      ],
    };
  }

  /** Types that an argument may have by its schema; empty when it says nothing. */
  types(name: string, argument: string): readonly string[] {
    const schema = this.#tools.get(name)?.properties[argument];
    if (!isRecord(schema)) return [];
    const own = schema["type"];
    if (typeof own === "string") return [schemaType(own)].filter((t) => t !== undefined);
    if (Array.isArray(own)) return own.filter((t): t is string => typeof t === "string");
    const branches = [schema["anyOf"], schema["oneOf"]].find(Array.isArray) as readonly unknown[] | undefined;
    const listed = branches?.map((b) => (isRecord(b) ? b["type"] : undefined));
    if (listed?.every((t): t is string => typeof t === "string")) return listed;
    const values = Array.isArray(schema["enum"]) ? schema["enum"] : "const" in schema ? [schema["const"]] : undefined;
    return values?.every((v) => typeof v === "string") ? ["string"] : [];
  }
}
