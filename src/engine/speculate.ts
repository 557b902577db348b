// Draft-verify decoding: a proposal, what of it is verified, and what came of it.
import type { Budget } from "../decode/draft/budget.ts";
import type { Drafter } from "../decode/draft/drafter.ts";
import type { FrontStats } from "../decode/draft/front.ts";
import { DraftTree, maxNodes } from "../decode/draft/tree.ts";
import type { Stop } from "../signals.ts";
import type { Sequence } from "./sequences.ts";
import type { DraftStats } from "./types.ts";

/** A drafter with its budget, shared by the generations of an engine. */
export interface Drafting {
  readonly drafter: Drafter<Sequence>;
  readonly budget: Budget;
  /** Rows that one step gives logits of, and the most that the user wants: nodes of a tree, root included. */
  readonly limit: number;
  /** Used for chats alone. */
  readonly chatsOnly: boolean;
  readonly watch: ((tree: DraftTree, path: readonly number[]) => void) | undefined;
  now(): number;
}

/** What a constraint says of drafts. */
export interface DraftGuide {
  /** Adds what must come next below the root. */
  propose(tree: DraftTree, depth: number): void;
  /** Which nodes may come, with their parents; undefined: all. */
  allowed(tree: DraftTree): Uint8Array | undefined;
}

/** Drafts nothing: beside a constraint, which says itself what must come. */
export const silentDrafter: Drafter<Sequence> = {
  name: "forced text",
  readsHidden: false,
  computes: false,
  begin: (_, cached) => cached,
  propose: async () => {},
  observe: async () => {},
  cut: () => {},
  close: () => {},
};

/** Adds tokens below the root, one below the other, up to `limit` nodes in all. */
function chain(tree: DraftTree, tokens: readonly number[], limit: number): void {
  let node = 0;
  for (const token of tokens.slice(0, Math.max(0, limit - 1))) node = tree.add(node, token, 1);
}

const since = (now: FrontStats, then: Partial<FrontStats>): FrontStats => ({
  steps: now.steps - (then.steps ?? 0),
  drafted: now.drafted - (then.drafted ?? 0),
  accepted: now.accepted - (then.accepted ?? 0),
});

/** The draft side of one generation. Without `drafting` every tree is its root alone: plain decoding. */
export class Speculation {
  readonly #drafting: Drafting | undefined;
  readonly #signal: Stop | undefined;
  readonly #chains: boolean;
  readonly #guide: DraftGuide | undefined;
  /** The text was cut in the middle: nothing is drafted any more. */
  #resting = false;
  #proposal = new DraftTree();
  #spare = new DraftTree();
  readonly #tree = new DraftTree();
  readonly #keep = new Uint8Array(maxNodes);
  #started = 0;
  #verifying = 0;
  #asked = false;
  /** This round's step is this text's alone. */
  #alone = true;
  /** Where the target's tokens have led in the whole proposal; -1 beside it. */
  #at = 0;
  #rounds = 0;
  #drafted = 0;
  #accepted = 0;
  /** What had come of drafting for the drafter before this text. */
  readonly #front: Partial<FrontStats>;

  /**
   * `chains`: only the likeliest path of a proposal is verified. Its rows are those of a prefill; rows of a tree would choose
   * other blocks of a sparse cache than plain decoding does.
   */
  constructor(drafting: Drafting | undefined, signal: Stop | undefined, chains = false, guide?: DraftGuide) {
    this.#guide = guide;
    this.#drafting = drafting;
    this.#signal = signal;
    this.#chains = chains;
    this.#front = { ...drafting?.drafter.front };
  }

  /** The sequence was cut in its middle, as when its context slides: what drafters know of it no longer holds. */
  rest(sequence: Sequence): void {
    this.#resting = true;
    this.#drafting?.drafter.cut(sequence, 0);
  }

  /** How many of the `cached` tokens may be kept before `prompt` goes on: a drafter may need to see more computed anew. */
  begin(sequence: Sequence, cached: number, prompt: readonly number[]): number {
    return this.#drafting?.drafter.begin(sequence, cached, prompt) ?? cached;
  }

  /** Rows of the last step became tokens of the sequence. */
  async observe(sequence: Sequence, rows: readonly number[]): Promise<void> {
    if (!this.#resting) await this.#drafting?.drafter.observe(sequence, rows, this.#signal);
  }

  /**
   * The tree to verify next below `root`, which was sampled and emitted; at most `rows` nodes can still be of use. `certain`: tokens
   * that will follow whatever the model says.
   */
  async propose(sequence: Sequence, root: number, rows: number, certain: readonly number[] = []): Promise<DraftTree> {
    const { drafting, tree } = this.#begin(root, true);
    if (!drafting) return tree;
    if (certain.length > 0) {
      chain(tree, certain, Math.min(rows, drafting.limit));
      this.#verifying = drafting.now();
      return tree;
    }
    const { budget } = drafting;
    this.#started = drafting.now();
    this.#proposal.reset(root);
    const limit = Math.min(rows, drafting.limit);
    if (limit > 1 && budget.wantsDraft()) {
      await this.#ask(drafting, sequence, limit, false);
      if (this.#asked && budget.choose(this.#proposal, limit, this.#keep) > 1) tree.take(this.#proposal, this.#keep);
    }
    this.#verifying = drafting.now();
    return tree;
  }

  /** A proposal for a step that other texts share; keep() then says what of it is verified. `certain`: as in propose. */
  async proposeBeside(sequence: Sequence, root: number, rows: number, certain: readonly number[] = []): Promise<DraftTree> {
    const { drafting } = this.#begin(root, false);
    this.#proposal.reset(root);
    const limit = drafting ? Math.min(rows, drafting.limit) : 1;
    const free = drafting?.budget.adaptive ?? true;
    if (certain.length > 0) chain(this.#proposal, certain, limit);
    else if (drafting && limit > 1 && !(free && drafting.drafter.computes)) await this.#ask(drafting, sequence, limit, free);
    return this.#proposal;
  }

  /** The nodes of the proposal to verify, as Budget.share marked them. */
  keep(marks: Uint8Array): DraftTree {
    this.#tree.take(this.#proposal, marks);
    return this.#tree;
  }

  async #ask({ drafter, budget }: Drafting, sequence: Sequence, limit: number, free: boolean): Promise<void> {
    const pays = (chance: number, ms: number) => budget.pays(chance, ms);
    const wanted = { limit: maxNodes, depth: limit - 1, free, pays, signal: this.#signal };
    this.#guide?.propose(this.#proposal, limit - 1);
    if (this.#proposal.size < limit) await drafter.propose(sequence, this.#proposal, wanted);
    this.#prune();
    if (this.#chains) this.#cutToChain(budget);
    this.#asked = this.#proposal.size > 1;
  }

  /** Leaves out what the constraint does not take, before anything is spent on it. */
  #prune(): void {
    const marks = this.#guide?.allowed(this.#proposal);
    if (!marks) return;
    this.#spare.take(this.#proposal, marks);
    [this.#proposal, this.#spare] = [this.#spare, this.#proposal];
  }

  #begin(root: number, alone: boolean): { drafting: Drafting | undefined; tree: DraftTree } {
    this.#tree.reset(root);
    this.#asked = false;
    this.#alone = alone;
    this.#at = 0;
    return { drafting: this.#resting ? undefined : this.#drafting, tree: this.#tree };
  }

  /** Leaves of the proposal its likeliest path. */
  #cutToChain(budget: Budget): void {
    const { size, parents, chance, source } = this.#proposal;
    this.#keep.fill(0, 0, size);
    this.#keep[0] = 1;
    for (let node = 0; node >= 0; ) {
      let next = -1;
      let best = 0;
      for (let i = node + 1; i < size; i++) {
        const likely = parents[i] === node ? budget.chance(chance[i]!, source[i]!) : 0;
        if (likely > best) [next, best] = [i, likely];
      }
      if (next >= 0) this.#keep[next] = 1;
      node = next;
    }
    this.#spare.take(this.#proposal, this.#keep);
    [this.#proposal, this.#spare] = [this.#spare, this.#proposal];
  }

  /** The target drew `token` after the node that the path has come to. */
  drew(token: number): void {
    if (!this.#asked || this.#at < 0) return;
    const { parents, tokens, chance, source, size } = this.#proposal;
    for (let i = this.#at + 1; i < size; i++)
      if (parents[i] === this.#at) this.#drafting!.budget.sawGuess(chance[i]!, source[i]!, tokens[i] === token);
    this.#at = this.#proposal.child(this.#at, token);
  }

  /** The tree's nodes of `path` were accepted and are in the cache; `first`: the row of the step that its root was. */
  async settle(sequence: Sequence, path: readonly number[], first = 0): Promise<void> {
    const drafting = this.#drafting;
    if (!drafting || this.#resting) return;
    const rows = this.#tree.size;
    drafting.watch?.(this.#tree, path);
    if (this.#alone) drafting.budget.sawStep(rows, drafting.now() - this.#verifying);
    const observing = drafting.now();
    await drafting.drafter.observe(sequence, first === 0 ? path : path.map((node) => first + node), this.#signal);
    if (rows > 1) {
      this.#rounds++;
      this.#drafted += rows - 1;
      this.#accepted += path.length - 1;
    }
    // What a round costs a text that shares its steps is not its own.
    if (this.#asked && this.#alone) drafting.budget.sawRound(rows, this.#verifying - this.#started + drafting.now() - observing);
  }

  /** Undefined for plain decoding. */
  get stats(): DraftStats | undefined {
    if (!this.#drafting) return undefined;
    const [rounds, drafted, accepted] = [this.#rounds, this.#drafted, this.#accepted];
    const { front } = this.#drafting.drafter;
    return {
      drafter: this.#drafting.drafter.name,
      rounds,
      drafted,
      accepted,
      acceptedPerRound: rounds === 0 ? 0 : 1 + accepted / rounds,
      ...(front ? { front: since(front, this.#front) } : {}),
    };
  }
}
