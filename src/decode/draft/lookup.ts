// Prompt lookup: what followed where the text's last tokens occurred before is proposed to follow again.
import type { Decide } from "../../wasm/decide.ts";
import type { Drafter, DraftText, Wanted } from "./drafter.ts";
import type { DraftTree } from "./tree.ts";

/** Tokens of a proposal: a longer one is found again as soon as this one was right. */
const chain = 16;
/** First estimates that the next token agrees, by how many tokens agree already: more agreement, more trust. */
const chanceOf = (agreed: number): number => 1 - 0.6 / (agreed + 0.5);

const lookupSource = 1;

export interface LookupPlace {
  /** Address of lookup_bytes(capacity). */
  readonly state: number;
  /** Tokens: the context size and one more. */
  readonly capacity: number;
}

/** lookup_bytes of assembly/lookup.ts, for plans. */
export const lookupBytes = (capacity: number): number => {
  let heads = 64;
  while (heads < capacity) heads *= 2;
  return 16 + 4 * (2 * capacity + heads);
};

/** An n-gram index over the text, kept in step with it token by token. */
export class LookupDrafter implements Drafter {
  readonly name = "lookup";
  readonly readsHidden = false;
  readonly #decide: Decide;
  readonly #memory: { readonly buffer: ArrayBufferLike };
  readonly #place: LookupPlace;
  #count = 0;
  /** Tokens that agreed at the place last proposed from, 0 for none. */
  agreed = 0;

  constructor(decide: Decide, memory: { readonly buffer: ArrayBufferLike }, place: LookupPlace) {
    this.#decide = decide;
    this.#memory = memory;
    this.#place = place;
    decide.lookup_open(place.state, place.capacity);
  }

  #tokens(): Int32Array {
    return new Int32Array(this.#memory.buffer, this.#place.state + 16, this.#place.capacity);
  }

  begin(_: DraftText, cached: number, prompt: readonly number[]): number {
    const have = this.#tokens();
    const most = Math.min(this.#count, prompt.length);
    let same = 0;
    while (same < most && have[same] === prompt[same]) same++;
    this.#truncate(same);
    this.#extend(prompt);
    return cached;
  }

  #truncate(count: number): void {
    this.#decide.lookup_truncate(this.#place.state, count);
    this.#count = Math.min(this.#count, count);
  }

  #extend(tokens: readonly number[]): void {
    while (this.#count < tokens.length && this.#count < this.#place.capacity)
      this.#count = this.#decide.lookup_push(this.#place.state, tokens[this.#count]!);
  }

  async propose(text: DraftText, tree: DraftTree, { limit, depth }: Wanted): Promise<void> {
    const { state } = this.#place;
    this.agreed = 0;
    this.#extend(text.tokens);
    if (this.#count !== text.tokens.length) return;
    this.#count = this.#decide.lookup_push(state, tree.tokens[0]!);
    const agreed = (this.agreed = this.#decide.lookup_find(state, -1));
    if (agreed > 0) {
      const first = this.#follow(tree, agreed, Math.min(limit, tree.size + chain), depth);
      // One other continuation, when one was seen: its first token only, as a second guess.
      const other = this.#decide.lookup_find(state, first);
      if (other > 0 && tree.size < limit && depth > 0)
        tree.add(0, this.#tokens()[this.#decide.lookup_at(state)]!, 0.5 * (1 - chanceOf(agreed)), lookupSource);
    }
    this.#truncate(text.tokens.length);
  }

  /** Adds the chain that follows the place found; its first token. */
  #follow(tree: DraftTree, agreed: number, limit: number, depth: number): number {
    const tokens = this.#tokens();
    const at = this.#decide.lookup_at(this.#place.state);
    let node = 0;
    for (let i = 0; i < depth && tree.size < limit && at + i < this.#count; i++) {
      node = tree.add(node, tokens[at + i]!, chanceOf(agreed + i), lookupSource);
      if (node < 0) break;
    }
    return tokens[at]!;
  }

  async observe(text: DraftText): Promise<void> {
    this.#extend(text.tokens);
  }

  // begin() compares the whole text.
  cut(): void {}

  close(): void {}
}
