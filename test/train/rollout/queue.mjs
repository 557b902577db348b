// cpm rl and cpm tunnel run over BullMQ and a real redis-server, as examples/rl/queue.mjs and examples/tunnel/queue.mjs have it: one trainer
// and two workers, killed at random and started again, come to the bytes of one process; so do a sweep's shards by two workers.
// Needs redis-server and npm.
//   node test/train/rollout/queue.mjs [--short] [SEED]      --short: a trainer and a worker killed once each
import { execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { characterTokenizer } from "./characters.mjs";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const main = join(root, "dist/cli/main.js");
const folder = mkdtempSync(join(tmpdir(), "cpm-rl-queue-"));
const short = process.argv.includes("--short");
const kills = short ? 2 : 8;
let state = Number(process.argv.slice(2).find((arg) => /^\d+$/.test(arg)) ?? 1);
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const port = 6900 + (process.pid % 500);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const running = (child) => child.exitCode === null && child.signalCode === null;
const ended = (child) =>
  running(child) ? new Promise((resolve) => child.once("exit", resolve)) : Promise.resolve(child.exitCode);

const install = ["install", "--no-audit", "--no-fund", "--loglevel=error", "bullmq", "ioredis"];
writeFileSync(join(folder, "package.json"), '{"private":true}');
execFileSync("npm", install, { cwd: folder, stdio: "inherit" });
symlinkSync(root, join(folder, "node_modules/cpm-wasm"));
copyFileSync(join(root, "examples/rl/queue.mjs"), join(folder, "rl.mjs"));
copyFileSync(join(root, "examples/tunnel/queue.mjs"), join(folder, "tunnel.mjs"));

mkdirSync(join(folder, "words"));
for (const [name, bytes] of Object.entries(characterTokenizer("0123456789+="))) writeFileSync(join(folder, "words", name), bytes);
const tokenizer = join(folder, "words", "tokenizer.json");
const lines = (list) => list.map((line) => `${JSON.stringify(line)}\n`).join("");
writeFileSync(
  join(folder, "prompts.jsonl"),
  lines(Array.from({ length: 24 }, (_, i) => ({ prompt: `${i}+1=`, answer: ["0", "1", "2", "3", "4", "5", "6"] }))),
);
writeFileSync(join(folder, "texts.jsonl"), lines(Array.from({ length: 200 }, (_, i) => ({ text: `${i}+${3 * i}=${4 * i}` }))));
const shape = { eos_token_id: 0, max_position_embeddings: 64, tie_word_embeddings: true };
writeFileSync(
  join(folder, "rl.json"),
  JSON.stringify({
    model: {
      tokenizer,
      config: {
        ...shape,
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        intermediate_size: 48,
        dim_model_base: 32,
      },
    },
    out: "plain",
    prompts: join(folder, "prompts.jsonl"),
    reward: "exact",
    updates: short ? 6 : 12,
    answers: 8,
    groups: 2,
    inFlight: 48,
    chunk: 5,
    maxTokens: 24,
    referenceEvery: 4,
    objective: { beta: 0.01 },
    optimiser: { weightDecay: 0 },
    schedule: { kind: "constant", peak: 2e-3, warmup: 0 },
    rows: 4,
    length: 48,
    slots: 8,
    checkpoint: { every: 1 },
    export: [{ to: "policy" }],
  }),
);
writeFileSync(
  join(folder, "sweep.json"),
  JSON.stringify({
    out: "plain",
    tokenizer,
    model: { eos_token_id: 0 },
    headDim: 16,
    train: { data: [{ files: join(folder, "texts.jsonl") }], heldOut: 0.1, length: 32, schedule: { warmup: 2 } },
    grid: { width: [32], depth: 1, rate: [0.004, 0.008], rows: 4, tokens: 2048, seed: [1, 2] },
  }),
);

const data = join(folder, "redis");
mkdirSync(data);
const redis = spawn("redis-server", ["--port", port, "--bind", "127.0.0.1", "--dir", data, "--save", ""], { stdio: "ignore" });
for (let up = false; !up; await wait(50))
  up = await new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => resolve(true) || socket.destroy());
    socket.on("error", () => resolve(false));
  });
const children = new Set();
const kept = (child) => {
  children.add(child);
  return child;
};
const env = { ...process.env, REDIS_PORT: String(port), LOCK_MS: "3000", THREADS: "1", CPM: `${process.execPath} ${main}` };
const start = (args) => kept(spawn(process.execPath, args, { cwd: folder, env, stdio: ["ignore", "ignore", "inherit"] }));
const cpm = (...args) => start([main, ...args, "--threads", "1", "--json"]);

let [passed, failed] = [0, 0];
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (good) passed++;
  else failed++;
};
const weights = (name) => readFileSync(join(folder, name, "policy", "model.safetensors"));
const points = (name) =>
  readdirSync(join(folder, name))
    .filter((file) => file.startsWith("point-"))
    .sort()
    .map((file) => [file, readFileSync(join(folder, name, file), "utf8")]);
/** Whatever ends this process ends what it started: workers would wait for Redis for ever. */
const clear = () => {
  for (const child of children) if (running(child)) child.kill("SIGKILL");
  redis.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
};
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, () => {
    clear();
    process.exit(1);
  });

try {
  check("a run in one process", (await ended(cpm("rl", join(folder, "rl.json")))) === 0);
  const train = () => cpm("rl", join(folder, "rl.json"), "--out", join(folder, "queued"), "--engine", join(folder, "rl.mjs"));
  const work = () => start(["rl.mjs", "work"]);
  let trainer = train();
  const workers = [work(), work()];
  const updates = () => {
    const log = join(folder, "queued", "log.jsonl");
    return existsSync(log) ? readFileSync(log, "utf8").split("\n").length : 0;
  };
  let killed = 0;
  // A kill whenever a step more has been logged, of the trainer or of a worker.
  for (let seen = 1; ; await wait(20)) {
    if (trainer.exitCode !== null) break;
    if (trainer.signalCode !== null) trainer = train();
    for (const [i, worker] of workers.entries()) if (!running(worker)) workers[i] = work();
    if (killed === kills || updates() <= seen) continue;
    seen = updates() + 1;
    await wait(150 * random());
    const victim = [trainer, ...workers][killed % 3];
    killed++;
    victim.kill("SIGKILL");
    await ended(victim);
  }
  check(`one trainer, two workers, ${killed} of them killed`, trainer.exitCode === 0 && killed === kills);
  check("the policy's bytes are those of one process", weights("queued").equals(weights("plain")));
  const left = readdirSync(join(folder, "queued", "policies"));
  check(`of ${short ? 6 : 12} policies the last are there: ${left.join(", ")}`, left.length <= 2);
  for (const worker of workers) worker.kill("SIGTERM");
  check(
    "workers end when they are told",
    (await Promise.all(workers.map(ended))).every((code) => code === 0),
  );

  check(
    "a sweep in one process",
    (await ended(cpm("tunnel", "run", join(folder, "sweep.json"), "--out", join(folder, "s-plain")))) === 0,
  );
  await ended(start(["tunnel.mjs", "add", join(folder, "sweep.json"), join(folder, "s-queued"), "4"]));
  const shards = [start(["tunnel.mjs", "work"]), start(["tunnel.mjs", "work"])];
  check(
    "two workers of a sweep",
    (await Promise.all(shards.map(ended))).every((code) => code === 0),
  );
  check(
    "four trainings, the same losses",
    points("s-queued").length === 4 && JSON.stringify(points("s-queued")) === JSON.stringify(points("s-plain")),
  );
} catch (error) {
  failed++;
  console.log(error.stack);
} finally {
  clear();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
