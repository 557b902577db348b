// Drafting for a drafter: guesses of what a small model or a head will say, so that one of its steps gives several tokens of its chain.
import type { Stop } from "../../signals.ts";
import { Budget } from "./budget.ts";
import type { StepCosts } from "./costs.ts";
import type { Drafter, DraftText } from "./drafter.ts";
import { DraftTree, maxNodes } from "./tree.ts";

/** What the drafter's drafter did: steps of the drafter, guesses that it checked, and those that were right. */
export interface FrontStats {
  readonly steps: number;
  readonly drafted: number;
  readonly accepted: number;
}

/** A text as the drafter has it so far: the target's, and behind it its own guesses. */
interface View {
  tokens: number[];
  readonly contextSize: number;
}

/** Guesses with what they are worth, one below the other. */
export interface Guesses {
  readonly tokens: readonly number[];
  readonly chances: readonly number[];
  readonly sources: readonly number[];
  /** Milliseconds that it took to come by them. */
  readonly ms: number;
}

const none: Guesses = { tokens: [], chances: [], sources: [], ms: 0 };

export class Front {
  readonly #drafter: Drafter<DraftText>;
  readonly #budget: Budget;
  readonly #now: () => number;
  readonly #views = new Map<DraftText, View>();
  readonly #tree = new DraftTree();
  readonly #path = new DraftTree();
  readonly #keep = new Uint8Array(maxNodes);
  readonly stats = { steps: 0, drafted: 0, accepted: 0 };

  /** `costs`: of the drafter's steps. */
  constructor(drafter: Drafter<DraftText>, costs: StepCosts, adaptive: boolean, now: () => number) {
    this.#drafter = drafter;
    this.#budget = new Budget(costs, adaptive);
    this.#now = now;
  }

  get name(): string {
    return this.#drafter.name;
  }

  /** A chain begins behind `tokens`. */
  begin(text: DraftText, tokens: readonly number[], contextSize: number): void {
    const view = this.#view(text, tokens, contextSize);
    this.#drafter.begin(view, tokens.length, tokens);
  }

  #view(text: DraftText, tokens: readonly number[], contextSize: number): View {
    let view = this.#views.get(text);
    if (!view) this.#views.set(text, (view = { tokens: [], contextSize }));
    view.tokens = [...tokens];
    return view;
  }

  /** The text went on to `tokens`: what computes reads along outside of rounds. */
  async observe(text: DraftText, tokens: readonly number[], contextSize: number, signal: Stop | undefined): Promise<void> {
    if (!this.#drafter.computes) return;
    const view = this.#view(text, tokens, contextSize);
    await this.#drafter.observe(view, [], signal);
  }

  /** The chain goes on by a token. */
  push(text: DraftText, token: number): void {
    this.#views.get(text)!.tokens.push(token);
  }

  /** At most `most` guesses of what the drafter says after `root`, which follows all that was pushed: as many as are worth a row of its step. */
  async guess(text: DraftText, root: number, most: number, signal: Stop | undefined): Promise<Guesses> {
    const budget = this.#budget;
    if (most < 1 || !budget.wantsDraft()) return none;
    const started = this.#now();
    const view = this.#views.get(text)!;
    this.#tree.reset(root);
    const pays = (chance: number, ms: number) => budget.pays(chance, ms);
    await this.#drafter.propose(view, this.#tree, { limit: maxNodes, depth: most, pays, signal });
    this.#cutToPath();
    const kept = budget.choose(this.#path, most + 1, this.#keep);
    const of = <T>(values: ArrayLike<T>): T[] => Array.from({ length: kept - 1 }, (_, i) => values[i + 1]!);
    const { tokens, chance, source } = this.#path;
    return { tokens: of(tokens), chances: of(chance), sources: of(source), ms: this.#now() - started };
  }

  /** Leaves the likeliest path. */
  #cutToPath(): void {
    const { size, parents, chance, source } = this.#tree;
    this.#keep.fill(0, 0, size);
    this.#keep[0] = 1;
    for (let node = 0; node >= 0; ) {
      let [next, best] = [-1, 0];
      for (let i = node + 1; i < size; i++) {
        const likely = parents[i] === node ? this.#budget.chance(chance[i]!, source[i]!) : 0;
        if (likely > best) [next, best] = [i, likely];
      }
      if (next >= 0) this.#keep[next] = 1;
      node = next;
    }
    this.#path.take(this.#tree, this.#keep);
  }

  /** A step of `rows` rows took `ms` and said `right` of the guesses, and then something else if there were more. */
  saw(guesses: Guesses, right: number, rows: number, ms: number): void {
    const { tokens, chances, sources } = guesses;
    this.stats.steps++;
    this.stats.drafted += tokens.length;
    this.stats.accepted += right;
    this.#budget.sawStep(rows, ms);
    for (let i = 0; i < Math.min(right + 1, tokens.length); i++) this.#budget.sawGuess(chances[i]!, sources[i]!, i < right);
    if (guesses !== none) this.#budget.sawRound(1 + tokens.length, guesses.ms);
  }

  close(text: DraftText): void {
    const view = this.#views.get(text);
    if (!view) return;
    this.#views.delete(text);
    this.#drafter.close(view);
  }
}
