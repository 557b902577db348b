// What reinforcement learning minimises, as plain arithmetic: the definition that the kernel `policy` is held to (cpp/grad/policy.cpp).
import { CpmError } from "../../errors.ts";
import { shown } from "../../shown.ts";

/** Bounds of the objective; the report does not print them: DAPO's clip-higher, Ye's dual clip, its own beta. */
export interface PolicyOptions {
  /** How far below 1 the ratio counts. Default 0.2. */
  readonly low?: number | undefined;
  /** How far above 1 the ratio counts (clip-higher). Default 0.28. */
  readonly high?: number | undefined;
  /** Where advantages below 0 stop counting: at this many times them. Above 1. Default 3. */
  readonly dual?: number | undefined;
  /** What the distance from the reference counts. Default 0.001. */
  readonly beta?: number | undefined;
}

/** With no bound left open. */
export type PolicyBounds = { readonly [K in keyof PolicyOptions]-?: number };

/** With defaults, checked. @throws CpmError "bad-option" */
export function policyDefaults({ low = 0.2, high = 0.28, dual = 3, beta = 1e-3 }: PolicyOptions): PolicyBounds {
  const check = (field: string, value: number, expected: string, right: boolean) => {
    if (!right)
      throw new CpmError("bad-option", `objective.${field}: expected ${expected}, found ${shown(value)}`, {
        field: `objective.${field}`,
        expected,
      });
  };
  check("low", low, "a number from 0 to 1", low >= 0 && low <= 1);
  check("high", high, "a number from 0 on", high >= 0 && high < Number.POSITIVE_INFINITY);
  check("dual", dual, "a number above 1", dual > 1 && dual < Number.POSITIVE_INFINITY);
  check("beta", beta, "a number from 0 on", beta >= 0 && beta < Number.POSITIVE_INFINITY);
  return { low, high, dual, beta };
}

/** Tokens of any trajectories, one after another. */
export interface ChosenTokens {
  /** Log-probabilities under the policy that is trained. */
  readonly logp: ArrayLike<number>;
  /** Under the policy that chose the token: the one of its chunk. */
  readonly behaviour: ArrayLike<number>;
  /** Under the reference. */
  readonly reference: ArrayLike<number>;
  /** Of the token's trajectory. */
  readonly advantage: ArrayLike<number>;
  /** 1 counts, 0 does not. */
  readonly mask: ArrayLike<number>;
}

export interface PolicyLoss {
  /** policy + beta kl, means over counted tokens. */
  readonly loss: number;
  readonly policy: number;
  readonly kl: number;
  /** Of the loss by each logp. */
  readonly gradient: Float64Array;
  /** Share of the counted tokens whose gain the clips hold still. */
  readonly clipShare: number;
  /** Share of them held by the dual clip. */
  readonly dualShare: number;
  /** Mean of the ratios. */
  readonly ratio: number;
}

const MOST = 20;
const MOST_KL = 10;
const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);

/**
 * r = e^clamp(logp - behaviour); F = min(r A, clip(r) A), and max(F, dual A) where A < 0; k3 = min(e^d - d - 1, 10) with
 * d = clamp(reference - logp); loss = sum of mask (-F + beta k3) / sum of mask, 0 where nothing counts. Clamps at +-20; what is clamped has
 * derivative 0. Sources: MiniCPM4's report 3.2; the dual clip only where A < 0, as its authors have it (Ye et al. 2020) and verl.
 */
export function policyLoss(tokens: ChosenTokens, options: PolicyOptions = {}): PolicyLoss {
  const { low, high, dual, beta } = policyDefaults(options);
  const count = tokens.logp.length;
  const gradient = new Float64Array(count);
  let [mass, policy, kl, clipped, dualled, ratios] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < count; i++) mass += tokens.mask[i]!;
  const by = mass > 0 ? 1 / mass : 0;
  for (let i = 0; i < count && by > 0; i++) {
    const mask = tokens.mask[i]!;
    if (!(mask > 0)) continue;
    const [logp, advantage] = [tokens.logp[i]!, tokens.advantage[i]!];
    const x = logp - tokens.behaviour[i]!;
    const r = Math.exp(clamp(x, -MOST, MOST));
    let gain = Math.min(r * advantage, clamp(r, 1 - low, 1 + high) * advantage);
    if (advantage < 0) gain = Math.max(gain, dual * advantage);
    const open = Math.abs(x) <= MOST && (advantage >= 0 ? r <= 1 + high : r >= 1 - low && r <= dual);
    const d = clamp(tokens.reference[i]! - logp, -MOST, MOST);
    const k3 = Math.exp(d) - d - 1;
    const slope = d === tokens.reference[i]! - logp && k3 <= MOST_KL ? 1 - Math.exp(d) : 0;
    policy -= mask * by * gain;
    kl += mask * by * Math.min(k3, MOST_KL);
    gradient[i] = mask * by * ((open ? -advantage * r : 0) + beta * slope);
    if (!open && advantage !== 0) clipped += mask * by;
    if (advantage < 0 && r > dual) dualled += mask * by;
    ratios += mask * by * r;
  }
  return { loss: policy + beta * kl, policy, kl, gradient, clipShare: clipped, dualShare: dualled, ratio: ratios };
}

/** Reward of an answer that is right. */
const RIGHT = 1;

/** Of a group of answers to one prompt: (R - mean) / (sample standard deviation + 1e-6), and whether the group teaches: some are right, not all. */
export function advantagesOf(rewards: readonly number[]): { readonly advantages: Float64Array; readonly used: boolean } {
  const count = rewards.length;
  const mean = rewards.reduce((a, b) => a + b, 0) / count;
  const spread = count > 1 ? Math.sqrt(rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0) / (count - 1)) : 0;
  const right = rewards.filter((r) => r === RIGHT).length;
  return { advantages: Float64Array.from(rewards, (r) => (r - mean) / (spread + 1e-6)), used: right > 0 && right < count };
}
