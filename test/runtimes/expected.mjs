// Writes test/runtimes/expected.json: what the embedded model must give on every runtime, from the base build on Node.
// With the F16 model beside the repository, the greedy tokens of the float64 definition are checked first.
//   node test/runtimes/expected.mjs
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { defaultModel, inspect, load } from "../../dist/host/node.js";
import { bits } from "./suite.mjs";

const prompts = ["Once upon a time", "One day, a dog and a cat were playing in the park.", "Tom was very sad because"];
const options = { threads: 1, variant: "base" };
const greedy = { temperature: 0 };

const shared = new URL("../../../shared/models/", import.meta.url);
if (existsSync(new URL("stories-f16.gguf", shared))) {
  const reference = JSON.parse(readFileSync(new URL("expected.json", shared), "utf8"));
  const f16 = await load(new URL("stories-f16.gguf", shared), options);
  for (const { prompt, tokens } of reference.greedy) {
    const result = await f16.generate(prompt, { ...greedy, maxTokens: tokens.length });
    if (JSON.stringify(result.tokens) !== JSON.stringify(tokens))
      throw new Error(`the F16 model does not continue "${prompt}" as the definition does`);
  }
  await f16.dispose();
  console.log(`the F16 model gives the definition's ${reference.greedy.length} continuations`);
} else console.log("no ../shared/models/stories-f16.gguf beside the repository: not compared with the definition");

const model = await load(defaultModel, options);
const expected = { greedy: [] };
for (const prompt of prompts) {
  const { tokens, text } = await model.generate(prompt, { ...greedy, maxTokens: 64 });
  expected.greedy.push({ prompt, tokens, text });
}

const sampling = { temperature: 0.8, topK: 40, topP: 0.95, repetitionPenalty: 1.1, maxTokens: 80 };
const seed = 20;
const sampled = await model.generate("The dragon", { ...sampling, seed });
expected.sampled = { prompt: "The dragon", seed, tokens: sampled.tokens, text: sampled.text };

expected.logprobs = [];
for await (const part of model.generate("Once upon a time", { ...greedy, maxTokens: 3, logprobs: 2 }))
  for (const { token, logprob, top } of part.logprobs ?? []) expected.logprobs.push([token, logprob.toFixed(6), top.length]);

const tokens = model.tokenizer.encode("Lily and Tom went to the big park. They saw a red ball and a");
const session = await model.session();
const logits = await session.forward(tokens);
expected.forward = { tokens, bits: bits(logits), argmax: logits.indexOf(Math.max(...logits)) };

const messages = [
  { role: "system", content: "You tell stories." },
  { role: "user", content: "Tell me about a dog." },
];
const prompt = model.formatChat(messages);
const answer = await model.chat(messages, { ...greedy, maxTokens: 40 });
expected.chat = { messages, prompt, tokens: answer.tokens, text: answer.text };

const schema = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 2, maxLength: 20 },
    animal: { enum: ["a big dog", "a small cat", "🐉"] },
    tags: { type: "array", items: { type: "string", pattern: "^[a-z]{2,6}$" }, maxItems: 3 },
    size: { type: "number", minimum: -1, maximum: 99.5, multipleOf: 0.25 },
    next: { anyOf: [{ $ref: "#" }, { type: "null" }] },
  },
  required: ["name", "animal", "size"],
  additionalProperties: false,
};
expected.constrained = [];
for (const constraint of [
  { schema },
  { regex: "(cat|dog)s? [0-9]{2,4} (é|漢|\\w)+\\." },
  { grammar: 'root ::= "yes" | "no, " [a-z ]{3,300} "."' },
  { choices: ["happy", "sad", "not sure"] },
]) {
  const options = { temperature: 1.2, topK: 0, topP: 1, seed: 7, maxTokens: 120 };
  const { tokens, text, finishReason } = await model.generate("Lily", { ...options, ...constraint });
  expected.constrained.push({ constraint, options, tokens, text, finishReason });
}

expected.encodings = ["Once upon a time", "Naïve café 🐉 → 東京", " two  spaces\n\ttab", "<s>"].map((text) => ({
  text,
  ids: model.tokenizer.encode(text),
}));
expected.tensors = (await inspect(defaultModel)).tensors.length;
await model.dispose();

const lines = Object.entries(expected).map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
writeFileSync(new URL("expected.json", import.meta.url), `{\n${lines.join(",\n")}\n}\n`);
console.log("wrote test/runtimes/expected.json");
