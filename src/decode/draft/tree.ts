// A tree of drafted tokens below the last token of a text: what one verification pass runs.

/** Nodes of a tree, its root included: the bits of a row's mask. */
export const maxNodes = 64;

/**
 * Nodes in an order in which parents come first; node 0 is the root, a token already sampled. Reused for every round.
 * `chance`: the drafter's estimate that the target draws this token, given that it drew the parent's.
 */
export class DraftTree {
  // One piece of memory for all: a generation makes three trees.
  readonly #bytes = new ArrayBuffer(33 * maxNodes);
  readonly chance = new Float64Array(this.#bytes, 0, maxNodes);
  readonly tokens = new Int32Array(this.#bytes, 8 * maxNodes, maxNodes);
  /** Index of the parent, -1 for the root. */
  readonly parents = new Int32Array(this.#bytes, 12 * maxNodes, maxNodes);
  readonly depths = new Int32Array(this.#bytes, 16 * maxNodes, maxNodes);
  /** Bit j: the node sees node j (its ancestors and itself), in two words. */
  readonly maskLow = new Int32Array(this.#bytes, 20 * maxNodes, maxNodes);
  readonly maskHigh = new Int32Array(this.#bytes, 24 * maxNodes, maxNodes);
  /** Which drafter's estimate `chance` is. */
  readonly source = new Uint8Array(this.#bytes, 32 * maxNodes, maxNodes);
  readonly #moved = new Int32Array(this.#bytes, 28 * maxNodes, maxNodes);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Only a root. */
  reset(root: number): void {
    this.#size = 0;
    this.#put(root, -1, 1, 0);
  }

  #put(token: number, parent: number, chance: number, source: number): number {
    const node = this.#size++;
    this.tokens[node] = token;
    this.parents[node] = parent;
    this.depths[node] = parent < 0 ? 0 : this.depths[parent]! + 1;
    this.maskLow[node] = (parent < 0 ? 0 : this.maskLow[parent]!) | (node < 32 ? 1 << node : 0);
    this.maskHigh[node] = (parent < 0 ? 0 : this.maskHigh[parent]!) | (node < 32 ? 0 : 1 << (node - 32));
    this.chance[node] = chance;
    this.source[node] = source;
    return node;
  }

  /** The child of `node` with that token, -1 when there is none. */
  child(node: number, token: number): number {
    for (let i = node + 1; i < this.#size; i++) if (this.parents[i] === node && this.tokens[i] === token) return i;
    return -1;
  }

  /** Adds a child, or finds the one that has this token already; -1 when the tree is full. */
  add(parent: number, token: number, chance: number, source = 0): number {
    const there = this.child(parent, token);
    if (there >= 0) return there;
    return this.#size < maxNodes ? this.#put(token, parent, chance, source) : -1;
  }

  /** Becomes the part of `other` for which `keep` is 1; a node is kept only with its parent. */
  take(other: DraftTree, keep: Uint8Array): void {
    this.#size = 0;
    for (let i = 0; i < other.size; i++) {
      if (!keep[i]) continue;
      const parent = other.parents[i]!;
      this.#moved[i] = this.#put(other.tokens[i]!, parent < 0 ? -1 : this.#moved[parent]!, other.chance[i]!, other.source[i]!);
    }
  }
}
