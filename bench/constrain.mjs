// Constrained decoding: what compiling and masks cost over MaskBench's schemas, with the vocabulary of MiniCPM4.
//   node bench/constrain.mjs [passes]     needs ../shared/suites/maskbench and ../shared/data/minicpm4 beside the repository
// Times are the least of the passes (default 3), so that they are those of optimised code; CPU time of compiling is told beside them.
import { readFileSync } from "node:fs";
import process from "node:process";
import { gunzipSync } from "node:zlib";
import { compileConstraint } from "../dist/constrain/compile.js";
import { Automaton } from "../dist/decode/constrain.js";
import { loadTokenizer } from "../dist/host/node.js";
import { pieceTable } from "../dist/text/pieces.js";

const shared = (name) => new URL(`../../shared/${name}`, import.meta.url);
const passes = Number(process.argv[2] ?? 3);
const tokenizer = await loadTokenizer(shared("data/minicpm4/minicpm4-vocab.gguf"));
const module = await WebAssembly.compile(readFileSync(new URL("../wasm/constrain.wasm", import.meta.url)));
let started = performance.now();
const automaton = await Automaton.create(module, pieceTable(tokenizer.data), tokenizer.stop);
console.log(`vocabulary of ${tokenizer.size} tokens built in ${(performance.now() - started).toFixed(0)} ms`);

const rows = gunzipSync(readFileSync(shared("suites/maskbench/maskbench.jsonl.gz")))
  .toString()
  .trim()
  .split("\n")
  .map(JSON.parse);
for (const row of rows)
  row.ids = row.tests
    .filter((t) => t.valid)
    .map((t) => tokenizer.encode(JSON.stringify(t.data), { bos: false, eos: false, special: false }));
const compile = [];
const cpu = [];
const masks = [];
for (let pass = 0; pass < passes; pass++)
  rows.forEach((row, i) => {
    const before = process.cpuUsage();
    started = performance.now();
    try {
      automaton.load(compileConstraint({ schema: row.schema }).machine);
    } catch (error) {
      if (!error.code) throw error;
      return;
    }
    compile[i] = Math.min(compile[i] ?? Infinity, performance.now() - started);
    const { user, system } = process.cpuUsage(before);
    cpu[i] = Math.min(cpu[i] ?? Infinity, (user + system) / 1000);
    const times = (masks[i] ??= []);
    let at = 0;
    for (const ids of row.ids) {
      let state = automaton.start(true);
      for (const id of ids) {
        started = performance.now();
        automaton.mask(state);
        times[at] = Math.min(times[at] ?? Infinity, 1000 * (performance.now() - started));
        at++;
        state = automaton.advance(state, id);
        if (!state) break;
      }
    }
  });

function told(what, values, unit) {
  const sorted = values
    .flat()
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(2);
  const mean = (sorted.reduce((sum, x) => sum + x, 0) / sorted.length).toFixed(2);
  console.log(`${what} (${sorted.length}), ${unit}: mean ${mean}, p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, max ${at(1)}`);
}
told("compiling, clock", compile, "ms");
told("compiling, CPU", cpu, "ms");
told("masks", masks, "µs");
