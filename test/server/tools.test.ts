// Tools and response formats over the wire, over the embedded model.
import { expect, onTestFinished, test } from "vitest";
import { load } from "../../src/host/node.ts";
import { story } from "../cli/command.ts";
import { eventsOf, served } from "./served.ts";

async function open() {
  const model = await load(story, { worker: false, threads: 1, contextSize: 2048 });
  onTestFinished(() => model.dispose());
  return served({ story: model });
}

const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 9 } },
  required: ["city", "days"],
};
const tools = [{ type: "function", function: { name: "get_weather", description: "Weather.", parameters, strict: true } }];
const messages = [{ role: "user", content: "Weather?" }];
const body = { model: "story", messages, tools, temperature: 0, max_tokens: 150 };

interface Call {
  readonly index?: number;
  readonly id?: string;
  readonly type?: string;
  readonly function: { readonly name?: string; readonly arguments: string };
}

test("tool calls, whole and in deltas: the first with id, type and name, then arguments alone", async () => {
  const { post } = await open();
  const wish = { ...body, tool_choice: "required", parallel_tool_calls: false };
  const whole = (await (await post("/v1/chat/completions", wish)).json()) as {
    choices: { message: { content: null; tool_calls: Call[] }; finish_reason: string }[];
  };
  const { message, finish_reason } = whole.choices[0]!;
  expect(finish_reason).toBe("tool_calls");
  expect(message.content).toBeNull();
  expect(message.tool_calls).toMatchObject([{ type: "function", function: { name: "get_weather" } }]);
  const given = JSON.parse(message.tool_calls[0]!.function.arguments) as { days: number };
  expect(Number.isInteger(given.days)).toBe(true);

  const events = (await eventsOf(await post("/v1/chat/completions", { ...wish, stream: true }))) as {
    choices: { delta: { role?: string; tool_calls?: Call[] }; finish_reason: string | null }[];
  }[];
  const chunks = events.slice(0, -1);
  expect(chunks[0]!.choices[0]!.delta.role).toBe("assistant");
  const deltas = chunks.flatMap((chunk) => chunk.choices[0]!.delta.tool_calls ?? []);
  expect(deltas[0]).toMatchObject({ index: 0, type: "function", function: { name: "get_weather" } });
  expect(deltas[0]!.id).toMatch(/\w{9}/);
  expect(deltas.slice(1).every((delta) => delta.id === undefined && delta.type === undefined && delta.index === 0)).toBe(true);
  expect(deltas.map((delta) => delta.function.arguments).join("")).toBe(message.tool_calls[0]!.function.arguments);
  expect(chunks.at(-1)!.choices[0]!.finish_reason).toBe("tool_calls");
});

test("a tool by name, and none", async () => {
  const { post } = await open();
  const named = await post("/v1/chat/completions", {
    ...body,
    tool_choice: { type: "function", function: { name: "get_weather" } },
  });
  expect(JSON.stringify(await named.json())).toContain('"tool_calls"');
  const none = (await (await post("/v1/chat/completions", { ...body, tool_choice: "none", max_tokens: 10 })).json()) as {
    choices: { message: { content: string } }[];
  };
  expect(none.choices[0]!.message.content).not.toBe("");
});

test("response formats hold: an object of any shape, a schema, a grammar", async () => {
  const { post } = await open();
  const content = async (extra: object) => {
    const answer = (await (
      await post("/v1/chat/completions", { model: "story", messages, temperature: 0, max_tokens: 200, ...extra })
    ).json()) as {
      choices: { message: { content: string } }[];
    };
    return answer.choices[0]!.message.content;
  };
  const schema = {
    type: "object",
    properties: { a: { enum: [1, 2] }, b: { type: "boolean" } },
    required: ["a", "b"],
    additionalProperties: false,
  };
  const held = JSON.parse(
    await content({ response_format: { type: "json_schema", json_schema: { name: "s", schema, strict: true } } }),
  ) as object;
  expect(Object.keys(held)).toEqual(["a", "b"]);
  expect(["yes", "no"]).toContain(await content({ grammar: 'root ::= "yes" | "no"' }));
  expect((await content({ response_format: { type: "json_object" } })).startsWith("{")).toBe(true);
});

test("responses call functions: items whole and as events, and take the results back", async () => {
  const { post } = await open();
  const flat = [{ type: "function", name: "get_weather", parameters, strict: true }];
  const wish = {
    model: "story",
    input: "Weather?",
    tools: flat,
    tool_choice: "required",
    parallel_tool_calls: false,
    temperature: 0,
    max_output_tokens: 150,
  };
  interface Item {
    readonly type: string;
    readonly call_id: string;
    readonly name: string;
    readonly arguments: string;
  }
  const whole = (await (await post("/v1/responses", wish)).json()) as { status: string; output: Item[] };
  expect(whole.status).toBe("completed");
  expect(whole.output).toMatchObject([{ type: "function_call", name: "get_weather" }]);
  const events = (await eventsOf(await post("/v1/responses", { ...wish, stream: true }))) as {
    type: string;
    delta?: string;
    item?: Item;
    arguments?: string;
  }[];
  const order = events.map((e) => e.type).filter((type, i, all) => type !== all[i - 1]);
  expect(order).toEqual([
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
  ]);
  expect(events.map((e) => e.delta ?? "").join("")).toBe(whole.output[0]!.arguments);
  const [call] = whole.output;
  const input = [
    { role: "user", content: "Weather?" },
    call,
    { type: "function_call_output", call_id: call!.call_id, output: '{"t": 20}' },
  ];
  expect((await post("/v1/responses", { ...wish, input, tool_choice: "none", max_output_tokens: 5 })).status).toBe(200);
});

test.each([
  ["a tool that is no function", { tools: [{ type: "web_search" }] }, "tools[0].type"],
  ["a name that no function has", { tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
  ["a choice of another tool", { tool_choice: { type: "function", function: { name: "other" } } }, "tool_choice"],
  ["required without tools", { tools: [], tool_choice: "required" }, "tool_choice"],
  [
    "a schema that is none",
    { tools: undefined, response_format: { type: "json_schema", json_schema: { name: "s", schema: 1 } } },
    "response_format.json_schema.schema",
  ],
  ["an unknown format", { tools: undefined, response_format: { type: "xml" } }, "response_format.type"],
])("%s is refused by name", async (_what, extra, param) => {
  const { post } = await open();
  const response = await post("/v1/chat/completions", { ...body, ...extra });
  const { error } = (await response.json()) as { error: { param: string } };
  expect([response.status, error.param]).toEqual([400, param]);
});

test("a schema that cannot be enforced is refused with its keyword, unless strict is false", async () => {
  const { post } = await open();
  const format = (strict?: boolean) => ({
    model: "story",
    messages,
    max_tokens: 40,
    response_format: {
      type: "json_schema",
      json_schema: {
        name: "s",
        schema: { type: "array", uniqueItems: true, items: { type: "boolean" }, maxItems: 2 },
        ...(strict === undefined ? {} : { strict }),
      },
    },
  });
  const refused = await post("/v1/chat/completions", format());
  expect(refused.status).toBe(400);
  expect(await refused.text()).toContain("uniqueItems");
  expect((await post("/v1/chat/completions", format(false))).status).toBe(200);
});
