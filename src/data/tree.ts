// The tree of hierarchical softmax, as fastText builds it from the counts of labels (Huffman, labels falling by count).

export interface Tree {
  /** (left, right) of each inner node; node i < labels is a label, node labels + i the inner node i. */
  readonly children: Int32Array;
  readonly depth: number;
}

const UNREACHED = 1e15;

export function buildTree(counts: readonly number[]): Tree {
  const labels = counts.length;
  const inner = labels - 1;
  const count = new Float64Array(2 * labels).fill(UNREACHED);
  count.set(counts);
  const children = new Int32Array(2 * Math.max(inner, 0));
  const depths = new Int32Array(2 * labels);
  let leaf = labels - 1;
  let node = labels;
  let depth = 0;
  for (let i = 0; i < inner; i++) {
    const pair = [0, 0].map(() => (leaf >= 0 && count[leaf]! < count[node]! ? leaf-- : node++)) as [number, number];
    children.set(pair, 2 * i);
    count[labels + i] = count[pair[0]]! + count[pair[1]]!;
    depths[labels + i] = 1 + Math.max(depths[pair[0]]!, depths[pair[1]]!);
    depth = Math.max(depth, depths[labels + i]!);
  }
  return { children, depth };
}
