// BitCPM's finding at a scale that fits here: how much of a run must be ternary for the loss of one that was ternary from the beginning?
//   node bench/ternary.mjs TEXTS.jsonl [--out DIR] [--updates N] [--seeds N] [--shares 1,0.4,0.2] [--peak RATE] [--second RATE] [--threads N]
// --second: the peak rate of ternary layers that began as floats.
// Trains models of a million parameters, with MiniCPM's multipliers, with cpm train: floats at a stable rate, then ternary layers with a warm-up of their own; the rate falls
// in the last 20 % of every run. Runs that were ended go on. Prints a table of held-out losses, writes DIR/ternary.html, .svg and .json.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: "bench/out/ternary" },
    updates: { type: "string", default: "400" },
    seeds: { type: "string", default: "3" },
    shares: { type: "string", default: "1,0.6,0.4,0.2" },
    peak: { type: "string", default: "5e-3" },
    second: { type: "string", default: "5e-3" },
    threads: { type: "string" },
  },
});
const [texts] = positionals;
if (!texts) {
  console.log(
    "usage: node bench/ternary.mjs TEXTS.jsonl [--out DIR] [--updates N] [--seeds N] [--shares 1,0.4,0.2] [--threads N]",
  );
  process.exit(2);
}
const root = fileURLToPath(new URL("..", import.meta.url));
const out = resolve(values.out);
const updates = Number(values.updates);
const [shares, seeds] = [values.shares.split(",").map(Number), Array.from({ length: Number(values.seeds) }, (_, i) => i + 1)];
const [PEAK, SECOND] = [Number(values.peak), Number(values.second)];

/** A run whose last `share` of updates is ternary. */
function configOf(share, seed) {
  const ternary = Math.round(share * updates);
  const decay = Math.round(0.2 * updates);
  const falling = (peak, total) => ({
    kind: "1-sqrt",
    peak,
    warmup: Math.ceil(0.05 * total),
    stableEnd: total - decay,
    decaySteps: decay,
  });
  const floats = updates - ternary;
  const first = {
    updates: floats,
    objective: { kind: "lm" },
    schedule: { kind: "constant", peak: PEAK, warmup: Math.ceil(0.05 * updates) },
  };
  const second = {
    updates: ternary,
    objective: { kind: "ternary", group: 64 },
    schedule: falling(floats > 0 ? SECOND : PEAK, ternary),
  };
  return {
    model: {
      tokenizer: join(root, "models/stories-q4_0.gguf"),
      config: {
        hidden_size: 128,
        intermediate_size: 384,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 256,
        dim_model_base: 64,
        scale_emb: 12,
        scale_depth: 1.4,
        tie_word_embeddings: true,
      },
    },
    out: `share-${share}-seed-${seed}`,
    data: [{ files: resolve(texts) }],
    heldOut: 0.05,
    length: 128,
    rows: 8,
    seed,
    stages: floats > 0 ? [first, second] : [second],
    evaluate: { every: Math.max(1, Math.round(updates / 20)), rows: 64 },
    checkpoint: { every: 50, keep: 1 },
    export: [{ to: "model.gguf" }],
  };
}

async function run(share, seed) {
  const config = configOf(share, seed);
  const file = join(out, `${config.out}.json`);
  writeFileSync(file, JSON.stringify(config));
  const threads = values.threads === undefined ? [] : ["--threads", values.threads];
  const child = spawn(process.execPath, [join(root, "dist/cli/main.js"), "train", file, ...threads], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const status = await new Promise((done) => child.on("exit", done));
  if (status !== 0) process.exit(status ?? 1);
  const log = readFileSync(join(out, config.out, "log.jsonl"), "utf8")
    .trim()
    .split("\n");
  return log.map((line) => JSON.parse(line)).filter(({ kind }) => kind === "heldOut");
}

mkdirSync(out, { recursive: true });
const found = new Map(shares.map((share) => [share, []]));
for (const seed of seeds) for (const share of shares) found.get(share).push(await run(share, seed));
const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
const last = (share) => found.get(share).map((run) => run.at(-1).loss);
const whole = shares.includes(1) ? last(1) : undefined;
const rows = shares.map((share) => {
  const losses = last(share);
  const apart = whole && losses.map((loss, i) => loss - whole[i]);
  return { share, mean: mean(losses), losses, apart: apart && mean(apart), each: apart };
});
console.log(`${updates} updates of 1024 tokens, ${seeds.length} seeds, held-out loss in nats`);
for (const { share, mean: m, losses, apart } of rows)
  console.log(
    `ternary for ${(100 * share).toFixed(0).padStart(3)} %  ${m.toFixed(4)}  (${losses.map((l) => l.toFixed(3)).join(", ")})${share === 1 || apart === undefined ? "" : `  ${apart >= 0 ? "+" : ""}${apart.toFixed(4)} to ternary from the beginning`}`,
  );
const { chart, STYLE } = await import("../dist/train/report.js");
const colours = ["#2a6f97", "#bc6c25", "#606c38", "#8d99ae", "#6d597a"];
const lines = shares.map((share, i) => ({
  name: `ternary for ${100 * share} %`,
  colour: colours[i % colours.length],
  dots: true,
  points: found.get(share)[0].map(({ update }, j) => [update, mean(found.get(share).map((run) => run[j].loss))]),
}));
const figures = [chart({ title: "held-out loss, nats, mean of the seeds", lines, stages: [] })];
figures.push(
  chart({
    title: "the end of it",
    lines: lines.map((l) => ({ ...l, points: l.points.filter(([x]) => x >= updates / 2) })),
    stages: [],
  }),
);
writeFileSync(
  join(out, "ternary.html"),
  `<!doctype html><meta charset="utf-8"><title>ternary</title><style>${STYLE}</style><main>${figures.join("")}</main>\n`,
);
// The picture by itself.
const [, drawing] = /<svg ([\s\S]*<\/svg>)/.exec(figures[0]);
const legend = lines.map(
  ({ name, colour }, i) => `<text x="550" y="${30 + 16 * i}" text-anchor="end" style="fill:${colour}">${name}</text>`,
);
const style = "text{font:11px system-ui,sans-serif;fill:#666}.g{stroke:#ddd;stroke-width:.6}";
const ground = `<style>${style}</style><rect width="100%" height="100%" fill="#fff"/>${legend.join("")}`;
writeFileSync(join(out, "ternary.svg"), `<svg xmlns="http://www.w3.org/2000/svg" ${drawing.replace(">", `>${ground}`)}\n`);
writeFileSync(join(out, "ternary.json"), `${JSON.stringify({ updates, seeds, rows }, null, 2)}\n`);
