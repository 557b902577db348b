// EAGLE-2's dynamic tree: level by level the likeliest nodes are expanded, and of all candidates the likeliest are kept.
import { type DraftTree, maxNodes } from "./tree.ts";

/** The `count` likeliest tokens after each of the rows last run, best first, and the logarithms of their chances. */
export interface Ranking {
  readonly tokens: Int32Array;
  readonly values: Float64Array;
}

/** A row to run: the candidate's token after its parent's, seeing the nodes of its own branch. */
export interface BeamRow {
  readonly token: number;
  /** Row of the last level whose state it goes on from. */
  readonly from: number;
  /** Bits of the rows behind the root, in the order in which levels were run, that it sees; itself included. */
  readonly maskLow: number;
  readonly maskHigh: number;
}

/** Runs one level; the ranking holds `width` tokens a row. */
export type RunLevel = (level: number, rows: readonly BeamRow[]) => Promise<Ranking>;

export interface TreeShape {
  readonly depth: number;
  readonly width: number;
  /** Nodes in all, the root included. */
  readonly size: number;
}

/** Indices of the `count` largest of values[begin ... end), ties to the lower index, largest first. */
export function best(values: Float64Array, begin: number, end: number, count: number): number[] {
  return Array.from({ length: end - begin }, (_, i) => begin + i)
    .sort((a, b) => values[b]! - values[a]! || a - b)
    .slice(0, count);
}

/**
 * Grows `tree`, which holds its root, from the ranking after the root. `enough(level, value)`: whether a level is not worth
 * running any more, its likeliest node being of that value. Source: EAGLE-2 (arXiv 2406.16858); ties as in CPM.cu.
 */
export async function growTree(
  tree: DraftTree,
  first: Ranking,
  { depth, width, size }: TreeShape,
  run: RunLevel,
  enough: (level: number, value: number) => boolean,
): Promise<void> {
  const most = width + width * width * (depth - 1);
  const tokens = new Int32Array(most);
  const values = new Float64Array(most);
  const parents = new Int32Array(most).fill(-1);
  tokens.set(first.tokens.subarray(0, width));
  values.set(first.values.subarray(0, width));
  let count = width;
  let beam = Array.from({ length: width }, (_, i) => ({ candidate: i, from: -1, low: 0, high: 0 }));
  for (let level = 1; level < depth; level++) {
    if (enough(level, values[beam[0]!.candidate]!)) break;
    const bit = (level - 1) * width;
    const rows = beam.map(({ candidate, from, low, high }, r): BeamRow => {
      const [maskLow, maskHigh] = withBit(low, high, bit + r);
      return { token: tokens[candidate]!, from, maskLow, maskHigh };
    });
    const ranking = await run(level, rows);
    const base = count;
    for (let r = 0; r < width; r++)
      for (let i = 0; i < width; i++, count++) {
        tokens[count] = ranking.tokens[r * width + i]!;
        values[count] = values[beam[r]!.candidate]! + ranking.values[r * width + i]!;
        parents[count] = beam[r]!.candidate;
      }
    beam = best(values, base, count, width).map((candidate) => {
      const from = Math.floor((candidate - base) / width);
      return { candidate, from, low: rows[from]!.maskLow, high: rows[from]!.maskHigh };
    });
  }
  // A parent's value is at least its child's and its index lower, so it comes first.
  const nodes = new Int32Array(count).fill(-1);
  for (const c of best(values, 0, count, Math.min(size, maxNodes) - 1)) {
    // What has no chance at all ends a chain.
    if (values[c] === -Infinity) continue;
    const parent = parents[c]!;
    const node = parent < 0 ? 0 : nodes[parent]!;
    if (node < 0 || tree.size === maxNodes) continue;
    nodes[c] = tree.add(node, tokens[c]!, Math.exp(values[c]! - (parent < 0 ? 0 : values[parent]!)) || 0);
  }
}

const withBit = (low: number, high: number, bit: number): [number, number] =>
  bit < 32 ? [low | (1 << bit), high] : [low, high | (1 << (bit - 32))];
