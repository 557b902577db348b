// Answers of endpoints that are busy, gone for a while, or break off: asked for again, as often as is sensible.
import { after, cancelTimer } from "../clock.ts";
import type { ChatOptions } from "../index.ts";
import type { ChatMessage } from "../text/template.ts";
import { EndpointError } from "./endpoint.ts";
import type { ChatAnswer, ChatModel } from "./model.ts";

export interface RetryOptions {
  /** Times that a request is made again, at most. Default 6. */
  readonly retries?: number | undefined;
  /** Longest wait between two tries, also where Retry-After asks for more. Default 120,000 ms. */
  readonly mostWaitMs?: number | undefined;
  /** Waits; a test's own takes no time. */
  readonly wait?: ((ms: number, signal?: AbortSignal) => Promise<void>) | undefined;
  readonly onRetry?: ((error: EndpointError, waitMs: number) => void) | undefined;
}

/** Statuses that the same request may not get the next time (RFC 9110, and 529 of overloaded ones). */
const PASSING = new Set([408, 409, 425, 429, 500, 502, 503, 504, 529]);

/** Whether asking again may help: a status that passes, or no whole answer at all. */
export const isPassing = (error: unknown): error is EndpointError =>
  error instanceof EndpointError && (error.status === undefined || PASSING.has(error.status));

/** Whether the endpoint refused this request for what is in it, as it would refuse it again: 400, 413, 422. */
export const isRefusal = (error: unknown): error is EndpointError =>
  error instanceof EndpointError && [400, 413, 422].includes(error.status ?? 0);

/** Resolves after a time; rejects with the signal's reason. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const stop = () => {
      cancelTimer(timer);
      reject(signal!.reason as Error);
    };
    const timer = after(ms, () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    signal?.addEventListener("abort", stop, { once: true });
  });

/**
 * The answer of a model. An endpoint that fails in passing is asked again: when it says with Retry-After, else after 0.5, 1, 2 … seconds.
 * Rejects with the last failure, or the signal's reason.
 */
export async function answerOf(
  model: ChatModel,
  messages: readonly ChatMessage[],
  options: ChatOptions,
  { retries = 6, mostWaitMs = 120_000, wait = pause, onRetry }: RetryOptions = {},
): Promise<ChatAnswer> {
  for (let tries = 0; ; tries++) {
    try {
      return await model.chat(messages, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isPassing(error) || tries >= retries) throw error;
      const waitMs = Math.min(mostWaitMs, error.retryAfterMs ?? 500 * 2 ** tries);
      onRetry?.(error, waitMs);
      await wait(waitMs, options.signal);
    }
  }
}
