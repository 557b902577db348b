// Long work in the caller's thread, in slices.
import { after, now } from "../clock.ts";

/** Milliseconds of work between two looks at the event loop. */
const SLICE_MS = 12;

/** Lets the event loop of the caller's thread run once wherever a slice of time is used up. */
export class Breath {
  readonly #signal: AbortSignal | undefined;
  #since = now();

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** Rejects with the signal's reason once it is aborted. */
  async take(): Promise<void> {
    if (now() - this.#since < SLICE_MS) return;
    await new Promise<void>((done) => {
      after(0, done);
    });
    this.#signal?.throwIfAborted();
    this.#since = now();
  }
}
