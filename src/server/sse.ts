// Server-sent events: a stream that is pulled, so that whoever does not read holds nothing but what was asked for.

const encoder = new TextEncoder();
const comment = encoder.encode(": waiting\n\n");

/** One event; `name` only where the protocol names its events. */
export const event = (data: unknown, name?: string): string =>
  `${name === undefined ? "" : `event: ${name}\n`}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;

export interface EventStreamOptions {
  /** Milliseconds of silence after which a comment keeps proxies and clients from giving up. */
  readonly keepAliveMs: number;
  /** Called when the reader goes away, before the source is told to return. */
  onCancel(): void;
}

/** The body of a response from a source of event texts. An error of the source ends the body with that error. */
export function eventStream(source: AsyncGenerator<string, void>, options: EventStreamOptions): ReadableStream<Uint8Array> {
  let pending: Promise<IteratorResult<string, void>> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        pending ??= source.next();
        let timer: ReturnType<typeof setTimeout> | undefined;
        const silence = new Promise<undefined>((resolve) => {
          timer = setTimeout(() => resolve(undefined), options.keepAliveMs);
        });
        const next = await Promise.race([pending, silence]).finally(() => clearTimeout(timer));
        if (next === undefined) return controller.enqueue(comment);
        pending = undefined;
        if (next.done) controller.close();
        else controller.enqueue(encoder.encode(next.value));
      },
      async cancel() {
        options.onCancel();
        pending?.catch(() => {});
        await source.return();
      },
    },
    { highWaterMark: 0 },
  );
}

export const eventHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store",
  // nginx and its kind hold back what they are not told to pass on.
  "x-accel-buffering": "no",
} as const;
