// Two drafters for one tree: lookup, which is free, and one that computes.
import type { Stop } from "../../signals.ts";
import type { Drafter, DraftText, Wanted } from "./drafter.ts";
import type { FrontStats } from "./front.ts";
import type { LookupDrafter } from "./lookup.ts";
import type { DraftTree } from "./tree.ts";

/** Tokens that agree from which on a place found is trusted alone: computing guesses would only take time. */
const certain = 12;

export class JoinedDrafter<Text extends DraftText> implements Drafter<Text> {
  readonly name: string;
  readonly readsHidden: boolean;
  readonly computes = false;
  readonly #main: Drafter<Text>;
  readonly #lookup: LookupDrafter<Text>;

  constructor(main: Drafter<Text>, lookup: LookupDrafter<Text>) {
    this.name = `${main.name}+lookup`;
    this.readsHidden = main.readsHidden;
    this.#main = main;
    this.#lookup = lookup;
  }

  get front(): FrontStats | undefined {
    return this.#main.front;
  }

  begin(text: Text, cached: number, prompt: readonly number[]): number {
    this.#lookup.begin(text, cached, prompt);
    return this.#main.begin(text, cached, prompt);
  }

  async propose(text: Text, tree: DraftTree, wanted: Wanted): Promise<void> {
    await this.#lookup.propose(text, tree, wanted);
    if (!wanted.free && this.#lookup.agreed < certain) await this.#main.propose(text, tree, wanted);
  }

  async observe(text: Text, rows: readonly number[], signal: Stop | undefined): Promise<void> {
    await this.#lookup.observe(text);
    await this.#main.observe(text, rows, signal);
  }

  cut(text: Text, length: number): void {
    this.#main.cut(text, length);
  }

  close(text: Text): void {
    this.#lookup.close(text);
    this.#main.close(text);
  }
}
