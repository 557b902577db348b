// Training an EAGLE-2 head for a resident target: tokens a second of the target's states and of the head's updates, and where time goes.
//   node bench/headtraining.mjs MODEL [--threads N] [--length 128] [--rows 4] [--rounds 3] [--vocabulary 8192] [--clock wall|cpu]
// Texts are random tokens: the costs are the real ones. --clock cpu counts the processor's time of this process (--threads 1, busy machines).
import process from "node:process";
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";
import {
  dequantiser,
  eagleTensors,
  openTrainingMachine,
  pathFiles,
  readModel,
  setWeights,
  shapeOfModel,
  Trainer,
  targetOf,
  uniform,
} from "../dist/host/train.node.js";
import { busy, machine as machineWords, median } from "./lib/report.mjs";

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "1" },
    length: { type: "string", default: "128" },
    rows: { type: "string", default: "4" },
    rounds: { type: "string", default: "3" },
    vocabulary: { type: "string", default: "8192" },
    clock: { type: "string", default: "wall" },
  },
});
const [path] = positionals;
const [threads, length, rows, rounds] = [o.threads, o.length, o.rows, o.rounds].map(Number);
const clock = () => {
  const { user, system } = process.cpuUsage();
  return o.clock === "cpu" ? (user + system) / 1e6 : performance.now() / 1000;
};
console.log(
  `${machineWords()}, Node ${process.versions.node}, ${threads} thread${threads > 1 ? "s" : ""}, load ${busy().toFixed(1)}`,
);

const model = await load(path, { threads, contextSize: Math.max(64, length), draft: false, worker: false });
const target = await targetOf(model);
const { config } = model.info;
const next = uniform(1);
const row = () => Array.from({ length }, () => Math.floor(next() * config.vocab));
const states = [];
let features;
for (let round = 0; round <= rounds; round++) {
  const began = clock();
  features = await target.states(row());
  if (round > 0) states.push(length / (clock() - began));
}
await model.dispose();

const files = await pathFiles(path);
const shape = shapeOfModel((await readModel(files)).config, length);
const words = Math.min(Number(o.vocabulary), config.vocab);
const trainer = await Trainer.create(await openTrainingMachine({ threads }), {
  shape,
  objective: {
    kind: "eagle",
    features: true,
    ...(words < config.vocab ? { vocabulary: Int32Array.from({ length: words }, (_, i) => i) } : {}),
  },
  rows,
  length,
  optimiser: { schedule: { kind: "constant", peak: 1e-4, warmup: 1 } },
});
for (const { name, shape: size } of eagleTensors(shape)) {
  const count = size.reduce((a, b) => a * b, 1);
  trainer.set(
    name,
    Float32Array.from({ length: count }, () => (size.length === 1 ? 1 : (next() - 0.5) * 0.05)),
  );
}
await setWeights(trainer, await readModel(files), { dequantise: await dequantiser() });
const parameters = trainer.trained.reduce((sum, t) => sum + t.shape.reduce((a, b) => a * b, 1), 0);
const tokens = Int32Array.from({ length: rows * length }, () => Math.floor(next() * words));
const batch = {
  rows,
  length,
  tokens,
  segments: new Int32Array(rows * length),
  labels: Int32Array.from(tokens, (_, i) => ((i + 1) % length ? tokens[i + 1] : -1)),
  weights: Float32Array.from(tokens, (_, i) => ((i + 1) % length ? 1 : 0)),
};
const given = trainer.machine.reals(trainer.graph.hidden, rows * length * shape.hidden);
for (let r = 0; r < rows; r++) given.set(features, r * length * shape.hidden);
const updates = [];
for (let round = 0; round <= rounds; round++) {
  const began = clock();
  await trainer.step(batch);
  if (round > 0) updates.push((rows * length) / (clock() - began));
}
const [read, learnt] = [median(states), median(updates)];
const hours = (1e6 / read + 1e6 / learnt) / 3600;
console.log(
  "\n| target | head | vocabulary | states, tokens/s | updates, tokens/s | of it in the target, first pass | 1M tokens | MiB |\n|---|---|---|---|---|---|---|---|",
);
console.log(
  `| ${config.name} | ${(parameters / 1e6).toFixed(2)} M | ${words} | ${read.toFixed(0)} | ${learnt.toFixed(0)} | ${((100 * learnt) / (read + learnt)).toFixed(0)} % | ${hours < 1 ? `${(60 * hours).toFixed(0)} min` : `${hours.toFixed(1)} h`} | ${(trainer.machine.planned / 2 ** 20).toFixed(0)} |`,
);
await trainer.close();
await files.close();
process.exit(0);
