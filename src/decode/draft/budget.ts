// How much of a proposal to verify: the size that gives the most tokens per millisecond on this machine.
import { type DraftTree, maxNodes } from "./tree.ts";

/** Milliseconds of a step of `rows` rows, measured at load. */
export interface CostPoint {
  readonly rows: number;
  readonly ms: number;
}

/** Weight of a new time against the running one. */
const pace = 0.1;
/** Chances are learnt in bins of the drafter's own estimate; `trust` is what that estimate counts in trials. */
const bins = 12;
const trust = 4;
const memory = 256;
/** Rounds in which a drafter shows whether it pays, and how long it then rests when it does not. */
const trialRounds = 4;
const firstRest = 32;
const longestRest = 512;

/**
 * Learns from every round: what steps cost, how often guesses come true, whether the whole pays. With `adaptive` false
 * it keeps everything that is proposed.
 */
export class Budget {
  readonly #adaptive: boolean;
  /** Milliseconds by rows: the curve measured at load, interpolated; and a factor for each size from what was seen since. */
  readonly #curve = new Float64Array(maxNodes + 1);
  readonly #factor = new Float64Array(maxNodes + 1).fill(1);
  /** What steps take now against the curve: a long context and a busy machine slow all sizes down. */
  #scale = 1;
  /** By source and bin. */
  readonly #trials = new Float64Array(2 * bins);
  readonly #hits = new Float64Array(2 * bins);
  /** Tokens and milliseconds of the last drafting rounds. */
  #tokens = 0;
  #ms = 0;
  #rounds = 0;
  #rest = 0;
  #nextRest = firstRest;
  readonly #likely = new Float64Array(maxNodes);

  constructor(costs: readonly CostPoint[], adaptive: boolean) {
    this.#adaptive = adaptive;
    const points = costs.length > 0 ? [...costs].sort((a, b) => a.rows - b.rows) : [{ rows: 1, ms: 1 }];
    for (let n = 1; n <= maxNodes; n++) {
      const above = points.findIndex((p) => p.rows >= n);
      const [a, b] =
        above < 0 ? [points.at(-2) ?? points[0]!, points.at(-1)!] : [points[Math.max(0, above - 1)]!, points[above]!];
      const slope = b.rows > a.rows ? (b.ms - a.ms) / (b.rows - a.rows) : 0;
      this.#curve[n] = Math.max(this.#curve[n - 1]!, b.ms + slope * (n - b.rows));
    }
  }

  /** Expected milliseconds of a step of `rows` rows. */
  cost(rows: number): number {
    return this.#curve[rows]! * this.#factor[rows]! * this.#scale;
  }

  /** A step of `rows` rows took `ms`. */
  sawStep(rows: number, ms: number): void {
    const expected = this.cost(rows);
    if (!(expected > 0) || !(ms > 0)) return;
    // One slow step says little: a clock that is coarse, a neighbour on the machine.
    const ratio = Math.min(2, Math.max(0.5, ms / expected));
    const common = rows === 1 ? pace : pace / 2;
    this.#scale *= ratio ** common;
    if (rows > 1) this.#factor[rows]! *= ratio ** (pace - common);
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
    if (!this.#adaptive || this.#rest === 0) return true;
    this.#rest--;
    return false;
  }

  /** A round with a draft gave `tokens` tokens and took `ms` in all, drafting included. */
  sawRound(tokens: number, ms: number): void {
    this.#tokens = 0.9 * this.#tokens + tokens;
    this.#ms = 0.9 * this.#ms + ms;
    if (++this.#rounds < trialRounds) return;
    if (this.#tokens * this.cost(1) >= this.#ms) {
      this.#nextRest = firstRest;
      return;
    }
    this.#rest = this.#nextRest;
    this.#nextRest = Math.min(longestRest, 2 * this.#nextRest);
    this.#rounds = this.#tokens = this.#ms = 0;
  }

  /**
   * Whether `ms` more of drafting pays, for tokens below a node reached with this chance: they cost that and a row more, and
   * bring at most that chance.
   */
  pays(chance: number, ms: number): boolean {
    if (!this.#adaptive) return true;
    const rate = this.#ms > 0 ? Math.max(this.#tokens / this.#ms, 1 / this.cost(1)) : 1 / this.cost(1);
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
    const order: number[] = [];
    for (let n = 2; n <= Math.min(limit, size); n++) {
      let next = -1;
      for (let i = 1; i < size; i++) if (!keep[i] && (next < 0 || likely[i]! > likely[next]!)) next = i;
      keep[next] = 1;
      order.push(next);
      tokens += likely[next]!;
      const rate = tokens / this.cost(n);
      if (this.#adaptive ? rate > bestRate : true) {
        best = n;
        bestRate = rate;
      }
    }
    for (const node of order.slice(best - 1)) keep[node] = 0;
    return best;
  }
}

const binOf = (chance: number, source: number): number =>
  source * bins + Math.min(bins - 1, Math.max(0, Math.floor(chance * bins)));
