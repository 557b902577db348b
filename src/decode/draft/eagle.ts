// The EAGLE drafter: a head that runs one row behind the target, and a tree grown from its last state.
import type { Decide } from "../../wasm/decide.ts";
import { paramWords } from "../../wasm/decide.ts";
import type { Drafter, DraftText } from "./drafter.ts";
import { growTree, type Ranking, type TreeShape } from "./grow.ts";
import type { DraftHead, HeadCache, HeadRow } from "./head.ts";
import { type DraftTree, maxNodes } from "./tree.ts";

/** What EAGLE needs of the target. */
export interface HiddenStates {
  /** Copies the hidden states of rows of the target's last step to `out`, head.width floats each. */
  copy(rows: readonly number[], out: number): void;
}

export interface EagleParts {
  readonly head: DraftHead;
  readonly states: HiddenStates;
  readonly decide: Decide;
  readonly memory: { readonly buffer: ArrayBufferLike };
  /** The sampler's regions, free between draws. */
  readonly params: number;
  readonly scratch: number;
  readonly shape: TreeShape;
  /** Tokens that a row sees, at most; 0: all. */
  readonly window: number;
}

/** Rows [begin, end) of the text are in the head's cache. Row t consumed token t + 1 and the target's state of token t. */
interface State {
  readonly cache: HeadCache;
  begin: number;
  end: number;
}

/** Missing rows that are computed anew rather than left out. */
const worthwhile = 64;

const maxWord = paramWords.indexOf("max");
const logSumWord = paramWords.indexOf("logSum");

export class EagleDrafter<Text extends DraftText> implements Drafter<Text> {
  readonly name: string;
  readonly readsHidden = true;
  readonly #p: EagleParts;
  readonly #states = new Map<Text, State>();
  readonly #tokens: Int32Array;
  readonly #values: Float64Array;
  /** Rows of head.hidden that wait for the token after them: tokens end … end + waiting - 1 of `#text`. */
  #waiting = 0;
  #text: Text | undefined;
  /** Rows before this are beyond the window of all that will be drafted. */
  #from = 0;

  constructor(parts: EagleParts) {
    this.#p = parts;
    this.name = `eagle-${parts.head.version}`;
    this.#tokens = new Int32Array(parts.shape.width ** 2);
    this.#values = new Float64Array(parts.shape.width ** 2);
  }

  #stateOf(text: Text): State {
    let state = this.#states.get(text);
    if (!state) this.#states.set(text, (state = { cache: this.#p.head.openCache(text.contextSize), begin: 0, end: 0 }));
    return state;
  }

  begin(text: Text, cached: number, prompt: readonly number[]): number {
    const state = this.#stateOf(text);
    const { window } = this.#p;
    this.#text = text;
    this.#waiting = 0;
    this.#from = window > 0 ? Math.max(0, prompt.length - window) : 0;
    // The row of the last token kept depends on the token after it, which may be another now.
    state.end = Math.min(state.end, Math.max(0, cached - 1));
    if (cached - state.end <= worthwhile) return state.end;
    state.begin = state.end = cached;
    return cached;
  }

  async observe(text: Text, rows: readonly number[]): Promise<void> {
    const state = this.#states.get(text);
    if (!state || text !== this.#text) return;
    const { head, states } = this.#p;
    let at = text.tokens.length - rows.length;
    for (let i = 0; i < rows.length; ) {
      if (this.#waiting === maxNodes) this.#advance(text, state, maxNodes - 1, -1);
      const skip = this.#waiting === 0 ? Math.min(rows.length - i, this.#from - at) : 0;
      if (skip > 0) {
        state.begin = state.end = at += skip;
        i += skip;
        continue;
      }
      const count = Math.min(rows.length - i, maxNodes - this.#waiting);
      states.copy(rows.slice(i, i + count), head.hidden + 4 * head.width * this.#waiting);
      this.#waiting += count;
      at += count;
      i += count;
    }
  }

  /** Runs the first `count` waiting rows; `next` is the token after the text's last. */
  #advance(text: Text, state: State, count: number, next: number): void {
    const { head, window, memory } = this.#p;
    const rows = Array.from({ length: count }, (_, i): HeadRow => {
      const slot = state.end + i;
      return { token: text.tokens[slot + 1] ?? next, position: slot, slot, first: firstSeen(state, slot, window), base: slot + 1, maskLow: 0, maskHigh: 0 };
    });
    head.run(state.cache, rows, true);
    state.end += count;
    this.#waiting -= count;
    const bytes = 4 * head.width;
    new Uint8Array(memory.buffer).copyWithin(head.hidden, head.hidden + count * bytes, head.hidden + (count + this.#waiting) * bytes);
  }

  async propose(text: Text, tree: DraftTree, limit: number, depth: number): Promise<void> {
    const state = this.#states.get(text);
    if (!state || text !== this.#text || this.#waiting === 0 || state.end + this.#waiting !== text.tokens.length) return;
    const { head, shape, window } = this.#p;
    const last = this.#waiting - 1;
    this.#advance(text, state, this.#waiting, tree.tokens[0]!);
    head.score(last, 1);
    const first = this.#rank(1);
    const base = state.end;
    const run = (level: number, beam: readonly { token: number; from: number; maskLow: number; maskHigh: number }[]): Ranking => {
      const width = beam.length;
      for (const [r, { from }] of beam.entries()) head.carry(from < 0 ? last : from, r);
      const rows = beam.map(({ token, maskLow, maskHigh }, r): HeadRow => {
        const slot = base + (level - 1) * width + r;
        return { token, position: base - 1 + level, slot, first: Math.min(slot, firstSeen(state, slot, window)), base, maskLow, maskHigh };
      });
      head.run(state.cache, rows, false);
      head.score(0, width);
      return this.#rank(width);
    };
    growTree(tree, first, { width: shape.width, depth: Math.min(shape.depth, depth), size: Math.min(shape.size, limit) }, run, () => false);
  }

  /** The likeliest `width` tokens of each of `rows` rows of logits. */
  #rank(rows: number): Ranking {
    const { decide, head, memory, params, scratch, shape } = this.#p;
    const { width } = shape;
    const words = new Float64Array(memory.buffer, params, paramWords.length);
    const top = new Int32Array(memory.buffer, params + 8 * paramWords.length, width);
    words[paramWords.indexOf("top")] = width;
    for (let r = 0; r < rows; r++) {
      const logits = new Float32Array(memory.buffer, head.logits + 4 * head.vocab * r, head.vocab);
      const bad = decide.logit_stats(head.logits + 4 * head.vocab * r, head.vocab, params, scratch) < 0;
      for (let i = 0; i < width; i++) {
        const id = bad ? 0 : top[i]!;
        this.#tokens[r * width + i] = head.ids ? head.ids[id]! : id;
        this.#values[r * width + i] = bad ? -Infinity : logits[id]! - words[maxWord]! - words[logSumWord]!;
      }
    }
    return { tokens: this.#tokens, values: this.#values };
  }

  close(text: Text): void {
    const state = this.#states.get(text);
    if (!state) return;
    this.#states.delete(text);
    this.#p.head.closeCache(state.cache);
    if (this.#text === text) this.#text = undefined;
  }
}

const firstSeen = ({ begin }: { begin: number }, slot: number, window: number): number => Math.max(begin, window > 0 ? slot - window + 1 : 0);
