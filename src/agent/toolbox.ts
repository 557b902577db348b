// The tools that a model is offered: functions of the caller and tools of servers, under names that are unlike each other and that the
// model's format of calls can write.
import { isRecord } from "../brands.ts";
import { compileMachine } from "../constrain/machine.ts";
import { toolGrammar } from "../constrain/tools.ts";
import { CpmError } from "../errors.ts";
import type { DialectName, ToolDefinition } from "../index.ts";
import { reasonOf, shown } from "../shown.ts";
import type { Disarm } from "./marks.ts";
import type { ToolServer } from "./server.ts";

/** A function of the caller's own. */
export interface AgentTool {
  readonly name: string;
  readonly description?: string | undefined;
  /** JSON Schema of the arguments, an object. Default: none. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined;
  /** It changes nothing: it runs without approval. Default false. */
  readonly readOnly?: boolean | undefined;
  /** Gives a text, plain data, or a result in MCP's shape; a rejection is told to the model as the tool's failure. */
  run(input: Readonly<Record<string, unknown>>, context: { readonly signal: AbortSignal }): unknown;
}

/** A tool as it is offered. */
export interface Offer {
  /** As the model knows it. */
  readonly name: string;
  /** As its server or the caller calls it. */
  readonly tool: string;
  readonly server: string | undefined;
  readonly readOnly: boolean;
  readonly definition: ToolDefinition;
  call(input: Readonly<Record<string, unknown>>, timeoutMs: number, signal: AbortSignal): unknown;
}

/** Longer names are refused by APIs. */
const LONGEST_NAME = 64;
/** Characters of a description: a manual is no description. */
const LONGEST_DESCRIPTION = 2000;

interface Entry {
  readonly server: string | undefined;
  readonly tool: string;
  readonly description: string | undefined;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly readOnly: boolean;
  call: Offer["call"];
}

export class Toolbox {
  readonly #tools: readonly AgentTool[];
  readonly #servers: readonly ToolServer[];
  readonly #format: DialectName | undefined;
  readonly #disarm: Disarm;
  readonly #warn: (message: string) => void;
  /** A tool keeps its name for the whole run, whatever comes and goes beside it. */
  readonly #names = new Map<string, string>();
  readonly #warned = new Set<string>();
  #offers: readonly Offer[] = [];
  #seen: readonly number[] = [];

  /** @throws CpmError "bad-option" for tools that are none, or two of one name */
  constructor(
    tools: readonly AgentTool[],
    servers: readonly ToolServer[],
    {
      format,
      disarm,
      warn,
    }: { readonly format: DialectName | undefined; readonly disarm: Disarm; readonly warn: (message: string) => void },
  ) {
    for (const [i, tool] of tools.entries()) {
      const field = `tools[${i}]`;
      if (!isRecord(tool) || typeof tool.name !== "string" || tool.name === "" || typeof tool.run !== "function")
        throw new CpmError("bad-option", `${field}: expected { name, description, parameters, run }`, { field });
      if (tools.findIndex((other) => other.name === tool.name) !== i)
        throw new CpmError("bad-option", `${field}: there are two tools named ${shown(tool.name)}`, { field });
    }
    this.#tools = tools;
    this.#servers = servers;
    this.#format = format;
    this.#disarm = disarm;
    this.#warn = warn;
    this.#build();
  }

  get offers(): readonly Offer[] {
    return this.#offers;
  }

  get definitions(): readonly ToolDefinition[] {
    return this.#offers.map(({ definition }) => definition);
  }

  find(name: string): Offer | undefined {
    return this.#offers.find((offer) => offer.name === name);
  }

  /** Takes over lists that servers have changed. Gives the names that came and went; undefined where nothing changed. */
  refresh(): { readonly added: readonly string[]; readonly removed: readonly string[] } | undefined {
    if (this.#servers.every(({ changes }, i) => changes === this.#seen[i])) return undefined;
    const before = this.#offers.map(({ name }) => name);
    this.#build();
    const after = this.#offers.map(({ name }) => name);
    return { added: after.filter((name) => !before.includes(name)), removed: before.filter((name) => !after.includes(name)) };
  }

  #build(): void {
    this.#seen = this.#servers.map(({ changes }) => changes);
    const entries: Entry[] = this.#tools.map((tool) => ({
      server: undefined,
      tool: tool.name,
      description: tool.description,
      schema: tool.parameters ?? {},
      readOnly: tool.readOnly === true,
      call: (input, _timeoutMs, signal) => tool.run(input, { signal }),
    }));
    for (const server of this.#servers)
      for (const { name, description, inputSchema, readOnly } of server.tools)
        entries.push({
          server: server.name,
          tool: name,
          description,
          schema: inputSchema,
          readOnly,
          call: (input, timeoutMs, signal) => server.call(name, input, timeoutMs, signal),
        });
    this.#name(entries);
    this.#offers = entries.flatMap((entry) => this.#offer(entry) ?? []);
  }

  /** Names for tools that have none yet: their own where nobody else has it, else with the server's before it. */
  #name(entries: readonly Entry[]): void {
    const keys = entries.map(keyOf);
    const taken = new Set(this.#names.values());
    const plain = entries.map(({ tool }) => this.#spelt(tool));
    for (const [i, entry] of entries.entries()) {
      if (this.#names.has(keys[i]!)) continue;
      const alone = plain.every((other, j) => i === j || other !== plain[i]);
      const first = alone || entry.server === undefined ? plain[i]! : this.#spelt(`${entry.server}_${entry.tool}`);
      let name = first;
      for (let n = 2; taken.has(name); n++) name = `${first.slice(0, LONGEST_NAME - 4)}_${n}`;
      taken.add(name);
      this.#names.set(keys[i]!, name);
    }
  }

  /** A name of letters that every format and API takes; in Python's formats "-" is a minus. */
  #spelt(name: string): string {
    const python = ["minicpm4-python", "pythonic-list", "olmo3-python"].includes(this.#format ?? "");
    const spelt = name.replace(python ? /[^A-Za-z0-9_]/g : /[^A-Za-z0-9_-]/g, "_").slice(0, LONGEST_NAME);
    return /^[A-Za-z_]/.test(spelt) ? spelt : `_${spelt}`.slice(0, LONGEST_NAME);
  }

  #offer(entry: Entry): Offer | undefined {
    const { server, tool, description, schema, readOnly, call } = entry;
    const name = this.#names.get(keyOf(entry))!;
    const text = description === undefined ? undefined : this.#disarm(short(description));
    try {
      const parameters = plainSchema(schema, this.#disarm);
      const definition = (form: Readonly<Record<string, unknown>>): ToolDefinition => ({
        type: "function",
        function: { name, ...(text === undefined ? {} : { description: text }), parameters: form },
      });
      const held = this.#format === undefined ? parameters : enforceable(this.#format, definition, parameters);
      return { name, tool, server, readOnly, definition: definition(held), call };
    } catch (error) {
      const key = keyOf(entry);
      if (!this.#warned.has(key))
        this.#warn(`${server === undefined ? "" : `${server}: `}${tool} is not offered: ${reasonOf(error)}`);
      this.#warned.add(key);
      return undefined;
    }
  }
}

const keyOf = ({ server, tool }: { readonly server: string | undefined; readonly tool: string }): string =>
  JSON.stringify([server ?? null, tool]);

const short = (text: string): string =>
  text.length <= LONGEST_DESCRIPTION
    ? text
    : `${text.slice(0, LONGEST_DESCRIPTION).replace(/[\ud800-\udbff]$/, "")} [… ${text.length - LONGEST_DESCRIPTION} characters left out]`;

/** Keywords whose texts are for people. */
const PROSE = new Set(["description", "title", "$comment"]);

/** A schema whose prose is disarmed. @throws CpmError for marks in names and values, which cannot be written otherwise, and for what is no plain data */
function plainSchema(schema: unknown, disarm: Disarm, depth = 0): Record<string, unknown> {
  const walk = (value: unknown, key: string, level: number): unknown => {
    if (level > 200) throw new CpmError("unsupported", "its schema is nested too deep");
    if (typeof value === "string") {
      const safe = disarm(PROSE.has(key) ? short(value) : value);
      if (!PROSE.has(key) && safe !== value)
        throw new CpmError("unsupported", `its schema has a mark of the model's own in it: ${shown(value)}`);
      return safe;
    }
    if (Array.isArray(value)) return value.map((item) => walk(item, "", level + 1));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [walk(name, "", level + 1) as string, walk(inner, name, level + 1)]),
    );
  };
  const { $schema: _, ...plain } = walk(schema, "", depth) as Record<string, unknown>;
  return { type: "object", properties: {}, ...plain };
}

/** Keywords that can go without a schema saying something else than it means. */
const LIMITS = [
  "uniqueItems",
  "contains",
  "minContains",
  "maxContains",
  "unevaluatedItems",
  "unevaluatedProperties",
  "format",
  "pattern",
  "not",
  "if",
  "then",
  "else",
  "minProperties",
  "maxProperties",
  "dependentRequired",
  "dependentSchemas",
  "propertyNames",
  "patternProperties",
];

/**
 * The schema itself where the grammar can hold calls to it, else the nearest that it can: without the keywords that cannot be enforced
 * (the server checks them), at last with members of any kind. @throws UnsupportedSchemaError when not even that can be written
 */
function enforceable(
  dialect: DialectName,
  definition: (form: Readonly<Record<string, unknown>>) => ToolDefinition,
  schema: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const names = isRecord(schema["properties"]) ? Object.keys(schema["properties"]) : [];
  const forms = [
    () => schema,
    () => without(schema, LIMITS) as Record<string, unknown>,
    () => ({ type: "object", properties: without(schema["properties"], LIMITS), required: schema["required"] ?? [] }),
    () => ({
      type: "object",
      properties: Object.fromEntries(names.map((name) => [name, {}])),
      required: schema["required"] ?? [],
    }),
  ];
  let failure: unknown;
  for (const form of forms) {
    try {
      const tried = form();
      compileMachine(toolGrammar({ dialect, tools: [definition(tried)], choice: "auto" }));
      return tried;
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

function without(schema: unknown, keys: readonly string[]): unknown {
  if (Array.isArray(schema)) return schema.map((item) => without(item, keys));
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key]) => !keys.includes(key))
      .map(([key, value]) => [
        key,
        key === "properties" || key === "$defs" || key === "definitions"
          ? Object.fromEntries(Object.entries((value ?? {}) as object).map(([name, inner]) => [name, without(inner, keys)]))
          : key === "enum" || key === "const" || key === "default" || key === "examples"
            ? value
            : without(value, keys),
      ]),
  );
}
