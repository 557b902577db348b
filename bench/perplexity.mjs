// Perplexity beside llama.cpp: the same file and the same tokens; llama.cpp's probabilities become a base file that ours is compared with.
//   node bench/perplexity.mjs MODEL [TEXT] [--ctx 256] [--chunks 16] [--threads 1] [--kv-type f16]
// Without a text the model's own at temperature 1 is taken. llama.cpp runs through node-llama-cpp: its prefill alone is what
// llama-perplexity costs at the least; with probabilities it builds a Map of the vocabulary for each token.
import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { perplexity } from "../dist/evaluate/index.js";
import { klHeader, klRow, scoredFrom } from "../dist/evaluate/klfile.js";
import { logSumOf } from "../dist/evaluate/softmax.js";
import { load } from "../dist/host/node.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ctx: { type: "string", default: "256" },
    chunks: { type: "string", default: "16" },
    threads: { type: "string", default: "1" },
    "kv-type": { type: "string", default: "f16" },
  },
});
const [modelPath, textPath] = positionals;
const [ctx, chunks, threads] = [values.ctx, values.chunks, values.threads].map(Number);

const ours = await load(modelPath, { contextSize: ctx, threads, kvType: values["kv-type"], draft: false });
const { bos, stop } = ours.tokenizer;

async function sampled() {
  const all = [];
  for (let c = 0; c < chunks; c++) {
    const logitBias = Object.fromEntries(stop.map((token) => [token, Number.NEGATIVE_INFINITY]));
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: c + 1, maxTokens: ctx - 1, logitBias };
    const { tokens } = await ours.generate([bos], options);
    all.push(bos, ...tokens);
  }
  return all;
}
const tokens = textPath
  ? ours.tokenizer
      .encode(readFileSync(textPath, "utf8").replace(/\n$/, ""), { special: false, eos: false })
      .slice(0, ctx * chunks)
  : await sampled();
const whole = Math.floor(tokens.length / ctx);

const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const context = await model.createContext({ contextSize: ctx, batchSize: 512, threads, sequences: 1 });
const sequence = context.getSequence();
const vocab = ours.info.config.vocab;
const all = { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } };

/** Natural logarithms of the probabilities behind the scored positions of a chunk. */
async function rows(chunk) {
  await sequence.clearHistory();
  const from = scoredFrom(ctx);
  const output = await sequence.controlledEvaluate(
    chunk.slice(0, -1).map((token, i) => (i >= from ? [token, { generateNext: all }] : token)),
  );
  return Array.from({ length: ctx - 1 - from }, (_, i) => {
    const row = new Float32Array(vocab).fill(-100);
    for (const [token, p] of output[from + i].next.probabilities) row[token] = Math.log(p);
    return row;
  });
}

const chunkOf = (c) => [bos, ...tokens.slice(c * ctx + 1, (c + 1) * ctx)];
const pieces = [klHeader({ contextSize: ctx, vocab, chunks: whole }, Int32Array.from(tokens.slice(0, whole * ctx)))];
let [sum, count] = [0, 0];
const started = performance.now();
for (let c = 0; c < whole; c++) {
  const chunk = chunkOf(c);
  for (const [i, row] of (await rows(chunk)).entries()) {
    sum -= row[chunk[scoredFrom(ctx) + i + 1]];
    count++;
    pieces.push(klRow(row, logSumOf(row)));
  }
}
const withProbabilities = performance.now() - started;
/** Prefill alone. */
async function prefill() {
  const begin = performance.now();
  for (let c = 0; c < whole; c++) {
    await sequence.clearHistory();
    await sequence.evaluateWithoutGeneratingNewTokens(chunkOf(c));
  }
  return (1000 * whole * ctx) / (performance.now() - begin);
}
const base = Buffer.concat(pieces);
await perplexity(ours, tokens, { contextSize: ctx, chunks: 1 + Math.min(1, whole - 1) });
const speeds = [];
for (let i = 0; i < 3; i++)
  speeds.push({
    prefill: await prefill(),
    ours: (await perplexity(ours, tokens.slice(0, whole * ctx), { contextSize: ctx })).tokensPerSecond,
  });
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const found = await perplexity(ours, undefined, { base });
const d = found.divergence;
const theirs = Math.exp(sum / count);
console.log(
  JSON.stringify({
    model: modelPath.split("/").at(-1),
    chunks: whole,
    contextSize: ctx,
    scored: count,
    threads,
    perplexity: found.perplexity.value,
    llama: theirs,
    apartPercent: 100 * (found.perplexity.value / theirs - 1),
    meanKl: d.mean.value,
    sameTopPercent: 100 * d.sameTop.value,
    tokensPerSecond: {
      ours: median(speeds.map((s) => s.ours)),
      llamaPrefillAlone: median(speeds.map((s) => s.prefill)),
      llamaWithProbabilities: (1000 * whole * ctx) / withProbabilities,
    },
    ratioToPrefillAlone: median(speeds.map((s) => s.ours / s.prefill)),
  }),
);
await ours.dispose();
process.exit(0);
