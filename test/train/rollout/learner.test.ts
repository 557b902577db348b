import { expect, onTestFinished, test } from "vitest";
import { mix } from "../../../src/train/checksum.ts";
import { modelEngine, type RolloutEngine } from "../../../src/train/rollout/engine.ts";
import { judge, newGroup, promptAt } from "../../../src/train/rollout/groups.ts";
import { Learner, type LearnerOptions } from "../../../src/train/rollout/learner.ts";
import { advantagesOf } from "../../../src/train/rollout/objective.ts";
import { packLessons } from "../../../src/train/rollout/pack.ts";
import { exactReward, verifierReward } from "../../../src/train/rollout/rewards.ts";
import { answerTokens, extended, lengthOf, type Trajectory } from "../../../src/train/rollout/trajectory.ts";
import { doors } from "../../support/door.ts";
import { random } from "../rig.ts";
import { digitPrompts, holdsDigit, type Policy, policyOf, weightsOf } from "./rig.ts";

function engineOf(): RolloutEngine {
  const engine = modelEngine(doors["in the caller's thread"].load, { slots: 16, contextSize: 48, load: { threads: 1 } });
  onTestFinished(() => engine.close());
  return engine;
}

/** Chooses at random, without a model: answers of very different lengths, whose tokens depend on seed, place and policy alone. */
function scriptedEngine(): RolloutEngine {
  let policy = -1;
  return {
    get policy() {
      return policy;
    },
    async load(_, number) {
      policy = number;
    },
    async advance(open, length, most) {
      const trajectories = open.map((t) => {
        const [tokens, logp]: [number[], number[]] = [[], []];
        let state: Trajectory["state"] = "open";
        for (let at = lengthOf(t); tokens.length < length && state === "open"; at++) {
          const draw = mix(t.seed ^ mix(at * 31 + policy * 7 + 1));
          tokens.push(draw % 7 === 0 ? 0 : 1 + (draw % 12));
          logp.push(-((draw >>> 8) % 1000) / 250 - 0.01);
          if (tokens.at(-1) === 0) state = "stop";
          else if (at + 1 === most) state = "length";
        }
        return extended(t, { tokens: Int32Array.from(tokens), logp: Float32Array.from(logp), policy }, state);
      });
      return { trajectories, work: { tokens: 0, prefilled: 0, rebuilt: 0, idle: 0 } };
    },
    async close() {},
  };
}

const OPTIONS: LearnerOptions = {
  answers: 4,
  groups: 2,
  inFlight: 12,
  maxTokens: 16,
  chunk: 5,
  referenceEvery: 2,
  beta: 0.01,
  seed: 9,
};

const learnerOf = (policy: Policy, engine: RolloutEngine, options: LearnerOptions): Learner =>
  new Learner(
    {
      prompts: digitPrompts(policy.tokenizer),
      engine,
      trainer: policy.trainer,
      reference: policy.reference,
      reward: holdsDigit,
      decode: (tokens) => policy.tokenizer.decode([...tokens]),
      weights: policy.weights,
    },
    options,
  );

test("chunks of any length: plain GRPO, written out, gives the same bits", async () => {
  const options: LearnerOptions = { answers: 4, groups: 3, maxTokens: 12, epochs: 2, miniBatch: 2, beta: 0.01, seed: 4 };
  const [a, b] = [await policyOf(), await policyOf()];
  const learner = learnerOf(a, engineOf(), options);
  while (learner.policy < 3) await learner.advance();

  // The plain loop: whole answers of the policy as it is, until three groups teach; then updates against the same log-probabilities.
  const engine = engineOf();
  const prompts = digitPrompts(b.tokenizer);
  for (const { name } of b.reference.graph.trained) b.reference.set(name, b.trainer.get(name));
  let drawn = 0;
  let waiting: { answers: readonly Trajectory[]; advantages: Float64Array }[] = [];
  for (let update = 0; update < 3; update++) {
    await engine.load(b.weights(), update);
    while (waiting.length < 3) {
      const groups = Array.from({ length: 3 }, () => {
        const prompt = promptAt(drawn, prompts.length, 4);
        return { prompt, group: newGroup(drawn++, prompt, prompts[prompt]!.tokens, 4, 4) };
      });
      for (const { prompt, group } of groups) {
        const { trajectories } = await engine.advance(group.answers, Number.POSITIVE_INFINITY, 12);
        const rewards = trajectories.map((t) =>
          holdsDigit({ response: b.tokenizer.decode([...answerTokens(t)]), answer: prompts[prompt]!.sample.answer as string }),
        );
        const { advantages, used } = advantagesOf(rewards);
        if (used && trajectories.some(({ state }) => state === "stop")) waiting.push({ answers: trajectories, advantages });
      }
    }
    const taken = waiting.slice(0, 3);
    waiting = waiting.slice(3);
    const batches = [taken.slice(0, 2), taken.slice(2)].map((some) =>
      packLessons(
        some.flatMap(({ answers, advantages }) =>
          answers.map((trajectory, i) => ({
            trajectory,
            advantage: advantages[i]!,
            mask: trajectory.state === "stop" ? (1 as const) : (0 as const),
          })),
        ),
        2,
        48,
      ),
    );
    for (const { batches: all } of batches)
      for (const batch of all)
        if (batch.weights.some((w) => w > 0)) {
          await b.reference.evaluate(batch);
          batch.policy.reference.set(b.reference.chosen[0]!);
        }
    for (let epoch = 0; epoch < 2; epoch++) for (const { batches: all } of batches) await b.trainer.step(all);
  }
  expect(b.trainer.optimiser!.steps).toBe(12);
  expect(a.trainer.optimiser!.steps).toBe(12);
  expect(weightsOf(a.trainer)).toEqual(weightsOf(b.trainer));
});

test("killed and begun again at random: the same weights, and tokens, log-probabilities and masks always of one length", async () => {
  const run = async (kills: number, seed: number) => {
    const next = random(seed);
    let policy = await policyOf();
    let learner = learnerOf(policy, scriptedEngine(), OPTIONS);
    let kept: { state: string; sections: Map<string, Uint8Array> } | undefined;
    let killed = 0;
    for (let policies = 0; learner.policy < 6; policies++) {
      expect(policies).toBeLessThan(200);
      await learner.advance();
      const state = JSON.parse(learner.save()) as {
        groups: { answers: Saved[] }[];
        waiting: { answers: Saved[]; rewards: number[]; masks: number[] }[];
      };
      for (const group of [...state.groups, ...state.waiting])
        for (const t of group.answers)
          for (const chunk of t.chunks) {
            expect(chunk.tokens.length).toBe(chunk.logp.length);
            expect(chunk.tokens.length).toBeLessThanOrEqual(5);
          }
      for (const { answers, rewards, masks } of state.waiting)
        expect([rewards.length, masks.length]).toEqual([answers.length, answers.length]);
      // Checkpoints are written now and then; what comes after the last is lost with the process.
      if (next() < 0.6)
        kept = { state: learner.save(), sections: new Map(learner.sections().map(({ name, bytes }) => [name, bytes.slice()])) };
      if (killed < kills && kept && next() < 0.5) {
        killed++;
        policy = await policyOf({}, 100 + killed);
        learner = learnerOf(policy, scriptedEngine(), OPTIONS);
        for (const { name, bytes } of learner.sections()) bytes.set(kept.sections.get(name)!);
        learner.restore(kept.state);
      }
    }
    expect(killed).toBe(kills);
    return { weights: weightsOf(policy.trainer), reference: weightsOf(policy.reference), state: learner.save() };
  };
  interface Saved {
    chunks: { tokens: number[]; logp: number[] }[];
  }
  const whole = await run(0, 1);
  for (const seed of [2, 3, 4]) expect(await run(6, seed)).toEqual(whole);
});

test("the same with a model: caches are built again, and a learner that goes on draws what it would have drawn", async () => {
  const steps = async (kill: number | undefined) => {
    let policy = await policyOf();
    const options = { ...OPTIONS, filters: { overlong: false } };
    let learner = learnerOf(policy, engineOf(), options);
    for (let i = 0; i < 30; i++) {
      if (i === kill) {
        const [state, kept] = [learner.save(), learner.sections().map(({ bytes }) => bytes.slice())];
        policy = await policyOf({}, 50);
        learner = learnerOf(policy, engineOf(), options);
        for (const [n, { bytes }] of learner.sections().entries()) bytes.set(kept[n]!);
        learner.restore(state);
      }
      await learner.advance();
    }
    expect(learner.policy).toBeGreaterThan(1);
    return { weights: weightsOf(policy.trainer), state: learner.save() };
  };
  const whole = await steps(undefined);
  expect(await steps(11)).toEqual(whole);
  expect(await steps(20)).toEqual(whole);
});

test("a step has a chunk for each open trajectory, prompts fill the room, and reports add up", async () => {
  const policy = await policyOf();
  const learner = learnerOf(policy, scriptedEngine(), { ...OPTIONS, referenceEvery: 0 });
  let finished = 0;
  for (let i = 0; i < 12; i++) {
    const before = JSON.parse(learner.save()) as State;
    const report = await learner.advance();
    const after = JSON.parse(learner.save()) as State;
    const chunks = (state: State) => state.groups.flatMap((g) => g.answers).map((t) => [t.id, t.chunks.length] as const);
    const had = new Map(chunks(before));
    const open = new Set(before.groups.flatMap((g) => g.answers.filter((t) => t.state === "open").map((t) => t.id)));
    for (const [id, count] of chunks(after)) expect(count).toBe((had.get(id) ?? 0) + (open.has(id) || !had.has(id) ? 1 : 0));
    expect(report.open).toBeLessThanOrEqual(12);
    finished += report.finished;
    if (report.update) {
      expect(report.update.stalest).toBeGreaterThanOrEqual(0);
      expect(report.update.clipShare).toBeGreaterThanOrEqual(report.update.dualShare);
      expect(report.update.dualShare).toBeGreaterThanOrEqual(0);
    }
  }
  interface State {
    groups: { answers: { id: string; state: string; chunks: unknown[] }[] }[];
  }
  expect(finished).toBeGreaterThan(20);
});

test("an update takes as many groups as it asks for and leaves the rest; the clip sees old chunks", async () => {
  const policy = await policyOf();
  const learner = learnerOf(policy, scriptedEngine(), { ...OPTIONS, inFlight: 32, filters: { dynamic: false, overlong: false } });
  const reports = [];
  for (let i = 0; i < 8; i++) reports.push(await learner.advance());
  const updates = reports.flatMap(({ update }) => (update ? [update] : []));
  expect(updates.length).toBeGreaterThan(3);
  expect(Math.max(...reports.map(({ buffered }) => buffered))).toBeGreaterThan(0);
  expect(Math.max(...updates.map(({ stalest }) => stalest))).toBeGreaterThan(0);
});

test("more answers in flight than updates take: the buffer and the age of what is in it stay bounded", async () => {
  const policy = await policyOf();
  const [groups, inFlight, answers] = [2, 32, 4];
  const engine = scriptedEngine();
  const { advance } = engine;
  const asked: number[] = [];
  engine.advance = (open, ...rest) => {
    asked.push(open.length);
    return advance(open, ...rest);
  };
  const learner = learnerOf(policy, engine, {
    ...OPTIONS,
    groups,
    inFlight,
    answers,
    chunk: Number.POSITIVE_INFINITY,
    filters: { dynamic: false, overlong: false },
  });
  for (let i = 0; i < 24; i++) {
    const { buffered, update } = await learner.advance();
    // At most what waits short of an update, and what was in flight then.
    expect(buffered).toBeLessThan(groups + inFlight / answers);
    expect(update!.stalest).toBeLessThanOrEqual(inFlight / answers / groups);
  }
  expect(learner.policy).toBe(24);
  // Where nothing is open, updates are made of what waits, and the engine is not asked.
  expect(Math.min(...asked)).toBeGreaterThan(0);
  expect(asked.length).toBeLessThan(24);
});

test("filters: cut and garbled answers stay in the group's mean and out of the loss; groups without a lesson go", async () => {
  const policy = await policyOf();
  const text = (s: string, state: Trajectory["state"], t: Trajectory) => {
    const tokens = Int32Array.from([...policy.tokenizer.encode(s, { bos: false, eos: false }), ...(state === "stop" ? [0] : [])]);
    return extended(t, { tokens, logp: new Float32Array(tokens.length).fill(-1), policy: 0 }, state);
  };
  const group = newGroup(0, 0, [1], 4, 1);
  const [a, b, c, d] = group.answers as [Trajectory, Trajectory, Trajectory, Trajectory];
  const answers = [text("12", "stop", a), text("7", "length", b), text("12".repeat(20), "stop", c), text("5", "stop", d)];
  const of = {
    sample: { answer: "12" },
    reward: exactReward,
    filters: {},
    decode: (tokens: Int32Array) => policy.tokenizer.decode([...tokens]),
  };
  const found = await judge({ ...group, answers }, of);
  expect(found).toMatchObject({ kept: true, overlong: 1, garbled: 1 });
  expect(found.group.rewards).toEqual([1, 0, 0, 0]);
  expect(found.group.masks).toEqual([1, 0, 0, 1]);
  expect((await judge({ ...group, answers }, { ...of, filters: { overlong: false, garbled: false } })).group.masks).toEqual([
    1, 1, 1, 1,
  ]);
  expect((await judge({ ...group, answers }, { ...of, sample: { answer: "3" } })).kept).toBe(false);
  expect((await judge({ ...group, answers }, { ...of, sample: { answer: "3" }, filters: { dynamic: false } })).kept).toBe(true);
  expect(await verifierReward(["answer"])({ response: "so it is 12", answer: 12 })).toBe(1);
});

test("with clips, chunk ratios and rewards, the digit asked for is learnt", async () => {
  const policy = await policyOf();
  const learner = learnerOf(policy, engineOf(), {
    ...OPTIONS,
    answers: 8,
    groups: 4,
    inFlight: 48,
    maxTokens: 8,
    chunk: 3,
    epochs: 2,
    beta: 0.001,
  });
  const rewards: number[] = [];
  while (learner.policy < 40) {
    const { reward } = await learner.advance();
    if (reward !== undefined) rewards.push(reward);
  }
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  expect(mean(rewards.slice(-8))).toBeGreaterThan(mean(rewards.slice(0, 8)) + 0.15);
});

test("options and parts that do not fit are refused", async () => {
  const policy = await policyOf();
  const refused = (options: Partial<LearnerOptions>) => () => learnerOf(policy, scriptedEngine(), { ...OPTIONS, ...options });
  expect(refused({ answers: 1 })).toThrow(/answers: expected a whole number from 2/);
  expect(refused({ chunk: 0 })).toThrow(/chunk/);
  expect(refused({ inFlight: 3 })).toThrow(/inFlight/);
  expect(refused({ maxTokens: 64 })).toThrow(/do not fit into rows/);
  expect(refused({ miniBatch: 3 })).toThrow(/miniBatch/);
  expect(() => new Learner({ ...partsOf(policy), reference: undefined }, OPTIONS)).toThrow(/takes a reference/);
  expect(() => new Learner({ ...partsOf(policy), prompts: [] }, OPTIONS)).toThrow(/no prompt/);
});

const partsOf = (policy: Policy) => ({
  prompts: digitPrompts(policy.tokenizer),
  engine: scriptedEngine(),
  trainer: policy.trainer,
  reference: policy.reference,
  reward: holdsDigit,
  decode: () => "",
  weights: policy.weights,
});
