// The loop: at most a chunk for every open trajectory, rewards of groups that have ended, an update when enough of them wait. All that it
// goes on from is in its state: killed anywhere and begun again, it comes to the same weights.
import { now } from "../../clock.ts";
import { CpmError } from "../../errors.ts";
import type { ModelFiles } from "../../file/source.ts";
import { shown } from "../../shown.ts";
import { countOf } from "../shape.ts";
import { modelExport } from "../tensors.ts";
import type { Trainer } from "../trainer.ts";
import type { RolloutEngine, RolloutWork } from "./engine.ts";
import {
  type Filters,
  type Group,
  isFinished,
  type JudgedGroup,
  judge,
  lessonsOf,
  newGroup,
  promptAt,
  type RolloutPrompt,
  restoredGroup,
  savedGroup,
} from "./groups.ts";
import { type PolicyOptions, policyLoss } from "./objective.ts";
import { type Packed, packLessons } from "./pack.ts";
import type { Reward } from "./rewards.ts";
import { answerTokens, lengthOf, type SavedTrajectory } from "./trajectory.ts";

/** Of a step that rolls nothing out. */
const NO_WORK: RolloutWork = { tokens: 0, prefilled: 0, rebuilt: 0, idle: 0 };

export interface LearnerOptions extends PolicyOptions {
  /** Answers to a prompt. Default 16. */
  readonly answers?: number | undefined;
  /** Groups of an update. Default 16. */
  readonly groups?: number | undefined;
  /** Groups of a mini-batch. Default: all of an update's. */
  readonly miniBatch?: number | undefined;
  /** Times that an update goes over its groups. Default 1. */
  readonly epochs?: number | undefined;
  /**
   * Trajectories that are open at once: prompts are added while another group fits, and while fewer groups wait than an update takes: else
   * the buffer would grow, and answers in it get older, without end. Default: groups x answers.
   */
  readonly inFlight?: number | undefined;
  /** Tokens of a chunk, at most. Default Infinity: answers are made whole (plain GRPO). */
  readonly chunk?: number | undefined;
  /** Tokens of an answer, at most. */
  readonly maxTokens: number;
  /** Updates after which the reference is the policy as it is; 0: never. Default 0. */
  readonly referenceEvery?: number | undefined;
  readonly filters?: Filters | undefined;
  /**
   * What a ratio compares with: "chunk" (default): the policy that made the chunk; "update": the policy before the update, as if it had
   * made them all (for comparison: biased where chunks are old).
   */
  readonly importance?: "chunk" | "update" | undefined;
  readonly seed?: number | undefined;
}

/** What a learner goes on from, beside the weights, the optimiser and the reference. */
export interface LearnerState {
  readonly version: 1;
  /** Steps made, and those that changed the weights: the number of the policy. */
  step: number;
  policy: number;
  /** Updates of the optimiser. */
  updates: number;
  /** Groups begun. */
  drawn: number;
  groups: Group[];
  waiting: JudgedGroup[];
}

export interface LearnerParts {
  readonly prompts: readonly RolloutPrompt[];
  readonly engine: RolloutEngine;
  /** Of the objective "policy", with an optimiser. */
  readonly trainer: Trainer;
  /** Of the same rows and length, with all tensors, evaluateOnly; needed where beta is above 0. */
  readonly reference?: Trainer | undefined;
  readonly reward: Reward;
  decode(tokens: Int32Array): string;
  /** The policy as the engine loads it. */
  weights(): ModelFiles;
}

/** A step, as it is told. */
export interface LearnerStep {
  readonly step: number;
  readonly policy: number;
  /** Of answers that ended in this step. */
  readonly finished: number;
  readonly reward: number | undefined;
  readonly length: number | undefined;
  readonly overlong: number;
  readonly garbled: number;
  /** Groups that were dropped because none or all were right; that wait. */
  readonly dropped: number;
  readonly buffered: number;
  readonly open: number;
  readonly work: RolloutWork;
  /** Of the update, where there was one. */
  readonly update:
    | {
        readonly loss: number;
        readonly kl: number;
        /** Shares of the counted tokens whose gain the clips hold still; of them, the dual clip. */
        readonly clipShare: number;
        readonly dualShare: number;
        readonly ratio: number;
        readonly norm: number;
        /** How many policies ago the tokens were chosen, mean and most. */
        readonly staleness: number;
        readonly stalest: number;
        readonly tokens: number;
      }
    | undefined;
  readonly ms: { readonly load: number; readonly rollout: number; readonly update: number };
}

type Complete = {
  readonly [K in keyof Omit<LearnerOptions, keyof PolicyOptions | "filters">]-?: NonNullable<LearnerOptions[K]>;
} & {
  readonly filters: Filters;
  readonly beta: number;
};

/** @throws CpmError "bad-option" */
function complete(options: LearnerOptions): Complete {
  const { answers = 16, groups = 16, epochs = 1, chunk = Number.POSITIVE_INFINITY, referenceEvery = 0, seed = 0 } = options;
  const { maxTokens, filters = {}, importance = "chunk", beta = 1e-3 } = options;
  const { miniBatch = groups, inFlight = groups * answers } = options;
  const check = (field: string, value: number, least: number, most = 1 << 24) => {
    if (!(Number.isInteger(value) && value >= least && value <= most))
      throw new CpmError("bad-option", `${field}: expected a whole number from ${least} to ${most}, found ${shown(value)}`, {
        field,
      });
  };
  check("answers", answers, 2);
  check("groups", groups, 1);
  check("miniBatch", miniBatch, 1, groups);
  check("epochs", epochs, 1);
  check("inFlight", inFlight, answers);
  if (chunk !== Number.POSITIVE_INFINITY) check("chunk", chunk, 1);
  check("maxTokens", maxTokens, 1);
  check("referenceEvery", referenceEvery, 0);
  check("seed", seed, 0, 0xffffffff);
  if (importance !== "chunk" && importance !== "update")
    throw new CpmError("bad-option", `importance: expected "chunk" or "update", found ${shown(importance)}`, {
      field: "importance",
    });
  return { answers, groups, miniBatch, epochs, inFlight, chunk, maxTokens, referenceEvery, filters, importance, seed, beta };
}

/** Bytes that a checkpoint holds, under names: what an update changes, and the reference. */
export interface LearnerSection {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export class Learner {
  readonly #parts: LearnerParts;
  readonly #bounds: PolicyOptions;
  readonly #o: Complete;
  #state: LearnerState = { version: 1, step: 0, policy: 0, updates: 0, drawn: 0, groups: [], waiting: [] };

  /** The reference begins as the trainer is. @throws CpmError "bad-option", "bad-input" */
  constructor(parts: LearnerParts, options: LearnerOptions) {
    this.#parts = parts;
    this.#o = complete(options);
    const { low, high, dual, beta } = options;
    this.#bounds = { low, high, dual, beta };
    const { trainer, reference, prompts } = parts;
    if (trainer.graph.options.objective.kind !== "policy" || !trainer.optimiser)
      throw new CpmError("bad-option", 'learning from rewards takes a trainer of the objective "policy" with an optimiser', {
        field: "objective",
      });
    if (this.#o.beta > 0 && !reference)
      throw new CpmError("bad-option", "beta: a distance above 0 takes a reference; give one, or beta 0", { field: "reference" });
    const { rows, length } = trainer.graph.options;
    if (reference && (reference.graph.options.rows !== rows || reference.graph.options.length !== length))
      throw new CpmError("bad-option", `reference: expected rows of ${rows} x ${length}`, { field: "reference" });
    if (prompts.length === 0) throw new CpmError("bad-input", "there is no prompt to learn from", { field: "prompts" });
    for (const [i, { tokens }] of prompts.entries())
      if (tokens.length === 0 || tokens.length + this.#o.maxTokens > length)
        throw new CpmError(
          "bad-input",
          `prompt ${i}: ${tokens.length} tokens and an answer of ${this.#o.maxTokens} do not fit into rows of ${length}; an empty prompt does not either`,
          { field: "length" },
        );
    this.#renewReference();
  }

  get step(): number {
    return this.#state.step;
  }

  /** How many times weights have changed. */
  get policy(): number {
    return this.#state.policy;
  }

  #renewReference(): void {
    const { trainer, reference } = this.#parts;
    if (!reference) return;
    for (const tensor of modelExport(trainer)) reference.set(tensor.name, tensor.read(0, countOf(tensor)));
  }

  /** What {@link restore} takes, as JSON; with {@link sections} all that there is to go on from. */
  save(): string {
    const { groups, waiting, ...rest } = this.#state;
    return JSON.stringify({ ...rest, groups: groups.map(savedGroup), waiting: waiting.map(savedGroup) });
  }

  /** Views of the memory: weights and moments, and the reference. Fill them to go on from a checkpoint, before restore(). */
  sections(): LearnerSection[] {
    const { trainer, reference } = this.#parts;
    const view = (of: Trainer, at: number, count: number) =>
      new Uint8Array(of.machine.memory.buffer, at, count * of.machine.real);
    return [
      ...trainer.sections(),
      ...(reference
        ? reference.graph.trained.map((t) => ({ name: `reference/${t.name}`, bytes: view(reference, t.at, countOf(t)) }))
        : []),
    ];
  }

  /** Goes on from what save() gave, once sections() were filled. @throws CpmError "bad-input" */
  restore(text: string): void {
    type Saved = Omit<LearnerState, "groups" | "waiting"> & {
      groups: (Omit<Group, "answers"> & { answers: SavedTrajectory[] })[];
      waiting: (Omit<JudgedGroup, "answers"> & { answers: SavedTrajectory[] })[];
    };
    const saved = JSON.parse(text) as Saved;
    if (saved.version !== 1)
      throw new CpmError("bad-input", `the state of a learner of version ${shown(saved.version)}; this one reads version 1`, {
        field: "version",
      });
    this.#state = { ...saved, groups: saved.groups.map(restoredGroup), waiting: saved.waiting.map(restoredGroup) };
    this.#parts.trainer.optimiser!.steps = saved.updates;
  }

  /** Adds prompts while another group fits beside what is open; none where an update waits already. */
  #draw({ groups, drawn, waiting }: LearnerState): Group[] {
    const { prompts } = this.#parts;
    const { answers, inFlight, seed } = this.#o;
    if (waiting.length >= this.#o.groups) return [];
    let open = groups.reduce((sum, { answers }) => sum + answers.filter(({ state }) => state === "open").length, 0);
    const out: Group[] = [];
    for (; open + answers <= inFlight; open += answers) {
      const prompt = promptAt(drawn + out.length, prompts.length, seed);
      out.push(newGroup(drawn + out.length, prompt, prompts[prompt]!.tokens, answers, seed));
    }
    return out;
  }

  /**
   * One step. An abort rejects and leaves the learner as it was, unless its update has begun to change weights: then go on from the
   * last checkpoint.
   */
  async advance(signal?: AbortSignal): Promise<LearnerStep> {
    const { engine, prompts, reward, decode } = this.#parts;
    const o = this.#o;
    const state = this.#state;
    const began = now();
    const added = this.#draw(state);
    const groups = [...state.groups, ...added];
    const open = groups.flatMap(({ answers }) => answers.filter(({ state }) => state === "open"));
    // Where a whole update waits and nothing is open, there is nothing to roll out, nor a use for newer weights yet.
    if (open.length > 0 && engine.policy !== state.policy) await engine.load(this.#parts.weights(), state.policy, signal);
    const loaded = now();
    const { trajectories, work } =
      open.length > 0 ? await engine.advance(open, o.chunk, o.maxTokens, signal) : { trajectories: [], work: NO_WORK };
    const byId = new Map(trajectories.map((t) => [t.id, t]));
    const gone = groups.map((g) => ({ ...g, answers: g.answers.map((t) => byId.get(t.id) ?? t) }));
    const finished: { group: JudgedGroup; kept: boolean; overlong: number; garbled: number }[] = [];
    for (const group of gone.filter(isFinished))
      finished.push(await judge(group, { sample: prompts[group.prompt]!.sample, reward, filters: o.filters, decode, signal }));
    const rolled = now();
    const waiting = [...state.waiting, ...finished.filter(({ kept }) => kept).map(({ group }) => group)];
    const taken = waiting.length >= o.groups ? waiting.splice(0, o.groups) : [];
    const update = taken.length > 0 ? await this.#update(taken, signal) : undefined;
    const changed = update !== undefined;
    const policy = state.policy + (changed ? 1 : 0);
    this.#state = {
      version: 1,
      step: state.step + 1,
      policy,
      updates: this.#parts.trainer.optimiser!.steps,
      drawn: state.drawn + added.length,
      groups: gone.filter((g) => !isFinished(g)),
      waiting,
    };
    if (changed && o.referenceEvery > 0 && policy % o.referenceEvery === 0) this.#renewReference();
    const rewards = finished.flatMap(({ group }) => group.rewards);
    const lengths = finished.flatMap(({ group }) => group.answers.map(lengthOf));
    const sum = (of: (f: (typeof finished)[0]) => number) => finished.reduce((total, f) => total + of(f), 0);
    return {
      step: state.step + 1,
      policy,
      finished: rewards.length,
      reward: mean(rewards),
      length: mean(lengths),
      overlong: sum(({ overlong }) => overlong),
      garbled: sum(({ garbled }) => garbled),
      dropped: finished.filter(({ kept }) => !kept).length,
      buffered: waiting.length,
      open: this.#state.groups.reduce((n, { answers }) => n + answers.filter(({ state }) => state === "open").length, 0),
      work,
      update,
      ms: { load: loaded - began, rollout: rolled - loaded, update: now() - rolled },
    };
  }

  /** Mean reward and length of answers to prompts, made whole by the policy as it is; changes nothing. */
  async score(
    prompts: readonly RolloutPrompt[],
    answers: number,
    signal?: AbortSignal,
  ): Promise<{ readonly reward: number; readonly length: number }> {
    const { engine, reward, decode } = this.#parts;
    const { seed, maxTokens } = this.#o;
    if (engine.policy !== this.#state.policy) await engine.load(this.#parts.weights(), this.#state.policy, signal);
    const groups = prompts.map(({ tokens }, i) => newGroup(i, i, tokens, answers, (seed ^ 0x2545f491) >>> 0));
    const { trajectories } = await engine.advance(
      groups.flatMap((group) => group.answers),
      Number.POSITIVE_INFINITY,
      maxTokens,
      signal,
    );
    const rewards: number[] = [];
    for (const [i, t] of trajectories.entries())
      rewards.push(await reward({ ...prompts[Math.floor(i / answers)]!.sample, response: decode(answerTokens(t)) }, signal));
    return { reward: mean(rewards) ?? 0, length: mean(trajectories.map(lengthOf)) ?? 0 };
  }

  async #update(groups: readonly JudgedGroup[], signal?: AbortSignal): Promise<LearnerStep["update"]> {
    const { trainer } = this.#parts;
    const { rows, length } = trainer.graph.options;
    const { epochs, miniBatch, importance } = this.#o;
    const parts: Packed[] = [];
    for (let from = 0; from < groups.length; from += miniBatch) {
      const packed = packLessons(groups.slice(from, from + miniBatch).flatMap(lessonsOf), rows, length);
      if (packed.counted === 0) continue;
      await this.#addReference(packed, signal);
      if (importance === "update") await this.#addOwn(packed, signal);
      parts.push(packed);
    }
    if (parts.length === 0) return undefined;
    signal?.throwIfAborted();
    const seen: Record<"loss" | "kl" | "clipShare" | "dualShare" | "ratio" | "norm", number>[] = [];
    for (let epoch = 0; epoch < epochs; epoch++)
      for (const { batches } of parts) {
        // From here on weights change: no abort, so that they are those of a whole update.
        const { loss, norm } = await trainer.step(batches);
        const all = (of: (i: number) => ArrayLike<number>) => batches.flatMap((_, i) => Array.from(of(i)));
        const found = policyLoss(
          {
            logp: all((i) => trainer.chosen[i]!),
            behaviour: all((i) => batches[i]!.policy.behaviour),
            reference: all((i) => batches[i]!.policy.reference),
            advantage: all((i) => batches[i]!.policy.advantage),
            mask: all((i) => batches[i]!.weights),
          },
          this.#bounds,
        );
        const { kl, clipShare, dualShare, ratio } = found;
        seen.push({ loss, kl, clipShare, dualShare, ratio, norm });
      }
    const average = (of: (s: (typeof seen)[0]) => number) => mean(seen.map(of))!;
    const ages = groups.flatMap(({ answers }) =>
      answers.flatMap(({ chunks }) => chunks.map(({ tokens, policy }) => [tokens.length, this.#state.policy - policy] as const)),
    );
    const tokens = ages.reduce((n, [count]) => n + count, 0);
    return {
      loss: average((s) => s.loss),
      kl: average((s) => s.kl),
      clipShare: average((s) => s.clipShare),
      dualShare: average((s) => s.dualShare),
      ratio: average((s) => s.ratio),
      norm: average((s) => s.norm),
      staleness: ages.reduce((n, [count, age]) => n + count * age, 0) / Math.max(1, tokens),
      stalest: Math.max(0, ...ages.map(([, age]) => age)),
      tokens,
    };
  }

  /** Log-probabilities under the reference. */
  async #addReference({ batches }: Packed, signal?: AbortSignal): Promise<void> {
    const { reference } = this.#parts;
    if (!reference || this.#o.beta === 0) return;
    for (const batch of batches) if (await chosenBy(reference, batch, signal)) batch.policy.reference.set(reference.chosen[0]!);
  }

  /** Log-probabilities under the policy before the update, in place of those of the chunks. */
  async #addOwn({ batches }: Packed, signal?: AbortSignal): Promise<void> {
    const { trainer } = this.#parts;
    for (const batch of batches) if (await chosenBy(trainer, batch, signal)) batch.policy.behaviour.set(trainer.chosen[0]!);
  }
}

/** Whether a batch has tokens that count; then `of.chosen` has their log-probabilities. */
async function chosenBy(of: Trainer, batch: Packed["batches"][0], signal?: AbortSignal): Promise<boolean> {
  if (!batch.weights.some((w) => w > 0)) return false;
  await of.evaluate(batch, signal);
  return true;
}

const mean = (values: readonly number[]): number | undefined =>
  values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : undefined;
