// What the loop asks of a drafter, whatever it drafts with.
import type { Stop } from "../../signals.ts";
import type { FrontStats } from "./front.ts";
import type { DraftTree } from "./tree.ts";

/** The text being continued: tokens whose keys and values are in the cache. */
export interface DraftText {
  readonly tokens: readonly number[];
  readonly contextSize: number;
}

export interface Wanted {
  /** Nodes in all, the root included, and depth, at most. */
  readonly limit: number;
  readonly depth: number;
  /** Leave out what takes computing. */
  readonly free?: boolean;
  /** Whether going on pays: `ms` more of drafting below a node that is reached with this chance. */
  pays(chance: number, ms: number): boolean;
  readonly signal: Stop | undefined;
}

/**
 * Guesses what the target will say. A wrong guess costs time and nothing else: every token is the target's own.
 * `Text` is the sequence of the engine that drafters may hang state of their own on.
 */
export interface Drafter<Text extends DraftText = DraftText> {
  readonly name: string;
  /** Whether observe() reads the target's hidden states, so that it must be told of every row, the prompt's too. */
  readonly readsHidden: boolean;
  /** Whether proposing takes computing: such a drafter is not asked while several texts share the steps, unless all that is proposed is to be verified. */
  readonly computes: boolean;
  /** A text is going to continue after its first `cached` tokens, by `prompt`. How many of the cached tokens may be kept. */
  begin(text: Text, cached: number, prompt: readonly number[]): number;
  /** Of a drafter that is drafted for: what came of that since it was opened. */
  readonly front?: FrontStats | undefined;
  /** Adds nodes below the root of `tree`. */
  propose(text: Text, tree: DraftTree, wanted: Wanted): Promise<void>;
  /** The last tokens of `text` were computed as these rows of the last step, in order; other rows of it are other texts'. */
  observe(text: Text, rows: readonly number[], signal: Stop | undefined): Promise<void>;
  /** The text was cut to its first `length` tokens, outside a generation. */
  cut(text: Text, length: number): void;
  /** The text's session is closed. */
  close(text: Text): void;
}
