import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { folderFiles } from "../../src/train/folder.ts";
import { scratchModel, tokenizerParts } from "../../src/train/scratch.ts";
import { modelTensors, type TrainShape } from "../../src/train/shape.ts";
import { scalingBench } from "../../src/tunnel/scalingbench.ts";
import { doors, open } from "../support/door.ts";
import { trainGolden } from "../support/golden.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { characterTokenizer } from "../train/rollout/characters.mjs";

const door = doors["in the caller's thread"];

test("texts: the output begins where both texts' tokens part from the input's; logits give the same by hand", async () => {
  const model = await open(door, tinyGguf(tinyModel()), { contextSize: 256, kvType: "f32" });
  const input = "one two";
  const output = " three four, and so on for more than a row of logits at a time";
  const { loss, items, tokens } = await scalingBench(model, [{ input, output }]);
  const all = model.tokenizer.encode(input + output, { eos: false });
  const from = model.tokenizer.encode(input, { eos: false }).length;
  expect(tokens).toBe(all.length - from);
  const session = await model.session();
  const vocab = model.info.config.vocab;
  const logits = await session.forward(all, { logits: "all" });
  const cost = (row: number) => {
    const x = logits.subarray(row * vocab, (row + 1) * vocab);
    return Math.log(x.reduce((sum, v) => sum + Math.exp(v), 0)) - x[all[row + 1]!]!;
  };
  const want = Array.from({ length: tokens }, (_, i) => cost(from - 1 + i)).reduce((a, b) => a + b, 0) / tokens;
  expect(loss).toBeCloseTo(want, 5);
  expect(items).toEqual([loss]);
});

test("the mean is over items, not tokens; what has no output is refused", async () => {
  const model = await open(door, tinyGguf(tinyModel()), { contextSize: 64, kvType: "f32" });
  const items = [
    { input: [5, 9], output: [7] },
    { input: [5], output: [8, 30, 41, 12] },
  ];
  const both = await scalingBench(model, items);
  const [one, four] = both.items as [number, number];
  expect(both.loss).toBeCloseTo((one + four) / 2, 12);
  expect(both.tokenMean).toBeCloseTo((one + 4 * four) / 5, 12);
  for (const item of [
    { input: [5], output: [] },
    { input: [], output: [5] },
    { input: "a", output: "" },
    { input: "a", output: [5] },
  ])
    await expect(scalingBench(model, [item])).rejects.toMatchObject({ code: "bad-input", message: /item 0/ });
  await expect(scalingBench(model, [])).rejects.toMatchObject({ code: "bad-input" });
  await expect(scalingBench(model, [{ input: new Array(60).fill(5), output: [5, 5, 5, 5, 5, 5] }])).rejects.toMatchObject({
    code: "context-overflow",
  });
});

test("golden/train/tunnel.json: the losses of its items", async () => {
  const { config: c, scaling_bench: bench } = JSON.parse(readFileSync(`${trainGolden}/tunnel.json`, "utf8")) as {
    config: Record<string, number>;
    scaling_bench: {
      items: { x: number[]; y: number[]; logp: number[] }[];
      per_item: number[];
      loss: number;
      token_mean: number;
    };
  };
  const { model, parts } = await scratchModel(
    {
      hidden_size: c["hidden"],
      intermediate_size: c["intermediate"],
      num_hidden_layers: c["n_layers"],
      num_attention_heads: c["n_heads"],
      num_key_value_heads: c["n_kv_heads"],
      head_dim: c["head_dim"],
      rms_norm_eps: c["rms_eps"],
      rope_theta: c["rope_theta"],
      scale_emb: c["scale_emb"],
      scale_depth: c["scale_depth"],
      dim_model_base: c["dim_model_base"],
      max_position_embeddings: 128,
      tie_word_embeddings: true,
    },
    await tokenizerParts(memoryFiles("", characterTokenizer("0123456789"))),
    c["vocab"]!,
  );
  const bytes = readFileSync(`${trainGolden}/weights-a.safetensors`);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { data_offsets: [number, number] }>;
  const tensors = modelTensors({ ...model.config, tied: true } as unknown as TrainShape).map((t) => ({
    ...t,
    read(from: number, count: number) {
      const at = 8 + length + header[t.name]!.data_offsets[0] + 4 * from;
      return new Float32Array(Uint8Array.from(bytes.subarray(at, at + 4 * count)).buffer);
    },
  }));
  const loaded = await open(door, folderFiles(parts, tensors), { contextSize: 64, kvType: "f32" });
  const found = await scalingBench(
    loaded,
    bench.items.map(({ x, y }) => ({ input: x, output: y })),
  );
  for (const [i, value] of bench.per_item.entries()) expect(Math.abs(found.items[i]! - value)).toBeLessThan(1e-4);
  expect(Math.abs(found.loss - bench.loss)).toBeLessThan(1e-4);
  expect(Math.abs(found.tokenMean - bench.token_mean)).toBeLessThan(1e-4);
});
