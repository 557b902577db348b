// A generation as the caller sees it: a promise of the whole, a stream of its parts.
import { asyncDispose } from "../brands.ts";
import { now } from "../clock.ts";
import type { GeneratedPart, GenerateHooks, GenerateResult, Timings, Usage } from "../engine/types.ts";
import { Flow } from "../flow.ts";
import { joinSignals } from "../signals.ts";
import { guarded } from "./given.ts";

/** Parts that lie unread before a generation is held back, and down to which they are read before it goes on. */
const MANY = 32;
const FEW = 8;

/** Runs a generation: calls the hooks as it goes, rejects with the signal's reason when aborted. */
export type StartGeneration = (signal: AbortSignal, hooks: Omit<GenerateHooks, "signal">) => Promise<GenerateResult>;

/** What a generation that did not end by itself had given. */
export interface PartialResult {
  readonly text: string;
  readonly reasoning: string;
  readonly tokens: readonly number[];
  /** "aborted": by a signal, a callback that failed, or a reader that left; "error": by a CpmError. */
  readonly finishReason: "aborted" | "error";
  /** What it was rejected with. */
  readonly reason: unknown;
  /** Zeros where it had not begun. */
  readonly usage: Usage;
  /** As seen from the caller's thread. */
  readonly timings: Timings;
}

interface Caller {
  readonly signal?: AbortSignal | undefined;
  readonly onPrefill?: ((done: number, total: number) => unknown) | undefined;
}

/**
 * Await it for the whole result, iterate over it for parts as they come, or both. It starts with the first of these.
 * It is stopped when its last reader leaves (`break`, `return()`, a stream's `cancel`) and nobody awaits the result. Rejects, and loops
 * throw, with a CpmError or the signal's own reason, at once. Readers that fall far behind hold it back, unless somebody awaits the
 * result: nothing piles up for a slow one. After a failure parts that had come before are not read any more, but `partial` has them.
 */
export class Generation implements PromiseLike<GenerateResult>, AsyncIterable<GeneratedPart> {
  readonly #start: StartGeneration;
  readonly #caller: Caller;
  readonly #stop = new AbortController();
  readonly #parts: GeneratedPart[] = [];
  #result: Promise<GenerateResult> | undefined;
  /** Wakes the readers that wait for a part. */
  #wake: () => void = () => {};
  #more = new Promise<void>((resolve) => (this.#wake = resolve));
  #ended = false;
  /** How far each reader is. */
  readonly #readers = new Set<{ next: number }>();
  readonly #flow = new Flow();
  #awaited = false;
  /** A callback's failure. */
  #failure: { readonly error: unknown } | undefined;
  #usage: Omit<Usage, "completionTokens"> = { promptTokens: 0, cachedTokens: 0 };
  #begun: number | undefined;
  #firstPart: number | undefined;
  #partial: PartialResult | undefined;

  constructor(start: StartGeneration, caller: Caller = {}) {
    this.#start = start;
    this.#caller = caller;
  }

  #run(): Promise<GenerateResult> {
    this.#result ??= this.#work();
    return this.#result;
  }

  async #work(): Promise<GenerateResult> {
    const { signal, release } = joinSignals(this.#caller.signal, this.#stop.signal);
    signal.addEventListener("abort", () => this.#notify(), { once: true });
    const onPrefill = guarded(this.#caller.onPrefill, (error) => {
      this.#failure ??= { error };
      this.#stop.abort(error);
    });
    try {
      const result = await this.#start(signal, {
        onBegin: (usage) => {
          this.#usage = usage;
          this.#begun = now();
        },
        onPart: (part) => {
          this.#firstPart ??= now();
          this.#parts.push(part);
          this.#balance();
          this.#notify();
        },
        flow: this.#flow,
        ...(onPrefill ? { onPrefill } : {}),
      });
      if (this.#failure) throw this.#failure.error;
      return result;
    } catch (error) {
      this.#partial = this.#gave(error, signal.aborted && error === signal.reason);
      throw error;
    } finally {
      this.#ended = true;
      release();
      this.#notify();
    }
  }

  /** Holds the generation back while all its readers are far behind; whoever awaits the result reads nothing, and needs it whole. */
  #balance(): void {
    let behind = this.#awaited || this.#readers.size === 0 ? 0 : this.#parts.length;
    for (const { next } of this.#readers) behind = Math.min(behind, this.#parts.length - next);
    this.#flow.set(behind >= (this.#flow.held ? FEW : MANY));
  }

  #notify(): void {
    const wake = this.#wake;
    this.#more = new Promise((resolve) => (this.#wake = resolve));
    wake();
  }

  #gave(reason: unknown, aborted: boolean): PartialResult {
    const ended = now();
    const text = (type: GeneratedPart["type"]) =>
      this.#parts
        .filter((part) => part.type === type)
        .map((part) => part.text)
        .join("");
    const tokens = this.#parts.flatMap((part) => part.tokens);
    const { promptTokens, cachedTokens } = this.#usage;
    const begun = this.#begun ?? ended;
    const prefillMs = (this.#firstPart ?? ended) - begun;
    const decodeMs = ended - begun - prefillMs;
    const perSecond = (count: number, ms: number) => (ms > 0 && this.#firstPart !== undefined ? (1000 * count) / ms : 0);
    return {
      text: text("text"),
      reasoning: text("reasoning"),
      tokens,
      finishReason: aborted ? "aborted" : "error",
      reason,
      usage: { promptTokens, cachedTokens, completionTokens: tokens.length },
      timings: {
        prefillMs,
        decodeMs,
        prefillTokensPerSecond: perSecond(promptTokens - cachedTokens, prefillMs),
        decodeTokensPerSecond: perSecond(Math.max(0, tokens.length - 1), decodeMs),
      },
    };
  }

  /** What had come when it was aborted or failed; undefined while it runs and when it ended by itself. */
  get partial(): PartialResult | undefined {
    return this.#partial;
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a generation gives its result, as documented
  then<A = GenerateResult, B = never>(
    onResult?: ((result: GenerateResult) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    // Who asks for the result wants the whole; catch() and finally() do not.
    if (typeof onResult === "function") {
      this.#awaited = true;
      this.#balance();
    }
    return this.#run().then(onResult, onError);
  }

  catch<B = never>(onError?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<GenerateResult | B> {
    return this.#run().catch(onError);
  }

  finally(onDone?: (() => void) | null): Promise<GenerateResult> {
    return this.#run().finally(onDone);
  }

  /** Every reader gets all parts, from the first. */
  [Symbol.asyncIterator](): AsyncGenerator<GeneratedPart, void> {
    const place = { next: 0 };
    let state: "new" | "reading" | "done" = "new";
    const begin = () => {
      if (state !== "new") return;
      state = "reading";
      this.#readers.add(place);
      // Whoever iterates hears of a failure in the loop.
      this.#run().catch(() => {});
    };
    const end = () => {
      this.#readers.delete(place);
      state = "done";
      this.#balance();
    };
    const leave = () => {
      if (state === "done") return;
      end();
      if (!this.#result || this.#readers.size > 0 || this.#awaited || this.#ended) return;
      this.#stop.abort(new DOMException("the loop over this generation was left", "AbortError"));
    };
    const { signal } = this.#caller;
    const done = { done: true, value: undefined } as const;
    const reader: AsyncGenerator<GeneratedPart, void> = {
      next: async () => {
        begin();
        for (;;) {
          if (state === "done") return done;
          const aborted = signal?.aborted ? { error: signal.reason } : this.#failure;
          if (aborted && !(this.#ended && place.next === this.#parts.length)) {
            end();
            throw aborted.error;
          }
          if (place.next < this.#parts.length) {
            const value = this.#parts[place.next++]!;
            this.#balance();
            return { done: false, value };
          }
          if (this.#ended) {
            end();
            await this.#result;
            return done;
          }
          await this.#more;
        }
      },
      return: async () => {
        leave();
        // Reads that wait end now, not with the next part.
        this.#notify();
        return done;
      },
      throw: async (error) => {
        leave();
        this.#notify();
        throw error;
      },
      [Symbol.asyncIterator]: () => reader,
      [asyncDispose]: async () => {
        await reader.return();
      },
    };
    return reader;
  }

  /** The parts as a web stream; cancelling it is leaving. */
  toReadableStream(): ReadableStream<GeneratedPart> {
    const parts = this[Symbol.asyncIterator]();
    let left = false;
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await parts.next();
        if (left) return;
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        left = true;
        await parts.return();
      },
    });
  }
}
