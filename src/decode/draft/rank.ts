// The likeliest tokens of rows of logits, with the logarithms of their chances.
import { type Decide, paramWords } from "../../wasm/decide.ts";
import type { DeciderMemory } from "../decidermemory.ts";
import type { Ranking } from "./grow.ts";

export interface RankerPlace {
  readonly decide: Decide;
  readonly deciding: Pick<DeciderMemory, "memory" | "logits">;
  /** The sampler's regions, free between draws. */
  readonly params: number;
  readonly scratch: number;
}

const word = { top: paramWords.indexOf("top"), max: paramWords.indexOf("max"), logSum: paramWords.indexOf("logSum") };

export class Ranker {
  readonly #place: RankerPlace;
  readonly #vocab: number;
  readonly #width: number;
  readonly #ids: Int32Array | undefined;
  readonly #stride: number;
  readonly #tokens: Int32Array;
  readonly #values: Float64Array;

  /** `width` tokens of a row of `vocab` logits, at most maxTop; `ids`: the tokens that its places mean; rows lie
   * `stride` apart. */
  constructor(place: RankerPlace, vocab: number, width: number, ids?: Int32Array, stride = vocab) {
    this.#place = place;
    this.#vocab = vocab;
    this.#width = width;
    this.#ids = ids;
    this.#stride = stride;
    this.#tokens = new Int32Array(width * width);
    this.#values = new Float64Array(width * width);
  }

  /** Of `rows` rows at `logits`, at most `width`. The result is overwritten by the next call. */
  rows(logits: number, rows: number): Ranking {
    const { decide, deciding, params, scratch } = this.#place;
    const { buffer } = deciding.memory;
    const words = new Float64Array(buffer, params, paramWords.length);
    const top = new Int32Array(buffer, params + 8 * paramWords.length, this.#width);
    words[word.top] = this.#width;
    for (let r = 0; r < rows; r++) {
      const at = deciding.logits(logits + 4 * this.#stride * r, this.#vocab);
      const row = new Float32Array(buffer, at, this.#vocab);
      const bad = decide.logit_stats(at, this.#vocab, params, scratch) < 0;
      for (let i = 0; i < this.#width; i++) {
        const id = bad ? 0 : top[i]!;
        this.#tokens[r * this.#width + i] = this.#ids ? this.#ids[id]! : id;
        this.#values[r * this.#width + i] = bad ? -Infinity : row[id]! - words[word.max]! - words[word.logSum]!;
      }
    }
    return { tokens: this.#tokens, values: this.#values };
  }
}
