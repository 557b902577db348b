// Our quantised files in native llama.cpp: every GGUF type is made from a float model, loaded by both, and continued greedily.
//   node bench/greedy.mjs [MODEL.gguf] [--types Q4_0,Q4_K,…] [--tokens 40] [--methods search,gptq] [--calibration TEXT]
// The engines round activations differently, so that near ties may fall either way: where texts part, the two tokens' probabilities by
// either engine are compared. Exit code 1 where a file does not load natively, or texts part at tokens that are more than --margin (0.1)
// nats apart by both engines.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { install } from "../test/run.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    types: { type: "string", default: "F16,BF16,Q8_0,Q6_K,Q5_K,Q4_K,Q4_1,Q4_0,TQ2_0,TQ1_0" },
    methods: { type: "string", default: "search" },
    calibration: { type: "string" },
    tokens: { type: "string", default: "40" },
    margin: { type: "string", default: "0.1" },
  },
});
const source = positionals[0] ?? join(here, "../../shared/models/stories-f16.gguf");
const [count, margin] = [Number(values.tokens), Number(values.margin)];
const TEXTS = ["Once upon a time", "Lily and Tom went to the park. They saw a", "One day, a little dog named Max"];

function ask(script, model, prompts, tokens) {
  const request = JSON.stringify({ prompts, tokens });
  const args = [join(here, script), model, "--greedy", request, "--probabilities", "--ctx", "256"];
  const output = execFileSync(process.execPath, args, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const answer = JSON.parse(output.trim().split("\n").at(-1));
  if (answer.error) throw new Error(`${script}: ${answer.error}`);
  return answer.results;
}

install(here);
const { loadTokenizer } = await import("../dist/host/node.js");
const { quantize } = await import("../dist/host/quantise.node.js");
const tokenizer = await loadTokenizer(source);
const prompts = TEXTS.map((text) => Array.from(tokenizer.encode(text)));
const calibration = values.calibration === undefined ? undefined : readFileSync(values.calibration, "utf8");
const folder = mkdtempSync(join(tmpdir(), "cpm-greedy-"));
let [failed, files] = [0, 0];
console.log(
  `| file | method | equal greedy tokens of ${count}, by prompt | where they part: nats between the two tokens, llama.cpp / ours |`,
);
console.log("|---|---|---|---|");
try {
  for (const type of values.types.split(","))
    for (const method of /^B?F16$/.test(type) ? ["rtn"] : values.methods.split(",")) {
      const model = join(folder, `${type}-${method}.gguf`);
      files++;
      try {
        await quantize(source, model, { type, method, ...(calibration === undefined ? {} : { calibration }) });
        const theirs = ask("llama.mjs", model, prompts, count);
        const ours = ask("ours.mjs", model, prompts, count);
        const notes = [];
        const equal = prompts.map((prompt, i) => {
          const [a, b] = [theirs[i].tokens.slice(0, count), ours[i].tokens.slice(0, count)];
          const at = a.findIndex((token, j) => token !== b[j]);
          if (at < 0) return count;
          const before = [[...prompt, ...a.slice(0, at)]];
          const gaps = ["llama.mjs", "ours.mjs"].map((script) => {
            const p = ask(script, model, before, 1)[0].probabilities;
            return Math.abs(Math.log(p[a[at]] / p[b[at]]));
          });
          if (Math.min(...gaps) > margin) failed++;
          notes.push(gaps.map((gap) => gap.toFixed(3)).join(" / "));
          return at;
        });
        console.log(`| ${type} | ${method} | ${equal.join(", ")} | ${notes.join("; ") || "nowhere"} |`);
      } catch (error) {
        failed++;
        const why = String(error.stderr || error.message)
          .trim()
          .split("\n")
          .at(-1);
        console.log(`| ${type} | ${method} | failed: ${why} | |`);
      }
      rmSync(model, { force: true });
    }
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`\n${basename(source)}: ${files} files, ${failed} failures`);
process.exitCode = failed || files === 0 ? 1 : 0;
