// Rollouts over BullMQ and Redis: one trainer, any number of workers. The trainer writes each policy's weights into its folder by number; a
// job is a chunk more for some answers under such a policy. Jobs that run twice, and workers and trainers that are killed, change no bit of what
// is learnt. Workers read the trainer's folder: the same machine, or one that shares it.
// Needs: npm install bullmq ioredis
//   cpm rl CONFIG --engine queue.mjs      the trainer
//   node queue.mjs work                   a worker, until it is stopped
// REDIS_PORT (6379), QUEUE (cpm-rl; one for each trainer) and THREADS (of a worker's engine) may be set.
import { randomUUID } from "node:crypto";
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Queue, QueueEvents, Worker } from "bullmq";
import { load } from "cpm-wasm";
import { diskPolicies, jobEngine, modelEngine, pathFiles, runRolloutJob } from "cpm-wasm/train";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT ?? 6379), maxRetriesPerRequest: null };
const name = process.env.QUEUE ?? "cpm-rl";
const lockDuration = Number(process.env.LOCK_MS ?? 30_000);

/** The trainer's engine: `out` is the run's folder, the rest is what workers make their engines of. */
export default async function engine({ out, ...settings }) {
  const queue = new Queue(name, { connection });
  const events = new QueueEvents(name, { connection });
  await events.waitUntilReady();
  // What a trainer that was killed had asked for, nobody waits for any more.
  await queue.obliterate({ force: true });
  // Policies are numbered in each run anew: workers must not take one of another run for this one's.
  const run = randomUUID();
  const policies = diskPolicies(resolve(out, "policies"));
  return jobEngine({
    publish: (weights, policy, signal) => policies.publish(weights, policy, signal),
    async run(job) {
      const asked = await queue.add(
        "chunk",
        { weights: policies.path(job.policy), run, settings, job },
        { attempts: 20, backoff: { type: "exponential", delay: 200 }, removeOnComplete: 1000, removeOnFail: 1000 },
      );
      return await asked.waitUntilFinished(events);
    },
    async close() {
      await Promise.all([queue.close(), events.close()]);
    },
  });
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  if (process.argv[2] !== "work") throw new Error(`give "work"; a trainer is cpm rl CONFIG --engine ${process.argv[1]}`);
  const threads = process.env.THREADS ? Number(process.env.THREADS) : undefined;
  let own;
  const worker = new Worker(
    name,
    async ({ data: { weights, run, settings, job } }) => {
      const wanted = JSON.stringify([run, settings]);
      if (own?.settings !== wanted) {
        await own?.engine.close();
        const { variant, ...rest } = settings;
        own = { settings: wanted, engine: modelEngine(load, { ...rest, load: { threads, variant } }) };
      }
      return await runRolloutJob(own.engine, job, () => pathFiles(weights));
    },
    { connection, lockDuration, stalledInterval: lockDuration, maxStalledCount: 100 },
  );
  worker.on("error", (error) => console.error(error.message));
  worker.on("failed", (_, error) => console.error(error.message));
  for (const signal of ["SIGINT", "SIGTERM"])
    process.once(signal, async () => {
      await worker.close();
      await own?.engine.close();
      process.exit(0);
    });
}
