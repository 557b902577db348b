// A constraint along one text: the state after its last token, and what drafts may be.
import { type Constraint, DEAD } from "../decode/constrain.ts";
import { type DraftTree, maxNodes } from "../decode/draft/tree.ts";
import { CpmError } from "../errors.ts";

/** Trailing tokens of a forced text that might be written otherwise together with what follows: when guessed, and when written. */
const UNSURE = 1;
const UNWRITTEN = 2;
/** Forced tokens drafted at once, at most, and how sure a draft of one is. */
const MOST_FORCED = 24;
const CERTAIN = 0.97;
const LIKELY = 0.6;

export class Guide {
  readonly #constraint: Constraint;
  /** Token ids of a text in the middle of another. */
  readonly #encode: (text: string) => readonly number[];
  #state = DEAD;
  readonly #states = new Float64Array(maxNodes);
  readonly #keep = new Uint8Array(maxNodes);

  constructor(constraint: Constraint, encode: (text: string) => readonly number[]) {
    this.#constraint = constraint;
    this.#encode = encode;
  }

  /** `space`: a leading space of the first token will be left out. */
  begin(space: boolean): void {
    this.#state = this.#constraint.start(space);
  }

  /** Tokens that may come next. */
  mask(): Uint32Array {
    return this.#constraint.mask(this.#state);
  }

  /** The text goes on with a token. Throws "unsupported" for the end of reasoning where the grammar does not take it. */
  take(token: number): void {
    this.#state = this.#constraint.advance(this.#state, token);
    if (this.#state === DEAD)
      throw new CpmError("unsupported", `token ${token} was written over the constraint, which does not take it here`, {
        field: "maxReasoningTokens",
      });
  }

  /** The text is whole, and nothing may follow. */
  get ended(): boolean {
    return this.#constraint.ended(this.#state);
  }

  /** Adds what must come next below the root of a draft. */
  propose(tree: DraftTree, depth: number): void {
    if (depth < 1) return;
    const tokens = this.#forced();
    let node = 0;
    for (const [i, token] of tokens.slice(0, Math.min(depth, MOST_FORCED)).entries()) {
      node = tree.add(node, token, i < tokens.length - UNSURE ? CERTAIN : LIKELY);
      if (node < 0) return;
    }
  }

  /** Tokens to write without asking the model: what must come next, but for the last ones. */
  written(): number[] {
    return this.#forced().slice(0, -UNWRITTEN);
  }

  /** What must come next, as the tokenizer writes it. */
  #forced(): number[] {
    const bytes = this.#constraint.forced(this.#state);
    if (bytes.length === 0) return [];
    // Whole characters only: a cut one at the end is left to the model.
    const text = new TextDecoder().decode(bytes).replace(/\ufffd+$/, "");
    const tokens: number[] = [];
    let state = this.#state;
    for (const token of this.#encode(text)) {
      state = this.#constraint.advance(state, token);
      if (state === DEAD) break;
      tokens.push(token);
    }
    return tokens;
  }

  /** Which nodes of a draft the grammar takes; undefined: all. */
  allowed(tree: DraftTree): Uint8Array | undefined {
    const { size, parents, tokens } = tree;
    let all = true;
    this.#states[0] = this.#state;
    this.#keep[0] = 1;
    for (let i = 1; i < size; i++) {
      const before = this.#states[parents[i]!]!;
      const state = before === DEAD ? DEAD : this.#constraint.advance(before, tokens[i]!);
      this.#states[i] = state;
      this.#keep[i] = state === DEAD ? 0 : 1;
      all &&= state !== DEAD;
    }
    return all ? undefined : this.#keep;
  }
}
