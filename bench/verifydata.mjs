// What `cpm verify-data` says of data that are known, with `cpm train` as the trainer at a tiny size: a text against itself (no difference
// in 18 of 20 experiments and more), and good text over bad (p < .01). Good: stories that the embedded model wrote; bad: their words in no
// order, and stories half of whose sentences are boilerplate.
//   node bench/verifydata.mjs [--out DIR] [--experiments 20] [--stories 600]      goes on in DIR where it was
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { comparePairs } from "../dist/host/data.node.js";
import { load } from "../dist/host/node.js";

const { values } = parseArgs({
  options: {
    out: { type: "string", default: join(tmpdir(), "cpm-verifydata") },
    experiments: { type: "string", default: "20" },
    stories: { type: "string", default: "600" },
  },
});
const root = fileURLToPath(new URL("../", import.meta.url));
const cli = join(root, "dist/cli/main.js");
const out = resolve(values.out);
const at = (name) => join(out, name);
mkdirSync(out, { recursive: true });

let state = 7;
const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
const shuffled = (list) =>
  list
    .map((one) => [next(), one])
    .sort((a, b) => a[0] - b[0])
    .map(([, one]) => one);
const jsonl = (texts) => texts.map((text) => `${JSON.stringify({ text })}\n`).join("");

/** Stories, each from a beginning and a seed of its own. */
async function stories(count) {
  const file = at("stories.jsonl");
  const had = existsSync(file)
    ? readFileSync(file, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).text)
    : [];
  if (had.length >= count) return had.slice(0, count);
  const model = await load(join(root, "models/stories-q4_0.gguf"), { threads: 1 });
  const beginnings = ["Once upon a time", "One day, a", "There was a", "Lily", "Tom and", "In the park", "The little", "A big"];
  const made = [];
  for (let seed = 1; made.length < count; seed++) {
    const prompt = beginnings[seed % beginnings.length];
    const { text } = await model.generate(prompt, { maxTokens: 220, temperature: 0.9, seed });
    made.push(`${prompt}${text}`);
  }
  await model.dispose();
  writeFileSync(file, jsonl(made));
  return made;
}

const all = await stories(Number(values.stories));
const part = (from, to) => all.slice(Math.floor(from * all.length), Math.floor(to * all.length));
const boiler = [
  "Click here to subscribe to our newsletter.",
  "All rights reserved.",
  "Share this on your page.",
  "Sign in to read more.",
];
const files = {
  // What the base learns from and the default mix; the data in question; what nobody trains on.
  "mix.jsonl": jsonl(part(0, 0.5)),
  "good.jsonl": jsonl(part(0.5, 0.9)),
  "shuffled.jsonl": jsonl(part(0.5, 0.9).map((text) => shuffled(text.split(" ")).join(" "))),
  "boilerplate.jsonl": jsonl(
    part(0.5, 0.9).map((text) =>
      text.replace(/[^.!?]+[.!?]/g, (one) => (next() < 0.5 ? ` ${boiler[Math.floor(next() * 4)]}` : one)),
    ),
  ),
  "held.txt": part(0.9, 1).join("\n\n").slice(0, 12_000),
};
for (const [name, text] of Object.entries(files)) if (!existsSync(at(name))) writeFileSync(at(name), text);

const shape = {
  hidden_size: 48,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  tie_word_embeddings: true,
};
const common = { length: 128, rows: 4, threads: 1, optimiser: { kind: "adamw", mup: false } };
writeFileSync(
  at("base.json"),
  JSON.stringify({
    ...common,
    model: { tokenizer: join(root, "models/stories-q4_0.gguf"), config: shape },
    data: [{ files: "mix.jsonl" }],
    out: "base",
    updates: 400,
    // The stable part of WSD: what follows is the decay.
    schedule: { peak: 0.004, kind: "constant" },
    export: [{ to: "model.gguf", type: "F32" }],
  }),
);
writeFileSync(
  at("anneal.json"),
  JSON.stringify({
    ...common,
    model: "base/model.gguf",
    data: [{ files: "replaced" }],
    updates: 25,
    schedule: { peak: 0.004, warmup: 0, stableEnd: 0, kind: "linear" },
  }),
);
const cpm = (...args) =>
  execFileSync(process.execPath, [cli, ...args], { cwd: out, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
if (!existsSync(at("base/model.gguf"))) cpm("train", "base.json", "--json");

const verify = (name, candidate, mix, pairs, seed) =>
  JSON.parse(
    cpm(
      ...["verify-data", candidate, "--default", mix, "--train", "anneal.json", "--text", "held.txt", "--out", name],
      ...["--pairs", String(pairs), "--seed", String(seed), "--json"],
    ),
  );
const told = ({ verdict, mean, low, high, p }) =>
  `${verdict}: gain ${mean.toFixed(4)} nats, 95 % ${low.toFixed(4)} to ${high.toFixed(4)}, p = ${p.toPrecision(2)}`;

let failed = 0;
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (!good) failed++;
};
const pairs = 5;
const bad = verify("shuffled", "shuffled.jsonl", "mix.jsonl", pairs, 1);
check(`shuffled words beside stories: ${told(bad)}`, bad.verdict === "worse" && bad.p < 0.01);
const boilerplate = verify("boilerplate", "boilerplate.jsonl", "mix.jsonl", pairs, 1);
check(`half boilerplate beside stories: ${told(boilerplate)}`, boilerplate.verdict === "worse" && boilerplate.p < 0.01);
const good = verify("good", "good.jsonl", "mix.jsonl", pairs, 1);
console.log(`other stories beside stories: ${told(good)}`);
for (const [name, other] of [
  ["shuffled words", bad],
  ["half boilerplate", boilerplate],
]) {
  const of = (result) =>
    Object.entries(result.values)
      .filter(([key]) => key.startsWith("candidate-"))
      .map(([, value]) => value);
  const ranked = comparePairs(of(other), of(good));
  check(`stories over ${name}, both beside stories: ${told(ranked)}`, ranked.verdict === "better" && ranked.p < 0.01);
}
const better = verify("rescued", "good.jsonl", "shuffled.jsonl", pairs, 1);
check(`stories beside shuffled words: ${told(better)}`, better.verdict === "better" && better.p < 0.01);

const experiments = Number(values.experiments);
let none = 0;
for (let i = 0; i < experiments; i++) {
  const result = verify(`null-${i + 1}`, "mix.jsonl", "mix.jsonl", 3, 1000 + 3 * i);
  if (result.verdict === "none") none++;
  console.log(`  text against itself, seeds from ${1000 + 3 * i}: ${told(result)}`);
}
check(`text against itself: no difference in ${none} of ${experiments}`, none >= 0.9 * experiments);
console.log(`${failed === 0 ? 1 : 0} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
