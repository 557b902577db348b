// How many lanes a small step takes.

/** Single rows between tries of the other way: longer, the surer the choice looks. */
const TRY_EVERY = [12, 16, 24, 32, 48];
/** Times of each way that count. */
const LAST = 3;
/** One lane must be so much faster to be taken: all lanes are what was asked for. */
const CLEARLY = 0.92;

/**
 * All lanes, or one where meeting at barriers costs more than the others bring: with small models, and on machines that are
 * busy with other things. Both ways are timed on single rows as they come. Which lane computes what changes no bit.
 */
export class LaneChoice {
  readonly #all: number;
  /** The last milliseconds of a step of one row, by number of lanes. The least counts: all else is compiling, or a neighbour. */
  readonly #ms = new Map<number, number[]>();
  #steps = 0;
  /** Steps since the other way was tried, and tries in a row that confirmed the choice. */
  #since = 0;
  #sure = 0;
  #trying = false;

  constructor(all: number) {
    this.#all = all;
  }

  #least(lanes: number): number | undefined {
    const times = this.#ms.get(lanes);
    return times && Math.min(...times);
  }

  get #best(): number {
    const [all, one] = [this.#least(this.#all), this.#least(1)];
    return all !== undefined && one !== undefined && one < CLEARLY * all ? 1 : this.#all;
  }

  /** Lanes of the next step; `counts`: it will be timed. */
  next(counts: boolean): number {
    if (this.#all === 1) return 1;
    const best = this.#best;
    if (!counts) return best;
    // Early on, each way by turns: the first times of each are spent on compiling and waking.
    const early = ++this.#steps <= 6 && this.#steps % 2 === 0;
    this.#trying = early || ++this.#since >= TRY_EVERY[Math.min(this.#sure, TRY_EVERY.length - 1)]!;
    if (!this.#trying) return best;
    this.#since = 0;
    return best === 1 ? this.#all : 1;
  }

  took(lanes: number, ms: number): void {
    if (this.#all === 1) return;
    const before = this.#best;
    this.#ms.set(lanes, [...(this.#ms.get(lanes) ?? []), ms].slice(-LAST));
    if (this.#trying) this.#sure = this.#best === before ? this.#sure + 1 : 0;
    this.#trying = false;
  }
}
