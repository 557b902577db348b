// Decoding and prefilling deep in a long context, end to end, sparse beside dense: node bench/long.mjs MODEL.gguf
//   [--lengths 32768,131072] [--threads 2] [--kv f16] [--decode 16] [--prefill 256] [--sparse '{"topk":64}'] [--rope-factors …]
// The context is not computed, which would take hours: a saved session of random keys and values is made up and restored.
// What attention costs does not depend on what they are.
import { parseArgs } from "node:util";
import { load } from "../dist/host/node.js";

const HEADER_BYTES = 32;
const CHECKSUM_WORD = 5;

/** A saved session of `length` tokens, in the form of `saved` (which holds at least 32). */
function madeUp(saved, length, contextSize, { layers, kvHeads, headDim, vocab }, kvType) {
  const tile = kvType === "q8" ? Math.ceil(headDim / 4) * 128 + 128 : headDim * 32 * (kvType === "f32" ? 4 : 2);
  const bytes = new Uint8Array(HEADER_BYTES + 4 * length + layers * kvHeads * 2 * (length / 32) * tile);
  bytes.set(saved.subarray(0, HEADER_BYTES));
  const words = new Int32Array(bytes.buffer);
  words[3] = contextSize;
  for (let i = 0; i < length; i++) words[HEADER_BYTES / 4 + i] = (i * 7919) % Math.min(vocab, 4096);
  // Real tiles of the saved session, in another order each time.
  const real = saved.subarray(HEADER_BYTES + 4 * words[4]);
  words[4] = length;
  const tiles = real.length / tile;
  for (let at = HEADER_BYTES + 4 * length, i = 0; at < bytes.length; at += tile, i++)
    bytes.set(real.subarray(((i * 31) % tiles) * tile, (((i * 31) % tiles) + 1) * tile), at);
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < words.length; i++) if (i !== CHECKSUM_WORD) hash = Math.imul(hash ^ words[i], 0x01000193);
  words[CHECKSUM_WORD] = hash;
  return bytes;
}

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
