// The routes over the embedded model: every text is what the package itself gives.
import { expect, test } from "vitest";
import { eventsOf, served, storyModel } from "./served.ts";

type Json = Record<string, never>;
const json = async <T = Json>(response: Response): Promise<T> => (await response.json()) as T;
const messages = [{ role: "user", content: "Tell me of a dog." }];

interface Chunk {
  readonly choices: readonly {
    readonly index: number;
    readonly delta: { readonly role?: string; readonly content?: string };
    readonly finish_reason: string | null;
  }[];
  readonly usage?: object | null;
}

test("a chat completion is the model's own answer, whole and streamed", async () => {
  const model = await storyModel();
  const { post } = served({ story: model });
  const own = await model.chat([{ role: "user", content: "Tell me of a dog." }], { temperature: 0, maxTokens: 20 });
  const body = { model: "story", messages, temperature: 0, max_completion_tokens: 20 };
  const whole = await json<{ choices: { message: object; finish_reason: string }[]; usage: Json }>(
    await post("/v1/chat/completions", body),
  );
  expect(whole.choices).toEqual([
    { index: 0, message: { role: "assistant", content: own.text, refusal: null }, logprobs: null, finish_reason: "length" },
  ]);
  expect(whole.usage).toMatchObject({ prompt_tokens: own.usage.promptTokens, completion_tokens: 20 });

  const streamed = await post("/v1/chat/completions", { ...body, stream: true, stream_options: { include_usage: true } });
  expect(streamed.headers.get("content-type")).toMatch(/^text\/event-stream/);
  const events = (await eventsOf(streamed)) as (Chunk | string)[];
  expect(events.at(-1)).toBe("[DONE]");
  const chunks = events.slice(0, -1) as Chunk[];
  expect(chunks[0]!.choices[0]!.delta).toEqual({ role: "assistant", content: "" });
  expect(chunks.map((c) => c.choices[0]?.delta.content ?? "").join("")).toBe(own.text);
  expect(chunks.at(-2)!.choices[0]).toMatchObject({ delta: {}, finish_reason: "length" });
  expect(chunks.at(-1)).toMatchObject({
    choices: [],
    usage: { completion_tokens: 20, total_tokens: own.usage.promptTokens + 20 },
  });
  expect(chunks.slice(0, -1).every((c) => c.usage === null)).toBe(true);
});

test("several answers have indices and seeds of their own, and the first is the one of n = 1", async () => {
  const { post } = served({ story: await storyModel() });
  const body = { model: "story", messages, seed: 7, max_tokens: 12 };
  const one = await json<{ choices: { message: { content: string } }[] }>(await post("/v1/chat/completions", body));
  const three = await json<{ choices: { index: number; message: { content: string } }[] }>(
    await post("/v1/chat/completions", { ...body, n: 3 }),
  );
  expect(three.choices.map((c) => c.index)).toEqual([0, 1, 2]);
  expect(three.choices[0]!.message).toEqual(one.choices[0]!.message);
  expect(new Set(three.choices.map((c) => c.message.content)).size).toBeGreaterThan(1);
  const events = (await eventsOf(await post("/v1/chat/completions", { ...body, n: 3, stream: true }))) as Chunk[];
  const texts = [0, 1, 2].map((i) =>
    events.flatMap((e) => e.choices?.filter((c) => c.index === i).map((c) => c.delta.content ?? "") ?? []).join(""),
  );
  expect(texts).toEqual(three.choices.map((c) => c.message.content));
});

test("log-probabilities name the bytes of every token, the chosen one's first among its peers", async () => {
  const { post } = served({ story: await storyModel() });
  const answer = await json<{
    choices: {
      message: { content: string };
      logprobs: { content: { token: string; logprob: number; bytes: number[]; top_logprobs: { logprob: number }[] }[] };
    }[];
  }>(
    await post("/v1/chat/completions", {
      model: "story",
      messages,
      temperature: 0,
      max_tokens: 8,
      logprobs: true,
      top_logprobs: 3,
    }),
  );
  const { content } = answer.choices[0]!.logprobs;
  expect(content).toHaveLength(8);
  for (const { logprob, top_logprobs } of content) {
    expect(top_logprobs).toHaveLength(3);
    expect(top_logprobs[0]!.logprob).toBe(logprob);
  }
  const bytes = content.flatMap((c) => c.bytes);
  expect(new TextDecoder().decode(new Uint8Array(bytes)).trim()).toBe(answer.choices[0]!.message.content.trim());
});

test("completions continue texts and token ids, several at once, with log-probabilities in lists", async () => {
  const model = await storyModel();
  const { post } = served({ story: model });
  const own = await model.generate("Once upon a time", { temperature: 0, maxTokens: 10 });
  const ids = model.tokenizer.encode("Once upon a time");
  for (const prompt of ["Once upon a time", ids, ["Once upon a time", "Once upon a time"], [ids]]) {
    const { choices, usage } = await json<{ choices: { text: string }[]; usage: { prompt_tokens: number } }>(
      await post("/v1/completions", { model: "story", prompt, temperature: 0, max_tokens: 10 }),
    );
    for (const { text } of choices) expect(text).toBe(own.text);
    expect(usage.prompt_tokens).toBe(choices.length * ids.length);
  }
  const { choices } = await json<{ choices: { logprobs: { tokens: string[]; text_offset: number[] } }[] }>(
    await post("/v1/completions", { prompt: "Once upon a time", temperature: 0, max_tokens: 4, logprobs: 2 }),
  );
  const { tokens, text_offset: offsets } = choices[0]!.logprobs;
  expect(offsets).toEqual(tokens.map((_, i) => tokens.slice(0, i).join("").length));
});

test("responses: the same text whole and streamed, events in the order that clients expect", async () => {
  const { post } = served({ story: await storyModel() });
  const body = { model: "story", input: "Tell me of a dog.", temperature: 0, max_output_tokens: 10 };
  interface Item {
    type: string;
    content: { text: string }[];
  }
  const whole = await json<{ status: string; output: Item[]; incomplete_details: Json }>(await post("/v1/responses", body));
  expect(whole).toMatchObject({ object: "response", status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  const events = (await eventsOf(await post("/v1/responses", { ...body, stream: true }))) as {
    type: string;
    sequence_number: number;
    delta?: string;
    response?: { output: Item[] };
  }[];
  expect(events.map((e) => e.sequence_number)).toEqual(events.map((_, i) => i));
  const order = events.map((e) => e.type).filter((type, i, all) => type !== all[i - 1]);
  expect(order).toEqual([
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.incomplete",
  ]);
  const text = events.map((e) => e.delta ?? "").join("");
  expect(text).toBe(whole.output[0]!.content[0]!.text);
  expect(events.at(-1)!.response!.output[0]!.content[0]!.text).toBe(text);
  // A conversation with items, as the client's own library sends an answer back.
  const again = await post("/v1/responses", {
    ...body,
    input: [{ role: "user", content: [{ type: "input_text", text: "Hi" }] }, ...whole.output, { role: "user", content: "More" }],
  });
  expect(again.status).toBe(200);
});

test("models, tokens and health", async () => {
  const model = await storyModel();
  const { get, post } = served({ story: model });
  expect(await json(await get("/v1/models"))).toMatchObject({ object: "list", data: [{ id: "story", object: "model" }] });
  expect(await json(await get("/v1/models/story"))).toMatchObject({ id: "story" });
  expect((await get("/v1/models/other")).status).toBe(404);
  const { tokens } = await json<{ tokens: number[] }>(await post("/tokenize", { content: "Once upon a time" }));
  expect(tokens).toEqual(model.tokenizer.encode("Once upon a time", { bos: false }));
  expect(await json(await post("/detokenize", { tokens }))).toEqual({ content: "Once upon a time" });
  expect(await json(await get("/health"))).toMatchObject({ status: "ok" });
});

const chat = { model: "story", messages: [{ role: "user", content: "x" }], max_tokens: 1 };
test.each([
  ["an unknown parameter", { ...chat, max_token: 5 }, 400, "max_token"],
  ["a parameter of a wrong type", { ...chat, temperature: "hot" }, 400, "temperature"],
  ["a value out of range", { ...chat, top_p: 2 }, 400, "top_p"],
  ["stream options without stream", { ...chat, stream_options: { include_usage: true } }, 400, "stream_options"],
  [
    "an unknown stream option",
    { ...chat, stream: true, stream_options: { includeUsage: true } },
    400,
    "stream_options.includeUsage",
  ],
  [
    "a picture",
    { ...chat, messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] },
    400,
    "messages[0].content[0].type",
  ],
  ["no messages", { ...chat, messages: [] }, 400, "messages"],
  ["an unknown role", { ...chat, messages: [{ role: "wizard", content: "x" }] }, 400, "messages[0].role"],
  [
    "an unknown field of a message",
    { ...chat, messages: [{ role: "user", content: "x", mood: "good" }] },
    400,
    "messages[0].mood",
  ],
  ["storing", { ...chat, store: true }, 400, "store"],
  ["audio", { ...chat, modalities: ["text", "audio"] }, 400, "modalities"],
  ["too many answers", { ...chat, n: 99 }, 400, "n"],
  ["a bias of a token that is none", { ...chat, logit_bias: { x: 1 } }, 400, "logit_bias"],
  ["another model", { ...chat, model: "gpt" }, 404, "model"],
  ["a prompt that does not fit", { ...chat, messages: [{ role: "user", content: "word ".repeat(3000) }] }, 400, "messages"],
])("%s is refused by name, streamed or not", async (_what, body, status, param) => {
  const { post } = served({ story: await storyModel() });
  for (const request of [body, { stream: true, ...body }]) {
    if ("stream_options" in body && request !== body && param === "stream_options") continue;
    const response = await post("/v1/chat/completions", request);
    const { error } = await json<{ error: { message: string; param: string; type: string } }>(response);
    expect({ status: response.status, param: error.param }).toEqual({ status, param });
    expect(error.message).toContain(param.split(".")[0]!.replace(/\[.*/, "") === "messages" ? "" : param);
    expect(error.type).toBe("invalid_request_error");
  }
});

test("what has no effect is taken: nulls, defaults, the caller's labels", async () => {
  const { post } = served({ story: await storyModel() });
  const response = await post("/v1/chat/completions", {
    ...chat,
    stop: null,
    tools: [],
    tool_choice: "auto",
    response_format: { type: "text" },
    user: "someone",
    metadata: { a: "b" },
    store: false,
    service_tier: "auto",
    logit_bias: null,
    n: null,
    chat_template_kwargs: { enable_thinking: false },
  });
  expect(response.status).toBe(200);
});

test("stop texts as one string, top_p 0, top_k -1 and negative seeds mean what clients mean", async () => {
  const { post } = served({ story: await storyModel() });
  const text = async (extra: object) =>
    (
      await json<{ choices: { text: string; finish_reason: string }[] }>(
        await post("/v1/completions", { prompt: "Once upon a time", max_tokens: 12, ...extra }),
      )
    ).choices[0]!;
  const greedy = await text({ temperature: 0 });
  expect(await text({ top_p: 0, seed: 3 })).toEqual(greedy);
  const stopped = await text({ temperature: 0, stop: "little" });
  expect(stopped).toEqual({ ...stopped, text: greedy.text.split("little")[0], finish_reason: "stop" });
  expect(await text({ seed: -5, top_k: -1 })).toEqual(await text({ seed: -5, top_k: 0 }));
});
