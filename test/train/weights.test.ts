// Weights from files into the trainer and out again: the trainer's losses are those of the runtime's logits, exports load with the same
// logits to the last bit where no number was rounded.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelFiles } from "../../src/file/source.ts";
import { type MemoryOutput, memoryOutput, type OutputFolder } from "../../src/file/write/output.ts";
import { readModel } from "../../src/model/read.ts";
import { writeGguf } from "../../src/train/export.ts";
import { floatBytes, floatsOf } from "../../src/train/floats.ts";
import { folderFiles, folderParts, writeFolder } from "../../src/train/folder.ts";
import { kernelDequantiser, setWeights, shapeOfModel } from "../../src/train/model.ts";
import { normal, scratchModel, tokenizerParts } from "../../src/train/scratch.ts";
import { modelExport } from "../../src/train/tensors.ts";
import { ternaryBlocks } from "../../src/train/ternaryfile.ts";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.ts";
import { firstDifference, host, load, logitsOf } from "../support/engine.ts";
import { tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";
import { batchOf, machineOf } from "./rig.ts";

type Folder = Record<string, Uint8Array>;
const tokens = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 320);
const dequantise = async () => await kernelDequantiser(await host.module("kernels"));

async function ggufOf(
  ...[parts, tensors, options]: [
    Parameters<typeof writeGguf>[0],
    Parameters<typeof writeGguf>[1],
    Parameters<typeof writeGguf>[3]?,
  ]
) {
  let output: MemoryOutput | undefined;
  await writeGguf(parts, tensors, async () => (output = memoryOutput("x.gguf")), options);
  return output!.bytes();
}

async function folderOf(
  ...[parts, tensors, options]: [
    Parameters<typeof writeFolder>[0],
    Parameters<typeof writeFolder>[1],
    Parameters<typeof writeFolder>[3]?,
  ]
) {
  const outputs: Record<string, MemoryOutput> = {};
  const folder: OutputFolder = {
    name: "x",
    file: async (name) => (outputs[name] = memoryOutput(name)),
    async commit() {},
    async discard() {},
  };
  await writeFolder(parts, tensors, async () => folder, options);
  return Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, output.bytes()])) as Folder;
}

async function trainerOf(files: ModelFiles, options: Partial<TrainerOptions> = {}) {
  const model = await readModel(files);
  const trainer = await Trainer.create(await machineOf(), {
    shape: shapeOfModel(model.config, tokens.length),
    objective: { kind: "lm" },
    rows: 1,
    length: tokens.length,
    chunk: tokens.length,
    ...options,
  });
  await setWeights(trainer, model, { dequantise: await dequantise() });
  return { model, trainer, parts: await folderParts(files, model) };
}

/** Losses of `tokens` by the trainer, row by row. */
async function lossesOf(trainer: Trainer): Promise<Float64Array> {
  const labels = Int32Array.from(tokens, (_, i) => tokens[i + 1] ?? -1);
  await trainer.evaluate({
    rows: 1,
    length: tokens.length,
    tokens: Int32Array.from(tokens),
    segments: new Int32Array(tokens.length),
    labels,
    weights: Float32Array.from(labels, (l) => (l < 0 ? 0 : 1)),
  });
  return trainer.machine.doubles(trainer.graph.nll, tokens.length).slice(0, -1);
}

/** The same, out of the runtime's logits. */
async function runtimeLosses(model: Parameters<typeof load>[0]): Promise<number[]> {
  const logits = await logitsOf(await load(model, { kvType: "f32" }), tokens);
  const vocab = logits.length / tokens.length;
  return tokens.slice(1).map((label, i) => {
    const row = logits.subarray(i * vocab, (i + 1) * vocab);
    const most = row.reduce((a, b) => Math.max(a, b));
    return most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - row[label]!;
  });
}

async function expectSame(trainer: Trainer, model: Parameters<typeof load>[0], within = 2e-4): Promise<void> {
  const [ours, theirs] = [await lossesOf(trainer), await runtimeLosses(model)];
  expect(Math.max(...theirs.map((x, i) => Math.abs(x - ours[i]!)))).toBeLessThan(within);
}

for (const type of ["F32", "F16", "BF16"] as const)
  for (const tied of [true, false])
    test(`${type}, ${tied ? "tied" : "with a head"}: folder and GGUF go in, folder and GGUF come out`, async () => {
      const made = tinyModel({ tied, heads: 8, kvHeads: 2 });
      const folder = tinyFolder(made, type);
      const file = tinyGguf(made, type);
      for (const [files, source] of [
        [memoryFiles("", folder), folder],
        [memoryFiles("x.gguf", { "x.gguf": file }), file],
      ] as const) {
        const { trainer, parts } = await trainerOf(files);
        await expectSame(trainer, source);
        const outFolder = await folderOf(parts, modelExport(trainer), { type });
        const outFile = await ggufOf(parts, modelExport(trainer), { type });
        const wanted = await logitsOf(await load(source), tokens);
        expect(firstDifference(wanted, await logitsOf(await load(outFolder), tokens))).toBe(-1);
        expect(firstDifference(wanted, await logitsOf(await load(outFile), tokens))).toBe(-1);
      }
    });

test("after training, exports have the trained weights: F32 and what F16 and BF16 round them to", async () => {
  const made = tinyModel({ tied: true, heads: 8, kvHeads: 2 });
  const { trainer, parts } = await trainerOf(memoryFiles("", tinyFolder(made, "F32")), {
    optimiser: { schedule: { kind: "constant", peak: 1e-2, warmup: 0 } },
  });
  const batch = batchOf({ ...trainer.graph.shape }, 1, tokens.length, 3);
  for (let i = 0; i < 3; i++) await trainer.step(batch);
  for (const [type, within] of [
    ["F32", 2e-4],
    ["F16", 2e-2],
    ["BF16", 2e-1],
  ] as const) {
    await expectSame(trainer, await folderOf(parts, modelExport(trainer), { type }), within);
    await expectSame(trainer, await ggufOf(parts, modelExport(trainer), { type }), within);
  }
  await expectSame(trainer, folderFiles(parts, modelExport(trainer)));
});

test("merged adapters give the losses of the adapted model", async () => {
  const made = tinyModel({ tied: false, heads: 8, kvHeads: 2 });
  const { trainer, parts } = await trainerOf(memoryFiles("", tinyFolder(made, "F32")), {
    objective: { kind: "lora", rank: 3, alpha: 7, targets: ["q_proj", "v_proj", "down_proj"] },
  });
  const before = await lossesOf(trainer);
  const next = normal(5);
  for (const { name, shape } of trainer.trained)
    trainer.set(
      name,
      Float32Array.from({ length: shape[0]! * shape[1]! }, () => 0.1 * next()),
    );
  const after = await lossesOf(trainer);
  expect(Math.max(...after.map((x, i) => Math.abs(x - before[i]!)))).toBeGreaterThan(1e-2);
  await expectSame(trainer, await folderOf(parts, modelExport(trainer)));
});

test("a quantised model goes in with its dequantised numbers", async () => {
  const name = new URL("../golden/odd-q4_0.gguf", import.meta.url).pathname;
  const { pathFiles } = await import("../../src/host/node.files.ts");
  const files = await pathFiles(name);
  const model = await readModel(files);
  const machine = await machineOf();
  const options = { shape: shapeOfModel(model.config, 8), objective: { kind: "lm" }, rows: 1, length: 8 } as const;
  const trainer = await Trainer.create(machine, options);
  await expect(setWeights(trainer, model)).rejects.toMatchObject({
    code: "unsupported",
    detail: { expected: "F32, F16 or BF16" },
  });
  await setWeights(trainer, model, { dequantise: await dequantise() });
  expect(new Set(trainer.get("model.layers.0.mlp.up_proj.weight").subarray(0, 32)).size).toBeLessThanOrEqual(16);
  await files.close();
});

for (const type of ["TQ1_0", "TQ2_0"] as const)
  test(`${type}: ternary layers come out with exact codes, and the runtime computes what the trainer does`, async () => {
    const made = tinyModel({ tied: true, hidden: 256, intermediate: 512, heads: 4, kvHeads: 2, headDim: 64 });
    const { trainer, parts } = await trainerOf(memoryFiles("", tinyFolder(made, "F32")), {
      objective: { kind: "lm", ternaryGroup: 256 },
      optimiser: { schedule: { kind: "constant", peak: 1e-3, warmup: 0 } },
    });
    const batch = batchOf(trainer.graph.shape, 1, tokens.length, 4);
    for (let i = 0; i < 2; i++) await trainer.step(batch);
    await trainer.refresh();
    const file = await ggufOf(parts, modelExport(trainer), { type, rest: "F32" });
    const model = await readModel(memoryFiles("x.gguf", { "x.gguf": file }));
    const again = await trainerOf(memoryFiles("x.gguf", { "x.gguf": file }));
    for (const { name } of trainer.trained) {
      const [wanted, found] = [trainer.get(name, "use"), again.trainer.get(name)];
      expect(model.tensors.length).toBeGreaterThan(0);
      if (wanted.length === 256 || name.includes("embed"))
        expect(firstDifference(wanted as Float32Array, found as Float32Array), name).toBe(-1);
      else {
        expect(
          found.every((x, i) => Math.sign(x) === Math.sign(wanted[i]!)),
          name,
        ).toBe(true);
        expect(
          found.every((x, i) => Math.abs(x - wanted[i]!) <= 6e-4 * Math.abs(wanted[i]!)),
          name,
        ).toBe(true);
      }
    }
    // Scales are rounded to float16, and the runtime's ternary kernels round activations to eight bits.
    await expectSame(trainer, file, 0.2);
    await expectSame(trainer, await folderOf(parts, modelExport(trainer)));
  });

test("ternary numbers that no block of 256 holds are refused with the tensor's name", async () => {
  const values = new Float32Array(256).fill(0.5);
  values[200] = -0.25;
  expect(() => ternaryBlocks(values, "TQ2_0", "blk.0.ffn_up.weight")).toThrow(/blk\.0\.ffn_up\.weight.*one scale/);
  const { trainer, parts } = await trainerOf(memoryFiles("", tinyFolder(tinyModel(), "F32")), {
    objective: { kind: "lm", ternaryGroup: 32 },
  });
  await trainer.refresh();
  await expect(ggufOf(parts, modelExport(trainer), { type: "TQ2_0" })).rejects.toMatchObject({ code: "unsupported" });
});

test("from scratch: a configuration and a tokenizer make a model whose weights follow from the seed alone", async () => {
  const folder = tinyFolder(tinyModel(), "F32");
  const parts = await tokenizerParts(memoryFiles("", folder));
  const config = {
    hidden_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 96,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    scale_emb: 12,
    scale_depth: 1.4,
    dim_model_base: 32,
    tie_word_embeddings: true,
  };
  const made = await scratchModel(config, parts, 320);
  expect(made.model.config).toMatchObject({ architecture: "minicpm", hidden: 64, vocab: 320, logitScale: 0.5 });
  const shape = shapeOfModel(made.model.config, tokens.length);
  expect(shape.width).toBe(2);
  const options = { shape, objective: { kind: "lm" }, rows: 1, length: tokens.length, chunk: tokens.length } as const;
  const [a, b, c] = [
    await Trainer.create(await machineOf(), options),
    await Trainer.create(await machineOf(), options),
    await Trainer.create(await machineOf(), options),
  ];
  for (const [trainer, seed] of [
    [a, 1],
    [b, 1],
    [c, 2],
  ] as const)
    trainer.initialise(normal(seed));
  const name = "model.layers.1.mlp.up_proj.weight";
  expect(a.get(name)).toEqual(b.get(name));
  expect(a.get(name)).not.toEqual(c.get(name));
  await expectSame(a, await folderOf(made.parts, modelExport(a)));
  await expect(scratchModel({ ...config, hidden_size: 0 }, parts, 320)).rejects.toMatchObject({
    code: "bad-option",
    message: "model.config.hidden_size: expected a whole number from 1 to 65536, found 0",
    detail: { field: "model.config.hidden_size" },
  });
  await expect(scratchModel({ ...config, vocab_size: 10 }, parts, 320)).rejects.toMatchObject({
    code: "bad-option",
    message: expect.stringMatching(/^model\.config\.vocab_size: expected .* found 10$/),
  });
});

test("half floats round to the nearest, ties to even, as their definition says", () => {
  const all = floatsOf(new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer), "F16");
  const back = new Uint16Array(floatBytes(all, "F16").buffer);
  for (let i = 0; i < 65536; i++) if (!Number.isNaN(all[i]!)) expect(back[i]).toBe(i);
  const between = (a: number, b: number) => Float32Array.of((all[a]! + all[b]!) / 2);
  for (const low of [0, 1, 0x3ff, 0x400, 0x3c00, 0x3c01, 0x7bfe]) {
    const even = low % 2 === 0 ? low : low + 1;
    expect(new Uint16Array(floatBytes(between(low, low + 1), "F16").buffer)[0]).toBe(even);
  }
  expect(new Uint16Array(floatBytes(Float32Array.of(65519, 65520, 1e-30), "F16").buffer)).toEqual(
    Uint16Array.of(0x7bff, 0x7c00, 0),
  );
  expect(new Uint16Array(floatBytes(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8), "BF16").buffer)).toEqual(
    Uint16Array.of(0x3f80, 0x3f82),
  );
});

test("numbers beyond a type are refused, not made infinite", async () => {
  const { trainer, parts } = await trainerOf(memoryFiles("", tinyFolder(tinyModel(), "F32")));
  const values = trainer.get("model.norm.weight");
  values[3] = 1e6;
  trainer.set("model.norm.weight", values);
  await expect(folderOf(parts, modelExport(trainer), { type: "F16" })).rejects.toMatchObject({
    code: "bad-input",
    detail: { field: "model.norm.weight" },
  });
  expect(Object.keys(await folderOf(parts, modelExport(trainer)))).toContain("tokenizer.model");
});
