// Masks against trying every token, in every runtime: some 10,000 states of random texts over three vocabularies, the same bits everywhere.
//   node test/constrain/everywhere.mjs         needs the packages of test/ and test/runtimes/, and chromium
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install } from "../run.mjs";
import { answerOf, domOf } from "../support/shipped.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
install(join(root, "test"));
install(join(root, "test/runtimes"));
const { build } = createRequire(join(root, "test/package.json"))("esbuild");
const folder = mkdtempSync(join(tmpdir(), "cpm-masks-"));

const source = (wasm) => `
${wasm}
import model from ${JSON.stringify(join(root, "models/stories-q4_0.gguf"))};
import { compare, grammars } from ${JSON.stringify(join(root, "test/constrain/states.ts"))};
import { tiny } from ${JSON.stringify(join(root, "test/constrain/vocabulary.ts"))};
import { byteLevel } from ${JSON.stringify(join(root, "test/constrain/bytelevel.ts"))};
import { Automaton } from ${JSON.stringify(join(root, "src/decode/constrain.ts"))};
import { memoryFiles } from ${JSON.stringify(join(root, "src/file/bytes.ts"))};
import { readTokenizer } from ${JSON.stringify(join(root, "src/model/read.ts"))};
import { pieceTable } from ${JSON.stringify(join(root, "src/text/pieces.ts"))};

export async function bits() {
  const { tokenizer } = await readTokenizer(memoryFiles("m.gguf", { "m.gguf": model }));
  const sentencePiece = { table: pieceTable(tokenizer), stop: tokenizer.stop };
  let h = 0, states = 0;
  const see = (mask) => {
    for (const word of mask) h = (Math.imul(h ^ word, 0x01000193) + 0x9e3779b9) | 0;
  };
  for (const [vocabulary, most] of [[tiny, 1000], [sentencePiece, 130], [byteLevel(), 130]]) {
    const automaton = await Automaton.create(await module(), vocabulary.table, vocabulary.stop);
    for (const make of Object.values(grammars)) states += compare(automaton, vocabulary, make(), most, 7, see);
  }
  return states + " states " + (h >>> 0).toString(16);
}
`;
const bytes = (name) => join(root, "wasm", name);
const compiled = `import wasm from ${JSON.stringify(bytes("constrain.wasm"))};\nconst module = () => WebAssembly.compile(wasm);`;
async function bundle(name, text, options = {}) {
  const file = join(folder, `${name}.entry.mjs`);
  writeFileSync(file, text);
  const outfile = join(folder, `${name}.js`);
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "error",
    loader: { ".gguf": "binary", ".wasm": "binary" },
    ...options,
  });
  return outfile;
}

const results = {};
const script = await bundle("script", `${source(compiled)}console.log("bits: " + (await bits()));`);
const bin = (name) => join(root, "test/runtimes/node_modules", name);
const programs = {
  "this Node": [process.execPath],
  "Node 26": [bin("node/bin/node")],
  Deno: [bin(".bin/deno"), "run", "--no-prompt", "--no-lock"],
  Bun: [bin(".bin/bun")],
};
const found = (text) => /bits: (.*)/.exec(text)?.[1] ?? `nothing: ${text.slice(0, 2000)}`;
for (const [name, [command, ...args]] of Object.entries(programs)) {
  try {
    results[name] = found(execFileSync(command, [...args, script], { encoding: "utf8", timeout: 600_000 }));
  } catch (error) {
    results[name] = `failed: ${error.message.slice(0, 2000)}`;
  }
}
const page = await bundle(
  "page",
  `${source(compiled)}bits().then((found) => (document.body.textContent = "bits: " + found + "."), (error) => (document.body.textContent = error.stack));`,
  { format: "iife" },
);
const dom = domOf(folder, readFileSync(page, "utf8"), 600_000);
results.Chromium = /bits: ([^.<]+)/.exec(dom)?.[1] ?? `nothing: ${dom.slice(0, 2000)}`;
await bundle(
  "worker",
  `${source(`import wasm from ${JSON.stringify(bytes("constrain.wasm"))};\nconst module = () => wasm;`)}export default { fetch: async () => new Response(await bits()) };`,
  { loader: { ".gguf": "binary", ".wasm": "copy" }, assetNames: "[name]" },
);
results.workerd = await answerOf(folder, "constrain.wasm");
rmSync(folder, { recursive: true, force: true, maxRetries: 5 });

const right = results["this Node"];
let failed = 0;
for (const [name, result] of Object.entries(results)) {
  const ok = /^\d{4,} states /.test(right) && result === right;
  if (!ok) failed++;
  console.log(`${ok ? "ok    " : "FAILED"} ${name}: ${result}`);
}
console.log(`\n${Object.keys(results).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
