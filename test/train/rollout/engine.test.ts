import { expect, onTestFinished, test } from "vitest";
import { idleShare, modelEngine, type RolloutEngine } from "../../../src/train/rollout/engine.ts";
import { newGroup } from "../../../src/train/rollout/groups.ts";
import { packLessons } from "../../../src/train/rollout/pack.ts";
import { extended, lengthOf, responseLogp, responseTokens, type Trajectory } from "../../../src/train/rollout/trajectory.ts";
import { doors } from "../../support/door.ts";
import { type Policy, policyOf } from "./rig.ts";

const MOST = 24;

function engineOf(slots = 6): RolloutEngine {
  const engine = modelEngine(doors["in the caller's thread"].load, { slots, contextSize: 48, load: { threads: 1 } });
  onTestFinished(() => engine.close());
  return engine;
}

const begin = (policy: Policy): Trajectory[] =>
  ["1+2=", "77+5=", "9="].flatMap((prompt, i) => [
    ...newGroup(i, i, policy.tokenizer.encode(prompt, { bos: false, eos: false }), 4, 5).answers,
  ]);

async function grown(engine: RolloutEngine, open: readonly Trajectory[], chunk: number): Promise<Trajectory[]> {
  let all = [...open];
  for (let steps = 0; all.some((t) => t.state === "open"); steps++) {
    expect(steps).toBeLessThan(100);
    const { trajectories } = await engine.advance(
      all.filter((t) => t.state === "open"),
      chunk,
      MOST,
    );
    for (const t of trajectories) expect(t.chunks.at(-1)!.tokens.length).toBeLessThanOrEqual(chunk);
    all = all.map((t) => trajectories.find(({ id }) => id === t.id) ?? t);
  }
  return all;
}

test("answers that end make room for others: what goes on keeps its keys and values until weights change", async () => {
  const policy = await policyOf();
  const engine = engineOf(16);
  await engine.load(policy.weights(), 0);
  let open: Trajectory[] = [];
  let [drawn, old] = [0, 0];
  for (let step = 0; step < 10; step++) {
    for (; open.length + 4 <= 16; drawn++)
      open.push(
        ...newGroup(drawn, drawn, policy.tokenizer.encode(`${7 * drawn}+${drawn}=`, { bos: false, eos: false }), 4, 5).answers,
      );
    const begun = open.filter(({ chunks }) => chunks.length > 0);
    old += begun.length;
    if (step === 6) await engine.load(policy.weights(), 1);
    const { trajectories, work } = await engine.advance(open, 3, MOST);
    // The last token of each is computed with the next one; new weights void all of it.
    const again = step === 6 ? begun.reduce((sum, t) => sum + t.prompt.length + lengthOf(t), 0) : begun.length;
    expect(work.rebuilt, `step ${step}`).toBe(again);
    open = trajectories.filter(({ state }) => state === "open");
  }
  expect(old).toBeGreaterThan(50);
  expect(drawn).toBeGreaterThan(6);
});

test("chunks under frozen weights are the answer in one go: tokens, log-probabilities, ends; side by side or one by one", async () => {
  const policy = await policyOf();
  const engine = engineOf();
  await engine.load(policy.weights(), 7);
  const whole = await grown(engine, begin(policy), Number.POSITIVE_INFINITY);
  expect(new Set(whole.map(({ state }) => state))).toEqual(new Set(["stop", "length"]));
  for (const t of whole) {
    expect(t.chunks).toHaveLength(1);
    expect(t.chunks[0]!.policy).toBe(7);
    expect(lengthOf(t)).toBeLessThanOrEqual(MOST);
    if (t.state === "stop") expect(responseTokens(t).at(-1)).toBe(0);
    else expect(lengthOf(t)).toBe(MOST);
  }
  const one = engineOf(1);
  await one.load(policy.weights(), 7);
  for (const [other, chunk] of [
    [engine, 1],
    [engine, 5],
    [one, 7],
  ] as const)
    for (const [i, t] of (await grown(other, begin(policy), chunk)).entries()) {
      expect([...responseTokens(t)]).toEqual([...responseTokens(whole[i]!)]);
      expect([...responseLogp(t)]).toEqual([...responseLogp(whole[i]!)]);
      expect(t.state).toBe(whole[i]!.state);
      expect(t.chunks.length).toBe(Math.ceil(lengthOf(t) / chunk));
    }
});

test("log-probabilities are those that the trainer computes", async () => {
  const policy = await policyOf();
  const engine = engineOf();
  await engine.load(policy.weights(), 0);
  const all = await grown(engine, begin(policy), 6);
  const { batches, counted } = packLessons(
    all.map((trajectory) => ({ trajectory, advantage: 1, mask: 1 })),
    2,
    48,
  );
  expect(counted).toBe(all.reduce((n, t) => n + lengthOf(t), 0));
  let worst = 0;
  for (const batch of batches) {
    if (!batch.weights.some((w) => w > 0)) continue;
    await policy.trainer.evaluate(batch);
    for (const [i, w] of batch.weights.entries())
      if (w > 0) worst = Math.max(worst, Math.abs(policy.trainer.chosen[0]![i]! - batch.policy.behaviour[i]!));
  }
  expect(worst).toBeLessThan(2e-5);
});

test("new weights: the process stays, caches are built again and counted", async () => {
  const policy = await policyOf();
  const engine = engineOf();
  await engine.load(policy.weights(), 0);
  const first = await engine.advance(begin(policy), 3, MOST);
  expect(first.work.rebuilt).toBe(0);
  expect(first.work.prefilled).toBeGreaterThan(0);
  const open = first.trajectories.filter(({ state }) => state === "open");
  const same = await engine.advance(open, 3, MOST);
  const values = policy.trainer.get("model.layers.0.mlp.up_proj.weight");
  policy.trainer.set(
    "model.layers.0.mlp.up_proj.weight",
    values.map((x) => -x),
  );
  await engine.load(policy.weights(), 1);
  expect(engine.policy).toBe(1);
  const other = await engine.advance(open, 3, MOST);
  // All that stands before, but for prefixes that answers to one prompt share.
  expect(other.work.rebuilt).toBeGreaterThan(same.work.rebuilt);
  expect(other.trajectories.map((t) => t.chunks.map((c) => c.policy))).toEqual(open.map(() => [0, 1]));
  const logp = (found: typeof other) => found.trajectories.flatMap((t) => [...t.chunks[1]!.logp]);
  expect(logp(other)).not.toEqual(logp(same));
});

test("without weights, and with a signal, it says so", async () => {
  const policy = await policyOf();
  const engine = engineOf();
  await expect(engine.advance(begin(policy), 3, MOST)).rejects.toMatchObject({ code: "closed" });
  await engine.load(policy.weights(), 0);
  await expect(engine.advance(begin(policy), 3, MOST, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});

test("idle places: of the longest, of a queue, of none", () => {
  expect(idleShare([4, 4, 4], 3)).toBe(0);
  expect(idleShare([8, 4, 4], 3)).toBeCloseTo(1 / 3, 12);
  expect(idleShare([8, 4, 4], 2)).toBe(0);
  expect(idleShare([], 4)).toBe(0);
});

test("trajectories refuse what does not belong together", () => {
  const [t] = newGroup(0, 0, [1], 2, 1).answers;
  const chunk = (tokens: number[], logp: number[]) => ({
    tokens: Int32Array.from(tokens),
    logp: Float32Array.from(logp),
    policy: 0,
  });
  expect(() => extended(t!, chunk([1, 2], [-1]), "open")).toThrow(/2 tokens with 1 log-prob/);
  expect(() => extended(t!, chunk([], []), "open")).toThrow(/one each/);
  expect(() => extended(t!, chunk([1], [Number.NaN]), "open")).toThrow(/no log-probability/);
  const ended = extended(t!, chunk([1], [-1]), "stop");
  expect(() => extended(ended, chunk([1], [-1]), "open")).toThrow(/has ended/);
  expect(() => packLessons([{ trajectory: ended, advantage: 0, mask: 1 }], 1, 1)).toThrow(/do not fit/);
});
