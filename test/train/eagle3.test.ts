// EAGLE-3 heads in training: a later step is what drafting computes, row by row in double precision; what a resident target gives; files.
import { expect, onTestFinished, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { openSafetensors } from "../../src/file/safetensors.ts";
import { memoryOutput } from "../../src/file/write/output.ts";
import { load as loadModel } from "../../src/host/node.ts";
import { readHead } from "../../src/model/eagle.ts";
import { readModel } from "../../src/model/read.ts";
import { type Batch, documentsOf } from "../../src/train/batch.ts";
import { beginWithTargetHead, putTapped, tapsOf } from "../../src/train/eagle3.ts";
import { Features, headBatch, targetOf } from "../../src/train/features.ts";
import { exportTrained } from "../../src/train/finish.ts";
import { setWeights, shapeOfModel } from "../../src/train/model.ts";
import { normal } from "../../src/train/scratch.ts";
import { EAGLE3, eagle3Tensors } from "../../src/train/shape.ts";
import { memoryStore } from "../../src/train/store.ts";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.ts";
import { type Cache, joined, layer, rms, times, type Vector } from "../draft/definition.ts";
import { firstDifference } from "../support/engine.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { batchOf, machineOf, SMALL } from "./rig.ts";

const LENGTH = 13;
/** As the definition has it: no scaling of the rotation. */
const shape = { ...SMALL, layers: 4, ropeFactors: undefined, ropeScale: 1 };

async function trainerOf(options: Partial<TrainerOptions> & Pick<TrainerOptions, "objective">): Promise<Trainer> {
  const trainer = await Trainer.create(await machineOf("train.float64"), { shape, rows: 3, length: LENGTH, ...options });
  onTestFinished(() => trainer.close());
  const next = normal(5);
  for (const [name, tensor] of trainer.graph.tensors)
    trainer.set(
      name,
      trainer.graph.values(tensor).map(() => next() / Math.sqrt(tensor.shape[1] ?? 100) + (tensor.shape.length === 1 ? 1 : 0)),
    );
  return trainer;
}

/** Losses of each step, from what the trainer's own target gave: every row drafts alone, with a cache of its own. */
function drafted(trainer: Trainer, batch: Batch, steps: number, window: number, vocabulary: Int32Array | undefined): number[] {
  const { graph, machine } = trainer;
  const { hidden: H, heads, kvHeads, headDim, rmsEps: eps, ropeTheta: theta } = shape;
  const of = (name: string) => Float32Array.from(trainer.get(name));
  const w = (name: string) => of(`${EAGLE3}midlayer.${name}.weight`);
  const sizes = { heads, kvHeads, headDim, theta, residual: shape.headResidualScale, eps };
  const row = (at: number, i: number, width = H): Vector => Float64Array.from(machine.reals(at + 8 * width * i, width));
  const ids = vocabulary ?? Int32Array.from({ length: shape.vocab }, (_, i) => i);
  const head = of(graph.head.name);
  const targetHead = Float32Array.from({ length: ids.length * H }, (_, i) => head[ids[Math.floor(i / H)]! * H + (i % H)]!);
  const softmax = (logits: Vector): { p: Vector; lse: number } => {
    const most = Math.max(...logits);
    const total = logits.reduce((sum, x) => sum + Math.exp(x - most), 0);
    return { p: logits.map((x) => Math.exp(x - most) / total), lse: most + Math.log(total) };
  };
  const embedding = of("model.embed_tokens.weight");
  const step = (cache: Cache, x: Vector, token: number, position: number): Vector => {
    const e = Float64Array.from(embedding.subarray(token * H, (token + 1) * H), (v) => v * shape.embeddingScale);
    // Keys that the window has left.
    for (const list of [cache.k, cache.v]) while (window && list.length >= window) list.shift();
    return layer(w, sizes, cache, x, joined(rms(e, w("input_layernorm"), eps), rms(x, w("hidden_norm"), eps)), position);
  };
  const losses = Array.from({ length: steps }, () => 0);
  const whole = batch.weights.reduce((a, b) => a + b, 0);
  for (const { begin, end } of documentsOf(batch))
    for (let last = begin; last < end; last++) {
      const cache: Cache = { k: [], v: [] };
      let y: Vector = new Float64Array(H);
      for (let i = begin; i <= last; i++) {
        const x = times(of(`${EAGLE3}fc.weight`), row(graph.taps, i, 3 * H));
        y = step(cache, x, i + 1 < (Math.floor(i / LENGTH) + 1) * LENGTH ? batch.tokens[i + 1]! : 0, i - begin);
      }
      for (let j = 0; j < steps && last + j < end; j++) {
        const at = last + j;
        if (j > 0) y = step(cache, y, (at + 1) % LENGTH === 0 ? 0 : batch.tokens[at + 1]!, at - begin);
        const weight = batch.weights[at]!;
        if (!(weight > 0)) continue;
        const logits = times(of(`${EAGLE3}lm_head.weight`), rms(y, of(`${EAGLE3}norm.weight`), eps));
        const wanted = softmax(times(targetHead, row(graph.hidden, at + 1)).map((v) => v * shape.logitScale));
        const { lse } = softmax(logits);
        losses[j]! += (weight / whole) * wanted.p.reduce((sum, p, v) => sum + p * (lse - logits[v]!), 0);
      }
    }
  return losses;
}

test.each([
  ["every key, all tokens", 3, 0, undefined],
  ["a window, some tokens", 4, 5, Int32Array.of(0, 2, 3, 7, 11, 18)],
])("steps after the first are what a head drafts: %s", async (_, steps, window, vocabulary) => {
  const objective = { kind: "eagle", layout: 3, steps, window, vocabulary } as const;
  const trainer = await trainerOf({ objective });
  const batch = headBatch(batchOf(shape, 3, LENGTH, 4));
  const { parts, loss } = await trainer.evaluate(batch);
  const expected = drafted(trainer, batch, steps, window, vocabulary);
  const later = expected.slice(1).reduce((sum, x, j) => sum + 0.8 ** (j + 1) * x, 0);
  // Weights are rounded to float32 in the definition.
  expect(Math.abs(parts[0] - expected[0]!)).toBeLessThan(1e-6);
  expect(Math.abs(parts[1] - later)).toBeLessThan(1e-6);
  expect(loss).toBeCloseTo(parts[0] + parts[1], 12);
  expect(Math.abs(expected[1]! - expected[0]!)).toBeGreaterThan(1e-4);
});

const tiny = tinyModel({ layers: 6, tied: false });
const bytes = tinyGguf(tiny);

async function open() {
  const model = await loadModel(bytes, { worker: false, threads: 1, draft: false, contextSize: 256, kvType: "f32" });
  onTestFinished(() => model.dispose());
  return model;
}

test("a session gives what enters layers before its states, however tokens come", async () => {
  const model = await open();
  const [whole, parts, plain] = await Promise.all([model.session(), model.session(), model.session()]);
  const tokens = Array.from({ length: 20 }, (_, i) => (i * 37 + 5) % 320);
  const layers = [3, 1, 5];
  const all = await whole.states(tokens, { layers });
  expect(all.length).toBe(20 * 4 * 64);
  const some = [await parts.states(tokens.slice(0, 7), { layers }), await parts.states(tokens.slice(7), { layers })];
  expect(firstDifference(Float32Array.of(...some[0]!, ...some[1]!), all)).toBe(-1);
  const states = await plain.states(tokens);
  for (let i = 0; i < 20; i++)
    expect(firstDifference(all.slice((4 * i + 3) * 64, (4 * i + 4) * 64), states.slice(i * 64, (i + 1) * 64))).toBe(-1);
  expect(firstDifference(all.slice(0, 64), all.slice(64, 128))).not.toBe(-1);
  for (const layer of [0, 6, 1.5])
    await expect(whole.states([1], { layers: [layer] })).rejects.toMatchObject({ code: "bad-option" });
  await expect(whole.states([1], { layers: Array.from({ length: 9 }, () => 1) })).rejects.toMatchObject({ code: "bad-option" });
});

test("what a resident target gives trains a head as the trainer's own target does, and its files have its tokens", async () => {
  const length = 24;
  const file = await readModel(memoryFiles("m.gguf", { "m.gguf": bytes }));
  const target = shapeOfModel(file.config, length);
  const features = await Features.open(memoryStore(), await targetOf(await open(), { layout: 3 }));
  expect(features.target.hidden).toBe(4 * 64);
  expect(tapsOf(target)).toEqual([2, 3, 3]);
  const batch = headBatch(batchOf(target, 3, length, 5));
  const vocabulary = Int32Array.from({ length: 40 }, (_, i) => 7 * i + 3);
  const found: { loss: number; gradient: number[] }[] = [];
  for (const given of [false, true]) {
    const objective = { kind: "eagle", layout: 3, features: given, vocabulary } as const;
    const trainer = await Trainer.create(await machineOf(), { shape: target, objective, rows: 3, length });
    onTestFinished(() => trainer.close());
    trainer.initialise(
      normal(4),
      eagle3Tensors(target, 40).map(({ name }) => name),
    );
    await setWeights(trainer, file);
    beginWithTargetHead(trainer.graph);
    const states = await features.of(batch);
    const { loss } = await trainer.gradients(batch, undefined, () => {
      if (given) putTapped(trainer.graph, states);
    });
    found.push({ loss, gradient: Array.from(trainer.get(`${EAGLE3}fc.weight`, "grad")) });
    if (!given) continue;
    const folder = new Map<string, ReturnType<typeof memoryOutput>>();
    const outputs = {
      file: async () => {
        throw new Error("a head is a folder");
      },
      folder: async () => ({
        file: async (name: string) => {
          const output = memoryOutput(name);
          folder.set(name, output);
          return output;
        },
        name: "head",
        commit: async () => {},
        discard: async () => {},
      }),
    };
    const parts = { config: { hidden_size: 64, architectures: ["MiniCPMForCausalLM"] }, files: {} };
    await exportTrained(trainer, parts, { to: "head", type: "F32", what: "trained" }, outputs as never);
    const written = Object.fromEntries([...folder].map(([name, output]) => [name, output.bytes()]));
    const { tensors } = await openSafetensors(memoryFiles("", written));
    expect(tensors.get("d2t")).toMatchObject({ type: "I64", shape: [40] });
    const head = await readHead(memoryFiles("", written), file.config);
    expect([...head.vocabulary!]).toEqual([...vocabulary]);
    expect(JSON.parse(new TextDecoder().decode(written["config.json"]))).toMatchObject({ draft_vocab_size: 40 });
  }
  const [own, resident] = found as [(typeof found)[0], (typeof found)[0]];
  // What is given is rounded to float16.
  expect(Math.abs(own.loss - resident.loss)).toBeLessThan(1e-3 * own.loss);
  const size = Math.sqrt(own.gradient.reduce((sum, g) => sum + g * g, 0));
  const apart = Math.sqrt(own.gradient.reduce((sum, g, i) => sum + (g - resident.gradient[i]!) ** 2, 0));
  expect(apart / size).toBeLessThan(5e-3);
});
