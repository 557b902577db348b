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
  const base = sequence.tokens.length;
  return Array.from({ length: tree.size }, (_, i) => {
    const row = { sequence, token: tree.tokens[i]!, position: base + tree.depths[i]!, slot: base + i };
    // As in plain decoding, where each token is a call of its own.
    if (tree.depths[i] === i) return { ...row, total: base + i + 1, base: base + i + 1, maskLow: 0, maskHigh: 0 };
    return { ...row, total: base + 1, base, maskLow: tree.maskLow[i]!, maskHigh: tree.maskHigh[i]! };
  });
}
