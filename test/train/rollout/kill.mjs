// SIGKILL at random moments of cpm rl, each time started again: the same bytes as a run that was left alone, on any number of threads.
//   node test/train/rollout/kill.mjs [KILLS] [SEED]       (default 10 1; .ci/run takes 4)
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { characterTokenizer } from "./characters.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const wanted = Number(process.argv[2] ?? 10);
let state = Number(process.argv[3] ?? 1);
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const folder = mkdtempSync(join(tmpdir(), "cpm-rl-"));
mkdirSync(join(folder, "words"));
for (const [name, bytes] of Object.entries(characterTokenizer("0123456789+="))) writeFileSync(join(folder, "words", name), bytes);
const prompts = Array.from({ length: 24 }, (_, i) => ({ prompt: `${i}+1=`, answer: ["0", "1", "2", "3", "4", "5", "6"] }));
writeFileSync(join(folder, "prompts.jsonl"), prompts.map((line) => JSON.stringify(line)).join("\n"));
writeFileSync(
  join(folder, "held.jsonl"),
  prompts
    .slice(0, 6)
    .map((line) => JSON.stringify(line))
    .join("\n"),
);
const config = {
  model: {
    tokenizer: join(folder, "words", "tokenizer.json"),
    config: {
      // A tokenizer.json by itself does not say which token ends a text.
      eos_token_id: 0,
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      intermediate_size: 48,
      max_position_embeddings: 64,
      dim_model_base: 32,
      tie_word_embeddings: true,
    },
  },
  out: "run",
  prompts: join(folder, "prompts.jsonl"),
  reward: "exact",
  updates: 12,
  answers: 8,
  groups: 2,
  miniBatch: 1,
  epochs: 2,
  inFlight: 32,
  chunk: 5,
  maxTokens: 24,
  referenceEvery: 4,
  objective: { beta: 0.01 },
  optimiser: { weightDecay: 0 },
  schedule: { kind: "constant", peak: 2e-3, warmup: 0 },
  rows: 4,
  length: 48,
  slots: 16,
  evaluate: { every: 5, files: join(folder, "held.jsonl"), answers: 2 },
  checkpoint: { every: 2 },
  // No GGUF spells a text with so few characters.
  export: [{ to: "policy" }],
};
const made = (name) => {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, "config.json"), JSON.stringify(config));
  return join(folder, name);
};

/** Runs the command; kills it after `ms`. Resolves with its exit status, null when it was killed. */
const run = (where, threads, ms) =>
  new Promise((resolve) => {
    const args = ["rl", join(where, "config.json"), "--threads", String(threads), "--json"];
    const child = spawn(process.execPath, [here("../../../dist/cli/main.js"), ...args], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const timer = ms === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), ms);
    child.on("exit", (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });

/** What a run leaves, by name; how long it took is in its log alone. */
const left = (where) =>
  Object.fromEntries(
    readdirSync(join(where, "run"), { recursive: true })
      .filter((name) => name !== "log.jsonl" && name !== "policy")
      .map((name) => [name, readFileSync(join(where, "run", name))]),
  );
const logged = (where) =>
  readFileSync(join(where, "run", "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      // Caches that a killed run had are built again: that alone may differ.
      const { ms: _, work: __, ...entry } = JSON.parse(line);
      return JSON.stringify(entry);
    });

const problems = [];
/** A run that is watched: its page while it runs, and the one that it leaves. */
async function watched(where) {
  const html = join(folder, "page.html");
  const child = spawn(
    process.execPath,
    [here("../../../dist/cli/main.js"), "rl", join(where, "config.json"), "--threads", "1", "--port", "0", "--html", html],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let [told, live] = ["", undefined];
  child.stderr.on("data", (data) => {
    told += data;
    const url = /live at (http:\S+)/.exec(told)?.[1];
    if (url) live ??= fetch(url).then((response) => response.text());
  });
  const status = await new Promise((resolve) => child.once("close", resolve));
  if (!(await live)?.includes("<h1>cpm rl config.json</h1>")) problems.push(`no page while it runs: ${told}`);
  const page = readFileSync(html, "utf8");
  for (const title of ["reward", "share of idle places", "policies since tokens were chosen", "12 of 12"])
    if (!page.includes(title)) problems.push(`the page does not have "${title}"`);
  if (page.includes("http-equiv")) problems.push("the page of a run that has ended loads itself again");
  return status;
}

try {
  const alone = made("alone");
  const begun = performance.now();
  if ((await watched(alone)) !== 0) throw new Error("the run that was left alone failed");
  const whole = performance.now() - begun;
  console.log(`a run takes ${(whole / 1000).toFixed(1)} s`);
  const killed = made("killed");
  let [kills, starts] = [0, 0];
  for (let finished = false; !finished && starts < 6 * wanted + 10; starts++) {
    const ms = kills < wanted ? (0.1 + 0.9 * random()) * whole : undefined;
    const status = await run(killed, 1 + (starts % 2), ms);
    if (status === null) kills++;
    else if (status === 0) finished = true;
    else problems.push(`start ${starts}: status ${status}`);
    // A run that ended before it was killed is begun anew, until there were as many kills as are wanted.
    if (finished && kills < wanted) {
      rmSync(join(killed, "run"), { recursive: true });
      finished = false;
    }
  }
  const [a, b] = [left(alone), left(killed)];
  if (Object.keys(a).join() !== Object.keys(b).join()) problems.push(`other files: ${Object.keys(a)} and ${Object.keys(b)}`);
  for (const [name, bytes] of Object.entries(a)) if (!b[name]?.equals(bytes)) problems.push(`${name}: other bytes`);
  if (logged(alone).join("\n") !== logged(killed).join("\n")) problems.push("other logs");
  console.log(`${kills} kills in ${starts} starts, ${Object.keys(a).length} files compared`);
} catch (error) {
  problems.push(String(error));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const problem of problems) console.log(problem);
console.log(`${problems.length === 0 ? 1 : 0} passed, ${problems.length === 0 ? 0 : 1} failed`);
process.exit(problems.length === 0 ? 0 : 1);
