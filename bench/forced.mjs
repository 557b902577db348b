// Constrained decoding with the 0.5B shape: what a mask costs beside a step, and what forced text saves in tool calls.
//   node bench/forced.mjs [--threads 2] [--rounds 5] [--model FILE]
// The default model has random weights in the shape of MiniCPM4-0.5B (bench/synthetic.mjs), so only the grammar gives its text
// a form; each setting runs once a round, in turns, and medians and ratios over the rounds are told.
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";
import { synthetic } from "./synthetic.mjs";

const { values } = parseArgs({
  options: { threads: { type: "string", default: "2" }, rounds: { type: "string", default: "5" }, model: { type: "string" } },
});
const [threads, rounds] = [Number(values.threads), Number(values.rounds)];
const { path } = values.model ? { path: values.model } : synthetic({ type: "q4_0" });
const model = await load(path, { contextSize: 1024, threads, kvType: "f16" });
const median = (values) => values.slice().sort((a, b) => a - b)[values.length >> 1];

/** Tools as programs have them: many names and few choices. */
const tools = [
  ["get_current_weather", { location: { type: "string", maxLength: 24 }, unit: { enum: ["celsius", "fahrenheit"] } }],
  [
    "create_calendar_event",
    {
      title: { type: "string", maxLength: 16 },
      duration_minutes: { type: "integer", minimum: 5, maximum: 480 },
      all_day_event: { type: "boolean" },
    },
  ],
  [
    "send_email_message",
    {
      recipient_address: { type: "string", maxLength: 16 },
      subject_line: { type: "string", maxLength: 16 },
      priority: { enum: ["low", "normal", "high"] },
    },
  ],
].map(([name, properties]) => ({
  name,
  schema: {
    type: "object",
    properties: {
      name: { const: name },
      arguments: { type: "object", properties, required: Object.keys(properties), additionalProperties: false },
    },
    required: ["name", "arguments"],
    additionalProperties: false,
  },
}));

/** Ends at `tokens` tokens, or with the grammar. */
async function run(options, tokens) {
  const session = await model.session();
  try {
    const { text, usage, timings, draft } = await session.generate("The quick brown fox", {
      maxTokens: tokens,
      temperature: 1,
      seed: 7,
      ...options,
    });
    const characters = text.length / (timings.prefillMs + timings.decodeMs);
    return { text, tokens: usage.completionTokens, rate: timings.decodeTokensPerSecond, characters, draft };
  } finally {
    await session.dispose();
  }
}

// Masks: a long string, whose every token but few may come, and any JSON. The same number of tokens, none of them drafted.
const long = { type: "string", minLength: 4000 };
const nested = {
  type: "array",
  minItems: 200,
  items: {
    type: "object",
    properties: { key: { type: "integer" }, name: { type: "string", maxLength: 12 } },
    required: ["key", "name"],
    additionalProperties: false,
  },
};
const plain = [];
const costs = { "a long string": [long, []], "an array of objects": [nested, []] };
await run({}, 16);
for (let round = 0; round < rounds; round++) {
  plain.push((await run({ draft: false }, 128)).rate);
  for (const [, [schema, rates]] of Object.entries(costs)) rates.push((await run({ schema, draft: false }, 128)).rate);
}
console.log(`${threads} threads, plain: ${median(plain).toFixed(1)} tokens/s`);
for (const [name, [, rates]] of Object.entries(costs)) {
  const ratios = rates.map((rate, i) => plain[i] / rate - 1);
  console.log(`masks of ${name}: ${(100 * median(ratios)).toFixed(2)} % of a step (${median(rates).toFixed(1)} tokens/s)`);
}

// Forced text.
for (const { name, schema } of tools) {
  const gains = [];
  const guessed = [];
  const beside = [];
  let shown;
  for (let round = 0; round < rounds; round++) {
    const free = await run({ draft: false }, 96);
    const slow = await run({ schema, whitespace: "none", draft: false }, 96);
    const drafted = await run({ schema, whitespace: "none" }, 96);
    if (drafted.text !== slow.text) throw new Error(`drafting changed the text: ${slow.text} and ${drafted.text}`);
    const fast = await run({ schema, whitespace: "none", forcedText: "write" }, 96);
    // The texts differ in length: characters a second are compared.
    gains.push(fast.characters / slow.characters);
    guessed.push(drafted.rate / slow.rate);
    beside.push(fast.rate / free.rate);
    shown = fast;
  }
  console.log(
    `${name}: ${shown.tokens} tokens, ${shown.draft.accepted} of them written: ${median(gains).toFixed(2)} x the characters a second of one by one, ` +
      `${median(beside).toFixed(2)} x the tokens a second of free text (guessed and verified: ${median(guessed).toFixed(2)} x)`,
  );
}
await model.dispose();
