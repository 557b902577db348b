// Prompt lookup: what followed where the text's last tokens occurred before is proposed to follow again.
import type { Decide } from "../../wasm/decide.ts";
import type { DeciderMemory } from "../decidermemory.ts";
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

/** The index of one text: `count` of its tokens are in it. */
interface Index {
  readonly at: number;
  readonly capacity: number;
  count: number;
}

/** An n-gram index over each text, kept in step with it token by token. */
export class LookupDrafter<Text extends DraftText = DraftText> implements Drafter<Text> {
  readonly name = "lookup";
  readonly readsHidden = false;
  readonly computes = false;
  readonly #decide: Decide;
  readonly #deciding: Pick<DeciderMemory, "memory" | "take" | "free">;
  readonly #first: LookupPlace;
  #firstFree = true;
  readonly #indices = new Map<Text, Index>();
  /** Tokens that agreed at the place last proposed from, 0 for none. */
  agreed = 0;

  /** `first`: the index of the first text, planned for the longest; more texts at a time take memory of their own. */
  constructor(decide: Decide, deciding: Pick<DeciderMemory, "memory" | "take" | "free">, first: LookupPlace) {
    this.#decide = decide;
    this.#deciding = deciding;
    this.#first = first;
  }

  #tokens({ at, capacity }: Index): Int32Array {
    return new Int32Array(this.#deciding.memory.buffer, at + 16, capacity);
  }

  /** The text's index; undefined where there is no memory for one, which only means that nothing is proposed. */
  #open(text: Text): Index | undefined {
    let index = this.#indices.get(text);
    if (index) return index;
    const capacity = text.contextSize + 1;
    if (this.#firstFree && capacity <= this.#first.capacity) {
      this.#firstFree = false;
      index = { at: this.#first.state, capacity: this.#first.capacity, count: 0 };
    } else {
      try {
        index = { at: this.#deciding.take(lookupBytes(capacity)), capacity, count: 0 };
      } catch {
        return undefined;
      }
    }
    this.#decide.lookup_open(index.at, index.capacity);
    this.#indices.set(text, index);
    return index;
  }

  begin(text: Text, cached: number, prompt: readonly number[]): number {
    const index = this.#open(text);
    if (!index) return cached;
    const have = this.#tokens(index);
    const most = Math.min(index.count, prompt.length);
    let same = 0;
    while (same < most && have[same] === prompt[same]) same++;
    this.#truncate(index, same);
    this.#extend(index, prompt);
    return cached;
  }

  #truncate(index: Index, count: number): void {
    this.#decide.lookup_truncate(index.at, count);
    index.count = Math.min(index.count, count);
  }

  #extend(index: Index, tokens: readonly number[]): void {
    while (index.count < tokens.length && index.count < index.capacity)
      index.count = this.#decide.lookup_push(index.at, tokens[index.count]!);
  }

  async propose(text: Text, tree: DraftTree, { limit, depth }: Pick<Wanted, "limit" | "depth">): Promise<void> {
    const index = this.#indices.get(text);
    this.agreed = 0;
    if (!index) return;
    this.#extend(index, text.tokens);
    if (index.count !== text.tokens.length) return;
    index.count = this.#decide.lookup_push(index.at, tree.tokens[0]!);
    const agreed = (this.agreed = this.#decide.lookup_find(index.at, -1));
    if (agreed > 0) {
      const first = this.#follow(index, tree, agreed, Math.min(limit, tree.size + chain), depth);
      // One other continuation, when one was seen: its first token only, as a second guess.
      const other = this.#decide.lookup_find(index.at, first);
      if (other > 0 && tree.size < limit && depth > 0)
        tree.add(0, this.#tokens(index)[this.#decide.lookup_at(index.at)]!, 0.5 * (1 - chanceOf(agreed)), lookupSource);
    }
    this.#truncate(index, text.tokens.length);
  }

  /** Adds the chain that follows the place found; its first token. */
  #follow(index: Index, tree: DraftTree, agreed: number, limit: number, depth: number): number {
    const tokens = this.#tokens(index);
    const at = this.#decide.lookup_at(index.at);
    let node = 0;
    for (let i = 0; i < depth && tree.size < limit && at + i < index.count; i++) {
      node = tree.add(node, tokens[at + i]!, chanceOf(agreed + i), lookupSource);
      if (node < 0) break;
    }
    return tokens[at]!;
  }

  async observe(text: Text): Promise<void> {
    const index = this.#indices.get(text);
    if (index) this.#extend(index, text.tokens);
  }

  // begin() compares the whole text.
  cut(): void {}

  close(text: Text): void {
    const index = this.#indices.get(text);
    if (!index) return;
    this.#indices.delete(text);
    if (index.at === this.#first.state) this.#firstFree = true;
    else this.#deciding.free(index.at, lookupBytes(index.capacity));
  }
}
