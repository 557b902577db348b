import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Batch } from "../../../src/train/batch.ts";
import { advantagesOf, policyDefaults, policyLoss } from "../../../src/train/rollout/objective.ts";
import { modelExport } from "../../../src/train/tensors.ts";
import { Trainer, type TrainerOptions } from "../../../src/train/trainer.ts";
import { trainGolden } from "../../support/golden.ts";
import { batchOf, machineOf, normal, random, SMALL } from "../rig.ts";

test("golden/train/grpo", () => {
  const script = fileURLToPath(new URL("golden.mjs", import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, trainGolden], { encoding: "utf8" });
  expect(`${stdout}${stderr}`).toMatch(/\n\d+ passed, 0 failed\n$/);
  expect(status).toBe(0);
});

/** One token. */
const one = (logp: number, behaviour: number, advantage: number, reference = logp) =>
  policyLoss({ logp: [logp], behaviour: [behaviour], reference: [reference], advantage: [advantage], mask: [1] }, { beta: 0.5 });

test("edges: the dual clip only below 0, clip-higher, clamps, what does not count", () => {
  // r = e^1 = 2.718: above 1.28.
  expect(one(-1, -2, 2)).toMatchObject({ policy: -2 * 1.28, clipShare: 1, dualShare: 0 });
  expect(one(-1, -2, 2).gradient[0]).toBe(0);
  // Below 0 the ratio counts up to 3 ...
  expect(one(-1, -2, -2).policy).toBeCloseTo(2 * Math.E, 12);
  expect(one(-1, -2, -2).gradient[0]).toBeCloseTo(2 * Math.E, 12);
  // ... and no further.
  expect(one(-1, -3, -2)).toMatchObject({ policy: 6, clipShare: 1, dualShare: 1 });
  expect(one(-1, -3, -2).gradient[0]).toBe(0);
  // A printed max(F, c A) would hold this one at 3 A: it is a gain.
  expect(one(-1, -1, 2).policy).toBe(-2);
  // r = e^-1: below 0.8.
  expect(one(-2, -1, -1)).toMatchObject({ policy: 0.8, clipShare: 1 });
  expect(one(-2, -1, 1).gradient[0]).toBeCloseTo(-Math.exp(-1), 12);
  // Ratios of e^+-30 are clamped, and still.
  for (const advantage of [1, -1]) expect(Number.isFinite(one(-1, -31, advantage).loss)).toBe(true);
  expect(one(-31, -1, 1).gradient[0]).toBe(0);
  // k3 is held at 10.
  expect(one(-9, -9, 0, -1)).toMatchObject({ kl: 10, policy: 0 });
  expect(one(-9, -9, 0, -1).gradient[0]).toBe(0);
  expect(one(-2, -2, 0, -1).gradient[0]).toBeCloseTo(0.5 * (1 - Math.E), 12);
  const none = policyLoss({ logp: [-1], behaviour: [-1], reference: [-1], advantage: [1], mask: [0] });
  expect([none.loss, none.gradient[0]]).toEqual([0, 0]);
});

test("groups: equal rewards teach nothing, a single right one does", () => {
  expect(advantagesOf([1, 1, 1]).used).toBe(false);
  expect(advantagesOf([0, 0.5, 0.9]).used).toBe(false);
  expect(advantagesOf([0, 0, 1]).used).toBe(true);
  expect(advantagesOf([0.3, 0.3]).advantages).toEqual(Float64Array.of(0, 0));
});

test("options out of range are refused", () => {
  for (const bad of [{ low: -0.1 }, { low: 1.5 }, { high: Number.NaN }, { dual: 1 }, { beta: -1 }])
    expect(() => policyDefaults(bad)).toThrow(/expected a number/);
});

/** A batch whose tokens have behaviours near the policy's own, and far from it. */
function policyBatch(seed: number, length: number): Batch {
  const batch = batchOf(SMALL, 3, length, seed);
  const next = normal(seed + 100);
  const of = (f: () => number) => Float64Array.from({ length: 3 * length }, f);
  return {
    ...batch,
    weights: batch.weights.map((w) => (w > 0 ? 1 : 0)),
    policy: { behaviour: of(() => -3 + 0.8 * next()), reference: of(() => -3 + next()), advantage: of(next) },
  };
}

async function policyTrainer(lora?: { rank: number; alpha: number }): Promise<Trainer> {
  const options: TrainerOptions = {
    shape: SMALL,
    rows: 3,
    length: 13,
    objective: { kind: "policy", beta: 0.3, lora },
    chunk: 17,
    optimiser: { schedule: { kind: "constant", peak: 1e-3, warmup: 0 } },
  };
  const trainer = await Trainer.create(await machineOf("train.float64"), options);
  const next = normal(5);
  for (const [name, tensor] of trainer.graph.tensors) {
    const size = tensor.shape.length === 1 ? 0.1 : 1 / Math.sqrt(tensor.shape[1]!);
    trainer.set(
      name,
      trainer.graph.values(tensor).map(() => next() * size + (tensor.shape.length === 1 ? 1 : 0)),
    );
  }
  return trainer;
}

for (const lora of [undefined, { rank: 3, alpha: 5 }])
  test(`central differences of the loss through ${lora ? "adapters" : "the model"}; its parts and log-probabilities are the definition's`, async () => {
    const trainer = await policyTrainer(lora);
    const batch = policyBatch(2, 13);
    const { loss, parts } = await trainer.gradients(batch);
    const want = policyLoss({ logp: trainer.chosen[0]!, ...batch.policy!, mask: batch.weights }, { beta: 0.3 });
    expect(loss).toBeCloseTo(want.loss, 12);
    expect(parts[0]).toBeCloseTo(want.policy, 12);
    expect(parts[1]).toBeCloseTo(want.kl, 12);
    expect(want.clipShare).toBeGreaterThan(0.1);
    const gradients = new Map(trainer.trained.map(({ name }) => [name, trainer.get(name, "grad")]));
    const pick = random(4);
    for (const [name, gradient] of gradients) {
      const values = trainer.graph.values(trainer.graph.tensor(name));
      const rms = Math.sqrt(Array.from(gradient).reduce((s, g) => s + g * g, 0) / gradient.length);
      expect(rms, name).toBeGreaterThan(0);
      for (let n = 0; n < 4; n++) {
        const i = Math.floor(pick() * values.length);
        const at = values[i]!;
        const loss = async (h: number) => {
          values[i] = at + h;
          const found = (await trainer.evaluate(batch)).loss;
          values[i] = at;
          return found;
        };
        const h = 1e-5;
        const quotient = ((await loss(h)) - (await loss(-h))) / (2 * h);
        expect(Math.abs(quotient - gradient[i]!) / Math.max(rms, Math.abs(gradient[i]!)), name).toBeLessThan(1e-6);
      }
    }
    await trainer.close();
  });

test("a step with adapters changes them alone, and the merged model has their log-probabilities", async () => {
  const trainer = await policyTrainer({ rank: 2, alpha: 4 });
  const batch = policyBatch(3, 13);
  const base = trainer.get("model.layers.0.mlp.up_proj.weight");
  await trainer.step(batch);
  expect(trainer.get("model.layers.0.mlp.up_proj.weight")).toEqual(base);
  await trainer.evaluate(batch);
  const merged = await Trainer.create(await machineOf("train.float64"), {
    shape: SMALL,
    rows: 3,
    length: 13,
    objective: { kind: "policy" },
    evaluateOnly: true,
  });
  for (const { name, shape, read } of modelExport(trainer))
    merged.set(
      name,
      read(
        0,
        shape.reduce((a, b) => a * b, 1),
      ),
    );
  await merged.evaluate(batch);
  // modelExport() rounds to float32.
  expect(Math.max(...merged.chosen[0]!.map((x, i) => Math.abs(x - trainer.chosen[0]![i]!)))).toBeLessThan(1e-5);
});

test("a batch without the rows of a policy is refused", async () => {
  const trainer = await policyTrainer();
  await expect(trainer.gradients(batchOf(SMALL, 3, 13, 1))).rejects.toMatchObject({
    code: "bad-input",
    message: /batch.policy.behaviour/,
  });
});

test("the gradient weighted by importance is that of the exact objective: three states, two chunks of two policies", () => {
  // States 0, 1, 2 in a row; in each one of three actions; the reward is for the right action in the last state given the first.
  // The first chunk (states 0 and 1) was chosen by an older policy than the second. Without clips, E[sum r A d log pi] over old data
  // must be the derivative of the expected reward weighted by the chunk's ratio alone: the exact surrogate, enumerated.
  const softmax = (x: readonly number[]) => {
    const top = Math.max(...x);
    const e = x.map((v) => Math.exp(v - top));
    const sum = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / sum);
  };
  const next = normal(9);
  const table = () => [0, 1, 2].map(() => [0, 1, 2].map(() => 0.5 * next()));
  const [older, newer, now] = [table(), table(), table()];
  const behaviour = [older[0]!, older[1]!, newer[2]!].map(softmax);
  const policy = now.map(softmax);
  const reward = (a: readonly number[]) => (a[2] === (a[0]! + a[1]!) % 3 ? 1 : 0);
  const baseline = 0.4;
  const wide = { low: 1, high: 1e9, dual: 1e9, beta: 0 };
  /** Gradient by the nine logits of one trajectory. */
  const gradientOf = (actions: readonly number[]): number[] => {
    const advantage = reward(actions) - baseline;
    const { gradient } = policyLoss(
      {
        logp: actions.map((a, s) => Math.log(policy[s]![a]!)),
        behaviour: actions.map((a, s) => Math.log(behaviour[s]![a]!)),
        reference: [0, 0, 0],
        advantage: [advantage, advantage, advantage],
        mask: [1, 1, 1],
      },
      wide,
    );
    return [0, 1, 2].flatMap((s) => [0, 1, 2].map((a) => gradient[s]! * ((a === actions[s] ? 1 : 0) - policy[s]![a]!)));
  };
  // Exact: of J = 1/3 sum_s E_{others old, state s now}[A], state by state.
  const all = [0, 1, 2].flatMap((a) => [0, 1, 2].flatMap((b) => [0, 1, 2].map((c) => [a, b, c])));
  const value = (logits: readonly (readonly number[])[]) => {
    const changed = logits.map(softmax);
    return [0, 1, 2].reduce(
      (sum, s) =>
        sum -
        all.reduce((e, actions) => {
          const p = actions.reduce((q, a, t) => q * (t === s ? changed[t]![a]! : behaviour[t]![a]!), 1);
          return e + p * (reward(actions) - baseline);
        }, 0) /
          3,
      0,
    );
  };
  const exact = [0, 1, 2].flatMap((s) =>
    [0, 1, 2].map((a) => {
      const moved = (h: number) => now.map((row, t) => row.map((x, b) => (t === s && b === a ? x + h : x)));
      return (value(moved(1e-5)) - value(moved(-1e-5))) / 2e-5;
    }),
  );
  // Enumerated, it is the same to rounding ...
  const enumerated = all
    .map((actions) => ({ p: actions.reduce((q, a, s) => q * behaviour[s]![a]!, 1), g: gradientOf(actions) }))
    .reduce((sum, { p, g }) => sum.map((x, i) => x + p * g[i]!), new Array<number>(9).fill(0));
  for (const [i, x] of exact.entries()) expect(enumerated[i]).toBeCloseTo(x, 8);
  // ... and samples of the old policies come to it within 3 standard errors.
  const draw = random(12);
  const pick = (p: readonly number[]) => {
    const u = draw();
    return u < p[0]! ? 0 : u < p[0]! + p[1]! ? 1 : 2;
  };
  const samples = 40_000;
  const [sums, squares] = [new Float64Array(9), new Float64Array(9)];
  for (let n = 0; n < samples; n++)
    for (const [i, g] of gradientOf(behaviour.map(pick)).entries()) {
      sums[i] = sums[i]! + g;
      squares[i] = squares[i]! + g * g;
    }
  for (const [i, x] of exact.entries()) {
    const mean = sums[i]! / samples;
    const error = Math.sqrt((squares[i]! / samples - mean * mean) / samples);
    expect(Math.abs(mean - x), `logit ${i}`).toBeLessThan(3 * error);
  }
  // Chunks taken as if the policy of now had made them are biased.
  const stale = (actions: readonly number[]) => {
    const advantage = reward(actions) - baseline;
    return [0, 1, 2].flatMap((s) => [0, 1, 2].map((a) => (-advantage / 3) * ((a === actions[s] ? 1 : 0) - policy[s]![a]!)));
  };
  const biased = all
    .map((actions) => ({ p: actions.reduce((q, a, s) => q * behaviour[s]![a]!, 1), g: stale(actions) }))
    .reduce((sum, { p, g }) => sum.map((x, i) => x + p * g[i]!), new Array<number>(9).fill(0));
  expect(Math.max(...biased.map((x, i) => Math.abs(x - exact[i]!)))).toBeGreaterThan(0.003);
});
