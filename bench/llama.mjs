// The native peer: llama.cpp through node-llama-cpp, processor only.
//   node bench/llama.mjs MODEL [--threads 1] [--prompt 512] [--decode 64] [--repetitions 3]
//   node bench/llama.mjs MODEL --greedy '{"prompts":[[1,403]],"tokens":200}' [--probabilities]
// Lowest overhead that the package offers: sequence.evaluate() at temperature 0 (llama.cpp's own greedy sampler, in native code);
// one call per token crosses to a native thread and back. llama.cpp's own clock (performanceTracking) is reported beside the
// caller's, so that the package's overhead is visible. Batches are 512 tokens, KV cache f16, flash attention as llama.cpp decides.
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { engineArguments, report } from "./lib/arguments.mjs";
import { measure } from "./lib/measure.mjs";

const options = engineArguments(process.argv.slice(2));
const log = [];
const started = performance.now();
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: options.threads,
  logLevel: LlamaLogLevel.info,
  logger: (_, text) => log.push(text),
});
const model = await llama.loadModel({ modelPath: options.model, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: options.contextSize,
  batchSize: 512,
  threads: options.threads,
  sequences: 1,
  performanceTracking: true,
});
const sequence = context.getSequence();
const loadMs = performance.now() - started;

/** llama.cpp's own milliseconds since the last call: { prefillMs, decodeMs }. */
async function ownClock() {
  log.length = 0;
  await context.printTimings();
  const text = log.join("\n");
  const of = (pattern) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  return { prefillMs: of(/prompt eval time =\s*([\d.]+) ms/), decodeMs: of(/(?<!prompt )eval time =\s*([\d.]+) ms/) };
}

async function run(ids, n) {
  await sequence.clearHistory();
  const start = performance.now();
  const stream = sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
  const tokens = [(await stream.next()).value];
  const prefilled = performance.now();
  while (tokens.length <= n) tokens.push((await stream.next()).value);
  const ended = performance.now();
  await stream.return();
  return { prefillMs: prefilled - start, decodeMs: ended - prefilled, steps: n, tokens };
}

/** Softmax of the logits after `ids`, indexed by token id. */
async function probabilities(ids) {
  await sequence.clearHistory();
  const items = [
    ...ids.slice(0, -1),
    [ids.at(-1), { generateNext: { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } }],
  ];
  const output = await sequence.controlledEvaluate(items);
  const dense = [];
  for (const [token, p] of output.at(-1).next.probabilities) dense[token] = p;
  return dense;
}

if (options.greedy) {
  const { prompts, tokens } = options.greedy;
  const results = [];
  for (const prompt of prompts) {
    const greedy = (await run(prompt, tokens - 1)).tokens;
    results.push({ tokens: greedy, ...(options.probabilities ? { probabilities: await probabilities(prompt) } : {}) });
  }
  await report({ results }, false);
  process.exit(0);
}
const own = { prefill: [], decode: [] };
const engine = {
  async run(ids, n) {
    await ownClock();
    const result = await run(ids, n);
    const clock = await ownClock();
    own.prefill.push((1000 * ids.length) / clock.prefillMs);
    own.decode.push((1000 * n) / clock.decodeMs);
    return result;
  },
};
const vocab = model.fileInfo.metadataList?.tokens?.length ?? model.fileInfo.metadata.tokenizer.ggml.tokens.length;
const measured = await measure(engine, { ...options, vocab });
await report(
  {
    engine: "llama.cpp",
    about: { threads: context.currentThreads, release: llama.llamaCppRelease.release },
    loadMs,
    ...measured,
    ownClock: { prefillTokensPerSecond: own.prefill.slice(1), decodeTokensPerSecond: own.decode.slice(1) },
    rss: process.memoryUsage().rss,
    peakRss: process.resourceUsage().maxRSS * 1024,
  },
  options.hold,
);
if (!options.hold) process.exit(0);
