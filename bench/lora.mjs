// A GGUF adapter here and in native llama.cpp (through node-llama-cpp): the same greedy tokens, and unlike the base's.
//   node bench/lora.mjs [--model FILE] [--lora FILE] [--scales 1,0.5,-1] [--tokens 60]
// Without --lora an adapter of random weights for all linears is written to a temporary folder. Ends with "N passed, N failed".
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { load } from "../dist/host/node.js";
import { aligned, ggufHeader } from "./lib/gguf.mjs";
import { generator } from "./lib/random.mjs";

const shared = fileURLToPath(new URL("../../shared/models/stories-f16.gguf", import.meta.url));
const { values } = parseArgs({
  options: {
    model: { type: "string", default: shared },
    lora: { type: "string" },
    scales: { type: "string", default: "1,0.5,-1" },
    tokens: { type: "string", default: "60" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "cpm-lora-"));
const prompts = ["Once upon a time", "Lily and Tom went to the", "The big red dog"];
const count = Number(values.tokens);

/** Rank 8 for the linears of a model of this shape, with weights large enough to be seen. */
function randomAdapter({ architecture, layers, hidden, intermediate, heads, kvHeads, headDim }) {
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const linears = {
    attn_q: [hidden, q],
    attn_k: [hidden, kv],
    attn_v: [hidden, kv],
    attn_output: [q, hidden],
    ffn_gate: [hidden, intermediate],
    ffn_up: [hidden, intermediate],
    ffn_down: [intermediate, hidden],
  };
  const random = generator(17);
  const floats = (length, width) => {
    const words = new Uint32Array(length);
    random.fill(words);
    return Float32Array.from(words, (word) => (word / 2 ** 32 - 0.5) * width);
  };
  const rank = 8;
  const tensors = Array.from({ length: layers }, (_, i) =>
    Object.entries(linears).flatMap(([name, [inputs, outputs]]) => [
      { name: `blk.${i}.${name}.weight.lora_a`, dims: [inputs, rank], values: floats(rank * inputs, 2 / Math.sqrt(inputs)) },
      { name: `blk.${i}.${name}.weight.lora_b`, dims: [rank, outputs], values: floats(rank * outputs, 0.25) },
    ]),
  ).flat();
  const header = ggufHeader(
    [
      ["general.architecture", "string", architecture],
      ["general.type", "string", "adapter"],
      ["adapter.type", "string", "lora"],
      ["adapter.lora.alpha", "f32", 16],
    ],
    { count: 0, bytes: new Uint8Array(0) },
    tensors.map(({ name, dims, values: own }) => ({ name, dims, id: 0, bytes: own.byteLength })),
  );
  const parts = [header];
  for (const { values: own } of tensors)
    parts.push(new Uint8Array(own.buffer), new Uint8Array(aligned(own.byteLength) - own.byteLength));
  const path = join(folder, "random.gguf");
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

let [passed, failed] = [0, 0];
const check = (what, good, more = "") => {
  if (good) passed++;
  else failed++;
  console.log(`${good ? "ok" : "FAILED"}  ${what}${more}`);
};

try {
  const base = await load(values.model, { threads: 1, contextSize: 256 });
  const path = values.lora ?? randomAdapter(base.info.config);
  const ids = prompts.map((prompt) => [...base.tokenizer.encode(prompt)]);
  const own = async (model, lora) =>
    Promise.all(
      ids.map(async (list) => (await model.generate(list, { temperature: 0, maxTokens: count, lora, draft: false })).tokens),
    );
  const plain = await own(base);
  await base.dispose();
  const model = await load(values.model, { threads: 1, contextSize: 256, lora: [{ path, name: "adapter" }] });

  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, maxThreads: 1, logLevel: LlamaLogLevel.error });
  const native = await llama.loadModel({ modelPath: values.model, gpuLayers: 0 });
  const theirs = async (scale) => {
    const lora = scale === 0 ? undefined : { adapters: [{ filePath: path, scale }] };
    const context = await native.createContext({ contextSize: 256, batchSize: 256, threads: 1, sequences: 1, lora });
    const sequence = context.getSequence();
    const all = [];
    for (const [i, list] of ids.entries()) {
      await sequence.clearHistory();
      const tokens = [];
      for await (const token of sequence.evaluate(list, { temperature: 0 })) if (tokens.push(token) === plain[i].length) break;
      all.push(tokens);
    }
    await context.dispose();
    return all;
  };
  for (const scale of [0, ...values.scales.split(",").map(Number)]) {
    const mine = scale === 0 ? plain : await own(model, [{ name: "adapter", scale }]);
    const other = await theirs(scale);
    for (const [i, prompt] of prompts.entries()) {
      // A text may end earlier on one side only where it differs.
      const length = Math.min(mine[i].length, other[i].length);
      const same = mine[i].slice(0, length).findIndex((token, at) => token !== other[i][at]);
      check(
        `scale ${scale}, "${prompt}": ${length} greedy tokens as llama.cpp's`,
        same < 0,
        same < 0 ? "" : `: differ at ${same}`,
      );
      if (scale !== 0) check(`scale ${scale}, "${prompt}": unlike the base's`, mine[i].join() !== plain[i].join());
    }
  }
  await model.dispose();
  await llama.dispose();
} catch (error) {
  check(String(error?.stack ?? error), false);
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
