// A drafter that knows what the target will say: right as often as it is told to be, at any place in its trees.
import type { Drafter } from "../../src/decode/draft/drafter.ts";
import type { DraftTree } from "../../src/decode/draft/tree.ts";
import type { Sequence } from "../../src/engine/sequences.ts";
import { noise } from "../support/noise.ts";

export interface Oracle extends Drafter<Sequence> {
  /** What the target will say after `from` tokens of text. */
  knows(from: number, tokens: readonly number[]): void;
}

/** Trees of `size` nodes of random shape; each step of the true path is among them with probability `right`, at a random slot. */
export function oracle(size: number, right: number, vocab: number, seed = 1): Oracle {
  const random = noise(seed);
  let start = 0;
  let truth: readonly number[] = [];
  return {
    name: "oracle",
    readsHidden: false,
    computes: false,
    knows(from, tokens) {
      start = from;
      truth = tokens;
    },
    begin: (_, cached) => cached,
    async propose(text, tree: DraftTree, { limit, depth }) {
      let at = text.tokens.length - start + 1;
      let path = 0;
      while (tree.size < Math.min(size, limit)) {
        if (path >= 0 && random() < 0.4) {
          const token = truth[at++];
          path = token !== undefined && random() < right && tree.depths[path]! < depth ? tree.add(path, token, right) : -1;
        } else {
          const parent = Math.floor(random() * tree.size);
          if (tree.depths[parent]! < depth) tree.add(parent, Math.floor(random() * vocab), 0.3);
        }
      }
    },
    async observe() {},
    cut() {},
    close() {},
  };
}
