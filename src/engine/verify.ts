// A draft tree through the model, behind a sequence, and its accepted nodes into the sequence.
import type { DraftTree } from "../decode/draft/tree.ts";
import type { Stepper, StepRow } from "./forward.ts";
import type { Sequence } from "./sequences.ts";

/** Appends a verified node, whose parent was the last one appended: its keys and values move to where it lies from now on. */
export function acceptNode(stepper: Stepper, sequence: Sequence, tree: DraftTree, node: number): void {
  const slot = sequence.tokens.length;
  // Nodes on a path rise, so a move never overwrites what is still to be moved.
  stepper.move(sequence, slot - tree.depths[node]! + node, slot);
  sequence.tokens.push(tree.tokens[node]!);
}

/**
 * A tree's rows lie behind the cache in its own order; each sees the cache, its ancestors and itself. A node whose
 * ancestors lie in a row before it is a causal row, as in plain decoding.
 */
export function treeRows(sequence: Sequence, tree: DraftTree): StepRow[] {
  const end = sequence.tokens.length;
  const rows: StepRow[] = [];
  for (let i = 0; i < tree.size; i++) {
    const depth = tree.depths[i]!;
    // As in plain decoding, where each token is a call of its own.
    const causal = depth === i;
    rows.push({
      sequence,
      token: tree.tokens[i]!,
      position: end + depth,
      slot: end + i,
      base: causal ? end + i + 1 : end,
      maskLow: causal ? 0 : tree.maskLow[i]!,
      maskHigh: causal ? 0 : tree.maskHigh[i]!,
      total: causal ? end + i + 1 : end + 1,
    });
  }
  return rows;
}
