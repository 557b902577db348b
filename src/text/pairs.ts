// What two neighbouring symbols make, by number: from a list of merges, or from pieces with scores.
import { modelError } from "../errors.ts";
import { PairBits, PairList, PairMap } from "./pairmap.ts";
import { type Recipe, unusedType } from "./recipe.ts";
import type { Symbols } from "./symbols.ts";

/** Two symbols that do not join. */
export const NEVER = -1;

export interface Pairs {
  /** Priority of the pair asked for last, smaller first. */
  readonly rank: number;
  /** The symbol that two make; NEVER. */
  join(left: number, right: number): number;
}

/** Pieces that are only steps of a merge, and what each was last made of in the text at hand. */
export type MadeOf = Map<number, readonly [left: number, right: number]>;

/** The merge that is listed first; merges that do not make a piece are passed over. */
export class MergePairs implements Pairs {
  readonly #list: PairList;
  rank = 0;

  constructor(merges: readonly string[], separator: string, ids: ReadonlyMap<string, number>, symbols: Symbols) {
    // The separator may be in a piece, too: then a merge is every pair that reads so.
    let most = 0;
    for (const merge of merges) for (let at = merge.indexOf(separator); at >= 0; at = merge.indexOf(separator, at + 1)) most++;
    this.#list = new PairList(most);
    for (let rank = 0; rank < merges.length; rank++) {
      const merge = merges[rank]!;
      for (let at = merge.indexOf(separator); at >= 0; at = merge.indexOf(separator, at + 1)) {
        const [left, right] = [merge.slice(0, at), merge.slice(at + separator.length)];
        const [a, b, made] = [symbols.find(left), symbols.find(right), ids.get(left + right)];
        if (a >= 0 && b >= 0 && made !== undefined && this.#list.get(a, b) < 0) this.#list.add(a, b, made, rank);
      }
    }
  }

  join(left: number, right: number): number {
    const made = this.#list.get(left, right);
    this.rank = this.#list.extra;
    return made;
  }
}

/** Units of all pieces together, at most: those of published vocabularies have two million. */
const maxUnits = 1 << 24;

/** Pieces as a tree of their units. */
class Tree {
  /** (node, unit) to the node behind it, and the piece that ends there plus 1. Node 0 is the root. */
  readonly edges: PairMap;
  /** Which edges there may be. */
  readonly bits: PairBits;
  /** By piece: its node, and its first unit. */
  readonly nodes: Int32Array;
  readonly firsts: Uint16Array;

  constructor(pieces: readonly string[], ids: ReadonlyMap<string, number>) {
    let units = 0;
    for (const piece of ids.keys()) units += piece.length;
    if (units > maxUnits) {
      const detail = { field: "pieces", expected: `at most ${maxUnits} characters in all`, found: `${units}` };
      throw modelError(detail, "more text in the vocabulary than any tokenizer has");
    }
    this.edges = new PairMap(2 * ids.size);
    this.bits = new PairBits(2 * ids.size);
    this.nodes = new Int32Array(pieces.length);
    this.firsts = Uint16Array.from(pieces, (piece) => piece.charCodeAt(0));
    let count = 0;
    for (const [piece, id] of ids) {
      let node = 0;
      for (let i = 0; i < piece.length; i++) {
        const unit = piece.charCodeAt(i);
        let child = this.edges.get(node, unit);
        const ends = i + 1 === piece.length;
        if (child < 0 || ends) {
          const extra = ends ? id + 1 : 0;
          if (child < 0) child = ++count;
          this.edges.set(node, unit, child, extra);
          this.bits.add(node, unit);
        }
        node = child;
      }
      this.nodes[id] = node;
    }
  }
}

/** Pairs of which ScorePairs remembers what they make: a newer one takes an older one's place. */
const remembered = 1 << 15;

/** SentencePiece: two symbols join if their concatenation is a piece, the highest score first. */
export class ScorePairs implements Pairs {
  readonly #recipe: Recipe;
  readonly #symbols: Symbols;
  readonly #tree: Tree;
  /** Scores from the highest: a rank is the place of a score. */
  readonly #scores: Float32Array;
  /** Four numbers a pair: left + 1 (0: free), right, what they make, its rank. */
  readonly #memory: Int32Array;
  readonly #madeOf: MadeOf | undefined;
  rank = 0;

  private constructor(
    recipe: Recipe,
    symbols: Symbols,
    tree: Tree,
    scores: Float32Array,
    memory: Int32Array,
    madeOf: MadeOf | undefined,
  ) {
    this.#recipe = recipe;
    this.#symbols = symbols;
    this.#tree = tree;
    this.#scores = scores;
    this.#memory = memory;
    this.#madeOf = madeOf;
  }

  /** @throws CpmError "bad-model" for more text than a vocabulary has. */
  static of(recipe: Recipe, ids: ReadonlyMap<string, number>, symbols: Symbols): ScorePairs {
    const scores = Float32Array.from(new Set(recipe.scores)).sort().reverse();
    return new ScorePairs(recipe, symbols, new Tree(recipe.pieces, ids), scores, new Int32Array(4 * remembered), undefined);
  }

  /** The same pairs; what pieces that are only steps are made of is noted. */
  noting(madeOf: MadeOf): ScorePairs {
    return new ScorePairs(this.#recipe, this.#symbols, this.#tree, this.#scores, this.#memory, madeOf);
  }

  join(left: number, right: number): number {
    const { bits, nodes, firsts } = this.#tree;
    const node = left < nodes.length ? nodes[left]! : this.#walk(0, left);
    const unit = right < firsts.length ? firsts[right]! : this.#symbols.text(right).charCodeAt(0);
    if (node < 0 || !bits.may(node, unit)) return NEVER;
    const memory = this.#memory;
    const at = ((Math.imul(left, 0x9e3779b1) + Math.imul(right, 0x85ebca6b)) >>> 17) << 2;
    if (memory[at] !== left + 1 || memory[at + 1] !== right) {
      const end = this.#walk(node, right);
      const found = end < 0 ? NEVER : this.#tree.edges.extra - 1;
      memory[at] = left + 1;
      memory[at + 1] = right;
      memory[at + 2] = found;
      memory[at + 3] = found < 0 ? 0 : this.#rankOf(this.#recipe.scores![found]!);
    }
    const made = memory[at + 2]!;
    if (made < 0) return NEVER;
    this.rank = memory[at + 3]!;
    if (this.#madeOf !== undefined && this.#recipe.types[made] === unusedType) this.#madeOf.set(made, [left, right]);
    return made;
  }

  /** The node behind the units of a symbol, -1; the piece that ends there is in `extra` of the edges. */
  #walk(node: number, symbol: number): number {
    const { edges } = this.#tree;
    const text = this.#symbols.text(symbol);
    for (let i = 0; i < text.length && node >= 0; i++) node = edges.get(node, text.charCodeAt(i));
    return node;
  }

  #rankOf(score: number): number {
    let [low, high] = [0, this.#scores.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#scores[middle]! > score) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
