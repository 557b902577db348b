// Adapters from training to inference: trained on the story model as it is packed, written in every form, loaded beside it.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { type MemoryOutput, memoryOutput, type OutputFolder } from "../../src/file/write/output.ts";
import { pathFiles } from "../../src/host/node.files.ts";
import { readModel } from "../../src/model/read.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { type AdapterOptions, writeLoraGguf, writePeft } from "../../src/train/adapter.ts";
import { writeGguf } from "../../src/train/export.ts";
import { folderParts } from "../../src/train/folder.ts";
import { kernelDequantiser, setWeights, shapeOfModel } from "../../src/train/model.ts";
import { normal } from "../../src/train/scratch.ts";
import { loraTensors } from "../../src/train/shape.ts";
import { modelExport } from "../../src/train/tensors.ts";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.ts";
import { story } from "../cli/command.ts";
import { firstDifference, greedy, host, load, logitsOf } from "../support/engine.ts";
import { largestDifference, shared } from "../support/golden.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { machineOf } from "./rig.ts";

async function ggufOf(trainer: Trainer, base: Parameters<typeof writeLoraGguf>[1], options?: AdapterOptions) {
  let output: MemoryOutput | undefined;
  await writeLoraGguf(trainer, base, async () => (output = memoryOutput("a.gguf")), options);
  return output!.bytes();
}

async function peftOf(trainer: Trainer, options?: AdapterOptions) {
  const outputs: Record<string, MemoryOutput> = {};
  const folder: OutputFolder = {
    name: "adapter",
    file: async (name) => (outputs[name] = memoryOutput(name)),
    async commit() {},
    async discard() {},
  };
  await writePeft(trainer, async () => folder, options);
  return Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, output.bytes()]));
}

async function mergedOf(trainer: Trainer, parts: Awaited<ReturnType<typeof folderParts>>) {
  let output: MemoryOutput | undefined;
  await writeGguf(parts, modelExport(trainer), async () => (output = memoryOutput("m.gguf")), { type: "F32" });
  return output!.bytes();
}

async function trainerOf(input: Uint8Array | string, options: Partial<TrainerOptions> & Pick<TrainerOptions, "objective">) {
  const files = typeof input === "string" ? await pathFiles(input) : memoryFiles("m.gguf", { "m.gguf": input });
  const model = await readModel(files);
  const length = options.length ?? 40;
  const trainer = await Trainer.create(await machineOf(), {
    shape: shapeOfModel(model.config, length),
    rows: 1,
    length,
    ...options,
  });
  const { shape, objective } = trainer.graph.options;
  if (objective.kind === "lora")
    trainer.initialise(
      normal(3),
      loraTensors(shape, objective.rank, objective.targets).map(({ name }) => name),
      0.05,
    );
  await setWeights(trainer, model, { dequantise: await kernelDequantiser(await host.module("kernels")) });
  const parts = await folderParts(files, model);
  return { trainer, model, parts };
}

const loadWith = (input: ModelInput, lora: ModelInput, options: Parameters<typeof load>[1] = {}) =>
  load(input, { lora: [{ name: "own", scale: 1 }], ...options }, {}, undefined, false, [lora]);

test.each([
  ["minicpm", undefined, 4, "F32"],
  ["llama", ["q_proj", "k_proj", "down_proj"], 3, "F16"],
  ["minicpm", ["v_proj", "gate_proj"], 1, "BF16"],
] as const)("%s, targets %j, rank %i, %s: GGUF, PEFT and merged are one model", async (architecture, targets, rank, type) => {
  const model = tinyModel({ tied: false });
  const base = tinyGguf(model, "F32", architecture);
  const objective = { kind: "lora", rank, alpha: 5, ...(targets ? { targets } : {}) } as const;
  const { trainer, model: file, parts } = await trainerOf(base, { objective });
  const next = normal(8);
  for (const { name, shape } of trainer.trained)
    trainer.set(
      name,
      Float32Array.from({ length: shape[0]! * shape[1]! }, () => 0.2 * next()),
    );
  const tokens = Array.from({ length: 30 }, (_, i) => (i * 37 + 5) % 320);
  const exact = { kvType: "f32" } as const;
  const [gguf, peft] = [await ggufOf(trainer, file.config, { type }), await peftOf(trainer, { type })];
  const fromGguf = await logitsOf(await loadWith(base, gguf, exact), tokens);
  expect(firstDifference(await logitsOf(await loadWith(base, peft, exact), tokens), fromGguf)).toBe(-1);
  expect(JSON.parse(new TextDecoder().decode(peft["adapter_config.json"]))).toMatchObject({
    r: rank,
    lora_alpha: 5,
    target_modules: targets ?? ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
  });
  if (type !== "F32") return;
  const merged = await logitsOf(await load(await mergedOf(trainer, parts), exact), tokens);
  const most = merged.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  expect(largestDifference(merged, fromGguf) / most).toBeLessThan(1e-5);
  expect(largestDifference(merged, await logitsOf(await load(base, exact), tokens)) / most).toBeGreaterThan(0.05);
});

test("a run without adapters has none to write", async () => {
  const { trainer, model } = await trainerOf(tinyGguf(), { objective: { kind: "lm" } });
  await expect(ggufOf(trainer, model.config)).rejects.toMatchObject({ code: "unsupported" });
  await expect(peftOf(trainer)).rejects.toMatchObject({ code: "unsupported" });
});

const TEXT =
  "Once upon a time there was a robot named Zip. Zip lived on the moon. Every night Zip counted the stars and sang a song to the sun. " +
  'The sun smiled and said, "Thank you, Zip!"';

test("an adapter trained on the packed story model gives its text on it, and on others of the same shape; without it nothing changes", async () => {
  const first = await load(story);
  const tokens = Array.from(new Tokenizer(first.info.tokenizer).encode(TEXT));
  const length = tokens.length - 1;
  const schedule = { kind: "linear", peak: 4e-3, warmup: 4, stableEnd: 20, decaySteps: 20 } as const;
  const { trainer, model, parts } = await trainerOf(story, {
    objective: { kind: "lora", rank: 8, alpha: 16 },
    length,
    optimiser: { schedule, weightDecay: 0 },
  });
  const batch = {
    rows: 1,
    length,
    tokens: Int32Array.from(tokens.slice(0, -1)),
    segments: new Int32Array(length),
    labels: Int32Array.from(tokens.slice(1)),
    weights: new Float32Array(length).fill(1),
  };
  const base = await mergedOf(trainer, parts);
  const losses: number[] = [];
  for (let step = 0; step < 40; step++) losses.push((await trainer.step(batch)).loss);
  console.log(`adapter: loss ${losses[0]!.toFixed(3)} to ${losses.at(-1)!.toFixed(3)}`);
  expect(losses[0]).toBeGreaterThan(2);
  expect(losses.at(-1)).toBeLessThan(0.2);
  const lora = await ggufOf(trainer, model.config, { type: "F16" });
  const prompt = tokens.slice(0, 6);
  const float = shared("models/stories-f16.gguf");
  if (!float) console.log("adapter: shared/models is not here; only the embedded model is tried");
  for (const input of float ? [story, float] : [story]) {
    const engine = await loadWith(input, lora);
    const plain = await (await load(input)).generate(0, greedy(prompt, 30), { onPart: () => {} });
    const [own, without] = await Promise.all([
      engine.generate(0, greedy(prompt, 30), { onPart: () => {} }),
      engine.generate(0, { ...greedy(prompt, 30), lora: [] }, { onPart: () => {} }),
    ]);
    expect(without.tokens).toEqual(plain.tokens);
    expect(own.tokens).toEqual(tokens.slice(6, 36));
    expect(own.tokens).not.toEqual(plain.tokens);
  }
  // Merged in float32 and beside the same floats.
  const exact = { kvType: "f32" } as const;
  const merged = await logitsOf(await load(await mergedOf(trainer, parts), exact), tokens);
  const beside = await logitsOf(await loadWith(base, await ggufOf(trainer, model.config), exact), tokens);
  const most = merged.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const apart = largestDifference(merged, beside) / most;
  console.log(`adapter: merged and unmerged logits differ by ${apart.toExponential(1)} of the largest`);
  expect(apart).toBeLessThan(1e-5);
});
