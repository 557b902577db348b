// Decoding by engines in turns, each a process of its own: milliseconds of a token, medians, and ratios within a round, which are what stays
// where a machine's memory is shared with others. "reads": what WebAssembly takes to read the bytes that a token needs.
//   node bench/turns.mjs MODEL [--threads 2] [--context 512] [--rounds 15] [--steps 4] [--processor]
//     [--engines reads,relaxed,turbo,base,llama,llama-avx512,llama-avx2,relaxed=DIST,...]
// --context 0: prompts of --steps tokens instead, 1,024 at most, from an empty context; no "reads", which are a token's.
// --processor: by processor time, for one thread of a machine that others use.
// NAME=DIST is another build of the package, of which DIST is the dist/.
import { fork } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { libraryArguments } from "./lib/libraries.mjs";
import { median } from "./lib/report.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "2" },
    context: { type: "string", default: "512" },
    rounds: { type: "string", default: "15" },
    steps: { type: "string", default: "4" },
    processor: { type: "boolean", default: false },
    engines: { type: "string" },
  },
});
const [path] = positionals;
const [rounds, steps] = [Number(o.rounds), Number(o.steps)];
const engines = o.engines ?? `${o.context === "0" ? "" : "reads,"}relaxed,turbo,llama,llama-avx2`;
if (o.context === "0" && steps > 1024) throw new Error("--context 0: contexts hold prompts of 1,024 tokens; give fewer --steps");

/** Bytes that a token reads: of the weights as they are packed, and of keys and values. */
async function bytesOfToken() {
  const { load } = await import("../dist/host/node.js");
  const model = await load(path, { threads: 1, contextSize: 64, draft: false });
  const { packed, config } = model.info;
  const { layers, kvHeads, headDim, traits } = config;
  await model.dispose();
  const kept = (layer) => (traits?.layerKinds?.[layer]?.window ? Math.min(traits.window, Number(o.context)) : Number(o.context));
  const cached = Array.from({ length: layers }, (_, i) => kept(i) * kvHeads * headDim * 4).reduce((a, b) => a + b, 0);
  return Object.values(packed).reduce((a, b) => a + b, 0) + cached;
}

const llama = join(here, "lib/turns.mjs");
const library = (name) => {
  const [...flags] = libraryArguments(name);
  const folder = dirname(flags.pop());
  return fork(join(folder, "lib/turns.mjs"), [path, "f16", o.context, o.threads], { execArgv: flags });
};
const commands = {
  reads: async () => fork(join(here, "lib/readturns.mjs"), [await bytesOfToken(), o.threads].map(String)),
  llama: () => fork(llama, [path, "f16", o.context, o.threads]),
  "llama-avx512": () => library("AVX-512"),
  "llama-avx2": () => library("AVX2"),
};
const cells = [];
for (const name of engines.split(",")) {
  const [build, dist = join(here, "../dist")] = name.split("=");
  const child = commands[name]
    ? await commands[name]()
    : fork(join(here, "lib/ownturns.mjs"), [path, dist, o.context, o.threads, build]);
  child.on("exit", (code) => code && process.exit(code));
  await once(child, "message");
  const turn = async () => {
    child.send({ steps });
    const [{ ms, processorMs }] = await once(child, "message");
    return o.processor ? processorMs : ms;
  };
  cells.push({ name, turn, child, ms: [] });
}
for (let round = 0; round < rounds; round++)
  for (const cell of round % 2 ? [...cells].reverse() : cells) {
    // A turn first that is not counted: llama.cpp's threads look for more work for a while after their own, and caches hold another's weights.
    if (o.context !== "0") await cell.turn();
    cell.ms.push(await cell.turn());
  }
const ratio = (a, b) => median(a.ms.map((ms, i) => ms / b.ms[i])).toFixed(2);
console.log(
  `| ${o.threads} threads, ${o.context === "0" ? `prompts of ${steps} tokens` : `after ${o.context} tokens`} | ms a token | ${cells.map(({ name }) => `over ${name}`).join(" | ")} |`,
);
console.log(`|---|---|${cells.map(() => "---|").join("")}`);
for (const cell of cells)
  console.log(
    `| ${cell.name} | ${median(cell.ms).toFixed(1)} (${Math.min(...cell.ms).toFixed(1)} to ${Math.max(...cell.ms).toFixed(1)}) | ${cells.map((other) => (other === cell ? "" : ratio(other, cell))).join(" | ")} |`,
  );
for (const { child } of cells) child.kill();
process.exit(0);
