// Chunk-wise rollout on addition with scratch work (bench/lib/addition.mjs): a model of 0.28M parameters over characters, pretrained to some right
// answers, then learning from rewards: chunks of several lengths, each stabiliser left out, and how fast answers are made side by side.
//   node bench/rl.mjs [--part chunks,without,speed] [--out build/rl] [--digits 6] [--updates 40] [--chunks whole,24,12,6] [--seeds 1]
//     [--rate 0.002] [--threads 1] [--short]
// Runs that are in OUT/runs.jsonl are not made again (an ablation goes seed by seed). Seconds are the processor's, of one thread. --short: a small model and three updates,
// which shows that all of it runs; .ci/run takes it.
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";
import * as wing from "../dist/host/train.node.js";
import { newGroup } from "../dist/train/rollout/groups.js";
import { addition } from "./lib/addition.mjs";

const { values: o } = parseArgs({
  options: {
    part: { type: "string", default: "chunks,without,speed" },
    out: { type: "string" },
    digits: { type: "string" },
    updates: { type: "string" },
    chunks: { type: "string" },
    seeds: { type: "string", default: "1" },
    rate: { type: "string", default: "0.002" },
    threads: { type: "string", default: "1" },
    short: { type: "boolean", default: false },
  },
});
const { short } = o;
const parts = o.part.split(",");
const out = o.out ?? (short ? mkdtempSync(join(tmpdir(), "cpm-rl-")) : fileURLToPath(new URL("../build/rl", import.meta.url)));
const digits = Number(o.digits ?? (short ? 2 : 6));
const updates = Number(o.updates ?? (short ? 3 : 40));
const seeds = Number(o.seeds);
const rate = Number(o.rate);
const infinite = (text) => (text === "whole" ? Number.POSITIVE_INFINITY : Number(text));
mkdirSync(out, { recursive: true });

const task = await addition({
  digits,
  threads: Number(o.threads),
  ...(short ? { width: 32, layers: 2, rows: 4, slots: 32 } : {}),
});
const heldOut = task.prompts(99, short ? 16 : 512);
const start = await task.pretrained({
  file: join(out, `start-${digits}.json`),
  ...(short ? { most: 120, enough: 0.02 } : {}),
  onProgress: (step, loss, right) =>
    console.error(`pretraining: step ${step}, loss ${loss.toFixed(3)}, right ${(100 * right).toFixed(1)} %`),
});
const mean = (list) => (list.length > 0 ? list.reduce((a, b) => a + b, 0) / list.length : Number.NaN);
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

const runsFile = join(out, "runs.jsonl");
const made = existsSync(runsFile)
  ? readFileSync(runsFile, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
  : [];

/** Right answers of what all runs begin with. */
let before;

/** Learns; `options` and `objective` beside those that all runs share. */
async function learn(name, { chunk, seed, options = {}, objective = {}, count = updates, key: more = [] }) {
  const key = JSON.stringify([name, chunk === Number.POSITIVE_INFINITY ? "whole" : chunk, seed, digits, count, rate, ...more]);
  const had = made.find((run) => run.key === key);
  if (had) return had;
  const bounds = { low: 0.2, high: 0.28, dual: 3, beta: 1e-3, ...objective };
  const schedule = { kind: "constant", peak: rate, warmup: 5 };
  const trainer = await task.trainerOf(
    { objective: { kind: "policy", ...bounds }, optimiser: { schedule, mup: true, weightDecay: 0 } },
    start,
  );
  const reference = await task.trainerOf({ objective: { kind: "policy" }, evaluateOnly: true }, start);
  const engine = task.newEngine();
  const learner = new wing.Learner(
    {
      prompts: task.prompts(seed + 1000, 20_000),
      engine,
      trainer,
      reference,
      // Nothing is right by chance here: another reward shows that updates are made.
      reward: short ? ({ response }) => (response.length % 2 === 0 ? 1 : 0) : task.reward,
      decode: task.decode,
      weights: () => task.weightsOf(trainer),
    },
    {
      answers: 8,
      groups: short ? 2 : 24,
      inFlight: short ? 32 : 256,
      maxTokens: task.longest,
      referenceEvery: 10,
      chunk,
      seed,
      ...bounds,
      ...options,
    },
  );
  await engine.load(task.weightsOf(trainer), 0);
  before ??= await task.accuracy(engine, heldOut);
  const curve = [before];
  const steps = [];
  let [rollout, update] = [0, 0];
  while (learner.policy < count) {
    const was = { policy: learner.policy, cpu: cpu() };
    const step = await learner.advance();
    steps.push(step);
    const all = step.ms.load + step.ms.rollout + step.ms.update;
    const spent = cpu() - was.cpu;
    rollout += (spent * (step.ms.load + step.ms.rollout)) / all;
    update += (spent * step.ms.update) / all;
    if (learner.policy > was.policy && ((count > 16 && learner.policy % 10 === 0) || learner.policy === count)) {
      await engine.load(task.weightsOf(trainer), learner.policy);
      curve.push(await task.accuracy(engine, heldOut));
    }
  }
  await engine.close();
  await trainer.close();
  await reference.close();
  const tokens = steps.reduce((n, { work }) => n + work.tokens, 0);
  const updated = steps.flatMap(({ update }) => (update ? [update] : []));
  const ended = steps.reduce((n, { finished }) => n + finished, 0);
  const run = {
    key,
    name,
    chunk: chunk === Number.POSITIVE_INFINITY ? "whole" : chunk,
    seed,
    curve,
    before: curve[0],
    after: curve.at(-1),
    steps: steps.length,
    perUpdate: steps.length / count,
    stepSeconds: rollout / steps.length,
    rolloutSeconds: rollout / count,
    updateSeconds: update / count,
    idle: mean(steps.filter(({ work }) => work.tokens > 0).map(({ work }) => work.idle)),
    rebuilt: steps.reduce((n, { work }) => n + work.rebuilt, 0) / tokens,
    stale: mean(updated.map((u) => u.staleness)),
    stalest: Math.max(...updated.map((u) => u.stalest)),
    clipped: mean(updated.map((u) => u.clipShare)),
    dual: mean(updated.map((u) => u.dualShare)),
    norm: mean(updated.map((u) => u.norm)),
    mostNorm: Math.max(...updated.map((u) => u.norm)),
    kl: updated.at(-1).kl,
    length: steps.findLast(({ length }) => length !== undefined)?.length,
    overlong: steps.reduce((n, s) => n + s.overlong, 0) / ended,
    garbled: steps.reduce((n, s) => n + s.garbled, 0) / ended,
    tokensPerSecond: tokens / rollout,
  };
  made.push(run);
  appendFileSync(runsFile, `${JSON.stringify(run)}\n`);
  console.error(`${name} ${run.chunk}, seed ${seed}: ${curve.map((x) => x.toFixed(3)).join(" ")}`);
  return run;
}

let [passed, failed] = [0, 0];
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (good) passed++;
  else failed++;
};
const percent = (x) => `${(100 * x).toFixed(1)} %`;
const seeded = async (name, more) => {
  const runs = [];
  for (let seed = 1; seed <= seeds; seed++) runs.push(await learn(name, { ...more, seed }));
  return { runs, of: (field) => mean(runs.map((run) => run[field])) };
};

if (parts.includes("chunks")) {
  console.log(`addition up to ${digits} digits, ${updates} updates, rate ${rate}, ${seeds} seed${seeds > 1 ? "s" : ""}\n`);
  console.log(
    "| chunk | right before | after | a step's rollout, s | idle | steps an update | rollout an update, s | rebuilt a token | stale (most) | clipped | tokens/s |",
  );
  console.log("|---|---|---|---|---|---|---|---|---|---|---|");
  const found = new Map();
  for (const name of (o.chunks ?? (short ? "whole,8" : "whole,24,12,6")).split(",")) {
    const { of } = await seeded("chunks", { chunk: infinite(name) });
    found.set(name, of);
    console.log(
      `| ${name} | ${percent(of("before"))} | ${percent(of("after"))} | ${of("stepSeconds").toFixed(2)} | ${percent(of("idle"))} | ${of("perUpdate").toFixed(2)} | ${of("rolloutSeconds").toFixed(2)} | ${of("rebuilt").toFixed(2)} | ${of("stale").toFixed(2)} (${of("stalest").toFixed(0)}) | ${percent(of("clipped"))} | ${of("tokensPerSecond").toFixed(0)} |`,
    );
  }
  if (short) {
    const [whole, chunks] = [found.get("whole"), found.get("8")];
    check("whole answers compute nothing again, chunks do", whole("rebuilt") === 0 && chunks("rebuilt") > 0);
    check("chunks leave fewer places idle", chunks("idle") < whole("idle"));
    check("they take more steps an update", chunks("perUpdate") > whole("perUpdate"));
    const fields = ["before", "after", "norm", "clipped", "kl", "stale", "length", "tokensPerSecond"];
    check(
      "every figure is a number",
      [whole, chunks].every((of) => fields.every((field) => Number.isFinite(of(field)))),
    );
  }
}

if (parts.includes("without")) {
  // Each update goes over its groups twice, so that weights have moved away from those that chose the tokens.
  const settings = { groups: short ? 2 : 24, epochs: short ? 1 : 2 };
  const count = short ? 2 : Math.min(updates, 16);
  const kinds = {
    nothing: {},
    chunks: { chunk: Number.POSITIVE_INFINITY },
    "chunk-level ratios": { options: { importance: "update" } },
    // Where the dual clip held nothing, the run without it is the run with it; so with a filter that found nothing.
    "the dual clip": { objective: { dual: 1e6 }, same: ({ dual }) => dual === 0 },
    "clip-higher": { objective: { high: 0.2 } },
    "the filter of cut answers": { options: { filters: { overlong: false } } },
    "the filter of garbled answers": { options: { filters: { garbled: false } }, same: ({ garbled }) => garbled === 0 },
    "the dynamic buffer": { options: { filters: { dynamic: false } } },
    "renewing the reference": { options: { referenceEvery: 0 } },
  };
  const names = Object.keys(kinds).filter((name) => !short || ["nothing", "chunk-level ratios"].includes(name));
  const made = new Map(names.map((name) => [name, []]));
  // All kinds of a seed before the next seed: cut anywhere, the table is one of fewer seeds.
  for (let seed = 1; seed <= seeds; seed++)
    for (const name of names) {
      const { chunk = 12, options = {}, objective, same } = kinds[name];
      const whole = made.get("nothing")[seed - 1];
      const key = Object.values(settings);
      const run =
        whole && same?.(whole)
          ? whole
          : await learn(`without ${name}`, { chunk, seed, count, options: { ...settings, ...options }, objective, key });
      made.get(name).push(run);
    }
  console.log(
    `\nchunks of 12, ${count} updates of ${settings.groups} groups in ${settings.epochs} passes, rate ${rate}; right before: ${percent(made.get("nothing")[0].before)}\n`,
  );
  console.log(
    "| without | right after, by seed, % | mean | less than with all, by seed | norm (most) | clipped | KL | length | cut | garbled |",
  );
  console.log("|---|---|---|---|---|---|---|---|---|---|");
  for (const [name, runs] of made) {
    const of = (field) => mean(runs.map((run) => run[field]));
    // Differences of runs that share a seed, and the standard error of their mean.
    const less = runs.map(({ after }, i) => 100 * (made.get("nothing")[i].after - after));
    const error = Math.sqrt(mean(less.map((x) => (x - mean(less)) ** 2)) / Math.max(1, less.length - 1));
    console.log(
      `| ${name} | ${runs.map(({ after }) => (100 * after).toFixed(1)).join(", ")} | ${percent(of("after"))} | ${mean(less).toFixed(1)}${runs.length > 1 ? ` ± ${error.toFixed(1)}` : ""} | ${of("norm").toFixed(2)} (${of("mostNorm").toFixed(2)}) | ${percent(of("clipped"))} | ${of("kl").toFixed(4)} | ${of("length").toFixed(1)} | ${percent(of("overlong"))} | ${percent(of("garbled"))} |`,
    );
  }
}

/** How fast answers are made side by side, and what new weights cost: taking them, and computing open answers' keys and values anew. */
async function speed(what, { engineOf, weights, answers, most, places }) {
  console.log(`\n${what}, ${answers.length} answers of ${most} tokens at most\n`);
  console.log("| side by side | tokens/s | times one | idle | new weights, ms | rebuilt tokens | of them a second |");
  console.log("|---|---|---|---|---|---|---|");
  let alone;
  for (const slots of places) {
    const engine = engineOf(slots);
    const some = answers.slice(0, Math.max(16, 4 * slots));
    const [loads, rates, rebuilding] = [[], [], []];
    const take = async (policy) => {
      const begun = cpu();
      await engine.load(await weights(), policy);
      loads.push(1000 * (cpu() - begun));
    };
    let [found, rebuilt] = [undefined, 0];
    for (let round = 0; round < (short ? 1 : 4); round++) {
      await take(2 * round);
      let begun = cpu();
      found = await engine.advance(some, Number.POSITIVE_INFINITY, most);
      rates.push(found.work.tokens / (cpu() - begun));
      // After half an answer, under other weights.
      const { trajectories } = await engine.advance(some, most >> 1, most);
      const open = trajectories.filter(({ state }) => state === "open");
      if (open.length === 0) continue;
      await take(2 * round + 1);
      begun = cpu();
      const { work } = await engine.advance(open, 1, most);
      rebuilt = work.rebuilt;
      rebuilding.push(work.rebuilt / (cpu() - begun));
    }
    await engine.close();
    const best = Math.max(...rates);
    alone ??= best;
    console.log(
      `| ${slots} | ${best.toFixed(0)} | ${(best / alone).toFixed(2)} | ${percent(found.work.idle)} | ${Math.min(...loads).toFixed(0)} | ${rebuilt} | ${rebuilding.length ? Math.max(...rebuilding).toFixed(0) : ""} |`,
    );
  }
}

if (parts.includes("speed")) {
  const trainer = await task.trainerOf({ objective: { kind: "policy" }, evaluateOnly: true }, start);
  await speed("the model of the sums", {
    engineOf: task.newEngine,
    weights: async () => task.weightsOf(trainer),
    answers: heldOut.slice(0, 256).map(({ tokens }, i) => newGroup(i, i, tokens, 1, 3).answers[0]),
    most: task.longest,
    places: short ? [1, 8] : [1, 4, 16, 64, 256],
  });
  await trainer.close();
  if (!short) {
    const file = fileURLToPath(new URL("../models/stories-q4_0.gguf", import.meta.url));
    const options = { contextSize: 128, load: { threads: Number(o.threads), worker: false } };
    // "Once upon a time", as this model reads it.
    const model = await load(file, { contextSize: 32, worker: false, threads: 1 });
    const prompt = [...model.tokenizer.encode("Once upon a time", { eos: false })];
    await model.dispose();
    await speed("the story model (3.5M parameters, q4_0)", {
      engineOf: (slots) => wing.modelEngine(load, { ...options, slots }),
      weights: () => wing.pathFiles(file),
      answers: Array.from({ length: 128 }, (_, i) => newGroup(i, i, prompt, 1, 3).answers[0]),
      most: 64,
      places: [1, 4, 16, 64],
    });
  }
}
if (short) rmSync(out, { recursive: true, force: true });
if (short) console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
