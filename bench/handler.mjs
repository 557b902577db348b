// What the handler and its events cost a token, beside reading the same parts from the model: a scripted model gives parts as fast as they
// are read, so that nothing but the way to the client is timed.
//   node bench/handler.mjs [parts] [rounds]
import { Generation } from "../dist/door/generation.js";
import { createHandler } from "../dist/server/index.js";

const [parts = 5000, rounds = 9] = process.argv.slice(2).map(Number);
const usage = { promptTokens: 10, cachedTokens: 0, completionTokens: parts };
const timings = { prefillMs: 1, decodeMs: 1, prefillTokensPerSecond: 1, decodeTokensPerSecond: 1 };
const chat = (_messages, options = {}) =>
  new Generation(async (_signal, hooks) => {
    for (let i = 0; i < parts; i++) {
      hooks.onPart({ type: "text", text: " word", tokens: [i] });
      if (i % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
    }
    return { text: "", reasoning: "", tokens: [], finishReason: "stop", usage, timings };
  }, options);
const model = { chat, generate: chat, info: { memory: { total: 1 }, config: { hidden: 1 } } };
const handler = createHandler({ m: model });
const body = JSON.stringify({ messages: [{ role: "user", content: "x" }], stream: true });

const timed = async (work) => {
  const began = performance.now();
  await work();
  return ((performance.now() - began) * 1000) / parts;
};
const direct = () =>
  timed(async () => {
    for await (const _ of chat()) {
    }
  });
const served = () =>
  timed(async () => {
    const response = await handler(new Request("http://127.0.0.1/v1/chat/completions", { method: "POST", body }));
    for await (const _ of response.body) {
    }
  });
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
await direct();
await served();
const differences = [];
for (let i = 0; i < rounds; i++) {
  const [before, through] = [await direct(), await served()];
  differences.push(through - before);
}
console.log(`${median(differences).toFixed(1)} microseconds a token, median of ${rounds} pairs of ${parts} tokens`);
