// Decoding and prefilling deep in a long context, end to end, sparse beside dense: node bench/long.mjs MODEL.gguf
//   [--lengths 32768,131072] [--threads 2] [--kv f16] [--decode 16] [--prefill 256] [--sparse '{"topk":64}'] [--rope-factors …]
// The context is not computed, which would take hours: a saved session of random keys and values is made up and restored.
// What attention costs does not depend on what they are.
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";
import { madeUp } from "./lib/session.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    lengths: { type: "string", default: "32768,131072" },
    threads: { type: "string", default: "2" },
    kv: { type: "string", default: "f16" },
    decode: { type: "string", default: "16" },
    prefill: { type: "string", default: "256" },
    sparse: { type: "string", default: "true" },
    "rope-factors": { type: "string" },
  },
});
console.log(
  "| attention | KV | threads | context | decode, tokens/s | prefill, tokens/s | memory, GiB | longest wait for an abort, ms |",
);
console.log("|---|---|---|---|---|---|---|---|");
for (const length of values.lengths.split(",").map(Number))
  for (const sparse of [JSON.parse(values.sparse), false]) {
    const extra = Number(values.decode) + 2 * Number(values.prefill) + 64;
    const model = await load(positionals[0], {
      threads: Number(values.threads),
      kvType: values.kv,
      contextSize: length + extra,
      sparse,
      ...(values["rope-factors"] ? { ropeFactors: values["rope-factors"] } : {}),
    });
    const short = await model.session({ contextSize: 128 });
    await short.forward(
      Array.from({ length: 128 }, (_, i) => 300 + i),
      { logits: "none" },
    );
    const saved = await short.save();
    const session = await model.restore(madeUp(saved, length, length + extra, model.info.config, values.kv));
    await short.dispose();
    await session.forward([5], { logits: "none" });
    let at = performance.now();
    for (let i = 0; i < Number(values.decode); i++) await session.forward([5 + i]);
    const decode = (1000 * Number(values.decode)) / (performance.now() - at);
    const chunk = Array.from({ length: Number(values.prefill) }, (_, i) => 100 + i);
    at = performance.now();
    await session.forward(chunk, { logits: "none" });
    const prefill = (1000 * chunk.length) / (performance.now() - at);
    // Aborts at odd moments of another prefill.
    let longest = 0;
    for (let i = 0; i < 5; i++) {
      const abort = new AbortController();
      const running = session.forward(chunk, { logits: "none", signal: abort.signal });
      await new Promise((resolve) => setTimeout(resolve, 150 + 37 * i));
      const asked = performance.now();
      abort.abort();
      await running.catch(() => {});
      await session.tokens();
      longest = Math.max(longest, performance.now() - asked);
    }
    const { memory } = model.info;
    const f = (x) => x.toPrecision(3);
    console.log(
      `| ${sparse ? "sparse" : "dense"} | ${values.kv} | ${values.threads} | ${length} | ${f(decode)} | ${f(prefill)} | ${f(memory.total / 2 ** 30)} | ${f(longest)} |`,
    );
    await model.dispose();
  }
