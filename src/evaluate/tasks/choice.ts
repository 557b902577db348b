// Multiple choice: the log-likelihood of each continuation of a prompt.
import type { Session } from "../../door/session.ts";
import { logSumOf } from "../softmax.ts";

/** Log-likelihoods in nats, one a choice: of the whole continuation, and divided by its characters. */
export interface Likelihoods {
  readonly sums: readonly number[];
  readonly normalised: readonly number[];
  /** Tokens that were scored. */
  readonly tokens: readonly number[];
}

/** How many leading tokens two lists share. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return i;
  return most;
}

/**
 * Log-likelihoods of continuations. `context`: the prompt's tokens; `wholes`: those of prompt and continuation together, since the two may
 * merge. What differs from the prompt's own tokens is scored. `characters`: of each continuation.
 */
export async function likelihoods(
  session: Session,
  context: readonly number[],
  wholes: readonly (readonly number[])[],
  characters: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Likelihoods> {
  // The first token follows nothing: it has no likelihood.
  const starts = wholes.map((whole) => Math.max(1, commonLength(context, whole)));
  const shared = Math.min(...starts);
  await session.truncate(0);
  const before = await session.forward(wholes[0]!.slice(0, shared), { logits: "last", signal });
  const vocab = before.length;
  const sums: number[] = [];
  for (const [k, whole] of wholes.entries()) {
    await session.truncate(shared);
    const rest = whole.slice(shared);
    const rows = rest.length > 1 ? await session.forward(rest.slice(0, -1), { logits: "all", signal }) : undefined;
    let sum = 0;
    for (const [i, token] of rest.entries()) {
      if (shared + i < starts[k]!) continue;
      const row = i === 0 ? before : rows!.subarray((i - 1) * vocab, i * vocab);
      const { most, rest: log } = logSumOf(row);
      sum += row[token]! - most - log;
    }
    sums.push(sum);
  }
  return {
    sums,
    normalised: sums.map((sum, k) => sum / Math.max(1, characters[k]!)),
    tokens: wholes.map((whole, k) => whole.length - starts[k]!),
  };
}

/** Index of the largest; of equal ones the first. */
export const bestOf = (values: readonly number[]): number =>
  values.reduce((best, value, i) => (value > values[best]! ? i : best), 0);
