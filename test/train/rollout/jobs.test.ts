import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { ModelFiles } from "../../../src/file/source.ts";
import { pathFiles } from "../../../src/host/node.files.ts";
import { diskPolicies } from "../../../src/host/train.store.ts";
import { modelEngine, type RolloutEngine } from "../../../src/train/rollout/engine.ts";
import { newGroup } from "../../../src/train/rollout/groups.ts";
import { jobEngine, type RolloutJob, type RolloutJobResult, runRolloutJob } from "../../../src/train/rollout/jobs.ts";
import { Learner } from "../../../src/train/rollout/learner.ts";
import type { Trajectory } from "../../../src/train/rollout/trajectory.ts";
import { doors } from "../../support/door.ts";
import { digitPrompts, holdsDigit, policyOf, weightsOf } from "./rig.ts";

const plain = (): RolloutEngine => {
  const engine = modelEngine(doors["in the caller's thread"].load, { slots: 16, contextSize: 48, load: { threads: 1 } });
  onTestFinished(() => engine.close());
  return engine;
};
const overWire = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

test("jobs of three workers, weights by files: the same weights as with an engine of one's own", async () => {
  const folder = mkdtempSync(join(tmpdir(), "cpm-policies-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const policies = diskPolicies(join(folder, "policies"));
  const workers = [plain(), plain(), plain()];
  let asked = 0;
  const engine = jobEngine({
    most: 3,
    publish: (weights, policy, signal) => policies.publish(weights, policy, signal),
    async run(job) {
      const worker = workers[asked++ % 3]!;
      const done = await runRolloutJob(worker, overWire(job), (policy) => pathFiles(policies.path(policy)));
      // A queue may have a job done twice.
      const again = await runRolloutJob(worker, overWire(job), (policy) => pathFiles(policies.path(policy)));
      expect(again.chunks).toEqual(done.chunks);
      return overWire(done);
    },
  });
  const made = [];
  for (const of of [plain(), engine]) {
    const policy = await policyOf();
    const learner = new Learner(
      {
        prompts: digitPrompts(policy.tokenizer),
        engine: of,
        trainer: policy.trainer,
        reference: policy.reference,
        reward: holdsDigit,
        decode: (tokens) => policy.tokenizer.decode([...tokens]),
        weights: policy.weights,
      },
      { answers: 4, groups: 2, inFlight: 12, maxTokens: 16, chunk: 5, referenceEvery: 2, beta: 0.01, seed: 9 },
    );
    while (learner.policy < 3) await learner.advance();
    made.push({ weights: weightsOf(policy.trainer), state: learner.save() });
  }
  expect(asked).toBeGreaterThan(6);
  expect(made[1]).toEqual(made[0]);
  expect(readdirSync(join(folder, "policies")).sort()).toEqual(["policy-00000001", "policy-00000002"]);
});

const one = (): Trajectory => newGroup(0, 0, [1, 2], 2, 1).answers[0]!;
const good = (job: RolloutJob): RolloutJobResult => ({
  policy: job.policy,
  chunks: job.trajectories.map(({ id }) => ({ id, tokens: [3, 0], logp: [-1, -2], state: "stop" })),
  work: { tokens: 2, prefilled: 2, rebuilt: 0, idle: 0 },
});
const answering = (change: (job: RolloutJob) => unknown) =>
  jobEngine({ publish: async () => {}, run: async (job) => change(job) });
const NONE = {} as ModelFiles;

test("what a worker sends is taken for what it is: anything that does not fit the job is refused", async () => {
  const right = answering(good);
  await expect(right.advance([one()], 4, 8)).rejects.toMatchObject({ code: "closed" });
  await right.load(NONE, 7);
  const { trajectories, work } = await right.advance([one()], 4, 8);
  expect(trajectories[0]).toMatchObject({ state: "stop", chunks: [{ policy: 7, tokens: Int32Array.from([3, 0]) }] });
  expect(work).toEqual({ tokens: 2, prefilled: 2, rebuilt: 0, idle: 0 });
  const chunk = (change: object) => (job: RolloutJob) => ({
    ...good(job),
    chunks: good(job).chunks.map((c) => ({ ...c, ...change })),
  });
  for (const [change, message] of [
    [() => null, /expected an object/],
    [(job: RolloutJob) => ({ ...good(job), policy: 6 }), /of policy 6, not 7/],
    [(job: RolloutJob) => ({ ...good(job), chunks: [] }), /expected 1 chunks/],
    [(job: RolloutJob) => ({ ...good(job), work: { tokens: "2" } }), /a worker.s result: work: expected its numbers/],
    [chunk({ id: "other" }), /a chunk of g0\.0/],
    [chunk({ tokens: [3, 0.5] }), /tokens and log-probabilities/],
    [chunk({ tokens: [3], logp: [-1, -2] }), /2 log-probabilities/],
    [chunk({ tokens: [3, 3, 3, 3, 3], logp: [-1, -1, -1, -1, -1] }), /more than it was to have/],
    [chunk({ tokens: [], logp: [] }), /a chunk of 0 tokens/],
    [chunk({ logp: [0.5, -1] }), /no log-probability/],
    [chunk({ state: "done" }), /no state/],
  ] as const) {
    const engine = answering(change);
    await engine.load(NONE, 7);
    await expect(engine.advance([one()], 4, 8), String(message)).rejects.toMatchObject({
      code: "bad-input",
      message: expect.stringMatching(message) as string,
    });
  }
});

test("what is no job is refused by a worker; one job that fails ends the others; an abort is handed on", async () => {
  const weights = async () => NONE;
  for (const job of [
    undefined,
    {},
    { policy: 0, length: 0, most: 4, trajectories: [] },
    { policy: 0, length: 4, most: 0, trajectories: [] },
    { policy: 0, length: 4, most: 4, trajectories: [{ id: 1 }] },
  ])
    await expect(runRolloutJob(plain(), job, weights)).rejects.toMatchObject({ code: "bad-input", message: /a rollout job/ });
  expect(() => jobEngine({ publish: async () => {}, run: async () => {}, most: 0 })).toThrow(/most: expected/);

  const seen: AbortSignal[] = [];
  const failing = jobEngine({
    most: 1,
    publish: async () => {},
    run: (job, signal) => {
      seen.push(signal!);
      if (job.trajectories[0]!.id === "g0.1") return Promise.reject(new Error("a worker's failure"));
      return new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason), { once: true }));
    },
  });
  await failing.load(NONE, 0);
  const two = newGroup(0, 0, [1, 2], 2, 1).answers;
  await expect(failing.advance(two, 4, 8)).rejects.toThrow("a worker's failure");
  expect(seen.every(({ aborted }) => aborted)).toBe(true);
  const stop = new AbortController();
  const waits = failing.advance([two[0]!], 4, 8, stop.signal);
  stop.abort(new Error("enough"));
  await expect(waits).rejects.toThrow("enough");
  // A queue that hears of no abort.
  const deaf = jobEngine({ publish: async () => {}, run: () => new Promise(() => {}) });
  await deaf.load(NONE, 0);
  const again = new AbortController();
  const waiting = deaf.advance([two[0]!], 4, 8, again.signal);
  again.abort(new Error("enough of it"));
  await expect(waiting).rejects.toThrow("enough of it");
});

test("a policy without weights is not published", async () => {
  const folder = mkdtempSync(join(tmpdir(), "cpm-policies-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "config.json"), "{}");
  const policies = diskPolicies(join(folder, "policies"));
  await expect(policies.publish(await pathFiles(folder), 1)).rejects.toMatchObject({
    code: "bad-input",
    message: /no model\.safetensors/,
  });
  expect(existsSync(policies.path(1))).toBe(false);
});
