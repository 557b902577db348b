// Decoding and prefill by length of the context, ours beside llama.cpp (its own choice of instructions, and its AVX-512 and AVX2 libraries).
//   node bench/contexts.mjs [--model FILE] [--contexts 8,512,8000] [--threads 1,2] [--decode 32] [--rounds 3] [--long 2000]
// Every cell is a process of its own; a round visits all of a length, odd ones backwards; medians. From --long tokens on there is one
// round, with the most threads alone: llama.cpp takes minutes there. Ratios are ours over llama.cpp's.
// --engines NAME;...: only these.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { libraryArguments } from "./lib/libraries.mjs";
import { runOne } from "./lib/processes.mjs";
import { median } from "./lib/report.mjs";
import { synthetic } from "./synthetic.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values: o } = parseArgs({
  options: {
    model: { type: "string" },
    contexts: { type: "string", default: "8,512,8000" },
    threads: { type: "string", default: "1,2" },
    decode: { type: "string", default: "32" },
    rounds: { type: "string", default: "3" },
    long: { type: "string", default: "2000" },
    engines: { type: "string" },
  },
});
const model = o.model ?? synthetic({ type: "q4_0" }).path;
const node26 = join(here, "../test/runtimes/node_modules/node/bin/node");
const all = {
  "llama.cpp": [process.execPath, join(here, "llama.mjs")],
  ...Object.fromEntries(
    ["AVX-512", "AVX2"].flatMap((name) => {
      const args = libraryArguments(name);
      return args ? [[`llama.cpp, ${name}`, [process.execPath, ...args]]] : [];
    }),
  ),
  "cpm-wasm": [node26, join(here, "ours.mjs")],
  "cpm-wasm, turbo": [node26, join(here, "ours.mjs"), "--turbo"],
};
const chosen = o.engines?.split(";");
const engines = Object.fromEntries(Object.entries(all).filter(([name]) => !chosen || chosen.includes(name)));
const numbers = (text) => text.split(",").map(Number);
const digits = (v) => (Number.isFinite(v) ? v.toPrecision(3) : "–");

console.log("| context | threads | engine | decode, tokens/s | ratios | prefill, tokens/s | ratios |");
console.log("|---|---|---|---|---|---|---|");
for (const context of numbers(o.contexts)) {
  const long = context >= Number(o.long);
  for (const threads of long ? [Math.max(...numbers(o.threads))] : numbers(o.threads)) {
    const cells = Object.entries(engines).map(([name, command]) => ({ name, command, decode: [], prefill: [] }));
    for (let round = 0; round < (long ? 1 : Number(o.rounds)); round++)
      for (const cell of round % 2 ? [...cells].reverse() : cells) {
        const [command, ...before] = cell.command;
        const lengths = ["--prompt", context, "--decode", o.decode, "--repetitions", 1, "--threads", threads].map(String);
        const result = await runOne(command, [...before, model, ...lengths], { timeout: 500_000 });
        if (result.error) {
          console.error(`${cell.name}: ${result.error}`);
          continue;
        }
        cell.decode.push(...result.decodeTokensPerSecond);
        cell.prefill.push(...result.prefillTokensPerSecond);
      }
    const peers = cells.filter((cell) => cell.name.startsWith("llama"));
    for (const cell of cells) {
      const ratios = (what) =>
        peers.includes(cell) ? "" : peers.map((peer) => digits(median(cell[what]) / median(peer[what]))).join(", ");
      const prefill = context >= 64 ? [digits(median(cell.prefill)), ratios("prefill")] : ["", ""];
      console.log(
        `| ${context} | ${threads} | ${cell.name} | ${digits(median(cell.decode))} | ${ratios("decode")} | ${prefill.join(" | ")} |`,
      );
    }
  }
}
