// From nothing to a model that calls tools: `cpm synth` makes a tool-use set with a scripted endpoint, `cpm train` fine-tunes the embedded story
// model on it by LoRA, and verifiers say how often held-out requests get the right calls, before and after: as free text, and held to the
// tools' grammar, where chance alone is right now and then. The adapter is then loaded by `cpm serve --lora`, which is asked for calls, and
// by `cpm run --lora`.
//   node test/synth/finetune.mjs [--short] [--base MODEL.gguf] [--out DIR] [--json FILE]        needs a build
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { sampleOf, verifyReasoning, verifyToolCalls } from "../../dist/data/verify/index.js";
import { load } from "../../dist/host/node.js";
import { chances } from "./answers.mjs";
import { startEndpoint } from "./endpoint.mjs";
import { withTemplate } from "./template.mjs";
import { completionOf, doneAnswer, idle, request, seeds, thought, toolNames, toolResult, tools } from "./world.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const main = join(root, "dist/cli/main.js");
const value = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const short = process.argv.includes("--short");
const folder = value("--out") ?? mkdtempSync(join(tmpdir(), "cpm-finetune-"));
mkdirSync(folder, { recursive: true });
/** The set, the training, the tests. */
const size = short
  ? { items: 1500, family: { calls: 1 }, updates: 240, rows: 4, length: 128, tests: 30 }
  : {
      items: 2000,
      family: { calls: 2, irrelevant: 0.1, answers: true, turns: 2 },
      updates: 400,
      rows: 8,
      length: 256,
      tests: 100,
    };

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

/** How a conversation is written for this model: short, calls as Llama 4 writes them, and without the reasoning of the set. */
const template = `{{- bos_token -}}
{%- for tool in tools or [] %}{{ tool.function.name }} {% endfor -%}
{%- for message in messages -%}
{%- if message.role == "assistant" -%}
I do: {{ message.content or "" }}
{%- if message.tool_calls %}[{% for call in message.tool_calls %}{{ call.function.name }}({% for name, value in call.function.arguments.items() %}{{ name }}={{ value | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}){% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}{{ eos_token }}
{% elif message.role == "tool" -%}
It says: {{ message.content }}
{% else -%}
You say: {{ message.content }}
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}I do: {% endif -%}
`;

/** Held-out requests: what is asked, with which tools, and the calls that are right. Their combinations of values are never trained. */
function tests(count) {
  const kinds = ["new combinations", "new wordings", ...(short ? [] : ["two calls", "no tool fits", "second request"])];
  const drawn = (kind, i) => {
    const chance = chances(`test ${kind} ${i}`);
    const { tools: own } = chance.pick(seeds);
    const beside = toolNames.filter((name) => !own.some((tool) => tool.function.name === name));
    const list = [...own, tools[chance.pick(beside)]].sort(() => chance.next() - 0.5);
    if (kind === "no tool fits")
      return { tools: list, messages: [{ role: "user", content: idle(chance, true) }], expected_calls: [] };
    const names = own.map((tool) => tool.function.name);
    const one = chance.pick(names);
    const targets = kind !== "two calls" ? [one] : chance.next() < 0.4 ? [one, one] : names;
    const { text, calls } = request(targets, chance, { held: true, other: kind === "new wordings" });
    const before = kind === "second request" ? spoken(own, chance) : [];
    return { tools: list, messages: [...before, { role: "user", content: text }], expected_calls: calls };
  };
  return Object.fromEntries(kinds.map((kind) => [kind, Array.from({ length: count }, (_, i) => drawn(kind, i))]));
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
      content: JSON.stringify(toolResult),
    })),
    { role: "assistant", content: doneAnswer },
  ];
}

/** Wilson's interval of a share, in percent: where it lies with 95 %. */
function interval(right, n) {
  const z = 1.96;
  const middle = (right + (z * z) / 2) / (n + z * z);
  const wide = (z / (n + z * z)) * Math.sqrt((right * (n - right)) / n + (z * z) / 4);
  return [middle - wide, middle + wide].map((share) => 100 * Math.max(0, Math.min(1, share)));
}

/** How many answers are right: as free text, with the right tools at least, and held to the grammar. */
async function accuracy(model, sets, lora) {
  const out = {};
  for (const [kind, list] of Object.entries(sets)) {
    const right = { free: 0, names: 0, grammar: 0 };
    const judge = async ({ tools: own, messages, expected_calls }) => {
      const common = { maxTokens: 80, temperature: 0, lora };
      const toolFormat = "pythonic-list";
      const free = await model.chat(messages, { ...common, templateArguments: { tools: own } });
      if (judged({ tools: own, expected_calls }, free.text).ok) right.free++;
      // A call there must be, where a tool fits: else the model alone would never make one.
      const toolChoice = expected_calls.length ? "required" : "auto";
      const parallelToolCalls = expected_calls.length !== 1;
      const held = await model.chat(messages, { ...common, tools: own, toolChoice, parallelToolCalls, toolFormat });
      const tool_calls = (held.toolCalls ?? []).map((call) => ({ function: { name: call.name, arguments: call.arguments } }));
      const answer = [{ role: "assistant", content: held.text, ...(tool_calls.length ? { tool_calls } : {}) }];
      if (verifyToolCalls({ messages: [...messages, ...answer], tools: own, expected_calls }).ok) right.grammar++;
      const names = (calls) => JSON.stringify(calls.map(({ name }) => name).sort());
      if (names(held.toolCalls ?? []) === names(expected_calls)) right.names++;
    };
    // Several share steps; each gets what it would get alone.
    for (let at = 0; at < list.length; at += 10) await Promise.all(list.slice(at, at + 10).map(judge));
    out[kind] = { ...right, of: list.length };
  }
  return out;
}

const rows = (file) =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

/** The set. */
async function makeSet() {
  writeFileSync(join(folder, "seeds.jsonl"), seeds.map((seed) => `${JSON.stringify(seed)}\n`).join(""));
  const family = { count: size.items, seeds: "seeds.jsonl", samples: 3, distractors: 2, ...size.family };
  writeFileSync(join(folder, "synth.json"), JSON.stringify({ seed: 11, families: { tools: family }, dedup: ["exact"] }, null, 2));
  const endpoint = await startEndpoint({ complete: completionOf });
  const out = join(folder, "set");
  try {
    const asked = ["--api", endpoint.url, "--api-model", "script", "--concurrency", "16", "--json"];
    await cpm(["synth", join(folder, "synth.json"), "-o", out, ...asked]);
  } finally {
    await endpoint.close();
  }
  return out;
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
    schedule: { kind: "1-sqrt", peak: 0.006, warmup: 8, stableEnd: Math.round(0.6 * size.updates) },
    evaluate: { every: size.updates, rows: 16 },
    checkpoint: { every: 50 },
    // The same bits everywhere.
    variant: "base",
  };
  writeFileSync(join(folder, "train.json"), JSON.stringify(config, null, 2));
  return JSON.parse(await cpm(["train", join(folder, "train.json"), "--json"]));
}

/** What the verifier says of a text with calls. */
const judged = ({ tools: own, expected_calls }, response) =>
  verifyToolCalls({ response: response.trim(), tools: own, expected_calls }, { dialect: "pythonic-list" });

/** What a client of `cpm serve` gets, with the adapter and without. */
async function served(base, adapter, sample) {
  const args = ["serve", base, "--lora", `calls=${adapter}`, "--port", "0", "--host", "127.0.0.1"];
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
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
      const { messages, tools: own } = sample;
      const body = { model, messages, chat_template_kwargs: { tools: own }, temperature: 0, max_tokens: 80 };
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
      const { choices, error } = await answer.json();
      if (error) throw new Error(JSON.stringify(error));
      return choices[0].message.content;
    };
    const { data } = await (await fetch(`${url}/v1/models`)).json();
    const plain = data.map(({ id }) => id).find((id) => id !== "calls");
    const [before, after] = [await ask(plain), await ask("calls")];
    check("cpm serve --lora: the adapter's model makes the right call", judged(sample, after).ok, after);
    check("and the model beside it, without the adapter, does not", !judged(sample, before).ok, before);
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
  const told95 = (right, of) => `${right} (${interval(right, of).map(Math.round).join(" to ")} %)`;
  for (const [kind, list] of Object.entries(sets)) {
    const [was, is, n] = [before[kind], after[kind], list.length];
    console.log(`${kind}, right of ${n} (95 % interval), before -> after`);
    console.log(`  held to the grammar        ${told95(was.grammar, n)} -> ${told95(is.grammar, n)}`);
    console.log(`    tools alone              ${told95(was.names, n)} -> ${told95(is.names, n)}`);
    console.log(`  free text                  ${told95(was.free, n)} -> ${told95(is.free, n)}`);
  }
  if (value("--json")) writeFileSync(value("--json"), JSON.stringify({ kinds, trained, before, after }, null, 2));
  for (const kind of ["new combinations", "new wordings"]) {
    const [was, is, n] = [before[kind], after[kind], sets[kind].length];
    const apart = (one) => interval(is[one], n)[0] > interval(was[one], n)[1];
    check(`${kind}: more right calls than before, held to the grammar: the intervals are apart`, apart("grammar"), { was, is });
    check(`${kind}: and as free text`, apart("free"), { was, is });
  }
  // One to show: the first free answer that is right.
  let shown;
  for (const sample of sets["new combinations"]) {
    const options = { maxTokens: 80, temperature: 0, lora: ["calls"], templateArguments: { tools: sample.tools } };
    const { text } = await model.chat(sample.messages, options);
    shown = sample;
    if (judged(sample, text).ok) break;
  }
  await model.dispose();
  await served(base, adapter, shown);
  // As a text: the beginning that the template writes, gone on with.
  const head = shown.tools.map((tool) => `${tool.function.name} `).join("");
  const prompt = `${head}You say: ${shown.messages[0].content}\nI do: `;
  const args = ["-p", prompt, "--max-tokens", "80", "--temperature", "0", "--json"];
  const said = JSON.parse(await cpm(["run", base, "--lora", adapter, ...args]));
  const verdict = judged(shown, said.text);
  check("cpm run --lora writes the call that is right", verdict.ok, { said, verdict });
  console.log(`${Math.round((performance.now() - began) / 1000)} s`);
} catch (error) {
  failed++;
  console.log(error.stack);
} finally {
  if (value("--out") === undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
