// What each stabiliser of chunk-wise rollout does, over five seeds: the package's own loop, groups, filters and objective on a policy that is
// a table, so that many runs take seconds. Also chunks of several lengths.
//   node bench/stabilisers.mjs [--seeds 5] [--updates 24] [--rate 0.05]
// The task: 32 problems whose answers have 2 to 40 symbols, few of them long; each place in an answer belongs to one of 12 kinds, and a kind's
// right symbol is to be found out. A wrong one ends all hope; "x" changes nothing and makes the answer longer; answers are cut at 96.
import { parseArgs } from "node:util";
import { Learner, policyLoss } from "../dist/host/train.node.js";
import { mix } from "../dist/train/checksum.js";
import { idleShare } from "../dist/train/rollout/engine.js";
import { newGroup } from "../dist/train/rollout/groups.js";
import { extended, lengthOf, responseTokens } from "../dist/train/rollout/trajectory.js";
import { uniform } from "../dist/train/scratch.js";

const { values: o } = parseArgs({
  options: {
    seeds: { type: "string", default: "5" },
    updates: { type: "string", default: "24" },
    rate: { type: "string", default: "0.05" },
  },
});
const [seeds, updates, rate] = [o.seeds, o.updates, o.rate].map(Number);
const SYMBOLS = "|abcdx";
const [END, AGAIN] = [0, 5];
const KINDS = 12;
const [DONE, LOST] = [KINDS, KINDS + 1];
const CLASSES = KINDS + 2;
const PROBLEMS = 32;
const MOST = 96;
const ROWS = 8;
const LENGTH = 128;
const lengthOfProblem = (p) => 2 + Math.round(38 * ((p + 0.5) / PROBLEMS) ** 3);
const kindAt = (p, place) => mix(p * 131 + place) % KINDS;
const rightOf = (kind) => 1 + (kind % 4);

/** Where an answer is: begins with its problem. */
const begin = (problem) => ({ problem, place: 0, lost: false });
const classOf = ({ problem, place, lost }) => (lost ? LOST : place === lengthOfProblem(problem) ? DONE : kindAt(problem, place));
function follow(state, token) {
  if (token === AGAIN || state.lost) return state;
  const kind = classOf(state);
  return token === (kind === DONE ? END : rightOf(kind)) ? { ...state, place: state.place + 1 } : { ...state, lost: true };
}
/** The problem is the prompt's one token, behind the symbols. */
const problemOf = (token) => token - SYMBOLS.length;

const rowOf = (table, kind) => {
  const logits = Array.from(SYMBOLS, (_, v) => table[v * CLASSES + kind]);
  const most = Math.max(...logits);
  const sum = logits.reduce((s, x) => s + Math.exp(x - most), 0);
  return logits.map((x) => x - most - Math.log(sum));
};
const NAMES = ["model.embed_tokens.weight", "model.norm.weight"];

/** What the loop asks of a trainer, over a table [symbol, kind]. */
function tabular(start, bounds) {
  const values = new Map([
    [NAMES[0], Float64Array.from(start)],
    [NAMES[1], new Float64Array(CLASSES)],
  ]);
  const tensors = new Map([
    [NAMES[0], { name: NAMES[0], shape: [SYMBOLS.length, CLASSES] }],
    [NAMES[1], { name: NAMES[1], shape: [CLASSES] }],
  ]);
  const table = values.get(NAMES[0]);
  const moments = [new Float64Array(table.length), new Float64Array(table.length)];
  const shape = { layers: 0, hidden: CLASSES, vocab: SYMBOLS.length, tied: true };
  /** Kind of the place that each counted prediction is made at. */
  const kinds = (batch) => {
    const out = new Int32Array(batch.tokens.length).fill(-1);
    let state;
    for (let i = 0; i < batch.tokens.length; i++) {
      const first = i % LENGTH === 0 || batch.segments[i] !== batch.segments[i - 1];
      if (batch.segments[i] < 0) continue;
      state = first ? begin(problemOf(batch.tokens[i])) : follow(state, batch.tokens[i]);
      if (batch.labels[i] >= 0 && batch.labels[i] < SYMBOLS.length) out[i] = classOf(state);
    }
    return out;
  };
  const logpOf = (batch) => {
    const rows = Array.from({ length: CLASSES }, (_, kind) => rowOf(table, kind));
    return Float64Array.from(kinds(batch), (kind, i) => (kind < 0 ? 0 : rows[kind][batch.labels[i]]));
  };
  const trainer = {
    graph: {
      options: { objective: { kind: "policy" }, rows: ROWS, length: LENGTH },
      shape,
      tensors,
      trained: [...tensors.values()],
      values: ({ name }) => values.get(name),
    },
    optimiser: { steps: 0 },
    chosen: [],
    table,
    set: (name, given) => values.get(name).set(given),
    async evaluate(batch) {
      trainer.chosen = [logpOf(batch)];
    },
    async step(batches) {
      trainer.chosen = batches.map(logpOf);
      const all = (of) => batches.flatMap((_, i) => Array.from(of(i)));
      const found = policyLoss(
        {
          logp: all((i) => trainer.chosen[i]),
          behaviour: all((i) => batches[i].policy.behaviour),
          reference: all((i) => batches[i].policy.reference),
          advantage: all((i) => batches[i].policy.advantage),
          mask: all((i) => batches[i].weights),
        },
        bounds,
      );
      const gradient = new Float64Array(table.length);
      const rows = Array.from({ length: CLASSES }, (_, kind) => rowOf(table, kind).map(Math.exp));
      for (const [b, batch] of batches.entries())
        for (const [i, kind] of kinds(batch).entries()) {
          const slope = found.gradient[b * ROWS * LENGTH + i];
          if (kind < 0 || slope === 0) continue;
          for (let v = 0; v < SYMBOLS.length; v++)
            gradient[v * CLASSES + kind] += slope * ((v === batch.labels[i] ? 1 : 0) - rows[kind][v]);
        }
      const t = ++trainer.optimiser.steps;
      for (let i = 0; i < table.length; i++) {
        moments[0][i] = 0.9 * moments[0][i] + 0.1 * gradient[i];
        moments[1][i] = 0.95 * moments[1][i] + 0.05 * gradient[i] ** 2;
        table[i] -= (rate * (moments[0][i] / (1 - 0.9 ** t))) / (Math.sqrt(moments[1][i] / (1 - 0.95 ** t)) + 1e-8);
      }
      return { loss: found.loss, norm: Math.sqrt(gradient.reduce((s, g) => s + g * g, 0)) };
    },
  };
  return trainer;
}

/** Rollouts of a table, each answer in a place of its own. */
function tableEngine() {
  let [policy, rows] = [-1, undefined];
  return {
    get policy() {
      return policy;
    },
    async load(table, number) {
      rows = Array.from({ length: CLASSES }, (_, kind) => rowOf(table, kind));
      policy = number;
    },
    async advance(open, length, most) {
      const trajectories = open.map((t) => {
        let state = begin(problemOf(t.prompt[0]));
        for (const token of responseTokens(t)) state = follow(state, token);
        const [tokens, logp] = [[], []];
        let ends = "open";
        for (let at = lengthOf(t); tokens.length < length && ends === "open"; at++) {
          const row = rows[classOf(state)];
          let draw = mix(t.seed ^ mix(at + 1)) / 2 ** 32;
          let token = 0;
          while (token < row.length - 1 && (draw -= Math.exp(row[token])) >= 0) token++;
          tokens.push(token);
          logp.push(row[token]);
          state = follow(state, token);
          if (token === END) ends = "stop";
          else if (at + 1 === most) ends = "length";
        }
        return extended(t, { tokens: Int32Array.from(tokens), logp: Float32Array.from(logp), policy }, ends);
      });
      const lengths = trajectories.map((t) => t.chunks.at(-1).tokens.length);
      const tokens = lengths.reduce((a, b) => a + b, 0);
      return {
        trajectories,
        work: { tokens, prefilled: 0, rebuilt: 0, idle: idleShare(lengths, lengths.length), most: Math.max(...lengths) },
      };
    },
    async close() {},
  };
}

const decode = (tokens) => Array.from(tokens, (t) => SYMBOLS[t]).join("");
const answerOf = (p) => Array.from({ length: lengthOfProblem(p) }, (_, i) => SYMBOLS[rightOf(kindAt(p, i))]).join("");
const prompts = Array.from({ length: PROBLEMS }, (_, p) => ({ tokens: [SYMBOLS.length + p], sample: { answer: answerOf(p) } }));
/** Right is what is right without "x". */
const reward = ({ response, answer }) => (response.replaceAll("x", "") === answer ? 1 : 0);

/** Nine of ten symbols right, "x" now and then, and what is lost ends soon. */
function startOf(seed) {
  const next = uniform(seed);
  const table = new Float64Array(SYMBOLS.length * CLASSES);
  for (let kind = 0; kind < CLASSES; kind++)
    for (let v = 0; v < SYMBOLS.length; v++) {
      const right = kind === DONE ? END : kind === LOST ? -1 : rightOf(kind);
      const p = kind === LOST ? (v === END ? 0.15 : 0.17) : v === right ? 0.8 : v === AGAIN ? 0.12 : 0.02;
      table[v * CLASSES + kind] = Math.log(p) + 0.2 * (next() - 0.5);
    }
  return table;
}

async function accuracy(table, seed) {
  const engine = tableEngine();
  await engine.load(table, 0);
  const answers = prompts.flatMap(({ tokens }, p) => newGroup(p, p, tokens, 64, seed).answers);
  const { trajectories } = await engine.advance(answers, Number.POSITIVE_INFINITY, MOST);
  return mean(
    trajectories.map((t, i) => {
      const tokens = responseTokens(t);
      return reward({
        response: decode(t.state === "stop" ? tokens.slice(0, -1) : tokens),
        ...prompts[Math.floor(i / 64)].sample,
      });
    }),
  );
}
const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

async function learn({ seed, chunk, options = {}, objective = {} }) {
  const bounds = { low: 0.2, high: 0.28, dual: 3, beta: 1e-3, ...objective };
  const start = startOf(seed);
  const [trainer, reference] = [tabular(start, bounds), tabular(start, bounds)];
  const learner = new Learner(
    { prompts, engine: tableEngine(), trainer, reference, reward, decode, weights: () => trainer.table },
    { answers: 8, groups: 8, epochs: 4, inFlight: 128, maxTokens: MOST, referenceEvery: 10, chunk, seed, ...bounds, ...options },
  );
  const before = await accuracy(trainer.table, 7);
  const steps = [];
  // A policy that has collapsed gets nothing right, and no update comes.
  for (let idle = 0; learner.policy < updates && idle < 100; idle = steps.at(-1).update ? 0 : idle + 1)
    steps.push(await learner.advance());
  const made = steps.flatMap(({ update }) => (update ? [update] : []));
  const ended = steps.reduce((n, { finished }) => n + finished, 0);
  return {
    before,
    after: await accuracy(trainer.table, 7),
    norm: Math.max(...made.map(({ norm }) => norm)),
    clipped: mean(made.map(({ clipShare }) => clipShare)),
    kl: made.at(-1)?.kl ?? Number.NaN,
    stale: mean(made.map(({ staleness }) => staleness)),
    stalest: Math.max(...made.map(({ stalest }) => stalest)),
    length: mean(steps.slice(-40).flatMap(({ length }) => (length === undefined ? [] : [length]))),
    overlong: steps.reduce((n, s) => n + s.overlong, 0) / ended,
    garbled: steps.reduce((n, s) => n + s.garbled, 0) / ended,
    idle: mean(steps.map(({ work }) => work.idle)),
    // Side by side a step takes as long as its longest.
    time: steps.reduce((n, { work }) => n + work.most, 0) / updates,
    step: mean(steps.map(({ work }) => work.most)),
  };
}

const percent = (x) => `${(100 * x).toFixed(1)} %`;
const runs = async (of) => {
  const all = [];
  for (let seed = 1; seed <= seeds; seed++) all.push(await learn({ seed, chunk: 6, ...of }));
  return { all, of: (field) => mean(all.map((run) => run[field])) };
};
const afters = ({ all }) => all.map(({ after }) => (100 * after).toFixed(1)).join(", ");

console.log(`${updates} updates of 8 groups of 8 answers in four passes, 128 answers open, rate ${rate}, ${seeds} seeds\n`);
console.log(
  "| chunk | right before | after, by seed, % | mean | longest of a step, tokens | of an update's steps | idle | stale (most) | clipped |",
);
console.log("|---|---|---|---|---|---|---|---|---|");
for (const chunk of [Number.POSITIVE_INFINITY, 24, 12, 6, 3]) {
  const found = await runs({ chunk });
  const { of } = found;
  console.log(
    `| ${chunk === Number.POSITIVE_INFINITY ? "whole" : chunk} | ${percent(of("before"))} | ${afters(found)} | ${percent(of("after"))} | ${of("step").toFixed(1)} | ${of("time").toFixed(0)} | ${percent(of("idle"))} | ${of("stale").toFixed(2)} (${of("stalest").toFixed(0)}) | ${percent(of("clipped"))} |`,
  );
}
console.log(
  "\nchunks of 6\n\n| without | right after, by seed, % | mean | norm, at most | clipped | KL | length | cut | garbled |",
);
console.log("|---|---|---|---|---|---|---|---|---|");
for (const [name, more] of Object.entries({
  nothing: {},
  "chunk-level ratios": { options: { importance: "update" } },
  "the dual clip": { objective: { dual: 1e9 } },
  "clip-higher": { objective: { high: 0.2 } },
  "the overlong filter": { options: { filters: { overlong: false } } },
  "the garble filter": { options: { filters: { garbled: false } } },
  "the dynamic buffer": { options: { filters: { dynamic: false } } },
  "renewing the reference": { options: { referenceEvery: 0 } },
  "the reference": { options: { beta: 0 }, objective: { beta: 0 } },
})) {
  const found = await runs(more);
  const { of } = found;
  console.log(
    `| ${name} | ${afters(found)} | ${percent(of("after"))} | ${of("norm").toFixed(2)} | ${percent(of("clipped"))} | ${of("kl").toFixed(4)} | ${of("length").toFixed(1)} | ${percent(of("overlong"))} | ${percent(of("garbled"))} |`,
  );
}
