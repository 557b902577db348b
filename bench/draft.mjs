// Draft-verify decoding against plain decoding: in one process, by turns, so that both meet the same machine.
//   node bench/draft.mjs oracle [--model FILE] [--threads N] [--tokens N] [--accept 0.6,0.8,0.9] [--budgets 1,2,4,8,16] [--rounds N]
//     a drafter that is free, and right with a set probability a token: fixed budgets and the adaptive one, chain and tree
//   node bench/draft.mjs heads  [--model FILE] [--head DIR] [--prompts FILE] [--weights auto|float|int8] [--threads N] [--tokens N] [--rounds N]
//     a trained head on held-out prompts: acceptance and speed, greedy and sampled, with and without FR-Spec
//   node bench/draft.mjs lookup [--model FILE] [--threads N] [--tokens N] [--rounds N]
//     prompt lookup where a text is repeated with edits, and on free text
//   node bench/draft.mjs frspec [--model FILE] [--threads N] [--tokens N] [--rounds N]
//     what a head of random weights costs a round, by the size of its vocabulary
//   node bench/draft.mjs front [--model FILE] [--head SMALL.gguf] [--threads N] [--tokens N] [--rounds N]
//     an oracle in front of a draft model, by what its steps cost; then a small model's chain of 7 with lookup in front of it and
//     without, by turns: its steps, and the time of decoding
//   node bench/draft.mjs fronthead [--model FILE] [--head DIR] [--front SMALL.gguf] [--prompts FILE] [--threads N] [--tokens N] [--rounds N]
//     a trained head's chain of 6 alone, with lookup and with a model in front of it: its steps, what was accepted, the time of decoding
// With the engine's re-vectoriser (Node 26): node --experimental-wasm-revectorize bench/draft.mjs …
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { StepCosts } from "../dist/decode/draft/costs.js";
import { Front } from "../dist/decode/draft/front.js";
import { greedy, host, none, rig, say, scripted, title } from "./lib/drafting.mjs";
import { writeHead } from "./lib/head.mjs";
import { median } from "./lib/report.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string" },
    head: { type: "string", default: here("../models/stories-eagle") },
    prompts: { type: "string", default: here("../../shared/models/expected.json") },
    threads: { type: "string", default: "1" },
    tokens: { type: "string" },
    accept: { type: "string", default: "0.6,0.8,0.9" },
    budgets: { type: "string", default: "1,2,3,4,6,8,16" },
    rounds: { type: "string", default: "3" },
    variant: { type: "string", default: "auto" },
    weights: { type: "string", default: "auto" },
    front: { type: "string", default: here("../models/stories-q4_0.gguf") },
  },
});
const numbers = (text) => text.split(",").map(Number);
const { open, assembled } = rig({ threads: Number(o.threads), variant: o.variant });

/**
 * Right with probability p at each token; a tree has a second guess at each level, right half of the times the first is
 * wrong, and goes on below the first. Luck depends on the place in the text and on `salt`, so that all budgets have the same.
 */
function oracle() {
  const luck = (place, salt) => {
    let x = Math.imul(place + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b);
    for (const k of [0x7feb352d, 0x846ca68b]) x = Math.imul(x ^ (x >>> 15), k);
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
  };
  return {
    name: "oracle",
    readsHidden: false,
    p: 0.8,
    tree: false,
    budget: 16,
    start: 0,
    salt: 0,
    truth: [],
    begin: (_, cached) => cached,
    async propose(text, tree, { limit, depth }) {
      let at = text.tokens.length - this.start + 1;
      let [node, right] = [0, true];
      const most = Math.min(limit, this.budget + 1);
      for (; tree.size < most && tree.depths[node] < depth; at++) {
        const token = this.truth[at] ?? 7;
        const first = luck(at, this.salt) < this.p;
        const second = !first && luck(at, this.salt + 1000) < 0.5;
        const a = tree.add(node, right && first ? token : (token + 1) % 2000, this.p);
        if (this.tree && tree.size < most) tree.add(node, right && second ? token : (token + 2) % 2000, (1 - this.p) / 2);
        // It goes on below its first guess, since it must not know which one is right.
        node = a;
        right &&= first;
      }
    },
    async observe() {},
    cut() {},
    close() {},
  };
}

async function runOracle() {
  const [tokens, rounds] = [Number(o.tokens ?? 96), Number(o.rounds)];
  const prompt = Array.from({ length: 24 }, (_, i) => 100 + ((i * 7919) % 1900));
  const model = o.model ?? here("models/synthetic-0.5b-q4_0.gguf");
  const drafter = oracle();
  const fixed = await open(model, { adaptive: false }, { drafter, contextSize: 512 });
  const adaptive = await open(model, { adaptive: true }, { drafter, contextSize: 512 });
  for (const { engine } of [fixed, adaptive]) Object.assign(engine.info.tokenizer, { stop: [] });
  title(fixed);
  const plain = await say(fixed, prompt, tokens, greedy, "off");
  await say(adaptive, prompt, tokens, greedy, "off");
  Object.assign(drafter, { start: prompt.length, truth: plain.tokens });
  const budgets = numbers(o.budgets);
  console.log(
    `| shape | right | plain ms | ${budgets.map((b) => `${b} draft`).join(" | ")} | best fixed | adaptive (mean drafted) | of best |`,
  );
  console.log(`|---|---|---|${budgets.map(() => "---|").join("")}---|---|---|`);
  for (const tree of [false, true])
    for (const p of numbers(o.accept)) {
      Object.assign(drafter, { tree, p });
      const ms = { plain: [], own: [] };
      const all = new Map(budgets.map((b) => [b, []]));
      const drafts = { rounds: 0, drafted: 0 };
      for (let round = 0; round <= rounds; round++) {
        drafter.salt = round;
        const turn = { plain: [], own: [] };
        for (const [budget, list] of all) {
          drafter.budget = budget;
          if (turn.plain.length <= turn.own.length) turn.plain.push((await say(fixed, prompt, tokens, greedy, "off")).ms);
          const quick = await say(fixed, prompt, tokens);
          if (quick.tokens.join() !== plain.tokens.join()) throw new Error("the tokens differ");
          if (round > 0) list.push(quick.ms);
          if (turn.own.length > turn.plain.length) continue;
          drafter.budget = 16;
          const own = await say(adaptive, prompt, tokens);
          turn.own.push(own.ms);
          if (round > 0) for (const key of Object.keys(drafts)) drafts[key] += own.draft[key];
        }
        // The first round is for the compiler, and for the controller to learn.
        if (round > 0) for (const key of Object.keys(ms)) ms[key].push(...turn[key]);
      }
      const base = median(ms.plain);
      const cells = [...all].map(([, list]) => base / median(list));
      const [best, mine] = [Math.max(1, ...cells), base / median(ms.own)];
      const drafted = drafts.rounds ? drafts.drafted / drafts.rounds : 0;
      console.log(
        `| ${tree ? "tree" : "chain"} | ${p} | ${base.toFixed(1)} | ${cells.map((c) => c.toFixed(2)).join(" | ")} | ${best.toFixed(2)} | ${mine.toFixed(2)} (${drafted.toFixed(1)}) | ${(100 * (mine / best)).toFixed(0)} % |`,
      );
    }
  for (const { engine } of [fixed, adaptive]) await engine.close();
}

async function runHeads() {
  const [tokens, rounds] = [Number(o.tokens ?? 96), Number(o.rounds)];
  const model = o.model ?? here("../models/stories-q4_0.gguf");
  const prompts = JSON.parse(readFileSync(o.prompts, "utf8")).held_out_prompts.map((p) => p.ids);
  const freq = JSON.parse(readFileSync(`${o.head}/freq-512.json`, "utf8"));
  const shapes = [
    [2, 4, 4],
    [3, 4, 8],
    [4, 4, 12],
  ].map(([depth, width, size]) => ({ depth, width, size, window: 0, weights: o.weights }));
  console.log(
    "| temperature | tree (depth, width, size) | vocabulary | budget | accepted a round | drafted a round | against plain |",
  );
  console.log("|---|---|---|---|---|---|---|");
  let first = true;
  for (const temperature of [0, 0.7])
    for (const shape of shapes)
      for (const vocabulary of [undefined, freq])
        for (const adaptive of [false, true]) {
          const at = await open(model, { eagle: { ...shape, vocabulary, weights: o.weights }, adaptive }, { head: o.head });
          if (first) title(at);
          first = false;
          const ratios = [];
          const sum = { rounds: 0, accepted: 0, drafted: 0 };
          for (let round = 0; round <= rounds; round++) {
            let [plainMs, quickMs] = [0, 0];
            for (const [i, prompt] of prompts.entries()) {
              const sampling = { ...greedy, temperature, seed: i };
              const plain = await say(at, prompt, tokens, sampling, "off");
              const quick = await say(at, prompt, tokens, sampling);
              if (plain.text !== quick.text) throw new Error("the texts differ");
              plainMs += plain.timings.decodeMs;
              quickMs += quick.timings.decodeMs;
              for (const key of Object.keys(sum)) sum[key] += quick.draft[key];
            }
            if (round > 0) ratios.push(plainMs / quickMs);
          }
          const { depth, width, size } = shape;
          const [accepted, drafted] = [1 + sum.accepted / sum.rounds, sum.drafted / sum.rounds];
          console.log(
            `| ${temperature} | ${depth}, ${width}, ${size} | ${vocabulary ? vocabulary.length : "full"} | ${adaptive ? "adaptive" : "all"} | ${accepted.toFixed(2)} | ${drafted.toFixed(1)} | ${median(ratios).toFixed(2)} |`,
          );
          await at.engine.close();
        }
}

/**
 * A text in which long stretches of the prompt come again, as in an edit or a summary that quotes; and one without any. The
 * model's weights are random, so its sampler is replaced by one that reads from a script: the costs are the real ones.
 */
async function runLookup() {
  const [tokens, rounds] = [Number(o.tokens ?? 128), Number(o.rounds)];
  const model = o.model ?? here("models/synthetic-0.5b-q4_0.gguf");
  const parts = await assembled(model, { ...none, lookup: "on" });
  const sequence = parts.sequences.get(parts.sequences.open(1024));
  title({ engine: parts });
  const vocab = parts.info.config.vocab;
  const word = (i) => 10 + ((i * 7919) % (vocab - 20));
  const source = Array.from({ length: 256 }, (_, i) => word(i));
  const texts = {
    "edit, every 12th token changed": source.map((t, i) => (i % 12 === 11 ? word(5000 + i) : t)),
    "quotes of 6 to 10 tokens": Array.from({ length: 40 }, (_, q) => [
      word(9000 + q),
      word(9500 + q),
      ...source.slice((q * 53) % 200, ((q * 53) % 200) + 6 + (q % 5)),
    ]).flat(),
    "free text": source.map((_, i) => word(20000 + i)),
  };
  for (const [name, text] of Object.entries(texts)) {
    const ratios = [];
    let stats;
    for (let round = 0; round <= rounds; round++) {
      const plain = await scripted(parts, sequence, [1, ...source], text, tokens, undefined);
      const quick = await scripted(parts, sequence, [1, ...source], text, tokens, parts.drafting);
      if (round > 0) ratios.push(plain.timings.decodeMs / quick.timings.decodeMs);
      stats = quick.draft;
    }
    const drafted = stats.drafted / Math.max(1, stats.rounds);
    console.log(
      `${name}: ${median(ratios).toFixed(2)} of plain decoding (${ratios.map((r) => r.toFixed(2)).join(" ")}), ${stats.rounds} rounds with a draft, ${stats.acceptedPerRound.toFixed(2)} tokens and ${drafted.toFixed(1)} drafted a round`,
    );
  }
  await parts.endLanes();
}

/** Drafting time alone, in rounds that follow a script, so that nothing is accepted and every round is alike. */
async function runFrSpec() {
  const [tokens, rounds] = [Number(o.tokens ?? 48), Number(o.rounds)];
  const model = o.model ?? here("models/synthetic-0.5b-q4_0.gguf");
  const shape = { depth: 3, width: 4, size: 12, window: 0, weights: o.weights };
  const file = here("out/head.safetensors");
  mkdirSync(here("out"), { recursive: true });
  let parts = await assembled(model, undefined);
  title({ engine: parts });
  const { config } = parts.info;
  writeHead(file, config);
  const prompt = Array.from({ length: 64 }, (_, i) => 10 + ((i * 7919) % 20000));
  const text = Array.from({ length: tokens }, (_, i) => 20000 + i);
  const plain = [];
  const sequence = parts.sequences.get(parts.sequences.open(1024));
  for (let round = 0; round <= rounds; round++)
    plain.push((await scripted(parts, sequence, prompt, text, tokens, undefined)).timings.decodeMs / (tokens - 1));
  await parts.endLanes();
  const step = median(plain.slice(1));
  console.log(`a plain step takes ${step.toFixed(2)} ms; trees of depth 3, width 4, 12 tokens`);
  console.log("| vocabulary | drafting a round, ms | of a plain step | of the full vocabulary |");
  console.log("|---|---|---|---|");
  let full;
  for (const size of [config.vocab, 32768, 16384, 8192]) {
    const vocabulary = size < config.vocab ? Array.from({ length: size }, (_, i) => i) : undefined;
    const draft = { ...none, eagle: { ...shape, vocabulary }, adaptive: false };
    parts = await assembled(model, draft, file);
    const own = parts.sequences.get(parts.sequences.open(1024));
    const { drafter } = parts.drafting;
    let [spent, count] = [0, 0];
    for (const name of ["propose", "observe"]) {
      const whole = drafter[name].bind(drafter);
      drafter[name] = async (...args) => {
        const started = host.now();
        await whole(...args);
        spent += host.now() - started;
        if (name === "propose") count++;
      };
    }
    const times = [];
    for (let round = 0; round <= rounds; round++) {
      [spent, count] = [0, 0];
      await scripted(parts, own, prompt, text, tokens, parts.drafting);
      if (round > 0) times.push(spent / count);
    }
    const ms = median(times);
    full ??= ms;
    console.log(`| ${size} | ${ms.toFixed(2)} | ${(ms / step).toFixed(2)} | ${(ms / full).toFixed(2)} |`);
    await parts.endLanes();
  }
}

/** An oracle in front of a draft model whose steps of n rows cost `cost(n)`: how much sooner 3,000 tokens of a chain come. No clock takes part. */
async function frontOracle(cost, right) {
  let state = 3;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const truth = Array.from({ length: 5000 }, (_, i) => (i * 31) % 997);
  const knowing = {
    begin: (_, cached) => cached,
    async propose({ tokens }, tree, { depth }) {
      let node = 0;
      for (let i = 0; i < depth && node >= 0; i++) {
        const token = truth[tokens.length + 1 + i];
        node = tree.add(node, random() < right ? token : token + 1, right);
      }
    },
  };
  const costs = new StepCosts([1, 2, 3, 4, 6, 8, 16].map((rows) => ({ rows, ms: cost(rows) })));
  const front = new Front(knowing, costs, true, () => 0);
  const text = {};
  front.begin(text, truth.slice(0, 1), truth.length);
  let [ms, at] = [0, 1];
  while (at < 3000) {
    const guesses = await front.guess(text, truth[at], 8);
    const rows = 1 + guesses.tokens.length;
    ms += cost(rows);
    let hits = 0;
    while (hits < guesses.tokens.length && guesses.tokens[hits] === truth[at + 1 + hits]) hits++;
    for (let i = 0; i <= hits; i++) front.push(text, truth[at + i]);
    front.saw(guesses, hits, rows, cost(rows));
    at += hits + 1;
  }
  return ((at - 1) * cost(1)) / ms;
}

async function runFront() {
  console.log("| a step of n rows costs | right 0.05 | 0.5 | 0.8 | 0.9 |\n|---|---|---|---|---|");
  for (const [name, cost] of [
    ["10 + 0.2 n", (n) => 10 + 0.2 * n],
    ["10 + 3 n", (n) => 10 + 3 * n],
    ["10 n", (n) => 10 * n],
  ]) {
    const cells = [];
    for (const right of [0.05, 0.5, 0.8, 0.9]) cells.push((await frontOracle(cost, right)).toFixed(2));
    console.log(`| ${name} | ${cells.join(" | ")} |`);
  }
  const [tokens, rounds] = [Number(o.tokens ?? 96), Number(o.rounds)];
  const model = o.model ?? here("../../shared/models/stories-f16.gguf");
  const small = o.head.endsWith(".gguf") ? o.head : here("../models/stories-q4_0.gguf");
  const chain = { depth: 7, width: 1, size: 8 };
  const engines = {};
  for (const [name, front] of [
    ["alone", undefined],
    ["front", "lookup"],
  ])
    engines[name] = await open(model, { adaptive: false, model: { ...chain, front } }, { head: small, contextSize: 512 });
  const measured = await open(model, { adaptive: true, model: { ...chain, front: "lookup" } }, { head: small, contextSize: 512 });
  for (const { engine } of [...Object.values(engines), measured]) Object.assign(engine.info.tokenizer, { stop: [] });
  title(engines.alone);
  const cat = "The cat sat on the mat. The dog sat on the log. ";
  const texts = { "a refrain": `${cat}${cat}${cat}The cat`, "free text": "Once upon a time there was" };
  console.log(
    "| text | drafted | steps of the draft model, alone | with lookup in front | decoding, of that alone | of plain decoding: alone, with front by what pays |",
  );
  console.log("|---|---|---|---|---|---|");
  for (const [name, prompt] of Object.entries(texts)) {
    const ms = { plain: [], alone: [], front: [], measured: [] };
    let stats;
    for (let round = 0; round <= rounds; round++) {
      const plain = await say(engines.alone, prompt, tokens, greedy, "off");
      const alone = await say(engines.alone, prompt, tokens);
      const front = await say(engines.front, prompt, tokens);
      const own = await say(measured, prompt, tokens);
      for (const other of [alone, front, own])
        if (other.tokens.join() !== plain.tokens.join()) throw new Error("the tokens differ");
      stats = front.draft;
      if (round > 0) for (const [key, { ms: took }] of Object.entries({ plain, alone, front, measured: own })) ms[key].push(took);
    }
    const [plain, alone, front, own] = [ms.plain, ms.alone, ms.front, ms.measured].map(median);
    const { steps } = stats.front;
    console.log(
      `| ${name} | ${stats.drafted} | ${stats.drafted} | ${steps} | ${(front / alone).toFixed(2)} | ${(plain / alone).toFixed(2)}, ${(plain / own).toFixed(2)} |`,
    );
  }
  for (const { engine } of [...Object.values(engines), measured]) await engine.close();
}

async function runFrontHead() {
  const [tokens, rounds] = [Number(o.tokens ?? 64), Number(o.rounds)];
  const model = o.model ?? here("../models/stories-q4_0.gguf");
  const edited = "Tom had a red ball. Lily had a red hat. Tom had a red ball. Lily had a red";
  const held = JSON.parse(readFileSync(o.prompts, "utf8")).held_out_prompts.map((p) => p.ids);
  const chain = { depth: 6, width: 1, size: 7, window: 0, vocabulary: undefined };
  console.log(
    "| prompts | in front of the head | verified | rounds | steps of the head alone, in chains | with the front | accepted | of plain decoding |",
  );
  console.log("|---|---|---|---|---|---|---|---|");
  let first = true;
  for (const adaptive of [false, true])
    for (const [name, front] of [
      ["nothing", undefined],
      ["lookup", "lookup"],
      ["a model", "model"],
    ]) {
      const at = await open(
        model,
        { adaptive, eagle: { ...chain, front, weights: o.weights } },
        { head: o.head, front: front === "model" ? o.front : undefined, contextSize: 512 },
      );
      Object.assign(at.engine.info.tokenizer, { stop: [] });
      if (first) title(at);
      first = false;
      for (const [kind, prompts] of [
        ["held out", held.slice(0, 4)],
        ["a refrain", [edited]],
      ]) {
        const ratios = [];
        let sum;
        for (let round = 0; round <= rounds; round++) {
          sum = { rounds: 0, drafted: 0, accepted: 0, steps: 0 };
          let [plainMs, quickMs] = [0, 0];
          for (const prompt of prompts) {
            const plain = await say(at, prompt, tokens, greedy, "off");
            const quick = await say(at, prompt, tokens);
            if (plain.tokens.join() !== quick.tokens.join()) throw new Error("the tokens differ");
            plainMs += plain.timings.decodeMs;
            quickMs += quick.timings.decodeMs;
            for (const key of ["rounds", "drafted", "accepted"]) sum[key] += quick.draft[key];
            sum.steps += quick.draft.front?.steps ?? 0;
          }
          if (round > 0) ratios.push(plainMs / quickMs);
        }
        const alone = adaptive ? "" : sum.drafted - sum.rounds;
        console.log(
          `| ${kind} | ${name} | ${adaptive ? "what pays" : "all"} | ${sum.rounds} | ${alone} | ${front ? sum.steps : ""} | ${sum.accepted} of ${sum.drafted} | ${median(ratios).toFixed(2)} |`,
        );
      }
      await at.engine.close();
    }
}

const runs = {
  front: runFront,
  fronthead: runFrontHead,
  oracle: runOracle,
  heads: runHeads,
  lookup: runLookup,
  frspec: runFrSpec,
};
const run = runs[positionals[0]];
if (!run) throw new Error(`say what to measure: ${Object.keys(runs).join(", ")}`);
await run();
