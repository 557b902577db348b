// A real tunnel: five sizes of 0.09M to 1.03M parameters over characters, the learning rate found at the narrowest, the same tokens for all (or
// so many for each parameter), and the largest foretold from the others by the law (a power, with or without a floor) that best foretells the
// second largest, and by a power with a floor.
//   node bench/tunnel.mjs --texts /usr/lib/python3.11 --end .py --out DIR [--tokens 1025440 or --ratio 1] [--rate R] [--seeds 1] [--threads 1]
// A run goes on where it was. Texts: the files below --texts whose names end in --end, ASCII alone, in pieces of at most 4,000 characters.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { characterTokenizer } from "../test/train/rollout/characters.mjs";

const { values: o } = parseArgs({
  options: {
    texts: { type: "string", default: "/usr/lib/python3.11" },
    end: { type: "string", default: ".py" },
    out: { type: "string" },
    ratio: { type: "string", default: "1" },
    tokens: { type: "string" },
    seeds: { type: "string", default: "1" },
    rate: { type: "string" },
    rates: { type: "string", default: "0.0006,0.00125,0.0025,0.005" },
    widths: { type: "string", default: "48,64,96,128,160" },
    threads: { type: "string", default: "1" },
  },
});
if (!o.out) throw new Error("give --out DIR");
const out = resolve(o.out);
const numbers = (text) => text.split(",").map(Number);
const widths = numbers(o.widths);
mkdirSync(out, { recursive: true });

const CHARACTERS = `\n${Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join("")}`;
mkdirSync(join(out, "tokenizer"), { recursive: true });
for (const [name, bytes] of Object.entries(characterTokenizer(CHARACTERS))) writeFileSync(join(out, "tokenizer", name), bytes);

if (!existsSync(join(out, "texts.jsonl"))) {
  const files = readdirSync(o.texts, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(o.end))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const seen = new Set();
  const pieces = [];
  for (const file of files) {
    const text = readFileSync(file, "latin1")
      .replaceAll("\t", "    ")
      .replace(/[^\n -~]/g, "");
    if (text.length < 200 || seen.has(text)) continue;
    seen.add(text);
    for (let from = 0; from < text.length; ) {
      // To the end of a line.
      const end = text.lastIndexOf("\n", from + 3999);
      const to = text.length - from <= 4000 ? text.length : end > from ? end + 1 : from + 4000;
      pieces.push(text.slice(from, to));
      from = to;
    }
  }
  writeFileSync(join(out, "texts.jsonl"), pieces.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  console.error(`${pieces.length} pieces, ${pieces.reduce((n, { length }) => n + length, 0)} characters`);
}

const cli = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
/** Runs what is missing of a sweep. */
function sweep(name, grid) {
  const config = {
    out: name,
    tokenizer: "tokenizer/tokenizer.json",
    model: { eos_token_id: 0 },
    headDim: 16,
    base: Math.min(...widths),
    train: {
      data: [{ files: ["texts.jsonl"] }],
      heldOut: 0.04,
      length: 128,
      packing: "stream",
      schedule: { kind: "linear" },
      evaluate: { rows: 2048, every: 1_000_000 },
      checkpoint: { every: 100, keep: 1 },
    },
    ...(o.tokens ? {} : { tokensPerParameter: Number(o.ratio) }),
    grid: { depth: 4, rows: 4, ...(o.tokens ? { tokens: Number(o.tokens) } : {}), ...grid },
  };
  const file = join(out, `${name}.json`);
  writeFileSync(file, JSON.stringify(config, null, 2));
  const { status } = spawnSync(process.execPath, [cli, "tunnel", "run", file, "--threads", o.threads], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
  return readdirSync(join(out, name))
    .filter((n) => n.startsWith("point-"))
    .map((n) => JSON.parse(readFileSync(join(out, name, n), "utf8")));
}

let rate = Number(o.rate);
if (!o.rate) {
  const tried = sweep("rates", { width: [widths[0]], rate: numbers(o.rates) });
  ({ rate } = tried.reduce((a, b) => (b.loss < a.loss ? b : a)));
  console.log(`rates at width ${widths[0]}: ${tried.map((r) => `${r.rate}: ${r.loss.toFixed(4)}`).join(", ")}; taken: ${rate}`);
}
sweep("sizes", { width: widths, rate: [rate], seed: Array.from({ length: Number(o.seeds) }, (_, i) => i + 1) });
for (const law of ["power,floor", "floor"]) {
  console.log(`\n--law ${law}`);
  const { status } = spawnSync(process.execPath, [cli, "tunnel", "fit", join(out, "sizes"), "--law", law], { stdio: "inherit" });
  process.exitCode ||= status ?? 1;
}
