// Published configurations of the models that this runtime is for, with weights that are all zeros and take no memory.
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelFiles } from "../../src/file/source.ts";
import { planModel } from "../../src/model/plan.ts";
import { readModel } from "../../src/model/read.ts";
import { chooseBuild } from "../../src/wasm/features.ts";
import { defaults, host } from "../support/engine.ts";
import { writeSentencePiece } from "../support/folder.ts";
import { shared } from "../support/golden.ts";
import { dims, pieces } from "../support/tiny.ts";
import { whereFile } from "../support/where.ts";

interface Published {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim?: number;
  readonly vocab_size: number;
}

/** The folder of a configuration: BF16 zeros of the shapes it says, and a tokenizer. */
function folderOf(path: string, tokenizer: Uint8Array, tied: boolean): ModelFiles {
  const config = readFileSync(path);
  const c = JSON.parse(config.toString()) as Published;
  const shape = {
    layers: c.num_hidden_layers,
    hidden: c.hidden_size,
    intermediate: c.intermediate_size,
    heads: c.num_attention_heads,
    kvHeads: c.num_key_value_heads,
    headDim: c.head_dim ?? c.hidden_size / c.num_attention_heads,
    vocab: c.vocab_size,
    tied,
  };
  let at = 0;
  const entries = [...dims(shape)].map(([name, size]) => [
    name,
    { dtype: "BF16", shape: size, data_offsets: [at, (at += 2 * size.reduce((a, b) => a * b, 1))] },
  ]);
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const head = new Uint8Array(8 + json.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(json.length), true);
  head.set(json, 8);
  const files = memoryFiles("", { "config.json": config, "tokenizer.model": tokenizer });
  const read = async (offset: number, length: number) => head.slice(offset, offset + length);
  return {
    ...files,
    open: async (name) =>
      name === "model.safetensors" ? { name, size: head.length + at, read, close: async () => {} } : files.open(name),
  };
}

const small = shared("data/minicpm4/config-0.5b.json");

whereFile(small, "data/minicpm4 and data/minicpm5")(
  "MiniCPM4-0.5B's configuration, tokenizer and plan are as published",
  async () => {
    const model = await readModel(folderOf(small!, readFileSync(shared("data/minicpm4/tokenizer.model")!), true));
    expect(model.config).toMatchObject({
      architecture: "minicpm",
      layers: 24,
      hidden: 1024,
      intermediate: 4096,
      heads: 16,
      kvHeads: 2,
      headDim: 64,
      vocab: 73448,
      tied: true,
      embeddingScale: 12,
      logitScale: 0.25,
      ropeScale: 1,
      ropeOriginalContext: 32768,
    });
    expect(model.config.residualScale).toBeCloseTo(1.4 / Math.sqrt(24), 12);
    expect(model.config.ropeShort).toHaveLength(32);
    const plan = planModel(await chooseBuild(host, "base", false), model, defaults, 1, 256);
    expect(plan.contextSize).toBe(4096);
    // 434 million parameters of two bytes.
    expect(plan.memory.weights / 2 / 434e6).toBeCloseTo(1, 2);
    const needed = plan.weights.reduce((sum, w) => sum + w.bytes, 0) + plan.memory.kvCache + plan.memory.activations;
    expect(plan.memory.total / needed).toBeLessThan(1.01);
  },
);

const large = shared("data/minicpm4/config-8b.json");

whereFile(large, "data/minicpm4 and data/minicpm5")(
  "MiniCPM4-8B's configuration is understood, and its bfloat16 weights are planned at their true size",
  async () => {
    const model = await readModel(folderOf(large!, readFileSync(shared("data/minicpm4/tokenizer.model")!), false));
    expect(model.config).toMatchObject({
      layers: 32,
      hidden: 4096,
      heads: 32,
      kvHeads: 2,
      headDim: 128,
      tied: false,
      ropeTheta: 10000,
      rmsEps: 1e-6,
      logitScale: 1 / 16,
    });
    const plan = planModel(await chooseBuild(host, "base", false), model, defaults, 1, 256);
    expect(plan.memory.total).toBeGreaterThan(16e9);
  },
);

const five = shared("data/minicpm5/config.json");

whereFile(five, "data/minicpm4 and data/minicpm5")("MiniCPM5-1B's configuration is that of a llama", async () => {
  const { pieces: names, scores, types } = pieces(320);
  const { config } = await readModel(folderOf(five!, writeSentencePiece(names, scores, types), false));
  expect(config).toMatchObject({
    architecture: "llama",
    layers: 24,
    hidden: 1536,
    intermediate: 4608,
    heads: 16,
    kvHeads: 2,
    headDim: 128,
    vocab: 130560,
    ropeTheta: 5000000,
    rmsEps: 1e-6,
    embeddingScale: 1,
    residualScale: 1,
    logitScale: 1,
    tied: false,
  });
});
