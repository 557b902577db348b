// How much of a proposal to verify: the size that gives the most tokens per millisecond on this machine.
import { type CostPoint, StepCosts } from "./costs.ts";
import { type DraftTree, maxNodes } from "./tree.ts";

export type { CostPoint };

/** Chances are learnt in bins of the drafter's own estimate; `trust` is what that estimate counts in trials. */
const bins = 12;
const trust = 4;
const memory = 256;
/** Rounds in which a drafter shows whether it pays, and how long it then rests when it does not. */
const trialRounds = 8;
/** So little a loss is no reason to rest: estimates of what steps take differ by more from round to round. */
const slack = 1.01;
const firstRest = 64;
const longestRest = 1024;
/** Every so often a step goes without a draft, to know what plain decoding takes. */
const plainEvery = 64;
const plainFirst = [2, 8, 24];
/** So often a likely guess that seems not to pay is verified all the same: what a step costs is only learnt by running it. */
const tryEvery = 24;
/** Rounds between tries of a size beside the best one: of one that ran less than `known` times, and of others. */
const strayEvery = [8, 64] as const;
const known = 6;

/**
 * Learns from every round: what steps cost, how often guesses come true, whether the whole pays. With `adaptive` false
 * it keeps everything that is proposed.
 */
export class Budget {
  readonly #adaptive: boolean;
  /** What steps cost, shared with whoever else fills them. */
  readonly costs: StepCosts;
  /** By source and bin. */
  readonly #trials = new Float64Array(2 * bins);
  readonly #hits = new Float64Array(2 * bins);
  /** Of the last rounds: tokens expected of what was chosen, milliseconds expected of its step, and taken by drafting. */
  #tokens = 0;
  #ms = 0;
  #expected = 1;
  #rounds = 0;
  /** Rounds since a plain step; rounds still to rest. */
  #drafting = 0;
  #rest = 0;
  #nextRest = firstRest;
  #rested = true;
  #refused = 0;
  /** Rounds since another size than the best was tried. */
  #strayed = 0;
  readonly #likely = new Float64Array(maxNodes);
  readonly #order = new Int32Array(maxNodes + 1);
  /** Tokens expected of the likeliest n nodes. */
  readonly #gain = new Float64Array(maxNodes + 1);

  constructor(costs: readonly CostPoint[] | StepCosts, adaptive: boolean) {
    this.#adaptive = adaptive;
    this.costs = costs instanceof StepCosts ? costs : new StepCosts(costs);
  }

  /** Whether only what pays is verified. */
  get adaptive(): boolean {
    return this.#adaptive;
  }

  /** Takes new measurements in place of all that was known of costs. */
  measured(costs: readonly CostPoint[]): void {
    this.costs.measured(costs);
  }

  /** Steps seen since the costs were measured. */
  get steps(): number {
    return this.costs.steps;
  }

  /** Expected milliseconds of a step of `rows` rows. */
  cost(rows: number): number {
    return this.costs.cost(rows);
  }

  /** A step of `rows` rows took `ms`. */
  sawStep(rows: number, ms: number): void {
    this.costs.sawStep(rows, ms);
  }

  /** The estimate `chance` of a drafter came true, or did not. */
  sawGuess(chance: number, source: number, hit: boolean): void {
    const bin = binOf(chance, source);
    if (this.#trials[bin]! >= memory) {
      this.#trials[bin]! /= 2;
      this.#hits[bin]! /= 2;
    }
    this.#trials[bin]! += 1;
    if (hit) this.#hits[bin]! += 1;
  }

  /** What a drafter's estimate is worth. */
  chance(estimate: number, source: number): number {
    const bin = binOf(estimate, source);
    return (trust * estimate + this.#hits[bin]!) / (trust + this.#trials[bin]!);
  }

  /** Whether to ask a drafter at all this round: one that costs more than it brings rests, and is tried again now and then. */
  wantsDraft(): boolean {
    if (!this.#adaptive) return true;
    if (this.#rest > 0) {
      this.#rest--;
      this.#rested = true;
      return false;
    }
    this.#drafting++;
    return this.#drafting % plainEvery !== 0 && !plainFirst.includes(this.#drafting);
  }

  /**
   * Drafting for a step of `rows` rows took `ms`. Whether that pays is told by what was to be expected of the step, not by
   * what came: a handful of rounds says little about luck.
   */
  sawRound(rows: number, ms: number): void {
    // After a rest there is something to catch up with, which is no measure of a round.
    if (this.#rested) {
      this.#rested = false;
      return;
    }
    this.#tokens = 0.9 * this.#tokens + this.#expected;
    this.#ms = 0.9 * this.#ms + this.cost(rows) + ms;
    if (++this.#rounds < trialRounds) return;
    if (this.#tokens * this.cost(1) * slack >= this.#ms) {
      this.#nextRest = firstRest;
      return;
    }
    this.#rest = this.#nextRest;
    this.#nextRest = Math.min(longestRest, 3 * this.#nextRest);
    this.#rounds = this.#tokens = this.#ms = 0;
  }

  /**
   * Whether `ms` more of drafting pays, for tokens below a node reached with this chance: they cost that and a row more, and
   * bring at most that chance.
   */
  pays(chance: number, ms: number): boolean {
    if (!this.#adaptive) return true;
    const plain = 1 / this.cost(1);
    const rate = this.#ms > 0 ? Math.max(this.#tokens / this.#ms, plain) : plain;
    return chance > rate * (ms + this.cost(3) - this.cost(2));
  }

  /**
   * Marks in `keep` the nodes worth verifying, at most `limit` with the root; their number. Nodes go by falling chance
   * of their whole path, so parents always come with their children.
   */
  choose(tree: DraftTree, limit: number, keep: Uint8Array): number {
    const { size, parents, chance, source } = tree;
    const likely = this.#likely;
    keep.fill(0, 0, size);
    keep[0] = likely[0] = 1;
    for (let i = 1; i < size; i++) likely[i] = likely[parents[i]!]! * this.chance(chance[i]!, source[i]!);
    let best = 1;
    let bestRate = 1 / this.cost(1);
    let tokens = 1;
    this.#gain[1] = 1;
    const most = Math.min(limit, size);
    for (let n = 2; n <= most; n++) {
      let next = -1;
      for (let i = 1; i < size; i++) if (!keep[i] && (next < 0 || likely[i]! > likely[next]!)) next = i;
      keep[next] = 1;
      this.#order[n] = next;
      tokens += likely[next]!;
      this.#gain[n] = tokens;
      const rate = tokens / this.cost(n);
      if (!this.#adaptive || rate > bestRate) {
        best = n;
        bestRate = rate;
      }
    }
    if (this.#adaptive) best = this.#stray(best, most);
    this.#expected = this.#gain[best]!;
    if (best === 1 && most > 1 && likely[this.#order[2]!]! > 0.5 && ++this.#refused % tryEvery === 0) best = Math.min(3, most);
    for (let n = best + 1; n <= most; n++) keep[this.#order[n]!] = 0;
    return best;
  }

  /**
   * Of several texts' trees that share a step with `others` rows beside them, marks in `keeps` the nodes worth verifying: at most
   * `limits[t]` of tree t and `limit` in all, with the roots, which are always kept. A row that goes to a guess is one that waits for
   * another's token.
   */
  share(
    trees: readonly DraftTree[],
    limits: readonly number[],
    others: number,
    limit: number,
    keeps: readonly Uint8Array[],
  ): void {
    const nodes: { tree: number; node: number; likely: number }[] = [];
    for (const [t, { size, parents, chance, source }] of trees.entries()) {
      const likely = new Float64Array(size).fill(1);
      keeps[t]!.fill(0, 0, size);
      keeps[t]![0] = 1;
      for (let node = 1; node < size; node++) {
        likely[node] = likely[parents[node]!]! * this.chance(chance[node]!, source[node]!);
        nodes.push({ tree: t, node, likely: likely[node]! });
      }
    }
    // A child is never likelier than its parent, and of equals the parent comes first: what is left out, is left out with all below it.
    nodes.sort((a, b) => b.likely - a.likely || a.node - b.node);
    const taken = trees.map(() => 1);
    const wanted = nodes.filter(({ tree }) => taken[tree]!++ < limits[tree]!).slice(0, Math.max(0, limit - trees.length));
    let tokens = trees.length;
    let best = 0;
    let bestRate = tokens / this.cost(others + trees.length);
    for (const [n, { likely }] of wanted.entries()) {
      tokens += likely;
      const rate = tokens / this.cost(others + trees.length + n + 1);
      if (this.#adaptive && rate <= bestRate) continue;
      best = n + 1;
      bestRate = rate;
    }
    for (const { tree, node } of wanted.slice(0, best)) keeps[tree]![node] = 1;
  }

  /** The best size, or now and then one beside it: what a size costs is only learnt by running it. */
  #stray(best: number, most: number): number {
    if (best === 1) return best;
    const [less, more] = [best - 1, Math.min(most, best + 1)];
    const other = less > 1 && this.costs.seen(less) <= this.costs.seen(more) ? less : more;
    if (other === best || ++this.#strayed < strayEvery[this.costs.seen(other) < known ? 0 : 1]) return best;
    this.#strayed = 0;
    return other;
  }
}

const binOf = (chance: number, source: number): number =>
  source * bins + Math.min(bins - 1, Math.max(0, Math.floor(chance * bins)));
