// Groups: the answers to one prompt, from its first chunk to the buffer that updates take from.
import type { Sample } from "../../data/verify/types.ts";
import { mix } from "../checksum.ts";
import { uniform } from "../scratch.ts";
import { advantagesOf } from "./objective.ts";
import type { Lesson } from "./pack.ts";
import { isGarbled, type Reward } from "./rewards.ts";
import { answerTokens, restored, type SavedTrajectory, saved, type Trajectory } from "./trajectory.ts";

/** A prompt and what its answers are judged by. */
export interface RolloutPrompt {
  readonly tokens: readonly number[];
  readonly sample: Sample;
}

export interface Group {
  readonly id: string;
  /** Index of the prompt. */
  readonly prompt: number;
  readonly answers: readonly Trajectory[];
}

/** A group whose answers have ended and were judged. */
export interface JudgedGroup extends Group {
  readonly rewards: readonly number[];
  /** 0: left out of the loss. */
  readonly masks: readonly (0 | 1)[];
}

export type SavedGroup = Omit<JudgedGroup, "answers"> & { readonly answers: readonly SavedTrajectory[] };

export const isFinished = ({ answers }: Group): boolean => answers.every(({ state }) => state !== "open");

/** The prompt that is drawn as number `drawn`: each epoch has all of them, in an order of its own. */
export function promptAt(drawn: number, prompts: number, seed: number): number {
  const epoch = Math.floor(drawn / prompts);
  const next = uniform(mix(seed ^ mix(epoch + 1)));
  const order = Array.from({ length: prompts }, (_, i) => i);
  for (let i = prompts - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order[drawn % prompts]!;
}

/** A group that begins: number `drawn` of all. */
export function newGroup(drawn: number, prompt: number, tokens: readonly number[], answers: number, seed: number): Group {
  const id = `g${drawn}`;
  return {
    id,
    prompt,
    answers: Array.from({ length: answers }, (_, i) => ({
      id: `${id}.${i}`,
      group: id,
      prompt: Int32Array.from(tokens),
      seed: mix(mix(seed + drawn) ^ mix(0x5bd1e995 + i)),
      chunks: [],
      state: "open",
    })),
  };
}

export interface Filters {
  /** Answers that were cut count in their group's mean, not in the loss. Default true. */
  readonly overlong?: boolean | undefined;
  /** So do garbled ones. Default true. */
  readonly garbled?: boolean | undefined;
  /** Groups in which none or all are right are dropped. Default true. */
  readonly dynamic?: boolean | undefined;
}

export interface Judged {
  readonly group: JudgedGroup;
  readonly kept: boolean;
  readonly overlong: number;
  readonly garbled: number;
}

/** Rewards and filters of a group whose answers have ended. `decode`: tokens to text. */
export async function judge(
  group: Group,
  of: {
    readonly sample: Sample;
    readonly reward: Reward;
    readonly filters: Filters;
    decode(tokens: Int32Array): string;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Judged> {
  const { overlong = true, garbled = true, dynamic = true } = of.filters;
  const texts = group.answers.map((t) => of.decode(answerTokens(t)));
  const rewards: number[] = [];
  for (const response of texts) rewards.push(await of.reward({ ...of.sample, response }, of.signal));
  const cut = group.answers.map(({ state }) => state === "length");
  const bad = texts.map(isGarbled);
  const masks = group.answers.map((_, i): 0 | 1 => ((overlong && cut[i]) || (garbled && bad[i]) ? 0 : 1));
  const teaches = advantagesOf(rewards).used && masks.some((mask) => mask === 1);
  return {
    group: { ...group, rewards, masks },
    kept: dynamic ? teaches : true,
    overlong: cut.filter(Boolean).length,
    garbled: bad.filter(Boolean).length,
  };
}

export function lessonsOf({ answers, rewards, masks }: JudgedGroup): Lesson[] {
  const { advantages } = advantagesOf(rewards);
  return answers.map((trajectory, i) => ({ trajectory, advantage: advantages[i]!, mask: masks[i]! }));
}

export const savedGroup = <G extends Group>(group: G) => ({ ...group, answers: group.answers.map(saved) });
export const restoredGroup = <G extends { readonly answers: readonly SavedTrajectory[] }>(group: G) => ({
  ...group,
  answers: group.answers.map(restored),
});
