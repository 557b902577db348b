// Who may generate: so many at once, so many waiting, and at once a clear no to the rest.
import { Problem } from "./problem.ts";

/** Gives a place back; harmless to call twice. */
export type Release = () => void;

export class Admission {
  readonly #parallel: number;
  readonly #queue: number;
  readonly #waiting: { start(): void }[] = [];
  #running = 0;
  #meanMs = 1000;

  /** `parallel` requests run at once, `queue` more wait. */
  constructor(parallel: number, queue: number) {
    this.#parallel = parallel;
    this.#queue = queue;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Seconds after which a place is likely, from how long requests took. */
  get retryAfter(): number {
    return Math.min(60, Math.max(1, Math.ceil((this.#meanMs * (this.#waiting.length + 1)) / this.#parallel / 1000)));
  }

  /** Waits for a place. @throws Problem 429 when the queue is full; the signal's reason when it is aborted first. */
  async enter(signal: AbortSignal, now: () => number): Promise<Release> {
    signal.throwIfAborted();
    if (this.#running >= this.#parallel) {
      if (this.#waiting.length >= this.#queue)
        throw new Problem(429, `${this.#running} requests are running and ${this.#waiting.length} waiting; try again later`, {
          type: "rate_limit_error",
          code: "rate_limit_exceeded",
          headers: { "retry-after": String(this.retryAfter) },
        });
      await new Promise<void>((resolve, reject) => {
        const leave = () => {
          this.#waiting.splice(this.#waiting.indexOf(place), 1);
          reject(signal.reason);
        };
        const place = {
          start: () => {
            signal.removeEventListener("abort", leave);
            resolve();
          },
        };
        this.#waiting.push(place);
        signal.addEventListener("abort", leave, { once: true });
      });
    } else this.#running++;
    const began = now();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#meanMs += (now() - began - this.#meanMs) / 8;
      // The place goes to whoever waits longest.
      const next = this.#waiting.shift();
      if (next) next.start();
      else this.#running--;
    };
  }
}
