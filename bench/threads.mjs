// What a second thread brings, on an idle machine and with one core busy elsewhere (a process that only computes).
//   node bench/threads.mjs [--model FILE] [--turbo] [--prompt 512] [--decode 64] [--rounds 5]
// Every cell is a process of its own (Node 26); rounds visit all cells, odd ones backwards; medians.
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runOne } from "./lib/processes.mjs";
import { median } from "./lib/report.mjs";
import { synthetic } from "./synthetic.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values: o } = parseArgs({
  options: {
    model: { type: "string" },
    turbo: { type: "boolean", default: false },
    prompt: { type: "string", default: "512" },
    decode: { type: "string", default: "64" },
    rounds: { type: "string", default: "5" },
  },
});
const model = o.model ?? synthetic({ type: "q4_0" }).path;
const node26 = join(here, "../test/runtimes/node_modules/node/bin/node");
const cores = availableParallelism();
const cells = [false, true].flatMap((busy) => [1, cores].map((threads) => ({ busy, threads, prefill: [], decode: [] })));

async function measure({ busy, threads }) {
  const other = busy ? spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }) : undefined;
  try {
    const lengths = ["--prompt", o.prompt, "--decode", o.decode, "--repetitions", "1", "--threads", String(threads)];
    return await runOne(node26, [join(here, "ours.mjs"), model, ...lengths, ...(o.turbo ? ["--turbo"] : [])]);
  } finally {
    other?.kill("SIGKILL");
  }
}

for (let round = 0; round < Number(o.rounds); round++)
  for (const cell of round % 2 ? [...cells].reverse() : cells) {
    const result = await measure(cell);
    if (result.error) throw new Error(result.error);
    cell.prefill.push(...result.prefillTokensPerSecond);
    cell.decode.push(...result.decodeTokensPerSecond);
  }

console.log("| other work | threads | prefill, tokens/s | of one thread | decode, tokens/s | of one thread |");
console.log("|---|---|---|---|---|---|");
for (const cell of cells) {
  const one = cells.find((c) => c.busy === cell.busy && c.threads === 1);
  const columns = ["prefill", "decode"].flatMap((what) => {
    const value = median(cell[what]);
    return [value.toPrecision(3), (value / median(one[what])).toFixed(2)];
  });
  console.log(`| ${cell.busy ? "one core" : "none"} | ${cell.threads} | ${columns.join(" | ")} |`);
}
