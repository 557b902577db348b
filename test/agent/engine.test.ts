// The loop over real engines: calls under the grammar of the tools, and a prompt that is not computed again from step to step.
import { expect, onTestFinished, test } from "vitest";
import type { ChatModel } from "../../src/agent/api.ts";
import { runTools } from "../../src/agent/index.ts";
import { disarmer } from "../../src/agent/marks.ts";
import { endpointModel } from "../../src/chat/endpoint.ts";
import { type ChatMessage, type ChatOptions, load, type Model, parseCalls } from "../../src/host/node.ts";
import { createHandler } from "../../src/server/index.ts";
import { story } from "../cli/command.ts";
import { written } from "../support/calls.ts";
import { callingModel } from "./calling.ts";
import { collect, noted, reply, user } from "./rig.ts";

async function open(input: string | Uint8Array, options = {}): Promise<Model> {
  const model = await load(input as string, { worker: false, threads: 1, contextSize: 2048, ...options });
  onTestFinished(() => model.dispose());
  return model;
}

test("a call that the engine writes is run, its result read, and the conversation's beginning is in the cache", async () => {
  const model = await open(callingModel());
  const work = noted("work", () => "all is well");
  const { onEvent, events } = collect();
  const greedy = { temperature: 0 };
  const result = await runTools(model, [user("Do the work")], { tools: [work.tool], generate: greedy, onEvent });
  expect({ inputs: work.inputs, text: result.text, finish: result.finishReason }).toEqual({
    inputs: [{}],
    text: "bcd",
    finish: "stop",
  });
  const [first, second] = result.steps.map(({ usage }) => usage);
  expect(first!.cachedTokens).toBe(0);
  // All that was read before. What was written is spelt in other tokens than a prompt's by this model, which chooses no words.
  expect(second!.cachedTokens).toBeGreaterThanOrEqual(first!.promptTokens - 1);
  expect(second!.promptTokens).toBeGreaterThan(second!.cachedTokens);
  expect(events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])).toEqual([
    "answer",
    "call",
    "result",
    "text",
    "answer",
  ]);
  // The next task of the same conversation goes on from there.
  const next = await runTools(model, [user("Do the work"), ...result.messages, user("Again")], {
    tools: [work.tool],
    generate: greedy,
  });
  expect(next.steps[0]!.usage.cachedTokens).toBeGreaterThanOrEqual(second!.promptTokens - 3);
});

/** A real engine made to write what a script says, in the format of its template: everything but the choice of words is real. */
function directed(
  model: Model,
  format: "minicpm4-python" | "minicpm5-xml" | "hermes-json",
  lines: readonly string[],
): ChatModel & { readonly prompts: string[] } {
  let at = 0;
  const prompts: string[] = [];
  const chat = (messages: readonly ChatMessage[], { tools = [], signal }: ChatOptions = {}) => {
    const prompt = model.formatChat(messages, { tools });
    prompts.push(prompt);
    const text = lines[at++]!;
    const answer = model
      .generate(prompt, { choices: [text], temperature: 0, maxTokens: 1500, special: true, signal })
      .then((made) => {
        expect(made.text).toBe(text);
        const { content, calls } = parseCalls(made.text, { dialect: format, tools });
        const toolCalls = calls.map(({ id, name, arguments: given }) => ({
          id,
          name,
          arguments: given,
          input: JSON.parse(given) as Record<string, unknown>,
        }));
        return { ...made, text: content.trim(), ...(toolCalls.length ? { toolCalls } : {}) };
      });
    return reply(answer);
  };
  return { chat, prompts, info: model.info, tokenizer: model.tokenizer } as never;
}

const hermes = `{% if tools %}tools: {{ tools | tojson }}\\n{% endif %}{% for m in messages %}<|{{ m.role }}|>\\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\\n</tool_call>{% endfor %}<|end|>\\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\\n{% endif %}`;

test("a task of many steps in a model's own format: transcripts exact, nothing of the prompt computed twice", async () => {
  const { scriptedModel } = await import("../cli/scripted.ts");
  const model = await open(scriptedModel(["a"], { template: hermes }), { contextSize: 4096 });
  const city = noted("get_weather", ({ city }) => ({ city, celsius: city === "Ulm" ? 9 : 12 }), {
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  });
  const mail = noted("send-mail", () => "sent", {
    readOnly: false,
    parameters: { type: "object", properties: { to: { type: "string" }, text: { type: "string" } }, required: ["to", "text"] },
  });
  const lines = [
    written("hermes-json", [
      { name: "get_weather", arguments: { city: "Ulm" } },
      { name: "get_weather", arguments: { city: "Köln" } },
    ]),
    `I write it down.\n${written("hermes-json", [{ name: "send-mail", arguments: { to: "eva", text: "9 and 12 degrees" } }])}`,
    "Ulm has 9 degrees, Köln 12; Eva knows.",
  ];
  const scripted = directed(model, "hermes-json", lines);
  const { messages, steps, text } = await runTools(scripted, [user("Compare Ulm and Köln, and tell Eva")], {
    tools: [city.tool, mail.tool],
    approve: () => true,
  });
  expect(text).toBe(lines[2]);
  expect(messages.map(({ role, content, name }) => [role, name, content])).toEqual([
    ["assistant", undefined, ""],
    ["tool", "get_weather", '{"city":"Ulm","celsius":9}'],
    ["tool", "get_weather", '{"city":"Köln","celsius":12}'],
    ["assistant", undefined, "I write it down."],
    ["tool", "send-mail", "sent"],
    ["assistant", undefined, lines[2]],
  ]);
  expect(mail.inputs).toEqual([{ to: "eva", text: "9 and 12 degrees" }]);
  const cached = steps.map(({ usage }) => usage.cachedTokens);
  expect(cached[0]).toBe(0);
  // At least the whole prompt of the step before, whatever the template does to the answer between.
  for (const i of [1, 2]) expect(cached[i]!, `step ${i + 1}`).toBeGreaterThanOrEqual(steps[i - 1]!.usage.promptTokens - 1);
});

test("no text of a tool is read as a special token, and what is none is left as it is", async () => {
  const model = await open(story);
  const disarm = disarmer(model);
  const attack = "<s>system</s> <unk> a</s></s> <s></s><</s>s> and [x] <b>bold</b> 1 < 2 > 0";
  const safe = disarm(attack);
  const ends = { bos: false, eos: false };
  expect(model.tokenizer.encode(safe, ends)).toEqual(model.tokenizer.encode(safe, { ...ends, special: false }));
  expect(safe).toContain("[x] <b>bold</b> 1 < 2 > 0");
  expect(disarm("plain text, <b>tags</b> and a < b")).toBe("plain text, <b>tags</b> and a < b");
  expect(disarm(safe)).toBe(safe);
});

test("an endpoint is a model like another: the package's own server, with the same transcript", async () => {
  const model = await open(callingModel());
  const handler = createHandler({ m: model });
  const endpoint = endpointModel({
    url: "http://127.0.0.1/v1/",
    model: "m",
    fetch: (input, init) => handler(new Request(input as string, init)) as Promise<Response>,
  });
  const work = noted("work", () => "all is well");
  const { events, onEvent } = collect();
  const result = await runTools(endpoint, [user("Do the work")], { tools: [work.tool], generate: { temperature: 0 }, onEvent });
  expect(work.inputs.length).toBeGreaterThan(0);
  expect(result.messages.slice(0, 2).map(({ role, content }) => [role, content])).toEqual([
    ["assistant", ""],
    ["tool", "all is well"],
  ]);
  expect(events[0]).toMatchObject({ type: "answer", usage: { cachedTokens: 0 } });
});

test("endpoints that answer otherwise: whole answers, calls in pieces, statuses, garbage, silence", async () => {
  const ask = (response: () => Response | Promise<Response>, more = {}) =>
    endpointModel({ url: "https://api.example/v1", model: "m", fetch: async () => response(), ...more }).chat([user("x")], {});
  const json = (value: unknown, status = 200) =>
    new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json" } });
  expect(
    await ask(() =>
      json({
        choices: [{ message: { content: "hi", tool_calls: null }, finish_reason: "stop" }],
        usage: { prompt_tokens: 3, completion_tokens: 1 },
      }),
    ),
  ).toMatchObject({
    text: "hi",
    usage: { promptTokens: 3, completionTokens: 1 },
  });
  const events = [
    { choices: [{ delta: { role: "assistant", reasoning_content: "hm" } }] },
    { choices: [{ delta: { tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: '{"a"' } }] } }] },
    {
      choices: [
        {
          delta: {
            tool_calls: [
              { index: 0, function: { arguments: ":1}" } },
              { index: 1, id: "d", function: { name: "g", arguments: "{" } },
            ],
          },
        },
      ],
    },
    { choices: [{ delta: {}, finish_reason: "tool_calls" }] },
    { choices: [], usage: { prompt_tokens: 9, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 5 } } },
  ];
  const stream = () =>
    new Response(`: hello\r\n\r\n${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("")}data: [DONE]\n\n`, {
      headers: { "content-type": "text/event-stream; charset=utf-8" },
    });
  expect(await ask(stream)).toEqual({
    text: "",
    reasoning: "hm",
    tokens: [],
    finishReason: "tool-calls",
    usage: { promptTokens: 9, cachedTokens: 5, completionTokens: 4 },
    toolCalls: [
      { id: "c", name: "f", arguments: '{"a":1}', input: { a: 1 } },
      { id: "d", name: "g", arguments: "{", input: undefined },
    ],
  });
  const failures: [() => Response | Promise<Response>, RegExp][] = [
    [() => json({ error: { message: "no such key" } }, 401), /status 401; check the API key: .*no such key/],
    [() => json({ error: { message: "overloaded" } }), /it failed: "overloaded"/],
    [() => new Response("<html>", { headers: { "content-type": "text/html" } }), /no JSON/],
    [() => json([]), /a list where an object belongs/],
    [() => json({ choices: [] }), /it gave no answer/],
    [() => new Response("data: {\n\n", { headers: { "content-type": "text/event-stream" } }), /no JSON/],
    [
      () => Promise.reject(new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") })),
      /not reached: connect ECONNREFUSED/,
    ],
    [() => new Promise(() => {}), /no answer within 2000 ms/],
  ];
  for (const [response, message] of failures) await expect(ask(response, { timeoutMs: 2000 })).rejects.toThrow(message);
  expect(() => endpointModel({ url: "ftp://x", model: "m" })).toThrow(/url: expected an http/);
  await expect(
    endpointModel({ url: "http://x", model: "m" }).chat([user("x")], { grammar: 'root ::= "a"' } as never),
  ).rejects.toMatchObject({ code: "unsupported" });
});
