// What a runtime computes of a little training, and of the adapter that it gives, as one line of JSON: run by runtimes.mjs in each of them.
import process from "node:process";
import { fileURLToPath } from "node:url";
import {
  dequantiser,
  loraTensors,
  memoryOutput,
  openTrainingMachine,
  pathFiles,
  readModel,
  setWeights,
  shapeOfModel,
  Trainer,
  uniform,
  writeLoraGguf,
} from "../../dist/host/train.node.js";

const host = globalThis.Deno ? "deno" : globalThis.Bun ? "bun" : "node";
const { defaultModel, load } = await import(`../../dist/host/${host}.js`);

const threads = Number(process.argv[2] ?? 1);

/** FNV-1a over the bits of numbers. */
function hashOf(values) {
  let hash = 0x811c9dc5 | 0;
  for (const word of new Int32Array(values.buffer, values.byteOffset, values.length)) hash = Math.imul(hash ^ word, 0x01000193);
  return (hash >>> 0).toString(16);
}

const path = fileURLToPath(defaultModel);
const files = await pathFiles(path);
const model = await readModel(files);
const length = 24;
const objective = { kind: "lora", rank: 4, alpha: 8 };
const shape = shapeOfModel(model.config, length);
const optimiser = { schedule: { kind: "linear", peak: 4e-3, warmup: 2, stableEnd: 4, decaySteps: 8 } };
const trainer = await Trainer.create(await openTrainingMachine({ threads, variant: "base" }), {
  shape,
  objective,
  rows: 2,
  length,
  optimiser,
});
// Sines and logarithms are each engine's own: uniform numbers are not.
const next = uniform(3);
for (const { name, shape: size } of loraTensors(shape, objective.rank)) {
  const width = name.endsWith("lora_A.weight") ? 0.2 : 0.02;
  trainer.set(
    name,
    Float32Array.from({ length: size[0] * size[1] }, () => (next() - 0.5) * width),
  );
}
await setWeights(trainer, model, { dequantise: await dequantiser() });
const tokens = Int32Array.from({ length: 2 * length }, (_, i) => 3 + ((i * 131) % 2000));
const batch = {
  rows: 2,
  length,
  tokens,
  segments: new Int32Array(2 * length),
  labels: Int32Array.from(tokens, (_, i) => ((i + 1) % length ? tokens[i + 1] : -1)),
  weights: Float32Array.from(tokens, (_, i) => ((i + 1) % length ? 1 : 0)),
};
const losses = [];
for (let step = 0; step < 5; step++) losses.push((await trainer.step(batch)).loss);
let output;
await writeLoraGguf(trainer, model.config, async () => (output = memoryOutput("adapter.gguf")));
await trainer.close();
await files.close();
const adapted = await load(defaultModel, {
  threads,
  variant: "base",
  contextSize: 64,
  lora: [{ path: output.bytes(), name: "own" }],
});
const session = await adapted.session();
const logits = await session.forward(Array.from(tokens.subarray(0, 20)), { logits: "all" });
const plain = await adapted.session({ lora: false });
const without = await plain.forward(Array.from(tokens.subarray(0, 20)), { logits: "all" });
await adapted.dispose();
const bytes = output.bytes();
const told = {
  losses: hashOf(Float32Array.from(losses)),
  adapter: hashOf(new Float32Array(bytes.slice(0, bytes.length & ~3).buffer)),
  logits: hashOf(logits),
  plain: hashOf(without),
};
console.log(`@@ ${JSON.stringify(told)}`);
process.exit(0);
