// Chats with tools: what comes out are calls that the tools take, in every format, streamed and whole, drafted or not.
import { expect, test } from "vitest";
import { toolPlan } from "../../src/door/tools.ts";
import { CpmError } from "../../src/errors.ts";
import { load } from "../../src/host/node.ts";
import type { GeneratedPart, Model, ToolDefinition } from "../../src/index.ts";
import { dialectNames } from "../../src/text/calls/dialect.ts";
import { story } from "../cli/command.ts";

const tools: ToolDefinition[] = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: {
        type: "object",
        properties: { city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 9 } },
        required: ["city", "days"],
      },
    },
  },
  { type: "function", function: { name: "noop", parameters: { type: "object", properties: {} } } },
];
const messages = [{ role: "user", content: "Weather?" }];

async function withModel(work: (model: Model) => Promise<void>): Promise<void> {
  await using model = await load(story, { worker: false, threads: 1, contextSize: 2048, draft: "lookup" });
  await work(model);
}

/** The calls that parts tell, and whether every piece fits its whole. */
function told(parts: readonly GeneratedPart[]) {
  const open = new Map<string, { name: string; text: string }>();
  const whole: { id: string; name: string; arguments: string }[] = [];
  for (const { call } of parts) {
    if (!call) continue;
    const known = open.get(call.id) ?? { name: call.name, text: "" };
    open.set(call.id, { ...known, text: known.text + call.delta });
    if (!call.whole) continue;
    expect(open.get(call.id)).toEqual({ name: call.whole.name, text: call.whole.arguments });
    whole.push({ id: call.id, name: call.whole.name, arguments: call.whole.arguments });
  }
  return whole;
}

test.each(dialectNames)(
  "%s: required calls are calls, streamed as in the result, the same with and without drafts",
  (toolFormat) =>
    withModel(async (model) => {
      for (const seed of [1, 2, 3]) {
        const options = {
          tools,
          toolChoice: "required",
          toolFormat,
          parallelToolCalls: false,
          temperature: 1.2,
          seed,
          maxTokens: 150,
        } as const;
        const generation = model.chat(messages, options);
        const parts: GeneratedPart[] = [];
        for await (const part of generation) parts.push(part);
        const result = await generation;
        expect(result.finishReason).toBe("tool-calls");
        expect(result.toolCalls).toHaveLength(1);
        const [call] = result.toolCalls!;
        expect(told(parts)).toEqual([{ id: call!.id, name: call!.name, arguments: call!.arguments }]);
        expect(call!.input).toEqual(JSON.parse(call!.arguments));
        if (call!.name === "get_weather") {
          expect(Object.keys(call!.input)).toEqual(["city", "days"]);
          expect(call!.input["days"]).toBeGreaterThanOrEqual(1);
          expect(call!.input["days"]).toBeLessThanOrEqual(9);
        } else expect(call).toMatchObject({ name: "noop", input: {} });
        expect(parts.flatMap((part) => part.tokens)).toEqual(result.tokens);
        const plain = await model.chat(messages, { ...options, draft: false });
        expect(plain.tokens).toEqual(result.tokens);
      }
    }),
);

test("a tool by its name, none of them, several, and what a cut leaves", () =>
  withModel(async (model) => {
    const common = { tools, toolFormat: "hermes-json", temperature: 0, maxTokens: 150 } as const;
    const named = await model.chat(messages, { ...common, toolChoice: { name: "noop" } });
    expect(named.toolCalls).toMatchObject([{ name: "noop", input: {} }]);
    const none = await model.chat(messages, { ...common, toolChoice: "none", maxTokens: 30 });
    expect(none.toolCalls).toBeUndefined();
    expect(none.text).not.toBe("");
    const auto = await model.chat(messages, { ...common, maxTokens: 30 });
    expect(auto.text).not.toBe("");
    const cut = await model.chat(messages, { ...common, toolChoice: "required", maxTokens: 12 });
    expect(cut.finishReason).toBe("length");
    expect(cut.toolCalls).toBeUndefined();
  }));

test("an answer and its results go back into the conversation", () =>
  withModel(async (model) => {
    const common = { tools, toolFormat: "json", temperature: 0, maxTokens: 60 } as const;
    const { toolCalls } = await model.chat(messages, { ...common, toolChoice: { name: "noop" } });
    const [call] = toolCalls!;
    const conversation = [
      ...messages,
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: call!.id, type: "function", function: { name: call!.name, arguments: call!.arguments } }],
      },
      { role: "tool", content: '{"ok": true}', tool_call_id: call!.id },
    ];
    const next = await model.chat(conversation, { ...common, maxTokens: 10 });
    expect(next.usage.cachedTokens).toBeGreaterThan(50);
  }));

test("equal tools are compiled once, others anew; tools that are no plain data are a typed refusal", () =>
  withModel(async (model) => {
    const plan = (given: readonly unknown[], toolChoice: "auto" | "required" = "auto") =>
      toolPlan({ tools: given as ToolDefinition[], toolChoice, toolFormat: "json" }, messages, model.info.tokenizer)!;
    expect(plan(structuredClone(tools)).constraint).toBe(plan(tools).constraint);
    expect(plan(tools, "required").constraint).not.toBe(plan(tools).constraint);
    expect(plan(tools.slice(1)).constraint).not.toBe(plan(tools).constraint);
    const circle: Record<string, unknown> = { type: "object", properties: {} };
    circle["properties"] = { self: circle };
    expect(() => plan([{ type: "function", function: { name: "f", parameters: circle } }])).toThrow(CpmError);
  }));

test("wrong options are refused by name", () =>
  withModel(async (model) => {
    const refused = (options: object) => {
      try {
        void model.chat(messages, options as never);
      } catch (error) {
        return (error as { detail?: { field?: string } }).detail?.field;
      }
      return "taken";
    };
    expect(refused({ tools, toolChoice: "maybe" })).toBe("toolChoice");
    expect(refused({ tools, toolChoice: { name: "other" } })).toBe("toolChoice");
    expect(refused({ toolChoice: "required" })).toBe("toolChoice");
    expect(refused({ tools, toolFormat: "xml" })).toBe("toolFormat");
    expect(refused({ tools, parallelToolCalls: 1 })).toBe("parallelToolCalls");
    expect(refused({ tools, schema: { type: "object" } })).toBe("tools");
    expect(refused({ tools: [{}] })).toBe("tools[0]");
  }));
