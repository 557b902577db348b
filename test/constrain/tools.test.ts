// Grammars of tool calls: what they allow is what the parsers read, and what no tool takes is impossible.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { compileMachine } from "../../src/constrain/machine.ts";
import { type ToolGrammarOptions, toolGrammar, toolSchema } from "../../src/constrain/tools.ts";
import { CpmError } from "../../src/errors.ts";
import { type DialectName, dialectNames } from "../../src/text/calls/dialect.ts";
import { parseCalls } from "../../src/text/calls/parse.ts";
import { written } from "../support/calls.ts";
import { runs } from "./rig.ts";

interface Call {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

const tools = [
  {
    type: "function",
    function: {
      name: "get-weather",
      parameters: {
        type: "object",
        properties: {
          city: { type: "string" },
          days: { type: "integer", minimum: 1 },
          unit: { type: "string", enum: ["C", "F"] },
          options: {
            type: "object",
            properties: { exact: { type: "boolean" }, at: { type: ["number", "null"] } },
            required: ["exact"],
          },
        },
        required: ["city"],
      },
    },
  },
  { type: "function", function: { name: "noop", parameters: { type: "object", properties: {} } } },
];
const calls: Call[] = [
  { name: "get-weather", arguments: { city: 'a "b"\n\\ 上海 😀', days: 3, unit: "C", options: { exact: true, at: null } } },
  { name: "noop", arguments: {} },
];

const grammar = (options: Partial<ToolGrammarOptions> & { dialect: DialectName }) => {
  const machine = compileMachine(toolGrammar({ tools, ...options }));
  return (text: string) => runs(machine, text);
};

describe.each(dialectNames)("%s", (dialect) => {
  const bare = ["llama3-json", "json", "pythonic-list"].includes(dialect);

  test("auto: calls, text, and (where a marker tells them apart) text before calls; what it takes is read back", () => {
    const takes = grammar({ dialect });
    const text = written(dialect, calls);
    expect(takes(text)).toBe("yes");
    expect(takes(written(dialect, [calls[0]!]))).toBe("yes");
    expect(takes("")).toBe("yes");
    expect(takes("It is warm, and [x] {y} <z>.")).toBe("yes");
    if (!bare) expect(takes(`Let me see.\n${text}`)).toBe("yes");
    const read = parseCalls(text, { dialect, tools });
    expect(read.problems).toEqual([]);
    expect(read.calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) as unknown }))).toEqual(calls);
  });

  test("required, one tool by name, one call alone, none", () => {
    const [both, first, second] = [written(dialect, calls), written(dialect, [calls[0]!]), written(dialect, [calls[1]!])];
    const required = grammar({ dialect, choice: "required" });
    expect([required(both), required(first)]).toEqual(["yes", "yes"]);
    expect(required("text")).not.toBe("yes");
    expect(required("")).not.toBe("yes");
    const named = grammar({ dialect, choice: { name: "noop" } });
    expect(named(second)).toBe("yes");
    expect(named(first)).not.toBe("yes");
    const single = grammar({ dialect, parallel: false });
    expect(single(first)).toBe("yes");
    expect(single(both)).not.toBe("yes");
    const none = grammar({ dialect, choice: "none" });
    expect(none("text")).toBe("yes");
    expect(none(first)).not.toBe("yes");
  });

  test("what a tool does not take is impossible", () => {
    const takes = grammar({ dialect });
    const wrong: [string, Call][] = [
      ["an unknown tool", { ...calls[0]!, name: "get_weather" }],
      ["a missing argument", { name: "get-weather", arguments: { days: 3 } }],
      ["an extra argument", { name: "get-weather", arguments: { ...calls[0]!.arguments, more: 1 } }],
      ["another type", { name: "get-weather", arguments: { city: "a", days: "three" } }],
      ["a number out of range", { name: "get-weather", arguments: { city: "a", days: 0 } }],
      ["a value that is not listed", { name: "get-weather", arguments: { city: "a", unit: "K" } }],
      ["an extra member inside", { name: "get-weather", arguments: { city: "a", options: { at: 1 } } }],
      ["an argument of a tool that takes none", { name: "noop", arguments: { a: 1 } }],
    ];
    for (const [what, call] of wrong) expect(takes(written(dialect, [call])), what).not.toBe("yes");
  });
});

test("special tokens stand for their text where the vocabulary has them, and the text does too", () => {
  const ids: Readonly<Record<string, number>> = { "<tool_call>": 5, "</tool_call>": 6 };
  const part = toolGrammar({ dialect: "hermes-json", tools, special: (text) => ids[text] });
  // Rules call each other in circles: each object is looked at once.
  const found: number[] = [];
  const seen = new Set<unknown>();
  const look = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    seen.add(value);
    const { kind, token } = value as { readonly kind?: unknown; readonly token?: unknown };
    if (kind === "token") found.push(token as number);
    for (const inner of Object.values(value)) look(inner);
  };
  look(part);
  expect([...new Set(found)].sort()).toEqual([5, 6]);
  expect(runs(compileMachine(part), written("hermes-json", calls))).toBe("yes");
});

test("types of other languages are mapped, also inside", () => {
  expect(
    toolSchema({
      type: "dict",
      properties: {
        type: { type: "float" },
        a: { type: "tuple", items: { type: "HashMap" } },
        b: { type: "any", enum: ["dict"] },
        c: { type: "String" },
      },
    }),
  ).toEqual({
    type: "object",
    properties: {
      type: { type: "number" },
      a: { type: "array", items: { type: "object" } },
      b: { enum: ["dict"] },
      c: { type: "string" },
    },
  });
});

test("choices that no tool has, names that a format cannot write, schemas that cannot be enforced are refused", () => {
  const refused = (options: Partial<ToolGrammarOptions>) => () => toolGrammar({ dialect: "hermes-json", tools, ...options });
  expect(refused({ choice: { name: "other" } })).toThrow(CpmError);
  expect(refused({ tools: [], choice: "required" })).toThrow(CpmError);
  const named = (name: string) => [{ type: "function", function: { name, parameters: { type: "object", properties: {} } } }];
  expect(refused({ dialect: "minicpm4-python", tools: named("a b") })).toThrow(CpmError);
  expect(refused({ dialect: "minicpm5-xml", tools: named('a"b') })).toThrow(CpmError);
  const not = [
    { type: "function", function: { name: "f", parameters: { type: "object", properties: { a: { not: { contains: {} } } } } } },
  ];
  expect(refused({ tools: not })).toThrow(/contains/);
});

const folder = fileURLToPath(new URL("../../../shared/suites/bfcl/", import.meta.url));

/** The first of the listed answers; "" means that the argument may be left out. */
function gold(options: unknown, nested = false): unknown {
  // "" among the answers: the argument may be left out.
  const first: unknown = Array.isArray(options) && !nested ? (options.includes("") ? undefined : options[0]) : options;
  if (Array.isArray(first)) return first.map((item) => gold(item, true));
  if (typeof first !== "object" || first === null) return first;
  const entries = Object.entries(first).map(([key, value]) => [key, gold(value, !Array.isArray(value))] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** Whether a value has the types that its schema names; a few gold answers have not: names of variables for lists, say. */
function fits(value: unknown, schema: unknown): boolean {
  const {
    type,
    properties,
    required = [],
    items,
  } = (toolSchema(schema) ?? {}) as {
    type?: string;
    properties?: Record<string, unknown>;
    required?: readonly string[];
    items?: unknown;
  };
  if (type === "integer") return Number.isInteger(value);
  if (type === "array") return Array.isArray(value) && value.every((item) => fits(item, items));
  if (type === "object") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
    if (!properties) return true;
    const known = Object.entries(value).every(([key, inner]) => key in properties && fits(inner, properties[key]));
    return known && required.every((key) => key in value);
  }
  return type === undefined || typeof value === type;
}

/** Members in the order in which the schema names them, as grammars write them. */
function ordered(value: unknown, schema: unknown): unknown {
  const { properties, items } = (schema ?? {}) as { properties?: Record<string, unknown>; items?: unknown };
  if (Array.isArray(value)) return value.map((item) => ordered(item, items));
  if (typeof value !== "object" || value === null || !properties) return value;
  const names = Object.keys(properties);
  const entries = Object.entries(value).sort(([a], [b]) => names.indexOf(a) - names.indexOf(b));
  return Object.fromEntries(entries.map(([key, inner]) => [key, ordered(inner, properties[key])]));
}

test.each(["simple_python", "multiple", "parallel", "parallel_multiple", "simple_java", "simple_javascript"])(
  "BFCL %s: gold calls are possible, mutants are not",
  (name) => {
    const file = `${folder}${name}.jsonl.gz`;
    if (!existsSync(file)) return console.log(`bfcl/${name}: not tested, the folder with third-party suites is not here`);
    interface Row {
      readonly id: string;
      readonly function: readonly { readonly name: string; readonly parameters: unknown }[];
      readonly ground_truth: readonly Readonly<Record<string, Readonly<Record<string, unknown>>>>[];
    }
    const rows = gunzipSync(readFileSync(file))
      .toString()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    const failed: string[] = [];
    const contradictory: string[] = [];
    // Every eighth row: the whole set is a matter of minutes, and is run by test/constrain/bfcl.mjs.
    for (const row of rows) {
      const given = row.function.map((inner) => ({ type: "function", function: inner }));
      const answers: Call[] = row.ground_truth.map((one) => {
        const [[called, options]] = Object.entries(one) as [[string, Readonly<Record<string, unknown>>]];
        const schema = row.function.find((inner) => inner.name === called)?.parameters;
        return { name: called, arguments: ordered(gold({ ...options }, true), schema) as Record<string, unknown> };
      });
      const sound = answers.every((answer) =>
        fits(answer.arguments, row.function.find((f) => f.name === answer.name)?.parameters),
      );
      if (!sound) contradictory.push(row.id);
      for (const dialect of ["hermes-json", "minicpm4-python", "minicpm5-xml"] as const) {
        const takes = grammar({ dialect, tools: given, choice: "required" });
        const result = takes(written(dialect, answers));
        // A format that writes texts bare takes any value for one.
        if (sound ? result !== "yes" : dialect === "hermes-json" && result === "yes")
          failed.push(`${row.id} ${dialect}: ${result}`);
        for (const mutant of mutants(answers))
          if (takes(written(dialect, mutant)) === "yes") failed.push(`${row.id} ${dialect} takes ${JSON.stringify(mutant)}`);
      }
    }
    expect(failed).toEqual([]);
    if (contradictory.length)
      console.log(`bfcl/${name}: gold answers that contradict their own schema, and are refused: ${contradictory.join(", ")}`);
    expect(contradictory.length).toBeLessThan(rows.length / 5);
  },
);

function* mutants(answers: readonly Call[]): Generator<Call[]> {
  const [first, ...rest] = answers;
  yield [{ ...first!, name: `${first!.name}x` }, ...rest];
  yield [{ ...first!, arguments: { ...first!.arguments, surplus_argument: 1 } }, ...rest];
}
