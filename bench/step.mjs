// What a step of several tokens costs: the whole forward pass and the logits of all its rows, as verifying a draft does.
//   node bench/step.mjs [--model FILE] [--threads 1,2] [--rows 1,2,3,4,6,8,16,32] [--samples 15] [--turbo] [--context 0]
// Sizes take turns in one process; medians of the better of two runs each. In brackets: against one row. Steps of few rows take all
// threads here; an engine takes one where that is clearly faster.
import { parseArgs } from "node:util";
import { assemble } from "../dist/engine/assemble.js";
import { causalRows } from "../dist/engine/forward.js";
import { pathFiles } from "../dist/host/node.files.js";
import { nodePlatform } from "../dist/host/node.platform.js";
import { median } from "./lib/report.mjs";
import { synthetic } from "./synthetic.mjs";

const { values: o } = parseArgs({
  options: {
    model: { type: "string" },
    threads: { type: "string", default: "1,2" },
    rows: { type: "string", default: "1,2,3,4,6,8,16,32" },
    samples: { type: "string", default: "15" },
    turbo: { type: "boolean", default: false },
    context: { type: "string", default: "0" },
  },
});
const numbers = (text) => text.split(",").map(Number);
const path = o.model ?? synthetic({ type: "q4_0" }).path;
const rows = numbers(o.rows);
const context = Number(o.context);
console.log(`| model | threads | code | ${rows.map((n) => `${n}`).join(" | ")} |`);
console.log(`|---|---|---|${rows.map(() => "---|").join("")}`);
for (const threads of numbers(o.threads)) {
  const draft = { lookup: "off", eagle: undefined, model: { depth: 1, width: 1, size: 64 }, adaptive: true, size: 64 };
  const options = { contextSize: context + 64, kvType: "f16", threads, variant: "auto", turbo: o.turbo, batchSize: 256, draft };
  const parts = await assemble(await nodePlatform("node").host(), await pathFiles(path), options, {}, undefined);
  const { stepper, sequences, plan } = parts;
  const sequence = sequences.get(sequences.open(context + 64));
  const step = async (n) => {
    stepper.prepare(
      causalRows(
        { at: sequence.at, tokens: { length: context } },
        Array.from({ length: n }, (_, i) => 5 + i),
        context + n,
      ),
    );
    const started = performance.now();
    stepper.phases(0, plan.layers.length, -1);
    await stepper.head(Array.from({ length: n }, (_, i) => i));
    return performance.now() - started;
  };
  const times = rows.map(() => []);
  for (let sample = -4; sample < Number(o.samples); sample++)
    for (const [i, n] of rows.entries()) {
      const ms = Math.min(await step(n), await step(n));
      if (sample >= 0) times[i].push(ms);
    }
  const ms = times.map(median);
  const cells = ms.map((t) => `${t.toFixed(1)} (${(t / ms[0]).toFixed(2)})`);
  console.log(`| ${parts.info.config.name} | ${threads} | ${o.turbo ? "turbo" : "plain"} | ${cells.join(" | ")} |`);
  await parts.endLanes();
}
process.exit(0);
