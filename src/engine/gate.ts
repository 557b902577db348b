// How many generations run at once, and how many wait: one more is refused at once.
import { CpmError } from "../errors.ts";

export class Gate {
  readonly #parallel: number;
  readonly #queue: number;
  readonly #waiting: { enter(): void }[] = [];
  #admitted = 0;
  #active = 0;

  /** `parallel` run at once, `queue` more wait for their turn. */
  constructor(parallel: number, queue: number) {
    this.#parallel = parallel;
    this.#queue = queue;
  }

  /** Takes a place, in what runs or in the queue. Throws CpmError "busy" when there is none. Every place is given back by leave(). */
  admit(): void {
    if (this.#admitted >= this.#parallel + this.#queue)
      throw new CpmError(
        "busy",
        `${this.#parallel} generations run and ${this.#queue} wait, as many as this model was loaded for; try again when one has ended, or load with a larger queue`,
        { field: "queue" },
      );
    this.#admitted++;
  }

  leave(): void {
    this.#admitted--;
  }

  /** Runs `task` when one of the places that run is free. Rejects with the signal's reason as soon as it is aborted while waiting. */
  async run<T>(task: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    if (this.#active >= this.#parallel) await this.#turn(signal);
    else this.#active++;
    try {
      return await task();
    } finally {
      // A place goes straight to who waits first.
      const next = this.#waiting.shift();
      if (next) next.enter();
      else this.#active--;
    }
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(place), 1);
        reject(signal!.reason);
      };
      const place = {
        enter() {
          signal?.removeEventListener("abort", abort);
          resolve();
        },
      };
      if (signal?.aborted) return reject(signal.reason);
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(place);
    });
  }
}
