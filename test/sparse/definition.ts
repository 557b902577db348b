// InfLLM v2 as it is defined, in double precision and without haste: what the kernels are held to.
// Source: InfLLM-V2 (arXiv 2509.24663), as written down in this project's reference for the golden files.
import type { SparseConfig } from "../../src/model/sparse.ts";

export type Vector = ArrayLike<number>;

/** Mean-pooled keys of the full windows of k (n vectors). */
export function compress(k: readonly Vector[], size: number, stride: number): number[][] {
  const count = k.length < size ? 0 : Math.floor((k.length - size) / stride) + 1;
  return Array.from({ length: count }, (_, c) =>
    Array.from(
      { length: k[0]!.length },
      (_, d) => k.slice(c * stride, c * stride + size).reduce((sum, x) => sum + x[d]!, 0) / size,
    ),
  );
}

/** How many windows lie wholly in tokens 0 … i. */
export const visible = (i: number, size: number, stride: number, count: number): number =>
  Math.min(Math.max(Math.floor((i - size + 1) / stride) + 1, 0), count);

export const dot = (a: Vector, b: Vector): number => Array.from(a).reduce((sum, x, d) => sum + x * b[d]!, 0);

function logSum(x: readonly number[]): number {
  const top = Math.max(...x);
  return top + Math.log(x.reduce((sum, v) => sum + Math.exp(v - top), 0));
}

/** Relevance of each block of n tokens to the group of queries (scaled) at position i; -Infinity where no window is seen. */
export function blockScores(
  queries: readonly Vector[],
  fine: readonly Vector[],
  coarse: readonly Vector[],
  i: number,
  n: number,
  c: SparseConfig,
): number[] {
  const seen = visible(i, c.kernelSize, c.kernelStride, fine.length);
  const windows = new Array<number>(fine.length).fill(0);
  for (const q of seen ? queries : []) {
    const scores = fine.slice(0, seen).map((key) => dot(q, key));
    const seenCoarse = c.exactLse ? 0 : visible(i, 4 * c.kernelSize, 4 * c.kernelStride, coarse.length);
    const lse = logSum(seenCoarse ? coarse.slice(0, seenCoarse).map((key) => dot(q, key)) : scores);
    for (const [w, s] of scores.entries()) windows[w]! += Math.exp(s - lse);
  }
  const per = c.blockSize / c.kernelStride;
  return Array.from({ length: Math.ceil(n / c.blockSize) }, (_, b) =>
    Math.max(...windows.slice(Math.max(per * b - 1, 0), Math.max(0, Math.min(per * b + per, seen)))),
  );
}

/** Blocks attended to at position i: the first, the local window, and the best of the rest (ties: lower index). */
export function selectBlocks(scores: readonly number[], i: number, c: SparseConfig): number[] {
  const own = Math.floor(i / c.blockSize);
  const local = c.windowSize / c.blockSize;
  const forced = (b: number) => b < c.initBlocks || b > own - local;
  const all = Array.from({ length: own + 1 }, (_, b) => b);
  const rest = all.filter((b) => !forced(b) && Number.isFinite(scores[b]!)).sort((a, b) => scores[b]! - scores[a]! || a - b);
  return [...all.filter(forced), ...rest.slice(0, Math.max(c.topk - c.initBlocks, 0))].sort((a, b) => a - b);
}

/** softmax(q · k) v over the slots that `sees` allows. */
export function attend(q: Vector, k: readonly Vector[], v: readonly Vector[], sees: (slot: number) => boolean): number[] {
  const slots = k.map((_, slot) => slot).filter(sees);
  const scores = slots.map((slot) => dot(q, k[slot]!));
  const lse = logSum(scores);
  return Array.from(v[0]!, (_, d) => slots.reduce((sum, slot, j) => sum + Math.exp(scores[j]! - lse) * v[slot]![d]!, 0));
}

const sumOf = (x: readonly number[]): number => x.reduce((sum, a) => sum + a, 0);
const largest = (x: Vector): number => Array.from(x).reduce((most, a) => Math.max(most, Math.abs(a)), 0);

/**
 * How far, in each dimension, what a cache of 8 bits gives may be from `attend` over the same stored keys and values, by the steps of
 * its codes (cpp/kernels/attend8.h).
 * A query is rounded to steps of max|q| / 8191: score j is wrong by at most d[j], half a step times the sum of |k[j]|. With w the weights
 * and L = ln(sum of w e^d), weight j is wrong by a factor within e^(d[j] + L) and its inverse, and as weights sum to 1 either way, what
 * is attended to by the sum of w[j] (e^(d[j] + L) - 1) |v[j] - out|.
 * A weight times its value's scale is rounded to steps of the most such product of its tile / 127; half a step counts as often as the
 * value's code says.
 */
export function codingBound(
  q: Vector,
  k: readonly Vector[],
  v: readonly Vector[],
  sees: (slot: number) => boolean,
): readonly number[] {
  const slots = k.map((_, slot) => slot).filter(sees);
  const scores = slots.map((slot) => dot(q, k[slot]!));
  const lse = logSum(scores);
  const weights = scores.map((s) => Math.exp(s - lse));
  const wrong = slots.map((slot) => (largest(q) / 8191 / 2) * sumOf(Array.from(k[slot]!, Math.abs)));
  const sum = Math.log(sumOf(weights.map((w, j) => w * Math.exp(wrong[j]!))));
  const most = weights.map((w, j) => w * Math.exp(wrong[j]! + sum));
  const scales = slots.map((slot) => largest(v[slot]!) / 127);
  const tiles = new Map<number, number>();
  for (const [j, slot] of slots.entries())
    tiles.set(slot >> 5, Math.max(tiles.get(slot >> 5) ?? 0, (most[j]! * scales[j]!) / 127));
  const out = attend(q, k, v, sees);
  return out.map((x, d) =>
    sumOf(
      slots.map((slot, j) => {
        const value = v[slot]![d]!;
        const code = value === 0 ? 0 : Math.abs(value) / scales[j]!;
        return (most[j]! - weights[j]!) * Math.abs(value - x) + (tiles.get(slot >> 5)! / 2) * code;
      }),
    ),
  );
}
