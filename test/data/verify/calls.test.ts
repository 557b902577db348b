// Tool calls against lists and schemas: BFCL's right calls are taken and their mutants refused; forms, dialects and hostile input.
import { expect, test } from "vitest";
import { callsOf, verifyToolCalls } from "../../../src/data/verify/calls.ts";
import { verifyReasoning } from "../../../src/data/verify/reasoning.ts";
import type { Sample } from "../../../src/data/verify/types.ts";
import type { ToolDefinition } from "../../../src/text/calls/tools.ts";
import { onSuite, rows } from "./rig.ts";

interface Bfcl {
  readonly id: string;
  readonly question: readonly (readonly { role: string; content: string }[])[];
  readonly function: readonly ToolDefinition["function"][];
  readonly ground_truth: readonly Record<string, Record<string, unknown[]>>[];
}
type Call = { name: string; arguments: Record<string, unknown> };

/** A value of those that are right; members of an object are lists of right values themselves. */
function pick(values: readonly unknown[]): unknown {
  const value = values.find((one) => one !== "");
  if (Array.isArray(value)) return value.map((item) => (isObject(item) ? members(item) : item));
  return isObject(value) ? members(value) : value;
}
const isObject = (value: unknown): value is Record<string, unknown[]> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const members = (value: Record<string, unknown[]>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(value)
      .filter(([, list]) => !Array.isArray(list) || !list.includes(""))
      .map(([name, list]) => [name, Array.isArray(list) ? pick(list) : list]),
  );

function golden({ ground_truth: truth, function: list }: Bfcl): Call[] {
  return truth.flatMap((one) =>
    Object.entries(one).map(([name, args]) => {
      const parameters = list.find((tool) => tool.name === name)!.parameters as { required?: string[] };
      // An argument that may be left out is.
      const given = Object.entries(args).filter(([key, list]) => !list.includes("") || parameters.required?.includes(key));
      return { name, arguments: Object.fromEntries(given.map(([key, list]) => [key, pick(list)])) };
    }),
  );
}

const sample = (row: Bfcl, calls: readonly Call[]): Sample => ({
  tools: row.function.map((fn) => ({ type: "function", function: fn })),
  messages: [
    ...row.question.flat(),
    {
      role: "assistant",
      content: null,
      tool_calls: calls.map((call, i) => ({
        id: `call_${i}`,
        type: "function",
        function: { name: call.name, arguments: JSON.stringify(call.arguments) },
      })),
    },
  ],
});

interface Property {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly items?: Property;
  readonly properties?: Record<string, Property>;
  readonly required?: readonly string[];
}
const isText = (type = "") => /^(?:string|char)$/i.test(type);

/** Mutants below the top: choices that there are not, wrong types, missing and surplus members of nested objects, wrong items of lists. */
function* inside(schema: Property, value: unknown, path = ""): Generator<[what: string, value: unknown]> {
  if (path !== "" && schema.enum && typeof value === "string" && isText(schema.type))
    yield [`choice ${path}`, `${value} or another`];
  if (Array.isArray(value) && schema.items?.type && schema.items.type !== "any")
    for (const [i, item] of value.entries()) {
      const wrong = isText(schema.items.type) ? 12 : "no such value";
      yield [`item ${path}/${i}`, value.with(i, wrong)];
      for (const [what, made] of inside(schema.items, item, `${path}/${i}`)) yield [what, value.with(i, made)];
    }
  const { properties = {} } = schema;
  if (!isObject(value) || Object.keys(properties).length === 0) return;
  if (path !== "") yield [`surplus ${path}`, { ...value, not_a_member: 1 }];
  for (const [name, property] of Object.entries(properties)) {
    if (!Object.hasOwn(value, name)) continue;
    const at = `${path}/${name}`;
    const given: unknown = value[name];
    const { [name]: _, ...rest } = value;
    if (path !== "" && schema.required?.includes(name)) yield [`missing ${at}`, rest];
    if (path !== "" && property.type && property.type !== "any")
      yield [`type ${at}`, { ...value, [name]: isText(property.type) ? 12 : "no such value" }];
    for (const [what, made] of inside(property, given, at)) yield [what, { ...value, [name]: made }];
  }
}

const sets = ["simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple"];

onSuite("bfcl", "every right call is taken, every mutant refused", () => {
  const refused: string[] = [];
  const taken: string[] = [];
  let [calls, mutants] = [0, 0];
  for (const set of sets)
    for (const row of rows<Bfcl>(`bfcl/${set}.jsonl.gz`)) {
      const right = golden(row);
      calls += right.length;
      const { ok, reasons } = verifyToolCalls(sample(row, right));
      if (!ok) refused.push(`${row.id}: ${reasons.join("; ")}`);
      right.forEach((call, i) => {
        const parameters = row.function.find(({ name }) => name === call.name)!.parameters as {
          properties: Record<string, Property>;
          required?: string[];
        };
        const changed: [string, Call][] = [
          ["unknown tool", { ...call, name: `${call.name}_x` }],
          ["surplus argument", { ...call, arguments: { ...call.arguments, not_an_argument: 1 } }],
        ];
        for (const key of parameters.required ?? [])
          if (Object.hasOwn(call.arguments, key)) {
            const { [key]: _, ...rest } = call.arguments;
            changed.push([`missing ${key}`, { ...call, arguments: rest }]);
          }
        for (const [key, { type = "any" }] of Object.entries(parameters.properties)) {
          if (type === "any" || !Object.hasOwn(call.arguments, key)) continue;
          const text = /^(?:string|char)$/i.test(type);
          const wrong: unknown[] = [null, text ? 12 : "12", text ? { a: 1 } : "no such value", text ? [1] : "true"];
          if (!/^(?:dict|hashmap|object)$/i.test(type)) wrong.push({ a: 1 });
          if (/^int|^long/i.test(type)) wrong.push(1.5);
          for (const value of wrong)
            changed.push([`${key} = ${JSON.stringify(value)}`, { ...call, arguments: { ...call.arguments, [key]: value } }]);
        }
        for (const [what, args] of inside({ properties: parameters.properties }, call.arguments))
          changed.push([what, { ...call, arguments: args as Call["arguments"] }]);
        for (const [what, mutant] of changed) {
          mutants++;
          if (verifyToolCalls(sample(row, right.with(i, mutant))).ok) taken.push(`${row.id}: ${what}`);
        }
      });
    }
  expect(refused).toEqual([]);
  expect(taken).toEqual([]);
  expect(calls).toBeGreaterThan(1500);
  expect(mutants).toBeGreaterThan(12_000);
});

onSuite("bfcl", "parallel calls: any order, each once, none more, none with another value", () => {
  let several = 0;
  for (const set of ["parallel", "parallel_multiple"])
    for (const row of rows<Bfcl>(`bfcl/${set}.jsonl.gz`)) {
      const right = golden(row);
      if (right.length < 2) continue;
      several++;
      const against = (calls: readonly Call[]) => verifyToolCalls({ ...sample(row, calls), expected_calls: right }).ok;
      expect(against(right), row.id).toBe(true);
      expect(against(right.toReversed()), row.id).toBe(true);
      for (const [i, call] of right.entries()) {
        expect(against(right.toSpliced(i, 1)), row.id).toBe(false);
        expect(against([...right, call]), row.id).toBe(false);
        const other = right[(i + 1) % right.length]!;
        if (JSON.stringify(other) !== JSON.stringify(call)) expect(against(right.with(i, other)), row.id).toBe(false);
        for (const [key, value] of Object.entries(call.arguments)) {
          const changed = typeof value === "string" ? `${value} x` : typeof value === "number" ? value + 1 : undefined;
          if (changed === undefined) continue;
          expect(against(right.with(i, { ...call, arguments: { ...call.arguments, [key]: changed } })), `${row.id} ${key}`).toBe(
            false,
          );
        }
      }
    }
  expect(several).toBeGreaterThan(300);
});

onSuite("bfcl", "where no tool fits, a call is no answer and no call is one", () => {
  for (const row of rows<Bfcl>("bfcl/irrelevance.jsonl.gz")) {
    const silent: Sample = { ...sample(row, []), expected_calls: [] };
    expect(verifyToolCalls(silent).ok).toBe(true);
    const name = row.function[0]!.name;
    expect(verifyToolCalls({ ...sample(row, [{ name, arguments: {} }]), expected_calls: [] }).ok).toBe(false);
  }
});

const tools: readonly ToolDefinition[] = [
  {
    type: "function",
    function: {
      name: "search",
      parameters: {
        type: "object",
        properties: {
          query: { type: "string", minLength: 2 },
          limit: { type: "integer", minimum: 1, maximum: 10 },
          filter: { type: "object", properties: { kind: { enum: ["a", "b"] } }, required: ["kind"] },
        },
        required: ["query"],
      },
    },
  },
  { type: "function", function: { name: "now" } },
];
const wire = (name: string, args: unknown): Sample => ({
  tools,
  messages: [{ role: "assistant", tool_calls: [{ function: { name, arguments: args as string } }] }],
});

test("what a schema says beyond types, and what is said of what is wrong", () => {
  expect(verifyToolCalls(wire("search", '{"query":"ab","limit":3,"filter":{"kind":"a"}}')).ok).toBe(true);
  expect(verifyToolCalls(wire("search", { query: "ab" })).ok).toBe(true);
  expect(verifyToolCalls(wire("now", "")).ok).toBe(true);
  const wrong: readonly [Sample, RegExp][] = [
    [wire("search", '{"query":"a"}'), /arguments of search: query: .*minLength/],
    [wire("search", '{"query":"ab","limit":11}'), /limit.*maximum/],
    [wire("search", '{"query":"ab","filter":{"kind":"c"}}'), /filter\/kind.*enum/],
    [wire("search", '{"query":"ab","filter":{}}'), /filter.*required/],
    [wire("search", '{"query":"ab"'), /no JSON/],
    [wire("search", "[1]"), /expected an object/],
    [wire("now", '{"zone":"x"}'), /it has no argument "zone"/],
    [wire("toString", "{}"), /not in the list/],
    [{ tools, messages: [{ role: "assistant", content: "Hello" }] }, /no call/],
    [{ tools, messages: [{ role: "assistant", tool_calls: [{} as never] }] }, /call without a name/],
  ];
  for (const [one, reason] of wrong) {
    const { ok, reasons } = verifyToolCalls(one);
    expect(ok).toBe(false);
    expect(reasons.join("\n")).toMatch(reason);
  }
  // A name of a variable is no value where the schema is JSON Schema's.
  expect(verifyToolCalls({ ...wire("search", '{"query":"ab","limit":"limitValue"}'), prompt: "use limitValue" }).ok).toBe(false);
});

test("calls written in texts, and calls that were expected", () => {
  const response = 'Let me look.\n<tool_call>\n{"name": "search", "arguments": {"query": "cats"}}\n</tool_call>';
  expect(callsOf({ tools, response }).calls).toEqual([{ name: "search", arguments: { query: "cats" } }]);
  expect(verifyToolCalls({ tools, response }).ok).toBe(true);
  expect(verifyToolCalls({ tools, response: response.replace("}}", "}") }).reasons.join()).toMatch(/call/);
  const python = "<|tool_call_start|>\n```python\nsearch(query='cats')\n```\n<|tool_call_end|>";
  expect(verifyToolCalls({ tools, response: python }, { dialect: "minicpm4-python" }).ok).toBe(true);
  const expected_calls = [{ name: "search", arguments: { query: "cats" } }];
  expect(verifyToolCalls({ tools, response, expected_calls }).ok).toBe(true);
  expect(verifyToolCalls({ tools, response: response.replace("cats", "dogs"), expected_calls }).reasons).toHaveLength(2);
});

test("reasoning before the call", () => {
  const call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>';
  const said = (response: string, options = {}) => verifyReasoning({ tools, response }, options).ok;
  expect(said(`<think>They ask for the time, which a tool tells.</think>${call}`)).toBe(true);
  expect(said(`They ask for the time, which a tool tells.\n${call}`)).toBe(true);
  expect(said(`They ask for the time, which a tool tells.\n${call}`, { plain: false })).toBe(false);
  expect(said(call)).toBe(false);
  expect(said(`${call}\nThat was the call, and here is why I made it.`)).toBe(false);
  expect(said(`<think>They ask for the time${call}`)).toBe(false);
  expect(said(`<think>They ask for the time: ${call}</think>${call}`)).toBe(false);
  expect(said("No call at all.")).toBe(true);
  const message = { role: "assistant", tool_calls: [{ function: { name: "now", arguments: "{}" } }] };
  expect(verifyReasoning({ tools, messages: [message] }).ok).toBe(false);
  expect(verifyReasoning({ tools, messages: [{ ...message, reasoning_content: "The time is asked for." }] }).ok).toBe(true);
  expect(verifyReasoning({ tools, messages: [{ ...message, content: "I look at the clock now." }] }).ok).toBe(true);
});

test("calls are found before their results and the answer behind them; those of earlier turns are held to the tools as well", () => {
  const tool = (name: string) => ({
    type: "function" as const,
    function: { name, parameters: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } },
  });
  const user = { role: "user", content: "x" };
  const made = (name: string, given: string) => ({
    role: "assistant",
    content: null,
    reasoning_content: "It takes this tool for it.",
    tool_calls: [{ id: "c", type: "function", function: { name, arguments: given } }],
  });
  const result = { role: "tool", tool_call_id: "c", content: "{}" };
  const said = { role: "assistant", content: "That is done." };
  const tools = [tool("f"), tool("g")];
  const good = [user, made("f", '{"n":1}'), result, said];
  expect(verifyToolCalls({ tools, messages: good })).toEqual({ ok: true, reasons: [] });
  expect(verifyReasoning({ tools, messages: good })).toEqual({ ok: true, reasons: [] });
  const expected = [{ name: "f", arguments: { n: 1 } }];
  expect(verifyToolCalls({ tools, messages: good, expected_calls: expected }).ok).toBe(true);
  expect(verifyToolCalls({ tools, messages: [user, made("f", '{"n":2}'), result, said], expected_calls: expected }).ok).toBe(
    false,
  );
  // Of two steps in a turn the last one is judged, the one before is held to its schema.
  const steps = [user, made("g", '{"n":5}'), result, made("f", '{"n":1}')];
  expect(verifyToolCalls({ tools, messages: steps, expected_calls: expected }).ok).toBe(true);
  const two = [user, made("g", '{"n":"5"}'), result, said, user, made("f", '{"n":1}'), result, said];
  expect(verifyToolCalls({ tools, messages: two }).reasons).toEqual([expect.stringMatching(/^arguments of g: n: /)]);
  expect(verifyToolCalls({ tools, messages: two }, { earlier: false }).ok).toBe(true);
  // An answer to a later request makes no call, whatever was called before.
  expect(verifyToolCalls({ tools, messages: [...good, user, said] }).reasons).toEqual(["no call, where one is wanted"]);
});
