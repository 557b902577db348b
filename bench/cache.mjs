// What the type of the KV cache changes: KL of the next token's distribution against a cache of halves, over texts of the model's own.
//   node bench/cache.mjs MODEL... [--kv q8] [--against f16] [--texts 4] [--tokens 250] [--sparse off|on]
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kv: { type: "string", default: "q8" },
    against: { type: "string", default: "f16" },
    texts: { type: "string", default: "4" },
    tokens: { type: "string", default: "250" },
    sparse: { type: "string", default: "off" },
  },
});

/** log-softmax of row r. */
function logs(logits, vocab, r) {
  const row = logits.subarray(r * vocab, (r + 1) * vocab);
  let [most, sum] = [Number.NEGATIVE_INFINITY, 0];
  for (const x of row) if (x > most) most = x;
  for (const x of row) sum += Math.exp(x - most);
  return Float64Array.from(row, (x) => x - most - Math.log(sum));
}

console.log(`| model | tokens | mean KL(${o.against} ‖ ${o.kv}) | largest | same first token |`);
console.log("|---|---|---|---|---|");
for (const path of positionals) {
  const common = { contextSize: Number(o.tokens) + 8, draft: false, threads: 1, sparse: o.sparse === "on" };
  const [ours, other] = [await load(path, { ...common, kvType: o.against }), await load(path, { ...common, kvType: o.kv })];
  const { vocab } = ours.info.config;
  let [count, sum, largest, same] = [0, 0, 0, 0];
  for (let text = 0; text < Number(o.texts); text++) {
    // Of the model where its distribution is one of words; random models give noise, which serves as well.
    const tokens = [ours.tokenizer?.bos ?? 1];
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: text + 1, maxTokens: Number(o.tokens) - 1 };
    const stops = Object.fromEntries((ours.tokenizer?.stop ?? []).map((t) => [t, Number.NEGATIVE_INFINITY]));
    tokens.push(...(await ours.generate(tokens, { ...options, logitBias: stops })).tokens);
    const rows = [];
    for (const model of [ours, other]) {
      const session = await model.session();
      rows.push(await session.forward(tokens, { logits: "all" }));
      await session.dispose?.();
    }
    for (let r = 0; r < tokens.length; r++) {
      const [p, q] = rows.map((logits) => logs(logits, vocab, r));
      let kl = 0;
      for (let i = 0; i < vocab; i++) kl += Math.exp(p[i]) * (p[i] - q[i]);
      sum += kl;
      largest = Math.max(largest, kl);
      count++;
      const best = (x) => x.reduce((a, v, i) => (v > x[a] ? i : a), 0);
      if (best(p) === best(q)) same++;
    }
  }
  console.log(
    `| ${basename(path)} | ${count} | ${(sum / count).toExponential(2)} | ${largest.toExponential(2)} | ${((100 * same) / count).toFixed(1)} % |`,
  );
  await ours.dispose?.();
  await other.dispose?.();
}
