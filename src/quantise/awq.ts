// AWQ smoothing (arXiv 2306.00978): factors per input that make the grids of its readers cost less, searched over alpha.
import type { Inputs, Matrix } from "./linear.ts";
import { freeCoded, gridInt4, outputLoss, roundCodes, takeCoded } from "./linear.ts";
import type { Machine } from "./module.ts";

export const ALPHAS: readonly number[] = Array.from({ length: 20 }, (_, i) => i / 20);

/** f = a^alpha / sqrt(max * min), a = max(mean|x|, 1e-4); alpha 0 gives ones. */
export function smoothFactors(meanAbs: Float64Array, alpha: number): Float64Array {
  const f = meanAbs.map((a) => Math.max(a, 1e-4) ** alpha);
  let [low, high] = [Infinity, 0];
  for (const v of f) [low, high] = [Math.min(low, v), Math.max(high, v)];
  const scale = Math.sqrt(high * low);
  return f.map((v) => v / scale);
}

export interface Smoothing {
  readonly factors: Float64Array;
  readonly alpha: number;
  /** Of each alpha: sum over the readers of tr(d H d^T) / 2. */
  readonly losses: readonly number[];
}

/** The first best factor vector for linears that read the same input, on the int4 grid of `group`. */
export async function searchSmoothing(
  machine: Machine,
  readers: readonly Matrix[],
  meanAbs: Float64Array,
  inputs: Pick<Inputs, "h" | "diag">,
  group: number,
  stop: () => void = () => {},
): Promise<Smoothing> {
  const { cols } = readers[0]!;
  return await machine.scope(async (take) => {
    const factor = take("f64", cols);
    const losses: number[] = [];
    for (const alpha of ALPHAS) {
      stop();
      machine.f64(factor.at, cols).set(smoothFactors(meanAbs, alpha));
      let loss = 0;
      for (const reader of readers) {
        const w = { ...reader, factor: factor.at };
        const coded = takeCoded(machine, w, group, 15);
        try {
          await gridInt4(machine, w, coded, { symmetric: true, search: true, weights: 0 });
          await roundCodes(machine, w, coded);
          loss += await outputLoss(machine, w, inputs, coded);
        } finally {
          freeCoded(machine, coded);
        }
      }
      losses.push(loss);
    }
    const best = losses.indexOf(Math.min(...losses));
    return { factors: smoothFactors(meanAbs, ALPHAS[best]!), alpha: ALPHAS[best]!, losses };
  });
}

/** Mean over the query heads of each KV head, for each of them: what one factor per value channel can be made of. */
export function shareHeads(values: Float64Array, kvHeads: number, headDim: number): Float64Array {
  const heads = values.length / headDim;
  const per = heads / kvHeads;
  return values.map((_, i) => {
    const [kv, d] = [Math.floor(i / headDim / per), i % headDim];
    let sum = 0;
    for (let g = 0; g < per; g++) sum += values[(kv * per + g) * headDim + d]!;
    return sum / per;
  });
}
