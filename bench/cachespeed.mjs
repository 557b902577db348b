// Decoding deep in a context by the type of the KV cache, engines and types in turns: milliseconds of a token, medians, and ratios.
//   node bench/cachespeed.mjs MODEL [--length 8000] [--threads 2] [--rounds 15] [--steps 2] [--cells f16,q8,f16-sparse,q8-sparse,...]
//     [--peers f16,q8_0] [--wait FILE] [--processor]
// A cell is a type, with -sparse or -turbo, and @LENGTH where it has its own. Our contexts are made up (lib/session.mjs); llama.cpp computes its own, which takes minutes.
// --wait: the turns begin when the file is there. --processor: processor time instead, for one thread on a machine that others use.
import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";
import { processorTime } from "./lib/measure.mjs";
import { median } from "./lib/report.mjs";
import { madeUp } from "./lib/session.mjs";

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    length: { type: "string", default: "8000" },
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "15" },
    steps: { type: "string", default: "2" },
    cells: { type: "string", default: "f16,q8,f16-sparse,q8-sparse,f16-turbo,q8-turbo" },
    peers: { type: "string", default: "f16,q8_0" },
    wait: { type: "string" },
    processor: { type: "boolean", default: false },
  },
});
const [length, threads, rounds, steps] = [o.length, o.threads, o.rounds, o.steps].map(Number);
const clock = () => (o.processor ? processorTime() : performance.now());
const list = (text) => text.split(",").filter(Boolean);

const peers = await Promise.all(
  list(o.peers).map(async (kv) => {
    const child = fork(
      fileURLToPath(new URL("lib/turns.mjs", import.meta.url)),
      [positionals[0], kv, length, threads].map(String),
    );
    await once(child, "message");
    const turn = async () => {
      child.send({ steps });
      const [{ ms, processorMs }] = await once(child, "message");
      return o.processor ? processorMs : ms;
    };
    return { name: `llama.cpp, ${kv}`, turn, close: () => child.kill() };
  }),
);
const ours = [];
for (const cell of list(o.cells)) {
  const [how, own = o.length] = cell.split("@");
  const [kvType, ...options] = how.split("-");
  const filled = Number(own);
  const contextSize = filled + (2 * rounds + 4) * steps + 128;
  const sparse = options.includes("sparse") ? { denseLen: 1024 } : false;
  const model = await load(positionals[0], {
    threads,
    kvType,
    contextSize,
    sparse,
    turbo: options.includes("turbo"),
    draft: false,
  });
  const short = await model.session({ contextSize: 128 });
  await short.forward(
    Array.from({ length: 128 }, (_, i) => 300 + i),
    { logits: "none" },
  );
  const session = await model.restore(madeUp(await short.save(), filled, contextSize, model.info.config, kvType));
  await short.dispose();
  for (let i = 0; i < 2 * steps; i++) await session.forward([5 + i]);
  const turn = async () => {
    const begun = clock();
    for (let i = 0; i < steps; i++) await session.forward([5 + i]);
    return (clock() - begun) / steps;
  };
  ours.push({ name: `cpm-wasm, ${cell}`, turn, close: () => model.dispose() });
}
console.error("ready");
while (o.wait && !existsSync(o.wait)) await sleep(500);
const all = [...peers, ...ours].map((cell) => ({ ...cell, ms: [] }));
for (let round = 0; round < rounds; round++)
  for (const cell of round % 2 ? [...all].reverse() : all) {
    // A turn first that is not counted: llama.cpp's threads look for more work for a while after their own, and caches hold another's weights.
    await cell.turn();
    cell.ms.push(await cell.turn());
  }
console.log(`| engine, cache | ms a token | ${all.map(({ name }) => `over ${name}`).join(" | ")} |`);
console.log(`|---|---|${all.map(() => "---|").join("")}`);
// Ratios of the same round, of which the median.
const ratio = (a, b) => median(a.ms.map((ms, i) => ms / b.ms[i])).toFixed(2);
for (const cell of all)
  console.log(
    `| ${cell.name} | ${median(cell.ms).toFixed(1)} | ${all.map((other) => (other === cell ? "" : ratio(other, cell))).join(" | ")} |`,
  );
for (const cell of all) await cell.close();
process.exit(0);
