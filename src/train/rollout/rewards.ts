// Rewards are verifiers; filters leave out of the loss what would teach the wrong thing.
import { verifyText } from "../../data/verify/garbled.ts";
import { runVerifiers, type SuiteOptions, type VerifierName } from "../../data/verify/suite.ts";
import type { Sample } from "../../data/verify/types.ts";

/** What an answer is worth, from 0 to 1; 1: right. `sample.response` is the answer's text. */
export type Reward = (sample: Sample, signal?: AbortSignal) => number | Promise<number>;

/** 1 where all the named verifiers find nothing wrong, else 0. */
export const verifierReward =
  (names: readonly VerifierName[], options: SuiteOptions = {}): Reward =>
  async (sample, signal) =>
    Object.values(await runVerifiers(names, sample, options, signal)).every(({ ok }) => ok) ? 1 : 0;

/** 1 where the answer, without space around it, is the sample's `answer`, or one of them. */
export const exactReward: Reward = ({ response = "", answer }) => {
  const right = Array.isArray(answer) ? (answer as readonly (string | number)[]) : [answer as string | number | undefined];
  return right.some((one) => one !== undefined && String(one).trim() === response.trim()) ? 1 : 0;
};

/** Whether a text is garbled: `verifyText` finds something; an empty one is not. */
export const isGarbled = (response: string): boolean => response.trim() !== "" && !verifyText({ response }).ok;
