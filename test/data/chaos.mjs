// Chaos, too long for CI: 64 shards over BullMQ on a real redis-server, two workers; a worker is killed ten times and Redis once
// (append-only file). The shards' bytes must be those of a run without any of this. Needs redis-server and npm.
//   node test/data/chaos.mjs [records]
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "cpm-chaos-"));
const main = join(root, "dist/cli/main.js");
const port = 6390 + (process.pid % 500);
const shards = 64;
const count = Number(process.argv[2] ?? 64_000);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ended = (child) => new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));

let state = 1;
const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
const input = join(folder, "in.jsonl");
writeFileSync(
  input,
  Array.from({ length: count }, (_, id) => {
    const text = Array.from({ length: 40 }, () => `word${Math.floor(next() ** 3 * 3000)}`).join(" ");
    return `${JSON.stringify({ id, text })}\n`;
  }).join(""),
);
copyFileSync(join(root, "examples/data/queue.mjs"), join(folder, "queue.mjs"));
writeFileSync(join(folder, "package.json"), '{"private":true}');
execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "bullmq", "ioredis"], {
  cwd: folder,
  stdio: "inherit",
});

const plain = join(folder, "plain");
for (let i = 0; i < shards; i++)
  execFileSync(process.execPath, [main, "clean", input, "-o", plain, "--dedup", "near", "--shard", `${i}/${shards}`], {
    stdio: "ignore",
  });

const data = join(folder, "redis");
mkdirSync(data);
const startRedis = async () => {
  const redis = spawn(
    "redis-server",
    ["--port", port, "--bind", "127.0.0.1", "--dir", data, "--appendonly", "yes", "--save", ""],
    {
      stdio: "ignore",
    },
  );
  for (;;) {
    const up = await new Promise((resolve) => {
      const socket = createConnection(port, "127.0.0.1", () => resolve(true) || socket.destroy());
      socket.on("error", () => resolve(false));
    });
    if (up) return redis;
    await wait(50);
  }
};
const env = { ...process.env, REDIS_PORT: String(port), CPM: `${process.execPath} ${main}`, LOCK_MS: "2000" };
const out = join(folder, "out");
let redis = await startRedis();
const queue = (...args) =>
  spawn(process.execPath, ["queue.mjs", ...args], { cwd: folder, env, stdio: ["ignore", "ignore", "inherit"] });
await ended(queue("add", out, input, String(shards), "--dedup", "near"));

const manifests = () => (existsSync(out) ? readdirSync(out).filter((name) => name.startsWith("manifest-")).length : 0);
const workers = [queue("work"), queue("work")];
let kills = 0;
let redisKilled = false;
for (let seen = 0; manifests() < shards; ) {
  await wait(100);
  for (let i = 0; i < workers.length; i++)
    if (workers[i].exitCode !== null || workers[i].signalCode !== null) workers[i] = queue("work");
  if (manifests() < seen + 4) continue;
  seen = manifests();
  if (kills < 10) {
    const victim = workers[kills++ % 2];
    victim.kill("SIGKILL");
    await ended(victim);
  }
  if (!redisKilled && kills >= 5) {
    redis.kill("SIGKILL");
    await ended(redis);
    redis = await startRedis();
    redisKilled = true;
  }
}
for (const worker of workers) worker.kill("SIGKILL");
redis.kill("SIGKILL");
await wait(300);

const names = readdirSync(plain).filter((name) => /^(kept|errors)-/.test(name));
const wrong = names.filter(
  (name) => !existsSync(join(out, name)) || !readFileSync(join(out, name)).equals(readFileSync(join(plain, name))),
);
console.log(
  `${shards} shards, ${count} records; workers killed ${kills} times, Redis ${redisKilled ? "once" : "never"}; ${names.length} files, ${wrong.length} differ`,
);
rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
console.log(wrong.length === 0 && kills === 10 && redisKilled ? "1 passed, 0 failed" : "0 passed, 1 failed");
process.exitCode = wrong.length === 0 ? 0 : 1;
