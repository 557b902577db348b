// Shards over BullMQ and Redis. Each job cleans one shard with `cpm clean`, in a process of its own, so that this process renews the
// job's lock meanwhile; a job that runs twice writes the same bytes. Needs: npm install bullmq ioredis
//   node queue.mjs add OUT INPUT SHARDS [options of cpm clean]    fills the queue
//   node queue.mjs work                                           works until the queue is empty
// REDIS_PORT (6379), QUEUE (cpm-clean) and CPM (the command) may be set.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Queue, Worker } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT ?? 6379), maxRetriesPerRequest: null };
const name = process.env.QUEUE ?? "cpm-clean";
const command = (process.env.CPM ?? "npx cpm").split(" ");
const [verb, out, input, shards, ...options] = process.argv.slice(2);

async function clean({ data }) {
  const [program, ...first] = command;
  const args = [...first, "clean", data.input, "-o", data.out, "--shard", `${data.index}/${data.shards}`, ...data.options];
  const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`shard ${data.index}: exit ${code}`);
}

const queue = new Queue(name, { connection });
if (verb === "add") {
  const jobs = Array.from({ length: Number(shards) }, (_, index) => ({
    name: "shard",
    data: { out, input, index, shards: Number(shards), options },
    // One job a shard, however often this is run.
    opts: { jobId: `shard-${index}`, attempts: 20, backoff: { type: "fixed", delay: 200 } },
  }));
  await queue.addBulk(jobs);
  await queue.close();
} else if (verb === "work") {
  const lockDuration = Number(process.env.LOCK_MS ?? 30_000);
  const worker = new Worker(name, clean, { connection, lockDuration, stalledInterval: lockDuration, maxStalledCount: 100 });
  worker.on("error", (error) => console.error(error.message));
  worker.on("failed", (job, error) => console.error(`shard ${job?.data.index}: ${error.message}`));
  for (;;) {
    const counts = await queue.getJobCounts("waiting", "active", "delayed", "prioritized").catch(() => ({ unknown: 1 }));
    if (Object.values(counts).every((n) => n === 0)) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await worker.close();
  await queue.close();
} else throw new Error("give add or work");
