// Chunk-wise rollout on addition with scratch work: a model of 0.28M parameters over characters, pretrained to some right answers, then
// learning from rewards with chunks of several lengths.
//   node bench/rl.mjs [--short] [--digits 6] [--updates 30] [--chunks whole,32,16,8] [--seeds 1] [--rate 0.001] [--threads 2]
// --short: a small model without pretraining that shows that all of it runs; .ci/run takes it. The pretrained model is kept in build/rl.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { memoryFiles } from "../dist/file/bytes.js";
import { load } from "../dist/host/node.js";
import * as wing from "../dist/host/train.node.js";
import { Tokenizer } from "../dist/text/tokenizer.js";
import { newGroup } from "../dist/train/rollout/groups.js";
import { packLessons } from "../dist/train/rollout/pack.js";
import { uniform } from "../dist/tunnel/random.js";
import { characterTokenizer } from "../test/train/rollout/characters.mjs";

const args = process.argv.slice(2);
const option = (name, fallback) => (args.includes(`--${name}`) ? args[args.indexOf(`--${name}`) + 1] : fallback);
const short = args.includes("--short");
const digits = Number(option("digits", short ? 2 : 6));
const updates = Number(option("updates", short ? 3 : 30));
const chunks = option("chunks", short ? "whole,8" : "whole,32,16,8").split(",");
const seeds = Number(option("seeds", 1));
const threads = Number(option("threads", 2));
const rate = Number(option("rate", 1e-3));
const CHARACTERS = "0123456789+=,";
const longest = 2 * digits + 2 + 5 * digits + digits + 3;
const tokenizerFiles = await wing.tokenizerParts(memoryFiles("", characterTokenizer(CHARACTERS)));
const tokenizer = new Tokenizer(tokenizerFiles.tokenizer);
const encode = (text) => [...tokenizer.encode(text, { bos: false, eos: false })];

/** "347+058=" and "7851,4501,3040,=405": digits of both numbers, the sum's and what is carried, from the right; then the sum. */
function problem(next) {
  const k = 1 + Math.floor(next() * digits);
  const number = () => Math.floor(next() * 10 ** k);
  const [a, b] = [number(), number()];
  const digit = (x, i) => Math.floor(x / 10 ** i) % 10;
  let [work, carry] = ["", 0];
  for (let i = 0; i < k; i++) {
    const sum = digit(a, i) + digit(b, i) + carry;
    carry = sum > 9 ? 1 : 0;
    work += `${digit(a, i)}${digit(b, i)}${sum % 10}${carry},`;
  }
  const padded = (x) => String(x).padStart(k, "0");
  return { prompt: `${padded(a)}+${padded(b)}=`, work: `${work}=${a + b}`, answer: String(a + b) };
}
/** The answer is what stands after the last "="; an answer of another form is worth nothing. */
const reward = ({ response, answer }) => (/^(\d{4},)+=\d+$/.test(response) && response.split("=").at(-1) === answer ? 1 : 0);
const problems = (seed, count) => {
  const next = uniform(seed);
  return Array.from({ length: count }, () => problem(next));
};
const asPrompts = (list) => list.map(({ prompt, answer }) => ({ tokens: encode(prompt), sample: { prompt, answer } }));

const width = short ? 32 : 96;
const made = await wing.scratchModel(
  {
    hidden_size: width,
    num_hidden_layers: short ? 2 : 3,
    num_attention_heads: short ? 2 : 4,
    num_key_value_heads: short ? 2 : 4,
    intermediate_size: 2 * width,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-5,
    scale_emb: 12,
    scale_depth: 1.4,
    dim_model_base: 32,
    tie_word_embeddings: true,
  },
  tokenizerFiles,
  CHARACTERS.length + 1,
);
const length = 128;
const rows = short ? 4 : 16;
const shape = wing.shapeOfModel(made.model.config, length);
const machine = () => wing.openTrainingMachine({ threads });
const weightsOf = (trainer) => wing.folderFiles(made.parts, wing.modelExport(trainer));
const newEngine = (slots) => wing.modelEngine(load, { slots, contextSize: length, load: { threads } });
const heldOut = asPrompts(problems(99, short ? 8 : 200));

async function accuracy(trainer, seed = 5) {
  const engine = newEngine(16);
  await engine.load(weightsOf(trainer), 0);
  const groups = heldOut.map(({ tokens }, i) => newGroup(i, i, tokens, 1, seed));
  const { trajectories } = await engine.advance(
    groups.flatMap((g) => g.answers),
    Number.POSITIVE_INFINITY,
    longest,
  );
  await engine.close();
  const right = trajectories.map((t, i) => {
    const tokens = t.chunks.flatMap((c) => [...c.tokens]);
    return reward({
      response: tokenizer.decode(t.state === "stop" ? tokens.slice(0, -1) : tokens),
      answer: heldOut[i].sample.answer,
    });
  });
  return right.reduce((a, b) => a + b, 0) / right.length;
}

/** Learns from worked examples until about three of ten answers are right. */
async function pretrained() {
  const folder = fileURLToPath(new URL("../build/rl", import.meta.url));
  const file = join(folder, `start-${digits}.json`);
  if (existsSync(file))
    return JSON.parse(readFileSync(file, "utf8")).map(([name, base]) => [
      name,
      new Float32Array(Uint8Array.from(Buffer.from(base, "base64")).buffer),
    ]);
  const most = short ? 20 : 3000;
  const trainer = await wing.Trainer.create(await machine(), {
    shape,
    objective: { kind: "lm" },
    rows,
    length,
    optimiser: { schedule: { kind: "constant", peak: 6e-3, warmup: 50 }, mup: true },
  });
  trainer.initialise(wing.normal(1));
  const next = uniform(1);
  const batch = () => {
    const lessons = [];
    for (let taken = 0, row = 0; row < rows; ) {
      const { prompt, work } = problem(next);
      const [p, w] = [encode(prompt), [...encode(work), 0]];
      if (taken + p.length + w.length > length) {
        [taken, row] = [0, row + 1];
        continue;
      }
      taken += p.length + w.length;
      const chunk = { tokens: Int32Array.from(w), logp: new Float32Array(w.length), policy: 0 };
      lessons.push({
        trajectory: { id: "x", group: "x", prompt: Int32Array.from(p), seed: 0, chunks: [chunk], state: "stop" },
        advantage: 0,
        mask: 1,
      });
    }
    return packLessons(lessons, rows, length).batches[0];
  };
  let right = 0;
  for (let step = 1; step <= most && right < 0.2; step++) {
    const { loss } = await trainer.step(batch());
    if ((step >= 100 && step % 20 === 0) || step === most) {
      right = await accuracy(trainer);
      console.error(`pretraining: step ${step}, loss ${loss.toFixed(3)}, right ${(100 * right).toFixed(1)} %`);
    }
  }
  const weights = trainer.trained.map(({ name }) => [name, Float32Array.from(trainer.get(name))]);
  await trainer.close();
  if (!short) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, JSON.stringify(weights.map(([name, values]) => [name, Buffer.from(values.buffer).toString("base64")])));
  }
  return weights;
}

const start = await pretrained();
const mean = (list) => (list.length > 0 ? list.reduce((a, b) => a + b, 0) / list.length : Number.NaN);

async function learn(chunk, seed, more = {}) {
  const trainer = await wing.Trainer.create(await machine(), {
    shape,
    objective: { kind: "policy", beta: 1e-3, ...more.objective },
    rows,
    length,
    optimiser: { schedule: { kind: "constant", peak: rate, warmup: 0 }, mup: true, weightDecay: 0 },
  });
  for (const [name, values] of start) trainer.set(name, values);
  const reference = await wing.Trainer.create(await machine(), {
    shape,
    objective: { kind: "policy" },
    rows,
    length,
    evaluateOnly: true,
  });
  const engine = newEngine(16);
  const before = await accuracy(trainer);
  const options = {
    answers: 8,
    groups: short ? 1 : 8,
    epochs: 2,
    inFlight: short ? 16 : 128,
    maxTokens: longest,
    chunk,
    referenceEvery: 10,
    seed,
    beta: 1e-3,
    ...more.options,
  };
  const learner = new wing.Learner(
    {
      prompts: asPrompts(problems(seed + 1000, 2000)),
      engine,
      trainer,
      reference,
      reward: short ? () => (Math.imul(trainer.optimiser.steps + ++calls, 7) % 3 === 0 ? 1 : 0) : reward,
      decode: (t) => tokenizer.decode([...t]),
      weights: () => weightsOf(trainer),
    },
    options,
  );
  const steps = [];
  while (learner.policy < updates) steps.push(await learner.advance());
  const after = await accuracy(trainer);
  await engine.close();
  await trainer.close();
  await reference.close();
  const tokens = steps.reduce((n, { work }) => n + work.tokens, 0);
  const updated = steps.filter(({ update }) => update);
  return {
    before,
    after,
    steps: steps.length,
    rollout: mean(steps.map(({ ms }) => ms.rollout)),
    load: mean(updated.map(({ ms }) => ms.load)),
    perUpdate: steps.reduce((n, { ms }) => n + ms.load + ms.rollout + ms.update, 0) / updates,
    idle: mean(steps.map(({ work }) => work.idle)),
    rebuilt: steps.reduce((n, { work }) => n + work.rebuilt, 0) / tokens,
    stale: mean(updated.map(({ update }) => update.staleness)),
    clipped: mean(updated.map(({ update }) => update.clipShare)),
    tokensPerSecond: (1000 * tokens) / steps.reduce((n, { ms }) => n + ms.rollout, 0),
  };
}
let calls = 0;

const percent = (x) => `${(100 * x).toFixed(1)} %`;
console.log(`addition up to ${digits} digits, ${updates} updates of 8 groups of 8 answers, ${seeds} seed${seeds > 1 ? "s" : ""}`);
console.log(
  "| chunk | right before | after | a step's rollout | an update | idle | rebuilt per token | stale | clipped | tokens/s |",
);
console.log("|---|---|---|---|---|---|---|---|---|---|");
for (const name of chunks) {
  const runs = [];
  for (let seed = 1; seed <= seeds; seed++)
    runs.push(await learn(name === "whole" ? Number.POSITIVE_INFINITY : Number(name), seed));
  const of = (field) => mean(runs.map((run) => run[field]));
  console.log(
    `| ${name} | ${percent(of("before"))} | ${percent(of("after"))} | ${(of("rollout") / 1000).toFixed(2)} s | ${(of("perUpdate") / 1000).toFixed(2)} s | ${percent(of("idle"))} | ${of("rebuilt").toFixed(2)} | ${of("stale").toFixed(2)} | ${percent(of("clipped"))} | ${of("tokensPerSecond").toFixed(0)} |`,
  );
}

// How fast answers are made side by side, and what new weights cost.
const trainer = await wing.Trainer.create(await machine(), {
  shape,
  objective: { kind: "policy" },
  rows,
  length,
  evaluateOnly: true,
});
for (const [name, values] of start) trainer.set(name, values);
for (const slots of [1, 4, 16]) {
  const engine = newEngine(slots);
  const loading = performance.now();
  await engine.load(weightsOf(trainer), 0);
  const loaded = performance.now() - loading;
  const groups = heldOut.slice(0, short ? 4 : 64).map(({ tokens }, i) => newGroup(i, i, tokens, 1, 3));
  const begun = performance.now();
  const { work, trajectories } = await engine.advance(
    groups.flatMap((g) => g.answers),
    short ? 8 : 24,
    longest,
  );
  const seconds = (performance.now() - begun) / 1000;
  const open = trajectories.filter(({ state }) => state === "open");
  await engine.load(weightsOf(trainer), 1);
  const again = performance.now();
  const rebuilt = open.length > 0 ? (await engine.advance(open, 1, longest)).work.rebuilt : 0;
  console.log(
    `${slots} side by side: ${(work.tokens / seconds).toFixed(0)} tokens/s; new weights ${loaded.toFixed(0)} ms; caches of ${open.length} answers (${rebuilt} tokens) and a token each ${(performance.now() - again).toFixed(0)} ms`,
  );
  await engine.close();
}
await trainer.close();
console.log("1 passed, 0 failed");
process.exit(0);
