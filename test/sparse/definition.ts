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
