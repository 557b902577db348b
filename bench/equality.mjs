// Compares our text and probabilities with llama.cpp's (node-llama-cpp, processor only), token by token.
//   node bench/equality.mjs [--tokens 200] [MODEL …]
// Without MODEL: the story models. Float models must give the same greedy tokens (exit code 1 otherwise, or when none was
// compared); quantised ones are reported only, because the two engines quantise activations differently and near ties may
// fall either way.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { install } from "../test/run.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const shared = join(here, "../../shared");
const TEXTS = ["Once upon a time", "Lily and Tom went to the park. They saw a", "One day, a little dog named Max"];

const { values, positionals } = parseArgs({ allowPositionals: true, options: { tokens: { type: "string", default: "200" } } });
const count = Number(values.tokens);
const models = positionals.length
  ? positionals
  : [
      join(shared, "data/stories260k.gguf"),
      join(shared, "models/stories-f16.gguf"),
      join(here, "../models/stories-q4_0.gguf"),
      join(shared, "models/stories-ternary-tq2_0.gguf"),
    ];

function ask(script, model, prompts) {
  const args = [
    join(here, script),
    model,
    "--greedy",
    JSON.stringify({ prompts, tokens: count }),
    "--probabilities",
    "--ctx",
    "256",
  ];
  const output = execFileSync(process.execPath, args, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const answer = JSON.parse(output.trim().split("\n").at(-1));
  if (answer.error) throw new Error(`${script}: ${answer.error}`);
  return answer.results;
}

/** KL(p ‖ q) in nats. */
const divergence = (p, q) => p.reduce((sum, x, i) => sum + (x > 0 ? x * Math.log(x / Math.max(q[i], 1e-45)) : 0), 0);

install(here);
const { loadTokenizer, inspect } = await import("../dist/host/node.js");
let failed = 0;
let compared = 0;
console.log(`| model | prompt | equal greedy tokens of ${count} | KL(llama.cpp ‖ ours) after the prompt |\n|---|---|---|---|`);
for (const model of models) {
  if (!existsSync(model)) {
    console.log(`| ${basename(model)} | – | not compared: the file is not here | – |`);
    continue;
  }
  const tokenizer = await loadTokenizer(model);
  const { tensors } = await inspect(model);
  const float = tensors.every((t) => ["F32", "F16", "BF16"].includes(t.type.toUpperCase()));
  const prompts = TEXTS.map((text) => Array.from(tokenizer.encode(text)));
  const theirs = ask("llama.mjs", model, prompts);
  const ours = ask("ours.mjs", model, prompts);
  TEXTS.forEach((text, i) => {
    const a = theirs[i].tokens;
    const b = ours[i].tokens;
    const differs = a.findIndex((token, at) => token !== b[at]);
    const equal = differs < 0 ? a.length : differs;
    if (float) compared++;
    if (float && equal < count) failed++;
    const kl = divergence(theirs[i].probabilities, ours[i].probabilities);
    const note = differs < 0 ? "" : `, then ${a[differs]} against ${b[differs]}`;
    console.log(`| ${basename(model)} | ${text} | ${equal}${note} | ${kl.toExponential(2)} |`);
  });
}
console.log(`\n${compared - failed} of ${compared} prompts of float models have equal greedy tokens`);
process.exitCode = failed || !compared ? 1 : 0;
