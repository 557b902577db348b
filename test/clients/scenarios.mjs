// What the real clients do with a server. Each scenario throws when something is not as its client's documentation says.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { AIMessage, HumanMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

/** Short: the embedded model's context is, too. */
export const weatherInput = z.object({ city: z.string().max(12), days: z.number().int().min(1).max(9) });
const tools = [
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
];
/** Strict: the embedded model would add members of its own without end. */
export const answerShape = z.strictObject({ kind: z.enum(["a", "b"]), sure: z.boolean() });

/** What the AI SDK does with tools and schemas, over HTTP and in process. */
export async function toolLoop(model) {
  const called = [];
  const weather = tool({
    description: "Weather.",
    inputSchema: weatherInput,
    execute: async (input) => {
      called.push(weatherInput.parse(input));
      return "20 degrees";
    },
  });
  const common = { model, prompt: "Weather?", temperature: 0, maxOutputTokens: 150, maxRetries: 0 };
  const looped = await generateText({
    ...common,
    tools: { weather },
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  });
  assert.ok(called.length >= 1);
  assert.equal(looped.steps.length, 2);
  assert.equal(looped.steps[0].finishReason, "tool-calls");
  const streamed = streamText({ ...common, tools: { weather }, toolChoice: "required" });
  const types = new Set();
  for await (const part of streamed.fullStream) {
    types.add(part.type);
    if (part.type === "error") throw part.error;
  }
  for (const type of ["tool-input-start", "tool-input-delta", "tool-input-end", "tool-call", "tool-result"])
    assert.ok(types.has(type), type);
  const { output } = await generateText({ ...common, output: Output.object({ schema: answerShape }) });
  answerShape.parse(output);
}

const messages = [{ role: "user", content: "Tell me of a dog." }];

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** [title, work] for a server at `baseURL` ("…/v1") that `fetch` reaches; `text` is the greedy answer of 20 tokens, `model` its name. */
export function scenarios({ baseURL, fetch, model, text }) {
  const client = new OpenAI({ baseURL, apiKey: "none", fetch, maxRetries: 0 });
  const wish = { model, messages, temperature: 0, max_completion_tokens: 20 };
  const compatible = createOpenAICompatible({ name: "cpm", baseURL, fetch, includeUsage: true });
  const chain = (fields = {}) =>
    new ChatOpenAI({
      model,
      temperature: 0,
      maxTokens: 20,
      apiKey: "none",
      maxRetries: 0,
      configuration: { baseURL, fetch },
      ...fields,
    });
  const prompt = messages[0].content;

  return [
    [
      "openai: models",
      async () => {
        assert.equal((await all(client.models.list())).length > 0, true);
        assert.equal((await client.models.retrieve(model)).id, model);
      },
    ],
    [
      "openai: a completion",
      async () => {
        const answer = await client.chat.completions.create(wish);
        assert.equal(answer.choices[0].message.content, text);
        assert.equal(answer.choices[0].finish_reason, "length");
        assert.equal(answer.usage.completion_tokens, 20);
        assert.match(answer._request_id, /^req_/);
      },
    ],
    [
      "openai: a stream, through its helper, with usage",
      async () => {
        const stream = client.chat.completions.stream({ ...wish, stream_options: { include_usage: true } });
        let seen = "";
        stream.on("content", (delta) => {
          seen += delta;
        });
        const final = await stream.finalChatCompletion();
        assert.equal(final.choices[0].message.content, text);
        assert.equal(seen, text);
        assert.equal(final.usage.completion_tokens, 20);
      },
    ],
    [
      "openai: log-probabilities in a stream",
      async () => {
        const chunks = await all(
          await client.chat.completions.create({ ...wish, stream: true, logprobs: true, top_logprobs: 2 }),
        );
        const content = chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []);
        assert.equal(content.length, 20);
        assert.ok(content.every((c) => c.top_logprobs.length === 2 && c.bytes.length > 0));
      },
    ],
    [
      "openai: completions and responses",
      async () => {
        const old = await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 5, temperature: 0 });
        assert.ok(old.choices[0].text.length > 0);
        const whole = await client.responses.create({ model, input: prompt, temperature: 0, max_output_tokens: 20 });
        assert.equal(whole.output_text, text);
        const stream = client.responses.stream({ model, input: prompt, temperature: 0, max_output_tokens: 20 });
        const final = await stream.finalResponse();
        assert.equal(final.output_text, text);
      },
    ],
    [
      "openai: errors are of their classes, with the parameter",
      async () => {
        await assert.rejects(client.chat.completions.create({ ...wish, nonsense: 1 }), (error) => {
          assert.ok(error instanceof OpenAI.BadRequestError);
          assert.equal(error.param, "nonsense");
          return true;
        });
        await assert.rejects(client.chat.completions.create({ ...wish, model: "other" }), OpenAI.NotFoundError);
        await assert.rejects(client.responses.create({ model, input: "x", previous_response_id: "r" }), OpenAI.BadRequestError);
      },
    ],
    [
      "openai: an abort in the middle of a stream",
      async () => {
        const stream = await client.chat.completions.create({ ...wish, max_completion_tokens: 200, stream: true });
        let chunks = 0;
        for await (const _ of stream) if (++chunks === 3) stream.controller.abort();
        assert.ok(chunks < 100);
        assert.equal((await client.chat.completions.create(wish)).choices[0].message.content, text);
      },
    ],
    [
      "AI SDK over HTTP: generateText and streamText",
      async () => {
        const call = { model: compatible(model), prompt, temperature: 0, maxOutputTokens: 20, maxRetries: 0 };
        const whole = await generateText(call);
        assert.equal(whole.text, text);
        assert.equal(whole.finishReason, "length");
        assert.equal(whole.usage.outputTokens, 20);
        const streamed = streamText(call);
        assert.equal((await all(streamed.textStream)).join(""), text);
        assert.equal((await streamed.usage).outputTokens, 20);
      },
    ],
    [
      "AI SDK over HTTP: a refusal is an APICallError that is not tried again",
      async () => {
        const call = { model: compatible("other"), prompt, maxRetries: 2 };
        await assert.rejects(generateText(call), (error) => {
          assert.equal(error.statusCode, 404);
          assert.equal(error.isRetryable, false);
          return true;
        });
      },
    ],
    [
      "LangChain: invoke and stream",
      async () => {
        const answer = await chain().invoke([new HumanMessage(prompt)]);
        assert.ok(answer instanceof AIMessage);
        assert.equal(answer.content, text);
        assert.equal(answer.usage_metadata.output_tokens, 20);
        const chunks = await all(await chain().stream([new HumanMessage(prompt)]));
        assert.equal(chunks.map((chunk) => chunk.content).join(""), text);
      },
    ],
    [
      "raw events, as a Python client reads them",
      async () => {
        const body = JSON.stringify({ ...wish, stream: true });
        const response = await fetch(`${baseURL}/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
        });
        assert.match(response.headers.get("content-type"), /^text\/event-stream/);
        let seen = "";
        let done = false;
        for (const line of (await response.text()).split("\n")) {
          if (line.startsWith(":") || line === "") continue;
          assert.ok(line.startsWith("data: "), line);
          if (line === "data: [DONE]") done = true;
          else seen += JSON.parse(line.slice(6)).choices[0]?.delta.content ?? "";
        }
        assert.equal(seen, text);
        assert.ok(done);
      },
    ],
    [
      "openai: tool calls, whole, streamed through its helper, and a schema parsed by zod",
      async () => {
        const call = { ...wish, max_completion_tokens: 150, tools, parallel_tool_calls: false };
        const whole = await client.chat.completions.create({ ...call, tool_choice: "required" });
        const [made] = whole.choices[0].message.tool_calls;
        weatherInput.parse(JSON.parse(made.function.arguments));
        assert.equal(whole.choices[0].finish_reason, "tool_calls");
        const stream = client.chat.completions.stream({
          ...call,
          tool_choice: { type: "function", function: { name: "get_weather" } },
        });
        const final = await stream.finalChatCompletion();
        assert.deepEqual(final.choices[0].message.tool_calls[0].function.arguments, made.function.arguments);
        const parsed = await client.chat.completions.parse({
          ...wish,
          max_completion_tokens: 150,
          response_format: zodResponseFormat(answerShape, "answer"),
        });
        answerShape.parse(parsed.choices[0].message.parsed);
        const again = await client.chat.completions.create({
          ...wish,
          messages: [...messages, whole.choices[0].message, { role: "tool", tool_call_id: made.id, content: "20 degrees" }],
          tools,
          tool_choice: "none",
        });
        assert.equal(again.choices[0].finish_reason, "length");
      },
    ],
    [
      "AI SDK over HTTP: a loop of tools, and an object of a schema",
      async () => {
        const structured = createOpenAICompatible({ name: "cpm", baseURL, fetch, supportsStructuredOutputs: true });
        await toolLoop(structured(model));
      },
    ],
    [
      "LangChain: bindTools and withStructuredOutput",
      async () => {
        const definition = {
          type: "function",
          function: { name: "get_weather", description: "Weather.", parameters: tools[0].function.parameters },
        };
        const bound = chain({ maxTokens: 150 }).bindTools([definition], { tool_choice: "required" });
        const answer = await bound.invoke([new HumanMessage(prompt)]);
        weatherInput.parse(answer.tool_calls[0].args);
        const held = await chain({ maxTokens: 150 })
          .withStructuredOutput(answerShape, { method: "jsonSchema" })
          .invoke([new HumanMessage(prompt)]);
        answerShape.parse(held);
      },
    ],
    [
      "embeddings: openai (base64 and floats) and AI SDK give the same vectors",
      async () => {
        const input = ["a dog", "a cat"];
        const packed = await client.embeddings.create({ model, input });
        const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
        assert.equal(packed.data.length, 2);
        for (const [i, { embedding }] of plain.data.entries())
          assert.deepEqual(Array.from(packed.data[i].embedding), Array.from(Float32Array.from(embedding)));
        const { embeddings } = await embedMany({ model: compatible.embeddingModel(model), values: input, maxRetries: 0 });
        assert.deepEqual(
          embeddings,
          plain.data.map((d) => d.embedding),
        );
      },
    ],
  ];
}
