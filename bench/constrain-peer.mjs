// Constraints over MaskBench beside Hugging Face's own JavaScript engine (@huggingface/transformers-structured-output), in one run.
//   node bench/constrain-peer.mjs [--every 4] [--passes 2]     needs ../shared/suites/maskbench and ../shared/data/minicpm4 beside the repository,
//                                                  npm ci in bench/, and the packages of test/ (esbuild)
// Each schema is compiled by both, then each instance is taken token by token by both: mask, look, commit. The peer's engine is bundled
// from the sources in its package, for its only entry imports all of transformers.js. The last of --passes is told.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { compileConstraint } from "../dist/constrain/compile.js";
import { Automaton, DEAD } from "../dist/decode/constrain.js";
import { loadTokenizer } from "../dist/host/node.js";
import { pieceTable } from "../dist/text/pieces.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const { values } = parseArgs({ options: { every: { type: "string", default: "4" }, passes: { type: "string", default: "2" } } });
const shared = (name) => new URL(`../../shared/${name}`, import.meta.url);

const { build } = createRequire(join(here, "../test/package.json"))("esbuild");
const folder = mkdtempSync(join(tmpdir(), "cpm-peer-"));
writeFileSync(join(folder, "package.json"), '{"type":"module"}');
const outfile = join(folder, "peer.js");
await build({
  entryPoints: [join(here, "node_modules/@huggingface/transformers-structured-output/src/engine/index.ts")],
  outfile,
  bundle: true,
  format: "esm",
  logLevel: "error",
});
const { createTokenConstraint, prepareTokenizer } = await import(outfile);
rmSync(folder, { recursive: true });

const tokenizer = await loadTokenizer(shared("data/minicpm4/minicpm4-vocab.gguf"));
const table = pieceTable(tokenizer.data);
const automaton = await Automaton.create(
  await WebAssembly.compile(readFileSync(new URL("../wasm/constrain.wasm", import.meta.url))),
  table,
  tokenizer.stop,
);
const special = [...table.special.keys()].filter((id) => table.special[id] & 1);
const theirs = {
  tokens: Array.from(table.special, (_, id) => table.bytes.slice(table.offsets[id], table.offsets[id + 1])),
  eosTokenId: tokenizer.stop[0],
  specialTokenIds: special,
};
let began = performance.now();
prepareTokenizer(theirs);
console.log(`the peer prepares the vocabulary in ${(performance.now() - began).toFixed(0)} ms`);

const rows = gunzipSync(readFileSync(shared("suites/maskbench/maskbench.jsonl.gz")))
  .toString()
  .trim()
  .split("\n")
  .map(JSON.parse)
  .filter((_, i) => i % Number(values.every) === 0);
const bit = (mask, id) => (mask[id >> 5] >>> (id & 31)) & 1;

const engines = {
  "cpm-wasm": (schema) => {
    automaton.load(compileConstraint({ schema }).machine);
    return (ids, masks) => {
      let state = automaton.start(true);
      for (const id of ids) {
        const start = performance.now();
        const mask = automaton.mask(state);
        masks.push(1000 * (performance.now() - start));
        if (!bit(mask, id)) return false;
        state = automaton.advance(state, id);
        if (state === DEAD) return false;
      }
      return automaton.accepting(state);
    };
  },
  peer: (schema) => {
    const format = { type: "json_schema", json_schema: schema };
    createTokenConstraint(theirs, format);
    const target = new Uint32Array(Math.ceil(theirs.tokens.length / 32));
    return (ids, masks) => {
      const constraint = createTokenConstraint(theirs, format);
      for (const id of ids) {
        const start = performance.now();
        const some = constraint.fillMask(target);
        masks.push(1000 * (performance.now() - start));
        if (!some || !bit(target, id)) return false;
        constraint.commit(id);
      }
      return constraint.fillMask(target) && bit(target, theirs.eosTokenId) === 1;
    };
  },
};

/** Milliseconds that the instances of one schema may take. */
const LONGEST_MS = 5000;
const results = Object.fromEntries(Object.keys(engines).map((name) => [name, undefined]));
for (let pass = 0; pass < Number(values.passes); pass++) {
  for (const name of Object.keys(engines))
    results[name] = {
      compile: [],
      masks: [],
      schemas: 0,
      refused: 0,
      "given up": 0,
      pass: 0,
      "wrong acceptances": 0,
      "wrong refusals": 0,
    };
  for (const { schema, tests } of rows)
    for (const [name, engine] of Object.entries(engines)) {
      const result = results[name];
      began = performance.now();
      let takes;
      try {
        takes = engine(schema);
      } catch {
        result.refused++;
        continue;
      }
      result.compile.push(performance.now() - began);
      result.schemas++;
      for (const { valid, data } of tests) {
        // What takes minutes would hide all else.
        if (performance.now() - began > LONGEST_MS) {
          result["given up"]++;
          break;
        }
        const ids = tokenizer.encode(JSON.stringify(data), { bos: false, eos: false, special: false });
        const taken = takes(ids, result.masks);
        if (taken === valid) result.pass++;
        else result[taken ? "wrong acceptances" : "wrong refusals"]++;
      }
    }
}

for (const [name, { compile, masks, ...counts }] of Object.entries(results)) {
  const told = (list) => {
    const sorted = list.sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(2);
    return `mean ${(sorted.reduce((sum, x) => sum + x, 0) / sorted.length).toFixed(2)}, p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)}`;
  };
  console.log(`${name}: ${JSON.stringify(counts)}`);
  console.log(`  compiling, ms: ${told(compile)}`);
  console.log(`  masks (${masks.length}), µs: ${told(masks)}`);
}
