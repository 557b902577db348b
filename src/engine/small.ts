// A small model of the same vocabulary as drafter: it reads along, and grows a tree from its own logits.
import type { Drafter, Stop, Wanted } from "../decode/draft/drafter.ts";
import { type BeamRow, growTree, type TreeShape } from "../decode/draft/grow.ts";
import type { Ranker } from "../decode/draft/rank.ts";
import { type DraftTree, maxNodes } from "../decode/draft/tree.ts";
import { causalRows, type Stepper, type StepRow } from "./forward.ts";
import { cutTo, keepable, type Sequence, type Sequences } from "./sequences.ts";

export interface SmallParts {
  readonly stepper: Stepper;
  /** Of the small model, with room for a tree behind each text. */
  readonly sequences: Sequences;
  readonly ranker: Ranker;
  readonly shape: TreeShape;
  readonly contextSize: number;
  now(): number;
}

/** Tokens that it may lag behind before it catches up outside a round. */
const lag = 32;

export class SmallDrafter implements Drafter<Sequence> {
  readonly name = "model";
  readonly readsHidden = false;
  readonly computes = true;
  readonly #p: SmallParts;
  /** Its own sequence for each text, by number. */
  readonly #own = new Map<Sequence, number>();
  #levelMs = 0;

  constructor(parts: SmallParts) {
    this.#p = parts;
  }

  #of(text: Sequence): Sequence {
    let id = this.#own.get(text);
    if (id === undefined) this.#own.set(text, (id = this.#p.sequences.open(this.#p.contextSize)));
    return this.#p.sequences.get(id);
  }

  begin(text: Sequence, cached: number, prompt: readonly number[]): number {
    const own = this.#of(text);
    const { tokens } = own;
    let same = 0;
    while (same < tokens.length && tokens[same] === prompt[same]) same++;
    cutTo(own, keepable(own, same));
    return cached;
  }

  async observe(text: Sequence, _: readonly number[], signal: Stop | undefined): Promise<void> {
    const own = this.#of(text);
    if (text.tokens.length - own.tokens.length >= lag) await this.#read(own, text.tokens.slice(own.tokens.length), signal);
  }

  /** Appends tokens to its own sequence; the number of rows of the last step. */
  async #read(own: Sequence, tokens: readonly number[], signal: Stop | undefined): Promise<number> {
    const { stepper } = this.#p;
    let last = 0;
    for (let begin = 0; begin < tokens.length; begin += stepper.capacity) {
      const batch = tokens.slice(begin, begin + stepper.capacity);
      await stepper.layers(causalRows(own, batch, 0), signal);
      own.tokens.push(...batch);
      last = batch.length;
    }
    return last;
  }

  async propose(text: Sequence, tree: DraftTree, { limit, depth, pays, signal }: Wanted): Promise<void> {
    const { stepper, ranker, shape, now } = this.#p;
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

  cut(text: Sequence, length: number): void {
    const own = this.#of(text);
    cutTo(own, keepable(own, Math.min(own.tokens.length, length)));
  }

  close(text: Sequence): void {
    const id = this.#own.get(text);
    if (id === undefined) return;
    this.#own.delete(text);
    this.#p.sequences.close(id);
  }
}
