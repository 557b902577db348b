// Sampling by its definition: whole arrays, sorted, in f64.
import type { SamplingOptions } from "../../src/engine/types.ts";

const largest = 3.4028234663852886e38;

export const clean = (x: number): number => (Number.isNaN(x) ? -Infinity : Math.fround(Math.min(x, largest)) + 0);

/** Logits after bias and penalties, each rounded to f32 once. */
export function modified(logits: Float32Array, options: SamplingOptions, history: readonly number[]): Float32Array {
  const out = logits.map(clean);
  for (const [token, bias] of options.logitBias) out[token] = clean(Math.fround(out[token]! + bias));
  const off = options.repetitionPenalty === 1 && options.frequencyPenalty === 0 && options.presencePenalty === 0;
  const counts = new Map<number, number>();
  const window = off || options.penaltyWindow === 0 ? [] : history.slice(-options.penaltyWindow);
  for (const token of window) counts.set(token, (counts.get(token) ?? 0) + 1);
  for (const [token, times] of counts) {
    const x = out[token]!;
    const y = x > 0 ? x / options.repetitionPenalty : x * options.repetitionPenalty;
    out[token] = clean(Math.fround(y - times * options.frequencyPenalty - options.presencePenalty));
  }
  return out;
}

/** Tokens, best first: larger logit, then lower index. */
export function ordered(logits: Float32Array): Int32Array {
  return Int32Array.from(logits.keys()).sort((a, b) => (logits[a] === logits[b] ? a - b : logits[a]! > logits[b]! ? -1 : 1));
}

export function weightsOf(logits: Float32Array, temperature: number): Float64Array {
  let most = -Infinity;
  for (const x of logits) most = Math.max(most, x);
  return Float64Array.from(logits, (x) => Math.exp((x - most) / temperature));
}

/** How many of the tokens, best first, are kept; `slack` moves every boundary by a relative amount. */
export function keptCount(weights: Float64Array, order: Int32Array, options: SamplingOptions, slack: number): number {
  let kept = options.topK > 0 ? Math.min(options.topK, order.length) : order.length;
  if (options.topP < 1) {
    let sum = 0;
    for (let i = 0; i < kept; i++) sum += weights[order[i]!]!;
    let part = 0;
    for (let i = 0; i < kept; i++) {
      part += weights[order[i]!]!;
      if (part >= options.topP * sum * (1 + slack)) kept = i + 1;
    }
  }
  const least = Math.max(options.minP * (1 - slack), Math.exp(-87 * (1 + slack)));
  while (kept > 1 && weights[order[kept - 1]!]! < least) kept--;
  return kept;
}

const mask = (1n << 64n) - 1n;
function mix(x: bigint): bigint {
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & mask;
  return x ^ (x >> 31n);
}

export function uniform(seed: number, position: number): number {
  const golden = 0x9e3779b97f4a7c15n;
  const start = mix((BigInt(seed) + golden) & mask);
  return Number(mix((start + (BigInt(position) + 1n) * golden) & mask) >> 11n) / 2 ** 53;
}
