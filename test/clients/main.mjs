// Runs the scenarios in this Node (22 or newer: the clients ask for it): through the handler itself, and through ports.
//   node test/clients/main.mjs DIST NAME=URL…     prints one JSON object a scenario
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { embedMany, generateText, streamText } from "ai";
import { scenarios, toolLoop } from "./scenarios.mjs";

const [dist, ...servers] = process.argv.slice(2);
const at = (file) => import(pathToFileURL(`${dist}/${file}`).href);
const { load, defaultModel } = await at("host/node.js");
const { createHandler } = await at("server/index.js");
const { createCpm, languageModel } = await at("aisdk/index.js");

const name = "stories";
const model = await load(defaultModel, { contextSize: 2048 });
const prompt = "Tell me of a dog.";
const { text } = await model.chat([{ role: "user", content: prompt }], { temperature: 0, maxTokens: 20 });

async function run(where, list) {
  for (const [title, work] of list) {
    const started = performance.now();
    const say = (fields) =>
      console.log(JSON.stringify({ title: `${where}: ${title}`, ms: Math.round(performance.now() - started), ...fields }));
    try {
      await work();
      say({ ok: true });
    } catch (error) {
      say({ ok: false, error: String(error?.stack ?? error) });
    }
  }
}

const handler = createHandler({ [name]: model });
const common = { model: name, text };
await run(
  "handler",
  scenarios({ ...common, baseURL: "http://cpm.example/v1", fetch: (input, init) => handler(new Request(input, init)) }),
);
for (const server of servers) {
  const [where, url] = server.split(/=(.*)/s);
  await run(where, scenarios({ ...common, baseURL: `${url}v1`, fetch: globalThis.fetch }));
}

const call = { prompt, temperature: 0, maxOutputTokens: 20 };
await run("provider", [
  [
    "generateText and streamText in process",
    async () => {
      const provider = createCpm({ [name]: model });
      const whole = await generateText({ model: provider(name), ...call });
      assert.equal(whole.text, text);
      assert.equal(whole.finishReason, "length");
      assert.equal(whole.usage.outputTokens, 20);
      const streamed = streamText({ model: provider.languageModel(name), ...call });
      const deltas = [];
      for await (const delta of streamed.textStream) deltas.push(delta);
      assert.equal(deltas.join(""), text);
      assert.ok(deltas.length > 1);
    },
  ],
  ["a loop of tools, and an object of a schema", () => toolLoop(languageModel(model, name))],
  [
    "an abort ends the generation, and the model goes on",
    async () => {
      const stop = new AbortController();
      const streamed = streamText({ model: languageModel(model), ...call, maxOutputTokens: 400, abortSignal: stop.signal });
      const types = [];
      for await (const part of streamed.fullStream) {
        types.push(part.type);
        if (part.type === "text-delta") stop.abort();
      }
      assert.equal(types.at(-1), "abort");
      assert.equal((await generateText({ model: languageModel(model), ...call })).text, text);
    },
  ],
  [
    "what it cannot do is refused or told as a warning",
    async () => {
      const image = { role: "user", content: [{ type: "file", mediaType: "image/png", data: new Uint8Array([1]) }] };
      await assert.rejects(generateText({ model: languageModel(model), messages: [image] }), /text alone/);
      await assert.rejects(generateText({ model: languageModel(model), prompt, providerOptions: { cpm: { minp: 1 } } }), /minp/);
      const { warnings } = await generateText({ model: languageModel(model), ...call, headers: { a: "b" } });
      assert.ok(warnings.some((warning) => warning.feature === "headers"));
    },
  ],
  [
    "embedMany in process",
    async () => {
      const { embeddings, usage } = await embedMany({
        model: createCpm({ [name]: model }).embeddingModel(name),
        values: ["a", "b"],
      });
      assert.equal(embeddings.length, 2);
      assert.ok(usage.tokens > 0);
    },
  ],
]);
await handler.close();
await model.dispose();
