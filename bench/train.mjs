// Training: matrix products and whole steps beside the multiply-add peak of this machine, measured in the same process.
//   node bench/train.mjs [--threads N] [--variant auto|base|relaxed] [--rounds 7] [--size 512] [--shapes 0.3M,1M,3.5M,10M,30M] [--clock wall|cpu]
// Relaxed SIMD (fused multiply-adds) needs Node 22 or newer. Every figure is a median over rounds; shares are of the peak measured beside it
// in the same round, since machines slow down and speed up. --clock cpu counts the processor's time of this process, for busy machines: with
// --threads 1 alone, since threads that wait for each other spin. Prints Markdown.
import process from "node:process";
import { parseArgs } from "node:util";
import { openTrainingMachine } from "../dist/host/train.node.js";
import { Program, rows, turned } from "../dist/train/program.js";
import { normal } from "../dist/train/scratch.js";
import { Trainer } from "../dist/train/trainer.js";
import { busy, machine as machineWords, median } from "./lib/report.mjs";

const { values: o } = parseArgs({
  options: {
    threads: { type: "string" },
    variant: { type: "string", default: "auto" },
    rounds: { type: "string", default: "7" },
    size: { type: "string", default: "512" },
    clock: { type: "string", default: "wall" },
    shapes: { type: "string", default: "0.3M,1M,3.5M,10M,30M" },
  },
});
const rounds = Number(o.rounds);
const compute = { variant: o.variant, ...(o.threads ? { threads: Number(o.threads) } : {}) };
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
/** Milliseconds. */
const clock = () => (o.clock === "cpu" ? cpu() : performance.now());
const percent = (list) => `${(100 * median(list)).toFixed(0)} %`;

/** 12 chains of 4 multiply-adds a round, on every thread: operations of 10^9 a second. */
const ROUNDS = 1 << 20;
async function peak(machine) {
  const began = clock();
  await machine.call("train_peak", ROUNDS);
  return (ROUNDS * 12 * 4 * 2 * machine.threads) / (clock() - began) / 1e6;
}

async function products(size) {
  const machine = await openTrainingMachine(compute);
  const scratch = machine.takeReals(machine.exports.matmul_scratch(machine.threads));
  const [a, b, c] = [0, 0, 0].map(() => machine.takeReals(size * size));
  const plain = (at) => rows(at, size);
  const layouts = {
    "x W^T (forward)": [plain(a), turned(plain(b))],
    "dy W (dx)": [plain(a), plain(b)],
    "dy^T x (dW)": [turned(plain(a)), plain(b)],
  };
  const programs = Object.entries(layouts).map(([name, [left, right]]) => {
    const program = new Program(machine, () => scratch);
    for (let i = 0; i < 4; i++) program.matmul([size, size, size], left, right, plain(c));
    program.place();
    return [name, program];
  });
  machine.commit();
  await machine.start();
  const next = normal(1);
  for (const at of [a, b]) {
    const values = machine.reals(at, size * size);
    for (let i = 0; i < values.length; i++) values[i] = next();
  }
  for (const [, program] of programs) program.write();
  const found = new Map(programs.map(([name]) => [name, { gflops: [], share: [] }]));
  for (let round = 0; round <= rounds; round++)
    for (const [name, program] of programs) {
      const before = await peak(machine);
      const began = clock();
      await program.run();
      const gflops = (4 * 2 * size ** 3) / (clock() - began) / 1e6;
      const top = Math.max(before, await peak(machine));
      if (round === 0) continue;
      found.get(name).gflops.push(gflops);
      found.get(name).share.push(gflops / top);
    }
  console.log(
    `\nProducts of ${size} x ${size} x ${size}, ${machine.threads} threads\n\n| layout | GFLOP/s | of the peak |\n|---|---|---|`,
  );
  for (const [name, { gflops, share }] of found) console.log(`| ${name} | ${median(gflops).toFixed(1)} | ${percent(share)} |`);
  await machine.close();
}

/** Models by their size: MiniCPM's shape, tied, vocabulary 2048 (512 for the smallest). */
const SHAPES = {
  "0.3M": { layers: 4, hidden: 64, intermediate: 160, heads: 4, kvHeads: 2, headDim: 16, vocab: 512 },
  "1M": { layers: 4, hidden: 128, intermediate: 320, heads: 4, kvHeads: 2, headDim: 32, vocab: 2048 },
  "3.5M": { layers: 4, hidden: 256, intermediate: 768, heads: 8, kvHeads: 2, headDim: 32, vocab: 2048 },
  "10M": { layers: 6, hidden: 384, intermediate: 1024, heads: 6, kvHeads: 2, headDim: 64, vocab: 2048 },
  "30M": { layers: 8, hidden: 576, intermediate: 1536, heads: 9, kvHeads: 3, headDim: 64, vocab: 4096 },
};

const shapeOf = (s) => ({
  ...s,
  rmsEps: 1e-5,
  ropeTheta: 10000,
  ropeScale: 1,
  embeddingScale: 12,
  residualScale: 1.4 / Math.sqrt(s.layers),
  headResidualScale: 1.4 / Math.sqrt(s.layers + 1),
  logitScale: 64 / s.hidden,
  tied: true,
  width: s.hidden / 64,
});

async function steps(name) {
  const shape = shapeOf(SHAPES[name]);
  const [count, length] = [8, 256];
  const machine = await openTrainingMachine(compute);
  const optimiser = { schedule: { kind: "constant", peak: 1e-3, warmup: 10 } };
  const trainer = await Trainer.create(machine, { shape, objective: { kind: "lm" }, rows: count, length, optimiser });
  trainer.initialise(normal(2));
  const parameters = trainer.trained.reduce((sum, t) => sum + t.shape.reduce((x, y) => x * y, 1), 0);
  const tokens = Int32Array.from({ length: count * length }, (_, i) => (i * 7919 + (i >> 3) * 31) % shape.vocab);
  const batch = {
    rows: count,
    length,
    tokens,
    segments: Int32Array.from(tokens, (_, i) => Math.floor(i / length) * 0),
    labels: Int32Array.from(tokens, (_, i) => ((i + 1) % length ? tokens[i + 1] : -1)),
    weights: Float32Array.from(tokens, (_, i) => ((i + 1) % length ? 1 : 0)),
  };
  const found = { rate: [], linear: [], share: [] };
  // Attention: scores and sums forward, five products backward, of pairs that see each other; what is computed again does not count.
  const pairs = (count * length * (length + 1)) / 2;
  const linear = trainer.graph.gradients.flops;
  const work = linear + 7 * 2 * shape.layers * shape.heads * shape.headDim * pairs;
  for (let round = 0; round <= Math.max(2, Math.min(rounds, 5)); round++) {
    const before = await peak(machine);
    const began = clock();
    await trainer.step(batch);
    const seconds = (clock() - began) / 1000;
    const top = Math.max(before, await peak(machine));
    if (round === 0) continue;
    found.rate.push(tokens.length / seconds);
    found.linear.push(linear / seconds / 1e9 / top);
    found.share.push(work / seconds / 1e9 / top);
  }
  const [planned, real] = [machine.planned, machine.memory.buffer.byteLength];
  console.log(
    `| ${name} | ${(parameters / 1e6).toFixed(2)} M | ${median(found.rate).toFixed(0)} | ${percent(found.linear)} | ${percent(found.share)} | ${(planned / 2 ** 20).toFixed(0)} | ${(real / 2 ** 20).toFixed(0)} |`,
  );
  await trainer.close();
}

console.log(`${machineWords()}, Node ${process.versions.node}, load ${busy().toFixed(1)}`);
await products(Number(o.size));
console.log("\nWhole steps (AdamW included), 8 x 256 tokens\n");
console.log(
  "| model | parameters | tokens/s | linear layers, of the peak | with attention | MiB planned | MiB of memory |\n|---|---|---|---|---|---|---|",
);
for (const name of o.shapes.split(",")) await steps(name);
process.exit(0);
