// examples/synth/queue.mjs over a real redis-server: a queue a family, two worker processes, of which one is killed three times and started
// again; the shards' bytes are those of plain runs. Then one worker and two by the clock, on an endpoint with latency.
// Needs redis-server and npm.
//   node test/synth/queue.mjs [--rounds 3] [--short]       --short: fewer shards, one kill, no clock
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { startEndpoint } from "./endpoint.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "cpm-synth-queue-"));
const main = join(root, "dist/cli/main.js");
const port = 6400 + (process.pid % 500);
const short = process.argv.includes("--short");
const shards = short ? 2 : 4;
const wanted = short ? 1 : 3;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ended = (child) => new Promise((resolve) => child.once("exit", (code) => resolve(code)));
const rounds = process.argv.includes("--rounds") ? Number(process.argv[process.argv.indexOf("--rounds") + 1]) : short ? 0 : 3;

copyFileSync(join(root, "examples/synth/queue.mjs"), join(folder, "queue.mjs"));
writeFileSync(join(folder, "package.json"), '{"private":true}');
execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "bullmq", "ioredis"], {
  cwd: folder,
  stdio: "inherit",
});
for (const name of ["tools.jsonl", "texts.jsonl", "config.json"])
  copyFileSync(join(root, "examples/synth", name), join(folder, name));
const config = join(folder, "config.json");
const endpoint = await startEndpoint({ latencyMs: 20 });
/** Of what is timed: latency, not work, is what two workers share. */
const late = await startEndpoint({ latencyMs: 150 });
const options = ["--api", endpoint.url, "--api-model", "script", "--json"];
const data = join(folder, "redis");
mkdirSync(data);
const redis = spawn("redis-server", ["--port", port, "--bind", "127.0.0.1", "--dir", data, "--save", ""], { stdio: "ignore" });
for (let up = false; !up; await wait(50))
  up = await new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => resolve(true) || socket.destroy());
    socket.on("error", () => resolve(false));
  });
const queue = (args, more = {}) =>
  spawn(process.execPath, ["queue.mjs", ...args], {
    cwd: folder,
    env: {
      ...process.env,
      REDIS_PORT: String(port),
      CPM: `${process.execPath} ${main}`,
      LOCK_MS: short ? "6000" : "2000",
      ...more,
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
let [passed, failed] = [0, 0];
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (good) passed++;
  else failed++;
};
const bytes = (out) =>
  readdirSync(out)
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map((name) => [name, readFileSync(join(out, name), "utf8")]);

try {
  const { families } = JSON.parse(readFileSync(config, "utf8"));
  const plain = join(folder, "plain");
  for (const family of Object.keys(families))
    for (let i = 0; i < shards; i++) {
      const args = ["synth", config, "-o", plain, "--family", family, "--shard", `${i}/${shards}`, ...options];
      if ((await ended(spawn(process.execPath, [main, ...args], { stdio: "ignore" }))) !== 0)
        throw new Error("a plain run failed");
    }
  const out = join(folder, "out");
  await ended(queue(["add", config, out, String(shards), ...options]));
  const workers = [queue(["work"]), queue(["work"])];
  let kills = 0;
  const all = shards * Object.keys(families).length;
  const manifests = () => {
    try {
      return readdirSync(out).filter((name) => name.startsWith("manifest-")).length;
    } catch {
      return 0;
    }
  };
  for (let next = 3; manifests() < all; await wait(50)) {
    for (const [i, worker] of workers.entries())
      if (worker.exitCode !== null || worker.signalCode !== null) workers[i] = queue(["work"]);
    if (manifests() < next || kills === wanted) continue;
    next += 5;
    const victim = workers[kills++ % 2];
    victim.kill("SIGKILL");
    await ended(victim);
  }
  await Promise.all(workers.map((worker) => (worker.exitCode === null && worker.signalCode === null ? ended(worker) : 0)));
  check(`${all} shards of ${Object.keys(families).length} queues, a worker killed ${kills} times`, kills === wanted);
  check("the files are those of plain runs", JSON.stringify(bytes(out)) === JSON.stringify(bytes(plain)));

  const ratios = [];
  const timed = join(folder, "timed.json");
  writeFileSync(timed, JSON.stringify({ families: { tools: { count: 160, samples: 4, seeds: "tools.jsonl" } }, concurrency: 2 }));
  for (let round = 0; round < rounds; round++) {
    const seconds = [];
    for (const count of [1, 2]) {
      const name = { QUEUE: `t${round}-${count}` };
      const slow = ["--api", late.url, "--api-model", "script", "--json"];
      await ended(queue(["add", timed, join(folder, `t${round}-${count}`), "4", ...slow], name));
      const begun = performance.now();
      await Promise.all(Array.from({ length: count }, () => ended(queue(["work", "tools"], name))));
      seconds.push((performance.now() - begun) / 1000);
    }
    ratios.push(seconds[0] / seconds[1]);
    console.log(`one worker ${seconds[0].toFixed(1)} s, two ${seconds[1].toFixed(1)} s: ${ratios.at(-1).toFixed(2)} times`);
  }
} catch (error) {
  failed++;
  console.log(error.stack);
} finally {
  redis.kill("SIGKILL");
  await endpoint.close();
  await late.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
