// Fine-tuning data over BullMQ and Redis: a queue for each family, a job for each shard. A job runs `cpm synth` in a process of its own, so
// that this process renews the job's lock meanwhile; one that runs twice, or is cut off, loses and doubles no sample.
// Needs: npm install bullmq ioredis
//   node queue.mjs add CONFIG OUT SHARDS [options of cpm synth]    fills the queues of the configuration's families
//   node queue.mjs work [FAMILY…]                                  works until these queues (default: all) are empty
// REDIS_PORT (6379), QUEUE (cpm-synth) and CPM (the command) may be set.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Queue, Worker } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT ?? 6379), maxRetriesPerRequest: null };
const name = (family) => `${process.env.QUEUE ?? "cpm-synth"}-${family}`;
const command = (process.env.CPM ?? "npx cpm").split(" ");
const [verb, ...rest] = process.argv.slice(2);

async function synth({ data: { config, out, family, index, shards, options } }) {
  const [program, ...first] = command;
  const args = [...first, "synth", config, "-o", out, "--family", family, "--shard", `${index}/${shards}`, ...options];
  const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${family} ${index}/${shards}: exit ${code}`);
}

if (verb === "add") {
  const [config, out, count, ...options] = rest;
  const shards = Number(count);
  for (const family of Object.keys(JSON.parse(readFileSync(config, "utf8")).families)) {
    const queue = new Queue(name(family), { connection });
    const jobs = Array.from({ length: shards }, (_, index) => ({
      name: "shard",
      data: { config, out, family, index, shards, options },
      // One job a shard, however often this is run.
      opts: { jobId: `shard-${index}-of-${shards}`, attempts: 20, backoff: { type: "exponential", delay: 500 } },
    }));
    await queue.addBulk(jobs);
    await queue.close();
  }
} else if (verb === "work") {
  const families = rest.length ? rest : ["knowledge", "reasoning", "instructions", "long", "tools"];
  const lockDuration = Number(process.env.LOCK_MS ?? 30_000);
  const options = { connection, lockDuration, stalledInterval: lockDuration, maxStalledCount: 100 };
  const queues = families.map((family) => new Queue(name(family), { connection }));
  const workers = families.map((family) => new Worker(name(family), synth, options));
  for (const worker of workers) {
    worker.on("error", (error) => console.error(error.message));
    worker.on("failed", (_, error) => console.error(error.message));
  }
  for (;;) {
    const counts = await Promise.all(
      queues.map((queue) => queue.getJobCounts("waiting", "active", "delayed", "prioritized").catch(() => ({ unknown: 1 }))),
    );
    if (counts.flatMap((count) => Object.values(count)).every((n) => n === 0)) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await Promise.all([...workers, ...queues].map((one) => one.close()));
} else throw new Error("give add or work");
