// ScalingBench's loss beside llama.cpp's log-probabilities of the same tokens (node-llama-cpp), for each GGUF named.
//   node bench/scalingbench.mjs MODEL… [--items 12] [--kv-type f16] [--threads 1]
// Items are the model's own texts at temperature 1, cut at a third: input, and the output behind it. Both engines round inputs of quantised
// matrices to 8 bits, each in its own way: so both are also held to the file's own weights as float32, with float32 inputs and caches.
import process from "node:process";
import { parseArgs } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { load } from "../dist/host/node.js";
import * as wing from "../dist/host/train.node.js";
import { scalingBench } from "../dist/tunnel/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    items: { type: "string", default: "12" },
    "kv-type": { type: "string", default: "f16" },
    threads: { type: "string", default: "1" },
  },
});
const threads = Number(values.threads);
const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
});
const all = { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } };
const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

/** The file's weights as floats. */
async function floats(modelPath) {
  const files = await wing.pathFiles(modelPath);
  const model = await wing.readModel(files);
  const parts = await wing.folderParts(files, model);
  const trainer = await wing.Trainer.create(await wing.openTrainingMachine({ threads }), {
    shape: wing.shapeOfModel(model.config, 64),
    objective: { kind: "lm" },
    rows: 1,
    length: 64,
    evaluateOnly: true,
  });
  await wing.setWeights(trainer, model, { dequantise: await wing.dequantiser() });
  const folder = wing.folderFiles(parts, wing.modelExport(trainer));
  const loaded = await load(folder, { contextSize: 256, threads, kvType: "f32", draft: false });
  await trainer.close();
  await files.close();
  return loaded;
}

console.log(
  "| model | items, tokens | loss | llama.cpp's | apart | of an item, at most | of a token, at most | from floats: ours | llama.cpp's |",
);
console.log("|---|---|---|---|---|---|---|---|---|");
for (const modelPath of positionals) {
  const ours = await load(modelPath, { contextSize: 256, threads, kvType: values["kv-type"], draft: false });
  const { bos, stop } = ours.tokenizer;
  const logitBias = Object.fromEntries(stop.map((token) => [token, Number.NEGATIVE_INFINITY]));
  const items = [];
  for (let i = 0; i < Number(values.items); i++) {
    const maxTokens = 24 + 9 * i;
    const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: i + 1, maxTokens, logitBias };
    const { tokens } = await ours.generate([bos ?? 1], sampling);
    const text = [bos ?? 1, ...tokens];
    const cut = 1 + Math.floor(text.length / 3);
    items.push({ input: text.slice(0, cut), output: text.slice(cut) });
  }
  const found = await scalingBench(ours, items);
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  const context = await model.createContext({ contextSize: 256, batchSize: 512, threads, sequences: 1 });
  const sequence = context.getSequence();
  const theirs = [];
  for (const { input, output } of items) {
    await sequence.clearHistory();
    const tokens = [...input, ...output];
    const from = input.length - 1;
    const seen = await sequence.controlledEvaluate(
      tokens.slice(0, -1).map((token, at) => (at >= from ? [token, { generateNext: all }] : token)),
    );
    theirs.push(output.map((token, i) => -Math.log(seen[from + i].next.probabilities.get(token))));
  }
  const apart = items.map((_, i) => Math.abs(found.items[i] - mean(theirs[i])));
  const loss = mean(theirs.map(mean));
  let most = 0;
  const vocab = ours.info.config.vocab;
  for (const [i, { input, output }] of items.entries()) {
    const own = await ours.session({ contextSize: 256 });
    const logits = await own.forward([...input, ...output].slice(0, -1), { logits: "all" });
    for (const [j, token] of output.entries()) {
      const row = logits.subarray((input.length - 1 + j) * vocab, (input.length + j) * vocab);
      const top = row.reduce((a, b) => Math.max(a, b));
      const cost = top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0)) - row[token];
      most = Math.max(most, Math.abs(cost - theirs[i][j]));
    }
    await own.dispose();
  }
  const exact = await floats(modelPath);
  const truth = await scalingBench(exact, items);
  await exact.dispose();
  console.log(
    `| ${modelPath.split("/").at(-1)} | ${items.length}, ${found.tokens} | ${found.loss.toFixed(6)} | ${loss.toFixed(6)} | ${Math.abs(found.loss - loss).toExponential(1)} | ${Math.max(...apart).toExponential(1)} | ${most.toExponential(1)} | ${Math.abs(found.loss - truth.loss).toExponential(1)} | ${Math.abs(loss - truth.loss).toExponential(1)} |`,
  );
  await context.dispose();
  await model.dispose();
  await ours.dispose();
}
process.exit(0);
