// From nothing to a model that calls tools: `cpm synth` makes a tool-use set with a scripted endpoint, `cpm train` fine-tunes the embedded story
// model on it by LoRA, and verifiers say how often held-out requests get the right calls, before and after, free and held to the tools'
// grammar. The adapter is then loaded by `cpm serve --lora`, which is asked for calls, and by `cpm run --lora`.
//   node test/synth/finetune.mjs [--short] [--base MODEL.gguf] [--out DIR] [--json FILE]        needs a build
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { callsOf, sampleOf, verifyReasoning, verifyToolCalls } from "../../dist/data/verify/index.js";
import { load } from "../../dist/host/node.js";
import { chances } from "./answers.mjs";
import { startEndpoint } from "./endpoint.mjs";
import { answerTo, completionOf, idle, request, resultOf, seeds, thought } from "./world.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const main = join(root, "dist/cli/main.js");
const value = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const short = process.argv.includes("--short");
const folder = value("--out") ?? mkdtempSync(join(tmpdir(), "cpm-finetune-"));
mkdirSync(folder, { recursive: true });
/** The set, the training, the tests. */
const size = short
  ? { items: 160, turns: 1, updates: 45, rows: 6, length: 192, tests: 10 }
  : { items: 700, turns: 1, updates: 180, rows: 6, length: 192, tests: 20 };
/** Half of the tools: the base is small, and training takes the time of a machine without a GPU. */
const shown = ["set_light", "move_door", "buy", "weather"];

const isShown = ({ tools }) => tools.every((tool) => shown.includes(tool.function.name));

let [passed, failed] = [0, 0];
const check = (what, good, found) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}${good ? "" : `: ${JSON.stringify(found)}`}`);
  if (good) passed++;
  else failed++;
};
/** The command; gives what it printed. */
const cpm = (args) =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (piece) => (text += piece));
    child.once("close", (code) => (code === 0 ? resolve(text) : reject(new Error(`cpm ${args[0]}: exit ${code}\n${text}`))));
  });

/** Percent of free answers that must be calls which the tools would take (`valid`), and of the right tools (`tools`). */
const LEAST = {
  short: { "new values": { valid: 50, tools: 0 } },
  whole: { "new values": { valid: 80, tools: 50 }, "two calls": { valid: 60, tools: 30 } },
};

/** How a conversation is written for this model: short, and calls as LFM2 and Llama 4 write them. */
const template = `{#- Calls stand between <|tool_call_start|> and <|tool_call_end|> where the vocabulary has them; this one has not. -#}
{{- bos_token -}}
{%- for tool in tools or [] %}{{ tool.function.name }}({% for name in tool.function.parameters.properties %}{{ name }}{% if not loop.last %}, {% endif %}{% endfor %})
{% endfor -%}
{%- for message in messages -%}
{%- if message.role == "assistant" -%}
Answer: {% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content or "" }}
{%- if message.tool_calls %}[{% for call in message.tool_calls %}{{ call.function.name }}({% for name, value in call.function.arguments.items() %}{{ name }}={% if value is boolean %}{{ "True" if value else "False" }}{% else %}{{ value | tojson }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}){% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}{{ eos_token }}
{% elif message.role == "tool" -%}
Result: {{ message.content }}
{% else -%}
Request: {{ message.content }}
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}Answer: {% endif -%}
`;

/** A GGUF with a chat template and another context size; all else as it is. */
function withTemplate(file, chatTemplate, context) {
  const bytes = readFileSync(file);
  let at = 24;
  const u32 = () => bytes.readUInt32LE((at += 4) - 4);
  const u64 = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = () => {
    const length = u64();
    return bytes.toString("utf8", at, (at += length));
  };
  const widths = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  const skip = (type) => {
    if (type === 8) text();
    else if (type === 9) {
      const inner = u32();
      for (let left = u64(); left > 0; left--) skip(inner);
    } else at += widths[type];
  };
  const [tensors, keys] = [Number(bytes.readBigUInt64LE(8)), Number(bytes.readBigUInt64LE(16))];
  let alignment = 32;
  for (let i = 0; i < keys; i++) {
    const [key, type] = [text(), u32()];
    if (key === "general.alignment") alignment = bytes.readUInt32LE(at);
    if (key.endsWith(".context_length")) bytes.writeUInt32LE(context, at);
    skip(type);
  }
  const list = at;
  for (let i = 0; i < tensors; i++) {
    text();
    const dimensions = u32();
    at += 8 * dimensions + 4 + 8;
  }
  const pad = (length) => Buffer.alloc((alignment - (length % alignment)) % alignment);
  const field = Buffer.from(chatTemplate);
  const name = Buffer.from("tokenizer.chat_template");
  const more = Buffer.alloc(8 + name.length + 4 + 8);
  more.writeBigUInt64LE(BigInt(name.length), 0);
  name.copy(more, 8);
  more.writeUInt32LE(8, 8 + name.length);
  more.writeBigUInt64LE(BigInt(field.length), 12 + name.length);
  bytes.writeBigUInt64LE(BigInt(keys + 1), 16);
  const head = Buffer.concat([bytes.subarray(0, list), more, field, bytes.subarray(list, at)]);
  return Buffer.concat([head, pad(head.length), bytes.subarray(at + pad(at).length)]);
}

/** Held-out requests: what is asked, with which tools, and the calls that are right. Values of names, things and numbers are never trained. */
function tests(count) {
  const sets = { "new values": [], "new values and wordings": [], "two calls": [], "no tool fits": [], "second request": [] };
  const targetsOf = (chance, n) => {
    const { tools: own } = chance.pick(seeds.filter(isShown));
    const names = own.map((tool) => tool.function.name);
    return { own, names: n === 1 ? [chance.pick(names)] : chance.next() < 0.4 ? [names[0], names[0]] : names };
  };
  for (const [name, list] of Object.entries(sets))
    for (let i = 0; i < count; i++) {
      const chance = chances(`test ${name} ${i}`);
      // Doors have no values that could be held out.
      const draw = () => targetsOf(chance, name === "two calls" ? 2 : 1);
      let { own, names } = draw();
      while (name !== "new values and wordings" && names.every((one) => one === "move_door")) ({ own, names } = draw());
      if (name === "no tool fits") {
        list.push({ tools: own, messages: [{ role: "user", content: idle(chance, true) }], expected_calls: [] });
        continue;
      }
      const { text, calls } = request(names, chance, { held: true, other: name === "new values and wordings" });
      const messages = [{ role: "user", content: text }];
      if (name === "second request") messages.unshift(...spoken(own, chance));
      list.push({ tools: own, messages, expected_calls: calls });
    }
  return sets;
}

/** A first request with what came of it. */
function spoken(own, chance) {
  const { text, calls } = request([chance.pick(own).function.name], chance);
  const made = calls.map(({ name, arguments: given }, i) => ({
    id: `call_${i}`,
    type: "function",
    function: { name, arguments: JSON.stringify(given) },
  }));
  return [
    { role: "user", content: text },
    { role: "assistant", content: null, reasoning_content: thought(calls), tool_calls: made },
    ...made.map(({ id, function: { name } }) => ({
      role: "tool",
      tool_call_id: id,
      name,
      content: JSON.stringify(resultOf(name)),
    })),
    { role: "assistant", content: answerTo(calls) },
  ];
}

/** Shares of right answers: free text, and held to the tools' grammar with text allowed before calls. */
async function accuracy(model, sets, lora) {
  const out = {};
  for (const [name, list] of Object.entries(sets)) {
    const right = { free: 0, grammar: 0, valid: 0, tools: 0 };
    for (const { tools: own, messages, expected_calls } of list) {
      const common = { maxTokens: 100, temperature: 0, lora };
      const free = await model.chat(messages, { ...common, templateArguments: { tools: own } });
      const sample = { response: free.text, tools: own };
      if (verifyToolCalls({ ...sample, expected_calls }, { dialect: "pythonic-list" }).ok) right.free++;
      if (verifyToolCalls(sample, { dialect: "pythonic-list", optional: expected_calls.length === 0 }).ok) right.valid++;
      const names = (list) => JSON.stringify(list.map((call) => call.name).sort());
      if (names(callsOf(sample, { dialect: "pythonic-list" }).calls) === names(expected_calls)) right.tools++;
      const held = await model.chat(messages, { ...common, tools: own });
      const tool_calls = (held.toolCalls ?? []).map((call) => ({ function: { name: call.name, arguments: call.arguments } }));
      const answer = [{ role: "assistant", content: held.text, ...(tool_calls.length ? { tool_calls } : {}) }];
      if (verifyToolCalls({ messages: [...messages, ...answer], tools: own, expected_calls }).ok) right.grammar++;
    }
    const share = (n) => Math.round((1000 * n) / list.length) / 10;
    out[name] = { free: share(right.free), tools: share(right.tools), valid: share(right.valid), grammar: share(right.grammar) };
  }
  return out;
}

const rows = (file) =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

/** The set, made twice with other numbers of requests at once: the same bytes. */
async function makeSet() {
  const list = seeds.filter(isShown);
  writeFileSync(join(folder, "seeds.jsonl"), list.map((seed) => `${JSON.stringify(seed)}\n`).join(""));
  const family = { count: size.items, seeds: "seeds.jsonl", samples: 3, distractors: 1, irrelevant: 0.1, answers: true };
  const config = { seed: 11, families: { tools: { ...family, turns: size.turns } }, dedup: ["exact"] };
  writeFileSync(join(folder, "synth.json"), JSON.stringify(config, null, 2));
  const endpoint = await startEndpoint({ complete: completionOf });
  try {
    const texts = [];
    for (const concurrency of short ? ["16", "3"] : ["16"]) {
      const out = join(folder, `set-${concurrency}`);
      const asked = ["--api", endpoint.url, "--api-model", "script", "--concurrency", concurrency, "--json"];
      await cpm(["synth", join(folder, "synth.json"), "-o", out, ...asked]);
      texts.push(readFileSync(join(out, "tools.jsonl"), "utf8"));
    }
    check(
      "the same seed and endpoint give the same file, whatever is asked at once",
      texts.every((text) => text === texts[0]),
    );
  } finally {
    await endpoint.close();
  }
  return join(folder, "set-16");
}

async function train(base, set) {
  const config = {
    model: base,
    objective: { kind: "lora", rank: 32, alpha: 32 },
    data: [{ files: [join(set, "tools.jsonl")], format: "chat" }],
    out: join(folder, "run"),
    packing: "whole",
    heldOut: 0.02,
    length: size.length,
    rows: size.rows,
    updates: size.updates,
    seed: 3,
    optimiser: { kind: "muon", weightDecay: 0.01 },
    schedule: { kind: "1-sqrt", peak: 0.015, warmup: 8, stableEnd: Math.round(0.6 * size.updates) },
    evaluate: { every: size.updates, rows: 16 },
    checkpoint: { every: 25 },
  };
  writeFileSync(join(folder, "train.json"), JSON.stringify(config, null, 2));
  return JSON.parse(await cpm(["train", join(folder, "train.json"), "--json"]));
}

/** What a client of `cpm serve` gets. */
async function served(base, adapter, messages, goal, what) {
  const child = spawn(
    process.execPath,
    [main, "serve", base, "--lora", `calls=${adapter}`, "--port", "0", "--host", "127.0.0.1"],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  try {
    const url = await new Promise((resolve, reject) => {
      let text = "";
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (piece) => {
          text += piece;
          const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
          if (found) resolve(found[0]);
        });
      child.once("exit", () => reject(new Error(`cpm serve ended: ${text}`)));
    });
    const ask = async (model) => {
      const body = JSON.stringify({ model, messages, tools: goal.tools, temperature: 0, max_tokens: 100 });
      const headers = { "content-type": "application/json" };
      const { choices, error } = await (await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body })).json();
      if (error) throw new Error(JSON.stringify(error));
      return choices[0].message;
    };
    const { data } = await (await fetch(`${url}/v1/models`)).json();
    const plain = data.map(({ id }) => id).find((id) => id !== "calls");
    const [before, after] = [await ask(plain), await ask("calls")];
    const judge = (message) => verifyToolCalls({ messages: [...messages, message], ...goal }).ok;
    check(`cpm serve --lora: the adapter's model makes ${what}`, judge(after), after);
    check("and the model beside it, without the adapter, does not", !judge(before), before);
    return after;
  } finally {
    child.kill("SIGKILL");
  }
}

const began = performance.now();
try {
  const base = join(folder, "base.gguf");
  writeFileSync(base, withTemplate(value("--base") ?? join(root, "models/stories-q4_0.gguf"), template, 512));
  const sets = tests(size.tests);
  const set = await makeSet();
  const { tools: report } = JSON.parse(readFileSync(join(set, "report.json"), "utf8"));
  const samples = rows(join(set, "tools.jsonl"));
  const kinds = {
    "several calls": samples.filter(({ messages }) => messages.some((m) => m.tool_calls?.length > 1)).length,
    "several requests": samples.filter(({ messages }) => messages.filter(({ role }) => role === "user").length > 1).length,
    "no tool fits": samples.filter(({ provenance }) => provenance.facts.irrelevant).length,
  };
  console.log(`${samples.length} samples kept, ${report.dropped} dropped; ${JSON.stringify(kinds)}`);
  const told = new Set(samples.flatMap(({ messages }) => messages.filter(({ role }) => role === "user").map((m) => m.content)));
  const all = Object.values(sets).flat();
  check(
    "no held-out request is in the set",
    all.every(({ messages }) => !told.has(messages.at(-1).content)),
  );
  const spoilt = samples.filter((sample) => !verifyToolCalls(sampleOf(sample)).ok && !sample.provenance.facts.irrelevant);
  check("every sample of the set passes the verifiers again", spoilt.length === 0, spoilt[0]);
  check(
    "reasoning stands before every call",
    samples.every((sample) => verifyReasoning(sampleOf(sample)).ok),
  );
  check("what the endpoint got wrong was dropped with its reason", report.dropped > samples.length / 10, report.dropped);

  const trained = await train(base, set);
  console.log(JSON.stringify(trained));
  const adapter = trained.written.map(({ to }) => to).find((to) => to.endsWith(".gguf") && to.includes("adapter"));
  const model = await load(base, { lora: [{ path: adapter, name: "calls" }], draft: false });
  const before = await accuracy(model, sets, false);
  const after = await accuracy(model, sets, ["calls"]);
  console.log(
    "percent: calls that the tools would take, of the right tools, right to the last value; so with the grammar; before -> after",
  );
  for (const name of Object.keys(sets)) {
    const line = (one) => `${one.valid}, ${one.tools}, ${one.free}; ${one.grammar}`;
    console.log(`  ${name.padEnd(24)} ${line(before[name])} -> ${line(after[name])}`);
  }
  if (value("--json")) writeFileSync(value("--json"), JSON.stringify({ kinds, trained, before, after }, null, 2));
  for (const [name, least] of Object.entries(short ? LEAST.short : LEAST.whole)) {
    const [was, is] = [before[name], after[name]];
    check(`${name}: no free answer was a call that the tools would take`, was.valid === 0, was);
    check(`${name}: at least ${least.valid} % of them are afterwards`, is.valid >= least.valid, is);
    check(`${name}: at least ${least.tools} % are of the right tools`, is.tools >= least.tools, is);
  }
  // One to show: a request that the adapter gets right, or whose call the tools would take.
  const answers = [];
  for (const sample of sets["new values"]) {
    const options = { maxTokens: 100, temperature: 0, lora: ["calls"], templateArguments: { tools: sample.tools } };
    const { text } = await model.chat(sample.messages, options);
    const judged = { response: text, tools: sample.tools };
    const right = verifyToolCalls({ ...judged, expected_calls: sample.expected_calls }, { dialect: "pythonic-list" }).ok;
    if (right || verifyToolCalls(judged, { dialect: "pythonic-list" }).ok) answers.push({ right, sample });
    if (right) break;
  }
  await model.dispose();
  const { right, sample } = answers.at(-1);
  const goal = { tools: sample.tools, ...(right ? { expected_calls: sample.expected_calls } : {}) };
  const what = right ? "the call that is right" : "a call that the tools would take";
  await served(base, adapter, sample.messages, goal, what);
  // As a text: the beginning that the template writes, gone on with.
  const head = sample.tools.map(
    ({ function: { name, parameters } }) => `${name}(${Object.keys(parameters.properties).join(", ")})\n`,
  );
  const prompt = `${head.join("")}Request: ${sample.messages[0].content}\nAnswer: `;
  const said = JSON.parse(
    await cpm(["run", base, "--lora", adapter, "-p", prompt, "--max-tokens", "100", "--temperature", "0", "--json"]),
  );
  const response = said.text.replace(/^[\s\S]*<\/think>/, "").trim();
  const verdict = verifyToolCalls({ response, ...goal }, { dialect: "pythonic-list" });
  check(`cpm run --lora writes ${what}`, verdict.ok, { said, verdict });
  console.log(`${Math.round((performance.now() - began) / 1000)} s`);
} catch (error) {
  failed++;
  console.log(error.stack);
} finally {
  if (value("--out") === undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
