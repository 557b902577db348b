// A longer run against its definition: 300 updates of a 0.3M-parameter model on stories, then 150 ternary ones (reference/make_story_run.py).
//   node test/train/story.mjs DIR [UPDATES]       DIR has story-run.json and .safetensors; UPDATES: only so many, without held-out losses
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Trainer } from "../../dist/train/trainer.js";
import { readTensors, shapeOf } from "./support.mjs";

const [dir, most] = process.argv.slice(2);
if (!dir) {
  console.log("usage: node test/train/story.mjs DIR [UPDATES]");
  process.exit(2);
}
const story = JSON.parse(readFileSync(join(dir, "story-run.json"), "utf8"));
const tensors = readTensors(join(dir, "story-run.safetensors"));
const { openTrainingMachine } = await import("../../dist/host/train.node.js");
const { rows, tokens_per_row: length } = story;
let [passed, failed] = [0, 0];
const check = (what, found, limit) => {
  const good = found <= limit;
  console.log(`${good ? "ok  " : "FAIL"}  ${what}: ${found.toExponential(2)} (at most ${limit})`);
  if (good) passed++;
  else failed++;
};

/** Rows of length + 1 tokens as a batch: each predicts its next. */
const batchOf = (data, first, count) => ({
  rows: count,
  length,
  tokens: Int32Array.from(
    { length: count * length },
    (_, i) => data[(first + Math.floor(i / length)) * (length + 1) + (i % length)],
  ),
  labels: Int32Array.from(
    { length: count * length },
    (_, i) => data[(first + Math.floor(i / length)) * (length + 1) + (i % length) + 1],
  ),
  segments: new Int32Array(count * length),
  weights: new Float32Array(count * length).fill(1),
});
const batches = tensors.tokens.shape[0];
const held = tensors.held_out.shape[0];
const largest = (found, wanted) => found.reduce((most, x, i) => Math.max(most, Math.abs(x - wanted[i])), 0);

async function train(run, group, weights, updates) {
  const { schedule: s, betas, eps, wd: weightDecay, clip } = run;
  const schedule = { kind: s.kind, peak: s.peak, warmup: s.warmup, stableEnd: s.stable_end, halfLife: s.half_life };
  const trainer = await Trainer.create(await openTrainingMachine(), {
    shape: shapeOf(story.config, true),
    objective: group ? { kind: "lm", ternaryGroup: group } : { kind: "lm" },
    rows,
    length,
    optimiser: { schedule, betas, eps, weightDecay, clip },
  });
  for (const [name, values] of weights) trainer.set(name, values);
  const losses = [];
  for (let step = 0; step < updates; step++)
    losses.push((await trainer.step(batchOf(tensors.tokens.data, (step % batches) * rows, rows))).loss);
  return { trainer, losses };
}

/** The mean loss of what is held out; the last batch is filled up with rows that do not count. */
async function heldOut(trainer) {
  let sum = 0;
  for (let first = 0; first < held; first += rows) {
    const count = Math.min(rows, held - first);
    const batch = batchOf(tensors.held_out.data, first, count);
    const padded = { rows, length };
    for (const field of ["tokens", "labels", "segments", "weights"]) {
      padded[field] = new batch[field].constructor(rows * length);
      padded[field].set(batch[field]);
    }
    sum += (await trainer.evaluate(padded)).loss * count;
  }
  return sum / held;
}

const started = performance.now();
const wanted = story.float64;
const begin = Object.entries(tensors)
  .filter(([name]) => name.startsWith("init."))
  .map(([name, { data }]) => [name.slice(5), data]);
const updates = Math.min(story.run.steps, Number(most ?? story.run.steps));
const first = await train(story.run, 0, begin, updates);
check(`losses of ${updates} updates`, largest(first.losses, wanted.losses), 4e-5);
if (most === undefined) {
  check("held-out loss", Math.abs((await heldOut(first.trainer)) - wanted.held_out), 1e-5);
  const weights = first.trainer.trained.map(({ name }) => [name, first.trainer.get(name)]);
  await first.trainer.close();
  const { steps, group } = story.qat;
  const second = await train(story.qat, group, weights, steps);
  // Codes turn by rounding: what float32 of the definition differs by, four times.
  check(`losses of ${steps} ternary updates`, largest(second.losses, wanted.qat_losses), 4 * story.float32_difference.qat_losses);
  check("ternary held-out loss", Math.abs((await heldOut(second.trainer)) - wanted.qat_held_out), 0.015);
  await second.trainer.close();
} else await first.trainer.close();
const seconds = (performance.now() - started) / 1000;
console.log(`${seconds.toFixed(0)} s`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
