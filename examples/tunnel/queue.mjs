// A sweep over BullMQ and Redis: a job for each shard (as many as the grid has trainings: a job for each). A job runs `cpm tunnel run` in a process of its own, so
// that this process renews the job's lock meanwhile; one that was cut off goes on from its checkpoint.
// Needs: npm install bullmq ioredis
//   node queue.mjs add CONFIG OUT SHARDS      fills the queue
//   node queue.mjs work                       works until it is empty
// REDIS_PORT (6379), QUEUE (cpm-tunnel), CPM (the command) and THREADS (of a training) may be set.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import process from "node:process";
import { Queue, Worker } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT ?? 6379), maxRetriesPerRequest: null };
const name = process.env.QUEUE ?? "cpm-tunnel";
const command = (process.env.CPM ?? "npx cpm").split(" ");
const [verb, config, out, count] = process.argv.slice(2);

async function train({ data: { config, out, index, shards } }) {
  const [program, ...first] = command;
  const threads = process.env.THREADS ? ["--threads", process.env.THREADS] : [];
  const args = [...first, "tunnel", "run", config, "--out", out, "--shard", `${index}/${shards}`, "--json", ...threads];
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`shard ${index}/${shards}: exit ${code}`);
}

const queue = new Queue(name, { connection });
if (verb === "add" && Number(count) >= 1) {
  const shards = Number(count);
  const place = Buffer.from(resolve(out)).toString("base64url");
  await queue.addBulk(
    Array.from({ length: shards }, (_, index) => ({
      name: "shard",
      data: { config, out, index, shards },
      // One job a shard that waits or runs, however often this is run.
      opts: {
        jobId: `${place}-${index}-of-${shards}`,
        attempts: 50,
        backoff: { type: "exponential", delay: 500 },
        removeOnComplete: true,
        removeOnFail: true,
      },
    })),
  );
} else if (verb === "work") {
  const lockDuration = Number(process.env.LOCK_MS ?? 30_000);
  const worker = new Worker(name, train, { connection, lockDuration, stalledInterval: lockDuration, maxStalledCount: 100 });
  worker.on("error", (error) => console.error(error.message));
  worker.on("failed", (_, error) => console.error(error.message));
  for (;;) {
    const counts = await queue.getJobCounts("waiting", "active", "delayed", "prioritized").catch(() => ({ unknown: 1 }));
    if (Object.values(counts).every((n) => n === 0)) break;
    await new Promise((done) => setTimeout(done, 200));
  }
  await worker.close();
} else throw new Error("give add CONFIG OUT SHARDS, or work");
await queue.close();
