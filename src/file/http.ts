// Requests that end: every wait has a deadline, every body a length, failures are tried again where that can help.

import { isError } from "../brands.ts";
import { after, cancelTimer, now, type Timer } from "../clock.ts";
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";
import { joinSignals, untilAborted } from "../signals.ts";
import { shownUrl } from "./address.ts";

export { shownUrl };

/** How long a server may take. A request that takes longer fails as one that was cut: it is tried again, then refused with "io". */
export interface NetworkOptions {
  /** Longest time without an answer, and over which an answer's speed is looked at. Default 30000; Infinity for no limit. */
  readonly idleMs?: number | undefined;
  /** Bytes a second, over `idleMs`, below which an answer counts as stalled. Default 256; 0: any byte is progress. */
  readonly leastBytesPerSecond?: number | undefined;
  /** How often a request is made before it is given up. Default 4. */
  readonly attempts?: number | undefined;
}

export interface UrlOptions {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly network?: NetworkOptions | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** Longest time that a server may ask to be left alone (Retry-After). */
const LONGEST_PAUSE_MS = 60_000;

/** An answer that is no success. */
export class HttpFailure extends Error {
  readonly status: number;
  /** Milliseconds that the server asks to wait. */
  readonly retryAfterMs: number | undefined;
  constructor({ status, headers }: Response) {
    super(`HTTP status ${status}`);
    this.status = status;
    this.retryAfterMs = pauseOf(headers.get("retry-after"));
  }
}

/** Retry-After: seconds or a date (RFC 9110, section 10.2.3). */
function pauseOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  if (/^\s*\d+\s*$/.test(value)) return 1000 * Number(value);
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

/** 408, 425, 429 and failures of the server's own that pass; what a server will not do it will not do the next time. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];
/** Failures of the connection that do not pass: no such host, certificates, another protocol, what fetch refuses. */
const HOPELESS =
  /^(?:ENOTFOUND|EPROTO|CERT_|ERR_TLS_|ERR_SSL_|ERR_INVALID_|UND_ERR_INVALID_ARG|UND_ERR_NOT_SUPPORTED|HPE_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_)/;
const HOPELESS_TEXT = /unknown scheme|redirect count|invalid url|parse url|certificate|not supported|invalid header/i;

/** Errors from the outside in. */
function* chain(error: unknown): Generator<Error> {
  for (let e = error, depth = 0; isError(e) && depth < 5; e = e.cause, depth++) yield e;
}

function isHopeless(error: unknown): boolean {
  if (error instanceof HttpFailure) return !PASSING.includes(error.status);
  for (const e of chain(error)) {
    const { code } = e as { code?: unknown };
    if ((typeof code === "string" && HOPELESS.test(code)) || HOPELESS_TEXT.test(e.message)) return true;
  }
  return false;
}

/** A try that was too slow. */
class Stalled extends Error {}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const abort = () => {
      cancelTimer(timer);
      reject(signal!.reason);
    };
    const timer = after(ms, () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    });
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Watches that something keeps coming. */
class Watch {
  readonly #idleMs: number;
  readonly #least: number;
  readonly #stalled: (error: Error) => void;
  #timer: Timer | undefined;
  #answered = false;
  #bytes = 0;
  #begun = now();

  constructor({ idleMs = 30_000, leastBytesPerSecond = 256 }: NetworkOptions, stalled: (error: Error) => void) {
    this.#idleMs = idleMs;
    this.#least = leastBytesPerSecond;
    this.#stalled = stalled;
    this.#wait();
  }

  #wait(): void {
    cancelTimer(this.#timer);
    this.#begun = now();
    if (Number.isFinite(this.#idleMs)) this.#timer = after(this.#idleMs, () => this.#look());
  }

  #look(): void {
    const seconds = Math.max(now() - this.#begun, this.#idleMs) / 1000;
    const passed = `${Number(seconds.toPrecision(2))} s`;
    if (!this.#answered) this.#stalled(new Stalled(`no answer within ${passed}`));
    else if (this.#bytes < Math.max(1, this.#least * seconds))
      this.#stalled(
        new Stalled(this.#bytes ? `only ${this.#bytes} bytes came within ${passed}` : `nothing came within ${passed}`),
      );
    else {
      this.#bytes = 0;
      this.#wait();
    }
  }

  answered(): void {
    this.#answered = true;
    this.#wait();
  }

  took(bytes: number): void {
    this.#bytes += bytes;
  }

  end(): void {
    cancelTimer(this.#timer);
  }
}

/** An answer, and its body read under the watch. */
export interface Answer {
  readonly response: Response;
  /** The body, which has exactly `length` bytes, or at most `most` where the length is unknown. More throws what `tooLong` gives. */
  body(length: number | undefined, most: number, tooLong: () => Error): Promise<Uint8Array>;
  /** The body as it comes; a failure of `take` ends it and is thrown. */
  stream(take: (bytes: Uint8Array) => Promise<void>): Promise<void>;
}

/** Headers of a request, or what gives those of each try. */
export type RequestHeaders = Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>);

/** The URL as fetch takes it, and headers with what its user and password stand for. */
function withoutUser(
  address: string,
  headers: Readonly<Record<string, string>>,
): { url: string; headers: Record<string, string> } {
  const url = new URL(address);
  if (url.username === "" && url.password === "") return { url: address, headers: { ...headers } };
  const text = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = url.password = "";
  const basic = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(text)))}`;
  const given = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  return { url: url.href, headers: given ? { ...headers } : { ...headers, authorization: basic } };
}

async function once<T>(
  address: string,
  options: UrlOptions,
  headers: RequestHeaders,
  outer: AbortSignal | undefined,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const fetch = options.fetch ?? globalThis.fetch;
  const stall = new AbortController();
  const watch = new Watch(options.network ?? {}, (error) => stall.abort(error));
  const { signal, release } = joinSignals(outer, stall.signal);
  const { url, headers: sent } = withoutUser(address, {
    ...options.headers,
    ...(typeof headers === "function" ? headers() : headers),
  });
  let response: Response | undefined;
  try {
    const asked = async () => {
      try {
        return await fetch(url, { headers: sent, signal });
      } catch (error) {
        // A test's DOM has signals of its own, which Node's fetch refuses: the wait ends by the signal either way.
        if (signal.aborted || !(isError(error) && /AbortSignal/.test(error.message))) throw error;
        return fetch(url, { headers: sent });
      }
    };
    const answered = await untilAborted(asked(), signal);
    response = answered;
    watch.answered();
    return await use({
      response,
      body: (...limits) => readBody(answered, signal, watch, ...limits),
      stream: (take) => eachPart(answered, signal, watch, take),
    });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    watch.end();
    release();
    // What is not read any more must not keep its connection.
    if (response && !response.bodyUsed) void response.body?.cancel().catch(() => {});
  }
}

async function eachPart(
  response: Response,
  signal: AbortSignal,
  watch: Watch,
  take: (bytes: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const reader = response.body?.getReader();
  try {
    while (reader) {
      const { done, value } = await untilAborted(reader.read(), signal);
      if (done) return;
      watch.took(value.length);
      await take(value);
    }
  } catch (error) {
    void reader?.cancel().catch(() => {});
    throw error;
  }
}

async function readBody(
  response: Response,
  signal: AbortSignal,
  watch: Watch,
  length: number | undefined,
  most: number,
  tooLong: () => Error,
): Promise<Uint8Array> {
  const limit = length ?? most;
  const parts: Uint8Array[] = [];
  const all = length === undefined ? undefined : new Uint8Array(length);
  let size = 0;
  await eachPart(response, signal, watch, (value) => {
    if (size + value.length > limit) throw tooLong();
    if (all) all.set(value, size);
    else parts.push(value);
    size += value.length;
  });
  if (all) {
    if (size !== length) throw new Error(`${size} of ${length} bytes arrived`);
    return all;
  }
  const joined = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Milliseconds before the next try after `attempt` tries: twice as long each time, and no less than the server asks for. `random`, from 0
 * to 1, adds up to a quarter: clients that failed together do not come back together.
 */
export const pauseBefore = (attempt: number, askedMs: number | undefined, random: number): number =>
  Math.max(150 * 2 ** attempt, askedMs ?? 0) * (1 + random / 4);

/**
 * Makes a request and uses its answer; failures that may pass are tried again, after the time that the server asks for. Rejects with what
 * `use` throws as a CpmError, with CpmError "io", or with the signal's reason.
 */
export async function request<T>(
  url: string,
  options: UrlOptions,
  headers: RequestHeaders,
  signal: AbortSignal | undefined,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const attempts = options.network?.attempts ?? 4;
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(url, options, headers, signal, use);
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof CpmError) throw cause;
      const asked = cause instanceof HttpFailure ? cause.retryAfterMs : undefined;
      const final = isHopeless(cause);
      if (final || attempt >= attempts || (asked ?? 0) > LONGEST_PAUSE_MS) throw refusal(url, cause, final ? undefined : attempt);
      await pause(pauseBefore(attempt, asked, Math.random()), signal);
    }
  }
}

function refusal(url: string, cause: unknown, attempts: number | undefined): CpmError {
  const shown = shownUrl(url);
  const why =
    [...new Set([...chain(cause)].map((e) => e.message).filter(Boolean))].join(": ").replaceAll(url, shown) || reasonOf(cause);
  const tried = attempts === undefined ? "" : ` (tried ${attempts} ${attempts === 1 ? "time" : "times"})`;
  const { status, retryAfterMs } = cause instanceof HttpFailure ? cause : { status: 0, retryAfterMs: undefined };
  const credentials = status === 401 || status === 403;
  const todo = credentials
    ? 'check the address, and whether it wants credentials: they go into the option headers, as { authorization: "Bearer …" }'
    : retryAfterMs !== undefined && retryAfterMs > LONGEST_PAUSE_MS
      ? `the server asks to come back in ${Math.ceil(retryAfterMs / 1000)} s`
      : "check the address and the network";
  const detail = { file: shown, ...(credentials ? { field: "headers" } : {}) };
  return new CpmError("io", `${shown}: ${why}${tried}; ${todo}`, detail, { cause });
}
