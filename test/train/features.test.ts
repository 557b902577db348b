// States of a resident target for training draft heads: what the engine gives, how it is kept, and that a head learns from it.
import { expect, onTestFinished, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { load as loadModel } from "../../src/host/node.ts";
import { readModel } from "../../src/model/read.ts";
import { Features, headBatch, type Target, targetOf } from "../../src/train/features.ts";
import { setWeights, shapeOfModel } from "../../src/train/model.ts";
import { normal } from "../../src/train/scratch.ts";
import { eagleTensors } from "../../src/train/shape.ts";
import { memoryStore } from "../../src/train/store.ts";
import { Trainer } from "../../src/train/trainer.ts";
import { story } from "../cli/command.ts";
import { firstDifference } from "../support/engine.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { batchOf, machineOf } from "./rig.ts";

const tiny = tinyModel({ tied: false });
const bytes = tinyGguf(tiny);

async function open(input: string | Uint8Array, kvType: "f16" | "f32" = "f16") {
  const model = await loadModel(input, { worker: false, threads: 1, draft: false, contextSize: 256, kvType });
  onTestFinished(() => model.dispose());
  return model;
}

test("a session's states give its logits, and do not depend on how tokens come", async () => {
  const model = await open(bytes);
  const tokens = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 320);
  const [whole, parts, plain] = await Promise.all([model.session(), model.session(), model.session()]);
  const states = await whole.states(tokens);
  expect(states.length).toBe(40 * 64);
  const some = [await parts.states(tokens.slice(0, 7)), await parts.states(tokens.slice(7))];
  expect(firstDifference(Float32Array.of(...some[0]!, ...some[1]!), states)).toBe(-1);
  const logits = await plain.forward(tokens);
  const head = tiny.weights.get("lm_head.weight")!.values;
  const scale = model.info.config.logitScale;
  for (const token of [0, 7, 319]) {
    let sum = 0;
    for (let k = 0; k < 64; k++) sum += head[token * 64 + k]! * states[39 * 64 + k]! * scale;
    expect(Math.abs(sum - logits[token]!)).toBeLessThan(1e-4 * (1 + Math.abs(sum)));
  }
  await expect(whole.states([-1])).rejects.toMatchObject({ code: "bad-input" });
});

/** A target that counts what it is asked for. */
function counting(target: Target): Target & { calls: number } {
  return {
    hidden: target.hidden,
    calls: 0,
    states(tokens, signal) {
      this.calls++;
      return target.states(tokens, signal);
    },
  };
}

const shapeOf = async (input: Uint8Array, length: number) => {
  const file = await readModel(memoryFiles("m.gguf", { "m.gguf": input }));
  return { file, shape: shapeOfModel(file.config, length) };
};

test("states are computed once for a piece of a document, and kept for the target that gave them", async () => {
  const { shape } = await shapeOf(bytes, 24);
  const target = counting(await targetOf(await open(bytes)));
  const store = memoryStore();
  const features = await Features.open(store, target);
  const batch = batchOf(shape, 3, 24, 5);
  const first = await features.of(batch);
  const pieces = target.calls - 1;
  expect(pieces).toBeGreaterThan(3);
  expect(firstDifference(await features.of(batch), first)).toBe(-1);
  await features.save();
  await features.save();
  expect([...store.files.keys()]).toEqual(["features-00000.bin"]);
  expect(firstDifference(await features.of(batch), first)).toBe(-1);
  expect(target.calls).toBe(1 + pieces);
  const later = counting(await targetOf(await open(bytes)));
  const again = await Features.open(store, later);
  expect([again.key, firstDifference(await again.of(batch), first)]).toEqual([features.key, -1]);
  expect(later.calls).toBe(1);
  const other = counting(await targetOf(await open(tinyGguf(tinyModel({ tied: false }, 2)))));
  const others = await Features.open(store, other);
  expect(others.key).not.toBe(features.key);
  await others.of(batch);
  expect(other.calls).toBe(1 + pieces);
});

test("damaged states are refused, wherever the bit is", async () => {
  const { shape } = await shapeOf(bytes, 24);
  const target = await targetOf(await open(bytes));
  const store = memoryStore();
  const features = await Features.open(store, target);
  const batch = batchOf(shape, 2, 24, 5);
  await features.of(batch);
  await features.save();
  const whole = store.files.get("features-00000.bin")!;
  for (const at of [0, 5, 9, 13, 34, 40, 36 + 18, 36 + 21, whole.length - 3, whole.length - 4000]) {
    const flipped = whole.slice();
    flipped[at]! ^= 16;
    store.files.set("features-00000.bin", flipped);
    const read = Features.open(store, target).then((f) => f.of(batch));
    await expect(read, `byte ${at}`).rejects.toMatchObject({ code: "bad-model" });
  }
  store.files.set("features-00000.bin", whole.slice(0, -2));
  await expect(Features.open(store, target)).rejects.toMatchObject({ code: "bad-model" });
});

test("given states train a head as the trainer's own target does", async () => {
  const length = 24;
  const { file, shape } = await shapeOf(bytes, length);
  const features = await Features.open(memoryStore(), await targetOf(await open(bytes, "f32")));
  const batch = headBatch(batchOf(shape, 3, length, 5));
  const losses: number[] = [];
  const gradients: number[][] = [];
  for (const given of [false, true]) {
    const objective = { kind: "eagle", features: given } as const;
    const trainer = await Trainer.create(await machineOf(), { shape, objective, rows: 3, length });
    trainer.initialise(
      normal(4),
      eagleTensors(shape).map(({ name }) => name),
      0.1,
    );
    await setWeights(trainer, file);
    const states = await features.of(batch);
    const { loss } = await trainer.gradients(batch, undefined, () => {
      if (given) trainer.machine.reals(trainer.graph.hidden, states.length).set(states);
    });
    losses.push(loss);
    gradients.push(Array.from(trainer.get("fc.weight", "grad")));
  }
  // The states given are rounded to float16.
  expect(Math.abs(losses[0]! - losses[1]!)).toBeLessThan(1e-3 * losses[0]!);
  const size = Math.sqrt(gradients[0]!.reduce((sum, g) => sum + g * g, 0));
  const apart = Math.sqrt(gradients[0]!.reduce((sum, g, i) => sum + (g - gradients[1]![i]!) ** 2, 0));
  expect(apart / size).toBeLessThan(5e-3);
});

test("a head's batch counts rows whose next token stands beside them", () => {
  const batch = {
    rows: 2,
    length: 4,
    tokens: new Int32Array(8),
    segments: Int32Array.of(0, 0, 1, 1, 0, 0, 0, -1),
    labels: new Int32Array(8),
    weights: new Float32Array(8).fill(1),
  };
  expect([...headBatch(batch).weights]).toEqual([1, 0, 1, 0, 1, 1, 0, 0]);
  expect(batch.weights[1]).toBe(1);
});

test("the quantised story model is a target as it is", async () => {
  const target = await targetOf(await open(story));
  expect(target.hidden).toBe(256);
  expect((await target.states([1, 430, 442])).length).toBe(3 * 256);
});
