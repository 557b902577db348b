// A small model of the same vocabulary as drafter: it reads along, and grows a tree from its own logits.
import type { Drafter, DraftText, Wanted } from "../decode/draft/drafter.ts";
import type { Front, FrontStats } from "../decode/draft/front.ts";
import { type BeamRow, growTree, type TreeShape } from "../decode/draft/grow.ts";
import type { Ranker } from "../decode/draft/rank.ts";
import { type DraftTree, maxNodes } from "../decode/draft/tree.ts";
import type { Stop } from "../signals.ts";
import { causalRows, type Stepper, type StepRow } from "./forward.ts";
import { cutTo, keepable, type Sequence, type Sequences } from "./sequences.ts";

export interface SmallParts {
  readonly stepper: Stepper;
  /** Of the small model, with room for a tree behind each text. */
  readonly sequences: Sequences;
  readonly ranker: Ranker;
  readonly vocab: number;
  readonly shape: TreeShape;
  readonly contextSize: number;
  /** Drafts for it; of chains alone. */
  readonly front?: Front | undefined;
  now(): number;
}

/** Tokens that it may lag behind before it catches up outside a round. */
const lag = 32;

export class SmallDrafter implements Drafter {
  readonly name: string;
  readonly readsHidden = false;
  readonly computes = true;
  readonly #p: SmallParts;
  /** Its own sequence for each text, by number. */
  readonly #own = new Map<DraftText, number>();
  #levelMs = 0;

  constructor(parts: SmallParts) {
    this.#p = parts;
    this.name = parts.front ? `model (${parts.front.name})` : "model";
  }

  get front(): FrontStats | undefined {
    return this.#p.front?.stats;
  }

  #of(text: DraftText): Sequence {
    let id = this.#own.get(text);
    if (id === undefined) this.#own.set(text, (id = this.#p.sequences.open(this.#p.contextSize)));
    return this.#p.sequences.get(id);
  }

  begin(text: DraftText, cached: number, prompt: readonly number[]): number {
    const own = this.#of(text);
    const { tokens } = own;
    let same = 0;
    while (same < tokens.length && tokens[same] === prompt[same]) same++;
    cutTo(own, keepable(own, same));
    return cached;
  }

  async observe(text: DraftText, _: readonly number[], signal: Stop | undefined): Promise<void> {
    await this.#p.front?.observe(text, text.tokens, this.#p.contextSize, signal);
    const own = this.#of(text);
    if (text.tokens.length - own.tokens.length >= lag) await this.#read(own, text.tokens.slice(own.tokens.length), signal);
  }

  /** Appends tokens to its own sequence; the number of rows of the last step. */
  async #read(own: Sequence, tokens: readonly number[], signal: Stop | undefined): Promise<number> {
    const { stepper, vocab } = this.#p;
    let last = 0;
    for (let begin = 0; begin < tokens.length; begin += stepper.capacity) {
      const batch = tokens.slice(begin, begin + stepper.capacity);
      // A token of the target's padding, which this model has not: what it drafts behind it is as good as any guess.
      const known = batch.some((token) => token >= vocab) ? batch.map((token) => (token < vocab ? token : 0)) : batch;
      await stepper.layers(causalRows(own, known, 0), signal);
      own.tokens.push(...batch);
      last = batch.length;
    }
    return last;
  }

  /**
   * The chain that propose() would grow, in fewer steps: guesses of it are computed beside its last token, and stay where they are what it
   * says itself.
   */
  async #chain(text: DraftText, tree: DraftTree, front: Front, { limit, depth, pays, signal }: Wanted): Promise<void> {
    const { stepper, ranker, shape, now } = this.#p;
    const own = this.#of(text);
    cutTo(own, keepable(own, Math.min(own.tokens.length, text.tokens.length)));
    front.begin(text, text.tokens, this.#p.contextSize);
    const most = Math.min(shape.depth, depth, Math.min(shape.size, limit, maxNodes) - 1);
    let waiting = [...text.tokens.slice(own.tokens.length), tree.tokens[0]!];
    let [node, value] = [0, 0];
    for (let count = 0; count < most && node >= 0; ) {
      const root = waiting.at(-1)!;
      const rest = waiting.length % stepper.capacity || stepper.capacity;
      const room = Math.min(most - count - 1, stepper.logitRows - 1, stepper.capacity - rest);
      const guesses = await front.guess(text, root, room, signal);
      const started = now();
      const rows = await this.#read(own, [...waiting, ...guesses.tokens], signal);
      const first = rows - 1 - guesses.tokens.length;
      await stepper.head(
        Array.from({ length: 1 + guesses.tokens.length }, (_, i) => first + i),
        signal,
      );
      const ms = now() - started;
      front.push(text, root);
      let [right, token] = [0, root];
      for (let i = 0; ; i++) {
        const ranking = ranker.rows(stepper.logits + 4 * this.#p.vocab * i, 1);
        token = ranking.tokens[0]!;
        // In the order in which growTree computes it, so that the estimates are its own to the last bit.
        const before = value;
        value += ranking.values[0]!;
        node = tree.add(node, token, Math.exp(value - before) || 0);
        count++;
        if (node < 0 || token !== guesses.tokens[i]) break;
        right++;
        front.push(text, token);
      }
      front.saw(guesses, right, rows, ms);
      cutTo(own, keepable(own, own.tokens.length - (guesses.tokens.length - right)));
      waiting = [token];
      this.#levelMs += 0.2 * (ms / (right + 1) - this.#levelMs);
      if (!(value > -Infinity) || !pays(Math.exp(value), this.#levelMs)) break;
    }
    // What the target refuses must not stay.
    cutTo(own, keepable(own, Math.min(own.tokens.length, text.tokens.length)));
  }

  async propose(text: DraftText, tree: DraftTree, wanted: Wanted): Promise<void> {
    const { stepper, ranker, shape, now, front } = this.#p;
    if (front) {
      await this.#chain(text, tree, front, wanted);
      return;
    }
    const { limit, depth, pays, signal } = wanted;
    const own = this.#of(text);
    // The root is computed anew when it was guessed right and is here already.
    cutTo(own, keepable(own, Math.min(own.tokens.length, text.tokens.length)));
    const rows = await this.#read(own, [...text.tokens.slice(own.tokens.length), tree.tokens[0]!], signal);
    await stepper.head([rows - 1], signal);
    const base = own.tokens.length;
    const run = async (level: number, beam: readonly BeamRow[]) => {
      const started = now();
      const slot = base + (level - 1) * beam.length;
      await stepper.layers(
        beam.map(
          ({ token, maskLow, maskHigh }, r): StepRow => ({
            sequence: own,
            token,
            position: base - 1 + level,
            slot: slot + r,
            base,
            maskLow,
            maskHigh,
            total: 0,
          }),
        ),
        signal,
      );
      await stepper.head(
        Array.from(beam, (_, r) => r),
        signal,
      );
      this.#levelMs += 0.2 * (now() - started - this.#levelMs);
      return ranker.rows(stepper.logits, beam.length);
    };
    const size = Math.min(shape.size, limit, maxNodes);
    await growTree(
      tree,
      ranker.rows(stepper.logits, 1),
      { width: shape.width, depth: Math.min(shape.depth, depth), size },
      run,
      (_, value) => !pays(Math.exp(value), this.#levelMs),
    );
  }

  cut(text: DraftText, length: number): void {
    const own = this.#of(text);
    cutTo(own, keepable(own, Math.min(own.tokens.length, length)));
  }

  close(text: DraftText): void {
    const id = this.#own.get(text);
    if (id === undefined) return;
    this.#own.delete(text);
    this.#p.front?.close(text);
    this.#p.sequences.close(id);
  }
}
