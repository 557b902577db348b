// llama.cpp as a process that takes turns: fills a context, says so, then decodes as many tokens as it is told, or, of LENGTH 0, computes a
// prompt of as many.
//   fork(turns.mjs, [MODEL, f16|q8_0, LENGTH, THREADS])
// A filled context is kept in bench/out and read from there the next time; alone, with one thread, the file fills it and ends:
//   node bench/lib/turns.mjs MODEL q8_0 8000 1
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { processorTime } from "./measure.mjs";

const [modelPath, kv, length, threads] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const coded = { flashAttention: true, experimentalKvCacheKeyType: "Q8_0", experimentalKvCacheValueType: "Q8_0" };
const context = await model.createContext({
  contextSize: length + 2048,
  batchSize: 512,
  threads,
  sequences: 1,
  ...(kv === "q8_0" ? coded : {}),
});
const prompt = (count) => Array.from({ length: count }, (_, i) => 300 + ((i * 7919) % 1700));
const ids = prompt(length);
const sequence = context.getSequence();
const out = fileURLToPath(new URL("../out/", import.meta.url));
const kept = join(out, `${basename(modelPath)}-${kv}-${length}.state`);
if (length === 0) await sequence.evaluateWithoutGeneratingNewTokens(prompt(64));
else if (existsSync(kept)) await sequence.loadStateFromFile(kept, { acceptRisk: true });
else {
  await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, -1));
  mkdirSync(out, { recursive: true });
  await sequence.saveStateToFile(`${kept}.part`);
  renameSync(`${kept}.part`, kept);
}
if (!process.send) process.exit(0);
const stream = length ? sequence.evaluate(ids.slice(-1), { temperature: 0, yieldEogToken: true }) : undefined;
await stream?.next();
process.send({ ready: true });
process.on("message", async ({ steps }) => {
  if (!stream) await sequence.clearHistory();
  const [begun, before] = [performance.now(), processorTime()];
  if (!stream) await sequence.evaluateWithoutGeneratingNewTokens(prompt(steps));
  else for (let i = 0; i < steps; i++) await stream.next();
  process.send({ ms: (performance.now() - begun) / steps, processorMs: (processorTime() - before) / steps });
});
