// Needle recall of sparse attention: phrases planted at eleven depths of 8k to 128k tokens. Of the needles that dense attention
// finds (half of its weight is on them), how many lie in a chosen block?
//   node bench/needle.mjs [--shapes 0.5B,8B] [--lengths 8192,…] [--phrases 1,4,16] [--kv f16]
import { parseArgs } from "node:util";
import { AttentionBench, SHAPES } from "./sparse.mjs";

const DEPTHS = 11;
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

/** Keys and values of unit variance in every slot. */
function haystack(bench) {
  const { headDim, kvHeads, kernels, memory, model, sequence } = bench;
  const at = (bench.pair ??= bench.take(8 * headDim));
  const pair = new Float32Array(memory.buffer, at, 2 * headDim);
  for (let slot = 0; slot < bench.length; slot++)
    for (let head = 0; head < kvHeads; head++) {
      for (let d = 0; d < pair.length; d++) pair[d] = normal();
      kernels.kv_store(model, sequence, 0, head, slot, at, at + 4 * headDim);
    }
}

/** Plants one phrase a depth; [found by dense attention, and by sparse attention too, and with its blocks chosen]. */
function recall(bench, phrase) {
  const { headDim, heads, kvHeads, kernels, memory, model, sequence, length } = bench;
  const group = heads / kvHeads;
  const signal = Math.log(length / phrase) + 0.5 + 0.7;
  const counts = { dense: 0, sparse: 0, chosen: 0 };
  for (let i = 0; i < DEPTHS; i++) {
    const at = Math.min(length - phrase - 1, Math.round((i / (DEPTHS - 1)) * length));
    const direction = Float32Array.from({ length: headDim }, normal);
    const norm = Math.hypot(...direction);
    const pair = new Float32Array(memory.buffer, bench.pair, 2 * headDim);
    const value = Float32Array.from({ length: headDim }, normal);
    const before = [];
    for (let slot = at; slot < at + phrase; slot++)
      for (let head = 0; head < kvHeads; head++) {
        before.push([head, slot]);
        for (let d = 0; d < headDim; d++) {
          pair[d] = (signal * direction[d]) / norm + 0.1 * normal();
          pair[headDim + d] = value[d];
        }
        kernels.kv_store(model, sequence, 0, head, slot, bench.pair, bench.pair + 4 * headDim);
      }
    bench.build();
    const q = new Float32Array(memory.buffer, bench.q, heads * headDim);
    for (let k = 0; k < q.length; k++) q[k] = direction[k % headDim] / norm;
    const along = (head) => {
      const out = new Float32Array(memory.buffer, bench.o + 4 * head * headDim, headDim);
      return out.reduce((sum, x, d) => sum + x * value[d], 0) / value.reduce((sum, x) => sum + x * x, 0);
    };
    bench.run(1, 0);
    const dense = Array.from({ length: kvHeads }, (_, h) => along(h * group) > 0.4);
    bench.run(1, length);
    for (let h = 0; h < kvHeads; h++) {
      if (!dense[h]) continue;
      counts.dense++;
      if (along(h * group) > 0.4) counts.sparse++;
      const words = kernels.choice_words(model, bench.batch, length);
      const [count, ...blocks] = new Int32Array(
        memory.buffer,
        kernels.choices(model, bench.batch, length) + 4 * h * words,
        words,
      );
      const chosen = new Set(blocks.slice(0, count));
      if (Array.from({ length: phrase }, (_, j) => (at + j) >> 6).every((b) => chosen.has(b))) counts.chosen++;
    }
    // The next needle must not meet this one.
    for (const [head, slot] of before) {
      for (let d = 0; d < pair.length; d++) pair[d] = normal();
      kernels.kv_store(model, sequence, 0, head, slot, bench.pair, bench.pair + 4 * headDim);
    }
  }
  return counts;
}

const { values } = parseArgs({
  options: {
    shapes: { type: "string", default: "0.5B,8B" },
    lengths: { type: "string", default: "8192,16384,32768,65536,131072" },
    phrases: { type: "string", default: "1,4,16" },
    kv: { type: "string", default: "f16" },
    coarse: { type: "boolean", default: false },
  },
});
console.log("| shape | KV | length | keys of a needle | found by dense attention | blocks chosen | found by sparse attention |");
console.log("|---|---|---|---|---|---|---|");
for (const name of values.shapes.split(","))
  for (const length of values.lengths.split(",").map(Number)) {
    const bench = await AttentionBench.open({
      shape: SHAPES[name],
      kv: values.kv,
      threads: 1,
      length,
      rows: 1,
      sparse: { exactLse: !values.coarse },
      build: "kernels",
    });
    haystack(bench);
    for (const phrase of values.phrases.split(",").map(Number)) {
      const { dense, sparse, chosen } = recall(bench, phrase);
      console.log(
        `| ${name} | ${values.kv} | ${length} | ${phrase} | ${dense} of ${DEPTHS * SHAPES[name].kvHeads} | ${chosen} | ${sparse} |`,
      );
    }
    await bench.close();
  }
