// How many lanes a small step takes.

/** A step in so many single rows tries the other way. */
const TRY_EVERY = 32;

/**
 * All lanes, or one where meeting at barriers costs more than the others bring: with small models, and on machines that are
 * busy with other things. Both ways are timed on single rows as they come. Which lane computes what changes no bit.
 */
export class LaneChoice {
  readonly #all: number;
  /** Milliseconds of a step of one row, by number of lanes, smoothed. */
  readonly #ms = new Map<number, number>();
  #steps = 0;

  constructor(all: number) {
    this.#all = all;
  }

  /** Lanes of the next step; `counts`: it will be timed. */
  next(counts: boolean): number {
    if (this.#all === 1) return 1;
    const [all, one] = [this.#ms.get(this.#all), this.#ms.get(1)];
    const best = (one ?? Number.POSITIVE_INFINITY) < (all ?? 0) ? 1 : this.#all;
    if (!counts) return best;
    this.#steps++;
    // Early on, each way twice: the first time of each is spent on compiling and waking.
    const early = this.#steps <= 5 && this.#steps % 2 === 0;
    return early || this.#steps % TRY_EVERY === 0 ? (best === 1 ? this.#all : 1) : best;
  }

  took(lanes: number, ms: number): void {
    const before = this.#ms.get(lanes);
    // A step that was interrupted says little; one that was faster than all before says much.
    this.#ms.set(lanes, before === undefined ? ms : before + (ms < before ? 0.5 : 0.15) * (ms - before));
  }
}
