// A request's body: bounded, UTF-8, JSON.
import { Params } from "./params.ts";
import { Problem } from "./problem.ts";

const tooLarge = (most: number): Problem =>
  new Problem(413, `the body is larger than the ${most} bytes that this server takes`, { code: "body_too_large" });

async function bytesOf(request: Request, most: number, signal: AbortSignal): Promise<Uint8Array> {
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge(most);
  if (!request.body) return new Uint8Array(0);
  const reader = request.body.getReader();
  // A body that never ends, or stops in the middle, ends with the time allowed.
  const stop = () => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", stop, { once: true });
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) break;
      size += value.byteLength;
      if (size > most) {
        void reader.cancel().catch(() => {});
        throw tooLarge(most);
      }
      chunks.push(value);
    }
  } finally {
    signal.removeEventListener("abort", stop);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

/** @throws Problem 400 for what is not a JSON object, 413 beyond `most` bytes; the signal's reason when it is aborted. */
export async function readBody(request: Request, most: number, signal: AbortSignal): Promise<Params> {
  const bytes = await bytesOf(request, most, signal);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message.slice(0, 200) : "it is not UTF-8";
    throw new Problem(400, `the body is not JSON: ${why}`, { code: "invalid_json" });
  }
  return new Params(value);
}
