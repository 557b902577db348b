// One row of logits: what a token cost, and how far the row is from another one's.
import { CpmError } from "../errors.ts";

/** A row's largest logit, where that stands (first of equals), and the ln of the sum of e^(x − most): ln p of a token is x − most − rest. */
export interface LogSum {
  readonly most: number;
  readonly top: number;
  readonly rest: number;
}

/** In float64. @throws CpmError "bad-model" where the row holds what is no finite number */
export function logSumOf(row: Float32Array): LogSum {
  let most = row[0]!;
  let top = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > most) most = row[(top = i)]!;
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i]! - most);
  const rest = Math.log(sum);
  if (!Number.isFinite(most + rest)) {
    const at = row.findIndex((x) => !Number.isFinite(x));
    throw new CpmError(
      "bad-model",
      `the model's logits are no finite numbers (${row[at]} for token ${at}): its weights are damaged; convert or quantise it again`,
      { field: "logits", found: String(row[at]) },
    );
  }
  return { most, top, rest };
}

/** What one scored token tells of a model beside its base. Logarithms are natural. */
export interface Comparison {
  /** −ln p of the token, by the model and by the base. */
  readonly nll: number;
  readonly baseNll: number;
  /** KL(base ‖ model) of the row. */
  readonly divergence: number;
  readonly sameTop: boolean;
}

/** Log-probabilities at or below this one take no part in a divergence. Source: llama.cpp, tools/perplexity. */
const LEAST = -16;

/**
 * A row of the model beside the base's row: codes (u16) of log-probabilities `scale * code + least`, float32 as llama.cpp has them.
 * KL sums p_base (ln p_base − ln p) over the tokens whose ln p_base is above −16.
 */
export function compareRows(row: Float32Array, codes: Uint16Array, scale: number, least: number, token: number): Comparison {
  const { most, rest, top } = logSumOf(row);
  const logSum = most + rest;
  let divergence = 0;
  let baseTop = 0;
  for (let i = 0; i < row.length; i++) {
    if (codes[i]! > codes[baseTop]!) baseTop = i;
    const base = Math.fround(Math.fround(scale * codes[i]!) + least);
    if (base > LEAST) divergence += Math.exp(base) * (base - row[i]! + logSum);
  }
  const baseNll = -Math.fround(Math.fround(scale * codes[token]!) + least);
  return { nll: logSum - row[token]!, baseNll, divergence, sameTop: top === baseTop };
}
