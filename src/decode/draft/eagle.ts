// The drafter with a head (EAGLE, MTP) that runs one row behind the target, and a tree grown from its last state.
import type { Stop } from "../../signals.ts";
import type { Drafter, DraftText, Wanted } from "./drafter.ts";
import type { Front, FrontStats } from "./front.ts";
import { type BeamRow, growTree, type Ranking, type TreeShape } from "./grow.ts";
import type { DraftHead, HeadCache, HeadRow } from "./head.ts";
import { Ranker, type RankerPlace } from "./rank.ts";
import { type DraftTree, maxNodes } from "./tree.ts";

/** What a head needs of the target. */
export interface HiddenStates {
  /** Copies the hidden states of rows of the target's last step to `out`, head.width floats each. */
  copy(rows: readonly number[], out: number): void;
}

export interface EagleParts extends RankerPlace {
  readonly head: DraftHead;
  /** The engine's. */
  readonly memory: WebAssembly.Memory;
  readonly states: HiddenStates;
  readonly shape: TreeShape;
  /** Tokens that a row sees, at most; 0: all. */
  readonly window: number;
  /** MTP: its own states go through its norm before they take the place of the target's. */
  readonly normed?: boolean;
  /** A chain ends before a token that has less than this chance among the ten likeliest; 0: never. */
  readonly least?: number;
  /** Drafts for it; of chains alone. `contextSize`: tokens of a text and of what is drafted behind it. */
  readonly front?: Front | undefined;
  readonly contextSize: number;
  now(): number;
}

/**
 * Rows [begin, end) of the text are in the head's cache. Row t consumed token t + 1 and the target's state of token t. Where a head has a row
 * for the first token, all rows are one further: row t consumed token t and the state of token t - 1, that of row 0 being zeros.
 */
interface State {
  readonly cache: HeadCache;
  begin: number;
  end: number;
  /** Rows of `cache.waiting`, from row `end` on, that wait for the token after them. */
  waiting: number;
  /** Rows before this are beyond the window of all that will be drafted. */
  from: number;
}

/** Missing rows that are computed anew rather than left out. */
const worthwhile = 64;
/** Rows that wait while the head rests. */
const idle = 16;

export class EagleDrafter<Text extends DraftText> implements Drafter<Text> {
  readonly name: string;
  readonly readsHidden = true;
  readonly computes = true;
  readonly #p: EagleParts;
  readonly #states = new Map<Text, State>();
  readonly #rank: Ranker;
  /** How much further rows are than the tokens whose states they take. */
  readonly #ahead: number;
  /** What a level of the tree takes. */
  #levelMs = 0;

  constructor(parts: EagleParts) {
    this.#p = parts;
    const name = parts.head.mtp ? "mtp" : `eagle-${parts.head.version}`;
    this.name = parts.front ? `${name} (${parts.front.name})` : name;
    this.#ahead = parts.head.mtp?.firstRow ? 1 : 0;
    const { decide, deciding, params, scratch, shape, head } = parts;
    this.#rank = new Ranker({ decide, deciding, params, scratch }, head.vocab, shape.width, head.ids);
  }

  get front(): FrontStats | undefined {
    return this.#p.front?.stats;
  }

  #stateOf(text: Text): State {
    let state = this.#states.get(text);
    if (state) return state;
    state = { cache: this.#p.head.openCache(text.contextSize), begin: 0, end: 0, waiting: 0, from: 0 };
    this.#states.set(text, state);
    return state;
  }

  begin(text: Text, cached: number, prompt: readonly number[]): number {
    const state = this.#stateOf(text);
    const { window } = this.#p;
    state.waiting = 0;
    state.from = window > 0 ? Math.max(0, prompt.length - window) : 0;
    // The row of the last token kept depends on the token after it, which may be another now.
    this.#shorten(state, cached);
    const kept = Math.max(0, state.end - this.#ahead);
    if (cached - kept > worthwhile) {
      state.begin = state.end = cached + this.#ahead;
      return cached;
    }
    if (this.#ahead > state.end && state.from === 0) this.#waitForFirst(state);
    return kept;
  }

  /** Row 0, which follows nothing. */
  #waitForFirst(state: State): void {
    new Float32Array(this.#p.memory.buffer, state.cache.waiting, this.#p.head.width).fill(0);
    state.waiting = 1;
  }

  async observe(text: Text, rows: readonly number[], signal: Stop | undefined): Promise<void> {
    const state = this.#states.get(text);
    if (!state) return;
    const { head, states, front, contextSize } = this.#p;
    await front?.observe(text, text.tokens, contextSize, signal);
    let at = text.tokens.length - rows.length;
    for (let i = 0; i < rows.length; ) {
      // Single rows that nothing is drafted from: the head rests, and remembers the last ones only.
      if (rows.length === 1 && state.waiting >= idle) this.#forget(state, 1);
      if (state.waiting === maxNodes) this.#advance(text, state, maxNodes - 1, -1);
      const skip = state.waiting === 0 ? Math.min(rows.length - i, state.from - at) : 0;
      if (skip > 0) {
        at += skip;
        state.begin = state.end = at + this.#ahead;
        i += skip;
        continue;
      }
      const count = Math.min(rows.length - i, maxNodes - state.waiting);
      states.copy(rows.slice(i, i + count), state.cache.waiting + 4 * head.width * state.waiting);
      state.waiting += count;
      at += count;
      i += count;
    }
  }

  /** Runs the first `count` waiting rows; `next` is the token after the text's last. */
  #advance(text: Text, state: State, count: number, next: number): void {
    const { head, window, memory } = this.#p;
    const bytes = new Uint8Array(memory.buffer);
    bytes.copyWithin(head.hidden, state.cache.waiting, state.cache.waiting + 4 * head.width * count);
    const rows = Array.from({ length: count }, (_, i): HeadRow => {
      const slot = state.end + i;
      return {
        token: text.tokens[slot + 1 - this.#ahead] ?? next,
        position: slot,
        slot,
        first: firstSeen(state, slot, window),
        base: slot + 1,
        maskLow: 0,
        maskHigh: 0,
      };
    });
    head.run(state.cache, rows, true);
    if (head.kept > 0) head.keep(state.cache, state.end, count);
    this.#drop(state, count);
  }

  /** Leaves out the first `count` waiting rows, and with them all before. */
  #forget(state: State, count: number): void {
    this.#drop(state, count);
    state.begin = state.end;
  }

  #drop(state: State, count: number): void {
    const { head, memory } = this.#p;
    state.end += count;
    state.waiting -= count;
    const bytes = 4 * head.width;
    const first = state.cache.waiting + count * bytes;
    new Uint8Array(memory.buffer).copyWithin(state.cache.waiting, first, first + state.waiting * bytes);
  }

  async propose(text: Text, tree: DraftTree, wanted: Wanted): Promise<void> {
    const { limit, depth, pays } = wanted;
    const state = this.#states.get(text);
    if (!state || state.waiting === 0 || state.end + state.waiting !== text.tokens.length + this.#ahead) return;
    const { head, shape, window, now, normed } = this.#p;
    const last = state.waiting - 1;
    this.#advance(text, state, state.waiting, tree.tokens[0]!);
    head.score(last, 1);
    const first = this.#ranked(1);
    if (first.values[0] === -Infinity) return;
    if (this.#p.front) {
      await this.#chain(text, state, this.#p.front, tree, last, wanted);
      return;
    }
    const base = state.end;
    const run = async (level: number, beam: readonly BeamRow[]): Promise<Ranking> => {
      const width = beam.length;
      const started = now();
      for (const [r, { from }] of beam.entries()) head.carry(from < 0 ? last : from, r, normed);
      const rows = beam.map(({ token, maskLow, maskHigh }, r): HeadRow => {
        const slot = base + (level - 1) * width + r;
        return {
          token,
          position: base - 1 + level,
          slot,
          first: Math.min(slot, firstSeen(state, slot, window)),
          base,
          maskLow,
          maskHigh,
        };
      });
      head.run(state.cache, rows, false);
      head.score(0, width);
      this.#levelMs += 0.2 * (now() - started - this.#levelMs);
      return this.#ranked(width);
    };
    await growTree(
      tree,
      first,
      { width: shape.width, depth: Math.min(shape.depth, depth), size: Math.min(shape.size, limit) },
      run,
      (_, value) => value === -Infinity || !pays(Math.exp(value), this.#levelMs),
    );
  }

  /** The likeliest tokens of `rows` of the rows scored last, from row `at` on; none where a chain ends. */
  #ranked(rows: number, at = 0): Ranking {
    const { head, least = 0, memory } = this.#p;
    const logits = head.logits + 4 * head.vocab * at;
    const ranking = this.#rank.rows(logits, rows);
    if (least > 0 && chanceOfBest(new Float32Array(memory.buffer, logits, head.vocab)) < least) ranking.values[0] = -Infinity;
    return ranking;
  }

  /**
   * A chain in fewer steps: guesses of it run beside its next token, and stay where they are what the head says. Each row of a head goes on from the
   * state that the row before gave, which rows side by side do not have yet: a guess takes the state that the head gave where its two tokens
   * before last followed each other, or, where they never did, the one that the first row takes. The first row's token is the chain's own; what
   * follows is as good a guess as the state is.
   */
  async #chain(
    text: Text,
    state: State,
    front: Front,
    tree: DraftTree,
    last: number,
    { limit, depth, pays, signal }: Wanted,
  ): Promise<void> {
    const { head, shape, window, now, normed, contextSize } = this.#p;
    const most = Math.min(shape.depth, depth, Math.min(shape.size, limit, maxNodes) - 1);
    const base = state.end;
    const root = tree.tokens[0]!;
    front.begin(text, text.tokens, contextSize);
    front.push(text, root);
    let [node, value, count, from, level] = [0, 0, 0, last, 0];
    let [before, token] = [root, root];
    /** Adds what a row says; whether there is to be more. */
    const add = (ranking: Ranking): boolean => {
      token = ranking.tokens[0]!;
      const above = value;
      value += ranking.values[0]!;
      if (!(value > -Infinity)) return false;
      // In the order in which growTree computes it, so that the estimates are its own to the last bit.
      node = tree.add(node, token, Math.exp(value - above));
      return ++count < most && node >= 0;
    };
    let more = most > 0 && add(this.#rank.rows(head.logits, 1));
    while (more && pays(Math.exp(value), this.#levelMs)) {
      const guesses = await front.guess(text, token, Math.min(most - count - 1, head.logitRows - 1), signal);
      const started = now();
      head.carry(from, 0, normed);
      const tokens = [token, ...guesses.tokens];
      const rows = tokens.map((each, r): HeadRow => {
        if (r > 0) {
          const like = this.#like(text, state, r > 1 ? tokens[r - 2]! : before, tokens[r - 1]!);
          if (like >= 0) head.carry(like % head.kept, r, normed, state.cache.states);
          else head.carry(from, r, normed);
        }
        const slot = base + level + r;
        const [maskLow, maskHigh] = firstBits(level + r + 1);
        const first = Math.min(slot, firstSeen(state, slot, window));
        return { token: each, position: slot, slot, first, base, maskLow, maskHigh };
      });
      head.run(state.cache, rows, false);
      head.score(0, rows.length);
      const ms = now() - started;
      let right = 0;
      for (let r = 0; ; r++) {
        front.push(text, token);
        before = token;
        more = add(this.#ranked(1, r));
        from = r;
        level++;
        if (!more || token !== guesses.tokens[r]) break;
        right++;
      }
      front.saw(guesses, right, rows.length, ms);
      this.#levelMs += 0.2 * (ms / (right + 1) - this.#levelMs);
    }
  }

  /** The last kept slot whose row consumed `token` after `before`; -1 for none. */
  #like(text: Text, { begin, end }: State, before: number, token: number): number {
    const consumed = (slot: number) => text.tokens[slot + 1 - this.#ahead];
    for (let slot = end - 1; slot > Math.max(begin, end - this.#p.head.kept); slot--)
      if (consumed(slot) === token && consumed(slot - 1) === before) return slot;
    return -1;
  }

  cut(text: Text, length: number): void {
    const state = this.#states.get(text);
    if (!state) return;
    this.#shorten(state, length);
    state.waiting = 0;
  }

  close(text: Text): void {
    const state = this.#states.get(text);
    if (!state) return;
    this.#states.delete(text);
    this.#p.front?.close(text);
    this.#p.head.closeCache(state.cache);
  }

  #shorten(state: State, length: number): void {
    state.end = Math.min(state.end, Math.max(0, length - 1 + (length > 0 ? this.#ahead : 0)));
    state.begin = Math.min(state.begin, state.end);
  }
}

const firstBits = (count: number): [low: number, high: number] => [
  count >= 32 ? -1 : (1 << count) - 1,
  count > 32 ? (1 << (count - 32)) - 1 : 0,
];

const firstSeen = ({ begin }: { begin: number }, slot: number, window: number): number =>
  Math.max(begin, window > 0 ? slot - window + 1 : 0);

/** The best token's share of the ten likeliest, as llama.cpp's MTP drafts measure it. */
function chanceOfBest(logits: Float32Array): number {
  const best = new Float64Array(10).fill(-Infinity);
  for (const logit of logits) {
    if (!(logit > best[9]!)) continue;
    let at = 9;
    for (; at > 0 && logit > best[at - 1]!; at--) best[at] = best[at - 1]!;
    best[at] = logit;
  }
  return 1 / best.reduce((sum, logit) => sum + Math.exp(logit - best[0]!), 0);
}
