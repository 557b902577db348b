// A generation as the caller sees it: a promise of the whole, a stream of its parts.
import type { GeneratedPart, GenerateResult } from "../engine/types.ts";

/** Runs a generation: calls `onPart` for each part, rejects with the signal's reason when aborted. */
export type StartGeneration = (signal: AbortSignal, onPart: (part: GeneratedPart) => void) => Promise<GenerateResult>;

/**
 * Await it for the whole result, iterate over it for parts as they come, or both. It starts with the first of these.
 * Leaving a loop early stops the generation. Rejects, and the loop throws, with a CpmError or the signal's own reason.
 */
export class Generation implements PromiseLike<GenerateResult>, AsyncIterable<GeneratedPart> {
  readonly #start: StartGeneration;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #parts: GeneratedPart[] = [];
  #result: Promise<GenerateResult> | undefined;
  /** Wakes the loops that wait for a part. */
  #wake: () => void = () => {};
  #more = new Promise<void>((resolve) => (this.#wake = resolve));
  #ended = false;

  constructor(start: StartGeneration, signal: AbortSignal | undefined) {
    this.#start = start;
    this.#signal = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
  }

  #run(): Promise<GenerateResult> {
    if (this.#result) return this.#result;
    const notify = () => {
      this.#wake();
      this.#more = new Promise((resolve) => (this.#wake = resolve));
    };
    this.#result = (async () => {
      try {
        return await this.#start(this.#signal, (part) => {
          this.#parts.push(part);
          notify();
        });
      } finally {
        this.#ended = true;
        notify();
      }
    })();
    return this.#result;
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a generation gives its result, as documented
  then<A = GenerateResult, B = never>(
    onResult?: ((result: GenerateResult) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#run().then(onResult, onError);
  }

  catch<B = never>(onError?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<GenerateResult | B> {
    return this.#run().catch(onError);
  }

  finally(onDone?: (() => void) | null): Promise<GenerateResult> {
    return this.#run().finally(onDone);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedPart, void> {
    const result = this.#run();
    // Whoever iterates hears of a failure in the loop.
    result.catch(() => {});
    let complete = false;
    try {
      for (let next = 0; ; ) {
        while (next < this.#parts.length) yield this.#parts[next++]!;
        if (this.#ended) break;
        await this.#more;
      }
      complete = true;
      await result;
    } finally {
      if (!complete) this.#stop.abort(new DOMException("the loop over this generation was left", "AbortError"));
    }
  }

  /** The parts as a web stream; cancelling it stops the generation. */
  toReadableStream(): ReadableStream<GeneratedPart> {
    const parts = this[Symbol.asyncIterator]();
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await parts.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await parts.return();
      },
    });
  }
}
