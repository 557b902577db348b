// Answers of servers at addresses, which are not believed to end by themselves.

/** Bytes of one answer: an MCP message of 64 MiB is none. */
const MOST_BYTES = 64 * 2 ** 20;

/** A fetch whose answers break off with an error where they grow too long. */
export function limitedFetch(fetch: (input: string | URL, init?: RequestInit) => Promise<Response>, most = MOST_BYTES) {
  return async (input: string | URL, init?: RequestInit): Promise<Response> => {
    const response = await fetch(input, init);
    if (!response.body) return response;
    let size = 0;
    const counted = response.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          size += chunk.length;
          if (size > most) controller.error(new Error(`the answer is longer than ${most} bytes`));
          else controller.enqueue(chunk);
        },
      }),
    );
    const { status, statusText, headers } = response;
    const limited = new Response(counted, { status, statusText, headers });
    Object.defineProperty(limited, "url", { value: response.url });
    return limited;
  };
}
