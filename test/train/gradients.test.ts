// Every gradient of every objective against central differences, in the float64 build.
import { expect, test } from "vitest";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.ts";
import { batchOf, machineOf, normal, random, SMALL } from "./rig.ts";

/** Of a tensor; CPM_COORDINATES=200 is the long form. */
const COORDINATES = Number(process.env["CPM_COORDINATES"] ?? 24);
const LENGTH = 13;

async function trainerOf(options: Partial<TrainerOptions> & Pick<TrainerOptions, "objective">): Promise<Trainer> {
  const trainer = await Trainer.create(await machineOf("train.float64"), { shape: SMALL, rows: 3, length: LENGTH, ...options });
  const next = normal(5);
  for (const [name, tensor] of trainer.graph.tensors) {
    const values = trainer.graph.values(tensor);
    const size = tensor.shape.length === 1 ? 0.1 : 1 / Math.sqrt(tensor.shape[1]!);
    trainer.set(
      name,
      values.map(() => next() * size + (tensor.shape.length === 1 && !name.endsWith(".bias") ? 1 : 0)),
    );
  }
  return trainer;
}

/** The largest |quotient - gradient| / max(|gradient|, rms of the tensor's gradient), Richardson on central differences. */
async function furthest(trainer: Trainer, seed = 1): Promise<number> {
  const batch = batchOf(trainer.graph.shape, 3, LENGTH, seed);
  const { noise, machine, setting } = { ...trainer.graph, machine: trainer.machine, setting: trainer.graph.setting };
  if (noise) {
    const next = normal(8);
    machine.reals(noise, setting.count * trainer.graph.shape.hidden).forEach((_, i, all) => {
      all[i] = 0.1 * next();
    });
  }
  await trainer.gradients(batch);
  const gradients = new Map(trainer.trained.map(({ name }) => [name, trainer.get(name, "grad") as Float64Array]));
  const loss = async () => (await trainer.evaluate(batch)).loss;
  const next = random(3);
  let worst = 0;
  for (const [name, gradient] of gradients) {
    const values = trainer.graph.values(trainer.graph.tensor(name)) as Float64Array;
    const rms = Math.sqrt(gradient.reduce((s, g) => s + g * g, 0) / gradient.length);
    expect(rms, name).toBeGreaterThan(0);
    const step = 1e-3 * Math.sqrt(values.reduce((s, x) => s + x * x, 0) / values.length + 1e-6);
    const all = Array.from({ length: gradient.length }, (_, i) => i);
    const chosen =
      all.length <= Math.min(COORDINATES, 200)
        ? all
        : Array.from({ length: COORDINATES }, () => Math.floor(next() * gradient.length));
    for (const i of chosen) {
      const at = values[i]!;
      const quotient = async (h: number) => {
        values[i] = at + h;
        const up = await loss();
        values[i] = at - h;
        return (up - (await loss())) / (2 * h);
      };
      const [wide, narrow] = [await quotient(step), await quotient(step / 2)];
      values[i] = at;
      const error = Math.abs((4 * narrow - wide) / 3 - gradient[i]!) / Math.max(Math.abs(gradient[i]!), rms);
      worst = Math.max(worst, error);
    }
  }
  await trainer.close();
  return worst;
}

const sparse = {
  kernelSize: 2,
  kernelStride: 1,
  blockSize: 2,
  initBlocks: 1,
  windowSize: 2,
  topk: 2,
  denseLen: 8,
  exactLse: true,
};

for (const [name, options] of Object.entries({
  "a model": { objective: { kind: "lm" as const } },
  "a model with the z loss, tied, logits in slices": {
    objective: { kind: "lm" as const, zCoef: 1e-2 },
    shape: { ...SMALL, tied: true },
    chunk: 7,
  },
  "one head of keys for all, activations computed again": {
    objective: { kind: "lm" as const },
    shape: { ...SMALL, kvHeads: 1 },
    recompute: true,
  },
  "a model and a teacher of another shape": {
    objective: {
      kind: "lm" as const,
      zCoef: 1e-2,
      teacher: {
        shape: { ...SMALL, layers: 1, hidden: 10, heads: 2, kvHeads: 1, headDim: 8, ropeFactors: undefined },
        share: 0.4,
      },
    },
    chunk: 7,
  },
  adapters: { objective: { kind: "lora" as const, rank: 3, alpha: 5 } },
  "adapters of some layers": { objective: { kind: "lora" as const, rank: 2, alpha: 5, targets: ["q_proj", "v_proj"] } },
  "a model and its MTP layer": { objective: { kind: "mtp" as const, lambda: 0.4 }, shape: { ...SMALL, tied: true } },
} satisfies Record<string, Partial<TrainerOptions> & Pick<TrainerOptions, "objective">>))
  test(`central differences: ${name}`, async () => {
    expect(await furthest(await trainerOf(options))).toBeLessThanOrEqual(1e-6);
  });

test("central differences: an EAGLE-3 head in three steps, with a window and a vocabulary of its own, and in one step", async () => {
  const shape = { ...SMALL, layers: 4 };
  expect(await furthest(await trainerOf({ objective: { kind: "eagle", layout: 3 }, shape, chunk: 7 }))).toBeLessThanOrEqual(1e-6);
  const vocabulary = Int32Array.of(0, 2, 3, 7, 11, 18);
  const narrow = await trainerOf({ objective: { kind: "eagle", layout: 3, steps: 4, window: 5, vocabulary }, shape });
  expect(await furthest(narrow)).toBeLessThanOrEqual(1e-6);
  await expect(trainerOf({ objective: { kind: "eagle", layout: 3, window: 2 }, shape })).rejects.toMatchObject({
    code: "bad-option",
  });
  const one = await trainerOf({ objective: { kind: "eagle", layout: 3, steps: 1, window: 4 }, shape: { ...shape, tied: true } });
  expect(await furthest(one, 2)).toBeLessThanOrEqual(1e-6);
  await expect(trainerOf({ objective: { kind: "eagle", layout: 3 } })).rejects.toMatchObject({ code: "unsupported" });
});

test("central differences: an EAGLE-2 head, with a window, noise and a draft vocabulary", async () => {
  const objective = { kind: "eagle" as const, window: 5, vocabulary: Int32Array.of(0, 2, 3, 7, 11, 18), probabilityWeight: 0.3 };
  // Targets from a model's own hidden states lie on the smooth side of |d| = 1 or far from it but for few; steps are small.
  expect(await furthest(await trainerOf({ objective, chunk: 10 }))).toBeLessThanOrEqual(1e-6);
});

test("central differences: sparse attention, where the choice of blocks stands still", async () => {
  const trainer = await trainerOf({ objective: { kind: "lm" }, shape: { ...SMALL, sparse } });
  expect(await furthest(trainer)).toBeLessThanOrEqual(1e-6);
});

test("a ternary model's gradient is that of the model with those weights", async () => {
  const options = { shape: SMALL, rows: 3, length: LENGTH };
  const ternary = await trainerOf({ objective: { kind: "lm", ternaryGroup: 4 } });
  const batch = batchOf(SMALL, 3, LENGTH, 2);
  await ternary.gradients(batch);
  const plain = await Trainer.create(await machineOf("train.float64"), { ...options, objective: { kind: "lm" } });
  for (const { name } of ternary.trained) plain.set(name, ternary.get(name, "use"));
  await plain.gradients(batch);
  const codes = new Set(ternary.get("model.layers.0.mlp.up_proj.weight", "use").map((x) => Math.sign(x)));
  expect([...codes].sort()).toEqual([-1, 0, 1]);
  for (const { name } of ternary.trained) expect(ternary.get(name, "grad"), name).toEqual(plain.get(name, "grad"));
});

test("a teacher that is the model itself pulls nowhere, and its part of the loss is the entropy", async () => {
  const options = { shape: SMALL, rows: 3, length: LENGTH };
  const plain = await trainerOf({ objective: { kind: "lm" } });
  const taught = await Trainer.create(await machineOf("train.float64"), {
    ...options,
    objective: { kind: "lm", teacher: { shape: SMALL, share: 1 } },
  });
  for (const { name } of plain.trained) for (const prefix of ["", "teacher."]) taught.set(prefix + name, plain.get(name));
  const batch = batchOf(SMALL, 3, LENGTH, 2);
  const { parts } = await taught.gradients(batch);
  expect(parts[0]).toBeCloseTo((await plain.evaluate(batch)).loss, 12);
  expect(parts[1]).toBeLessThan(Math.log(SMALL.vocab));
  for (const { name } of taught.trained) expect(Math.max(...taught.get(name, "grad").map(Math.abs)), name).toBeLessThan(1e-12);
  const wrong = { objective: { kind: "lm" as const, teacher: { shape: { ...SMALL, vocab: 20 }, share: 1 } } };
  await expect(trainerOf(wrong)).rejects.toMatchObject({ code: "unsupported" });
});

for (const { recompute = false, ...objective } of [
  { kind: "lm" as const },
  { kind: "lm" as const, recompute: true },
  { kind: "lora" as const, rank: 3, alpha: 5 },
  { kind: "eagle" as const, layout: 3 as const },
])
  test(`rows in pieces give the gradients of batches that are one piece each: ${objective.kind}${recompute ? ", recomputed" : ""}`, async () => {
    // An MLP of 384 goes 256 rows at a time: 300 of them are a whole piece and the beginning of another, 100 are one.
    const shape = { ...SMALL, intermediate: 384, ...(objective.kind === "eagle" && { layers: 4 }) };
    const [rows, length] = [3, 100];
    const whole = batchOf(shape, rows, length, 6);
    const apart = Array.from({ length: rows }, (_, i) => {
      const cut = <T extends { subarray(a: number, b: number): T }>(all: T): T => all.subarray(i * length, (i + 1) * length);
      const { tokens, segments, labels, weights } = whole;
      return { rows: 1, length, tokens: cut(tokens), segments: cut(segments), labels: cut(labels), weights: cut(weights) };
    });
    const options = { objective, shape, length, recompute };
    const [a, b] = [await trainerOf({ ...options, rows }), await trainerOf({ ...options, rows: 1 })];
    const [x, y] = [await a.gradients(whole), await b.gradients(apart)];
    expect(x.loss).toBeCloseTo(y.loss, 12);
    for (const { name } of a.trained) {
      const [one, two] = [a.get(name, "grad"), b.get(name, "grad")];
      const size = Math.sqrt((one as Float64Array).reduce((sum, g) => sum + g * g, 0) / one.length);
      expect(size, name).toBeGreaterThan(0);
      expect(Math.max(...one.map((g, i) => Math.abs(g - two[i]!))) / size, name).toBeLessThan(1e-11);
    }
    await Promise.all([a.close(), b.close()]);
  });

test("two documents in one row give the gradients of two rows", async () => {
  const packed = batchOf(SMALL, 3, LENGTH, 4);
  const cut = Math.floor(LENGTH * 0.6);
  const row = 2 * LENGTH;
  const apart = {
    rows: 3,
    length: LENGTH,
    tokens: new Int32Array(3 * LENGTH),
    segments: new Int32Array(3 * LENGTH).fill(-1),
    labels: new Int32Array(3 * LENGTH).fill(-1),
    weights: new Float32Array(3 * LENGTH),
  };
  const alone = { ...apart, ...structuredClone(apart) };
  for (const key of ["tokens", "segments", "labels", "weights"] as const) {
    alone[key].set(packed[key].subarray(row, row + LENGTH), 0);
    apart[key].set(packed[key].subarray(row, row + cut), 0);
    apart[key].set(packed[key].subarray(row + cut, row + LENGTH), LENGTH);
  }
  const [a, b] = [await trainerOf({ objective: { kind: "lm" } }), await trainerOf({ objective: { kind: "lm" } })];
  const [x, y] = [await a.gradients(alone), await b.gradients(apart)];
  expect(x.loss).toBeCloseTo(y.loss, 12);
  for (const { name } of a.trained) {
    const [one, two] = [a.get(name, "grad"), b.get(name, "grad")];
    expect(Math.max(...one.map((g, i) => Math.abs(g - two[i]!))), name).toBeLessThan(1e-12);
  }
});
