// SIGKILL at random moments of cpm train, each time started again: the same bytes as a run that was left alone, on any number of threads.
//   node test/train/kill.mjs [KILLS] [SEED]       (default 10 1; .ci/run takes 4)
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const wanted = Number(process.argv[2] ?? 10);
let state = Number(process.argv[3] ?? 1);
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const folder = mkdtempSync(join(tmpdir(), "cpm-train-"));
const words = "the a cat dog sun moon went came saw had and then one day big small red blue happy sad".split(" ");
const text = () =>
  Array.from({ length: 20 + Math.floor(40 * random()) }, () => words[Math.floor(words.length * random())]).join(" ");
writeFileSync(join(folder, "stories.jsonl"), Array.from({ length: 300 }, () => JSON.stringify({ text: text() })).join("\n"));
const config = {
  model: {
    tokenizer: here("../../models/stories-q4_0.gguf"),
    config: {
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 64,
      max_position_embeddings: 256,
      dim_model_base: 16,
      tie_word_embeddings: true,
    },
  },
  out: "run",
  data: [{ files: join(folder, "stories.jsonl") }],
  heldOut: 0.05,
  length: 64,
  rows: 4,
  schedule: { peak: 1e-2, warmup: 4 },
  stages: [{ updates: 40 }, { updates: 20, objective: { kind: "ternary", group: 0 } }],
  checkpoint: { every: 5 },
  evaluate: { every: 15, rows: 8 },
  export: [{ to: "model.gguf" }, { to: "folder", type: "BF16" }],
};
const made = (name) => {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, "config.json"), JSON.stringify(config));
  return join(folder, name);
};

/** Runs the command; kills it after `ms`. Resolves with its exit status, null when it was killed. */
const run = (where, threads, ms) =>
  new Promise((resolve) => {
    const args = [
      "train",
      join(where, "config.json"),
      "--threads",
      String(threads),
      "--json",
      "--html",
      join(where, "report.html"),
    ];
    const child = spawn(process.execPath, [here("../../dist/cli/main.js"), ...args], { stdio: ["ignore", "ignore", "inherit"] });
    const timer = ms === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), ms);
    child.on("exit", (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });

/** What a run leaves, by name; times of day and of work are in its log and report alone. */
const left = (where) =>
  Object.fromEntries(
    readdirSync(join(where, "run"), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
      .filter((path) => !path.endsWith("log.jsonl") && !path.endsWith("data-0.json"))
      .map((path) => [path.slice(where.length), readFileSync(path)]),
  );

let [passed, failed] = [0, 0];
const check = (what, good) => {
  console.log(`${good ? "ok  " : "FAIL"}  ${what}`);
  if (good) passed++;
  else failed++;
};
const same = (a, b) =>
  Object.keys(a).sort().join() === Object.keys(b).sort().join() &&
  Object.entries(a).every(([name, bytes]) => bytes.equals(b[name]));

const whole = made("whole");
const begun = performance.now();
check("a run that is left alone ends", (await run(whole, 2)) === 0);
const length = performance.now() - begun;
const files = left(whole);
check("it leaves a model, a folder, two checkpoints and its tokens", Object.keys(files).length >= 8);
const killed = made("killed");
let kills = 0;
// A run that ends before its time counts for none: then it begins anew.
for (let tries = 0; kills < wanted && tries < 4 * wanted; tries++) {
  const code = await run(killed, 1 + (tries % 2), (0.1 + 0.8 * random()) * length);
  if (code === null) kills++;
  else if (code === 0) rmSync(join(killed, "run"), { recursive: true });
  else check(`exit status ${code}`, false);
}
check(`killed ${kills} times, it ends`, (await run(killed, 1)) === 0);
check("and its files are the same bytes, on one thread and on two", same(files, left(killed)));
check(
  "nothing half-written is left",
  readdirSync(join(killed, "run")).every((name) => !name.startsWith(".")),
);
rmSync(folder, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
