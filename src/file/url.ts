// Sources over HTTP ranges (RFC 9110, section 14).
import { CpmError } from "../errors.ts";
import { ReadAhead } from "./ahead.ts";
import { checkRange } from "./bytes.ts";
import type { ModelFiles, Source } from "./source.ts";

export interface UrlOptions {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A server without ranges is read whole, if the file is at most this long. */
const WHOLE_BYTES = 64 * 1024 * 1024;
/** Small reads (headers) are served from blocks of this size, of twice the last one's where a block follows it. */
const BLOCK_BYTES = 256 * 1024;
const LONGEST_BLOCK_BYTES = 2 * 1024 * 1024;
const ATTEMPTS = 4;

class HttpFailure extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`HTTP status ${status}`);
    this.status = status;
  }
}

const pause = (ms: number, signal: AbortSignal | undefined) =>
  new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });

/** Runs a request up to four times: network failures and 5xx/429 answers are worth another try, others are not. */
async function patiently<T>(url: string, signal: AbortSignal | undefined, request: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request();
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof CpmError) throw cause;
      const final = cause instanceof HttpFailure && cause.status < 500 && cause.status !== 429;
      if (final || attempt === ATTEMPTS) {
        const why =
          cause instanceof Error
            ? [cause.message, (cause.cause as Error | undefined)?.message].filter(Boolean).join(": ")
            : String(cause);
        throw new CpmError(
          "io",
          `${url}: ${why}${final ? "" : ` (tried ${attempt} times)`}; check the address and the network`,
          { file: url },
          { cause },
        );
      }
      await pause(150 * 2 ** attempt, signal);
    }
  }
}

async function drain(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => {});
}

/** What a 206 answer says of itself: RFC 9110, section 14.4. */
function contentRange(response: Response): { begin: number; end: number; size: number } | undefined {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("content-range") ?? "");
  return match ? { begin: Number(match[1]), end: Number(match[2]) + 1, size: Number(match[3]) } : undefined;
}

/** A weak tag does not promise the same bytes. */
function strongTag(response: Response): string | undefined {
  const tag = response.headers.get("etag");
  return tag && !tag.startsWith("W/") ? tag : undefined;
}

/** The body of a 206 answer. Short bodies are worth another try. */
async function partOf(response: Response, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length !== length) throw new Error(`${bytes.length} of ${length} bytes arrived`);
  return bytes;
}

async function refuse(url: string, response: Response, what: string, todo: string): Promise<never> {
  await drain(response);
  throw new CpmError("io", `${url}: ${what}; ${todo}`, { file: url });
}

async function failStatus(response: Response): Promise<never> {
  await drain(response);
  throw new HttpFailure(response.status);
}

type Get = (range: string, signal: AbortSignal | undefined, tag?: string) => Promise<Response>;

interface Opened {
  readonly bytes: Uint8Array;
  /** Undefined: the server gives no ranges, `bytes` is the whole file. */
  readonly size: number | undefined;
  readonly tag: string | undefined;
}

/** Opens a URL; undefined when it is not there (404, 410). Throws "io" for other failures. */
export async function urlSource(url: string, options: UrlOptions = {}, signal?: AbortSignal): Promise<Source | undefined> {
  const fetch = options.fetch ?? globalThis.fetch;
  const get: Get = (range, abort, tag) =>
    fetch(url, {
      headers: { ...options.headers, range, ...(tag ? { "if-range": tag } : {}) },
      ...(abort ? { signal: abort } : {}),
    });
  const first = await patiently(url, signal, () => firstBlock(url, get, signal));
  if (!first) return undefined;
  if (first.size === undefined) return fixedSource(url, first.bytes);
  return rangedSource(url, first.size, first.bytes, (offset, length, abort = signal) =>
    patiently(url, abort, () => readRange(url, get, first, offset, length, abort)),
  );
}

async function firstBlock(url: string, get: Get, signal: AbortSignal | undefined): Promise<Opened | undefined> {
  const response = await get(`bytes=0-${BLOCK_BYTES - 1}`, signal);
  if (response.status === 404 || response.status === 410) {
    await drain(response);
    return undefined;
  }
  // An empty file has no range to give: 416.
  if (response.status === 416) return { bytes: new Uint8Array(0), size: 0, tag: undefined };
  if (!response.ok) return failStatus(response);
  if (response.status !== 206) return { bytes: await whole(url, response), size: undefined, tag: undefined };
  const range = contentRange(response);
  if (range?.begin !== 0 || range.end !== Math.min(range.size, BLOCK_BYTES))
    return refuse(
      url,
      response,
      `the answer to a range request has no usable Content-Range (${response.headers.get("content-range")})`,
      "let the server send it, and expose it to pages of other origins (Access-Control-Expose-Headers)",
    );
  return { bytes: await partOf(response, range.end), size: range.size, tag: strongTag(response) };
}

async function readRange(
  url: string,
  get: Get,
  { size, tag }: Opened,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const response = await get(`bytes=${offset}-${offset + length - 1}`, signal, tag);
  const range = contentRange(response);
  const other =
    response.status === 206 &&
    ((tag !== undefined && (strongTag(response) ?? tag) !== tag) || (range !== undefined && range.size !== size));
  if (response.status === 200 || response.status === 416 || other)
    return refuse(url, response, "the file changed on the server while it was read", "load it again");
  if (response.status !== 206) return failStatus(response);
  if (range && (range.begin !== offset || range.end !== offset + length))
    return refuse(
      url,
      response,
      `bytes ${offset} to ${offset + length} were asked for, the server sent ${range.begin} to ${range.end}`,
      "use a server with working range requests",
    );
  return partOf(response, length);
}

/** A body read whole, because the server gives no ranges. */
async function whole(url: string, response: Response): Promise<Uint8Array> {
  const refuse = (bytes: number) =>
    new CpmError(
      "io",
      `${url}: the server does not support range requests and the file has ${bytes ? `${bytes} bytes` : "no stated length"}, more than the ${WHOLE_BYTES} that are read whole; use a server with ranges or a local file`,
      { file: url },
    );
  const stated = Number(response.headers.get("content-length") ?? 0);
  if (stated > WHOLE_BYTES) {
    await drain(response);
    throw refuse(stated);
  }
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body!.getReader();
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    size += step.value.length;
    if (size > WHOLE_BYTES) {
      await reader.cancel();
      throw refuse(0);
    }
    parts.push(step.value);
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function fixedSource(name: string, bytes: Uint8Array): Source {
  const source = { name, size: bytes.length };
  return {
    ...source,
    async read(offset, length) {
      checkRange(source, offset, length);
      return bytes.slice(offset, offset + length);
    },
    async close() {},
  };
}

type Fetch = (offset: number, length: number, signal: AbortSignal | undefined) => Promise<Uint8Array>;

/** Small reads go through the last block fetched; large ones are requests of their own. What was announced is fetched ahead. */
function rangedSource(name: string, size: number, first: Uint8Array, fetchRange: Fetch): Source {
  const source = { name, size };
  let block = { at: 0, bytes: first };
  let ahead: ReadAhead | undefined;
  return {
    ...source,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      if (length === 0) return new Uint8Array(0);
      const fetched = await ahead?.read(offset, length);
      if (fetched) return fetched;
      if (length >= BLOCK_BYTES) return fetchRange(offset, length, signal);
      const end = block.at + block.bytes.length;
      if (offset < block.at || offset + length > end) {
        const follows = offset >= block.at && offset <= end;
        const wanted = follows ? Math.max(BLOCK_BYTES, Math.min(LONGEST_BLOCK_BYTES, 2 * block.bytes.length)) : BLOCK_BYTES;
        block = { at: offset, bytes: await fetchRange(offset, Math.min(wanted, size - offset), signal) };
      }
      return block.bytes.slice(offset - block.at, offset - block.at + length);
    },
    willRead(ranges) {
      for (const { offset, length } of ranges) checkRange(source, offset, length);
      ahead?.end();
      ahead = new ReadAhead((offset, length) => fetchRange(offset, length, undefined), ranges);
    },
    async close() {
      ahead?.end();
    },
  };
}

/** Throws "bad-input" for what is no URL. */
export function parseUrl(url: string | URL, base?: string): URL {
  try {
    return new URL(url, base);
  } catch (cause) {
    throw new CpmError(
      "bad-input",
      `model: expected a URL, found "${url}"; check the address`,
      { field: "model", found: String(url) },
      { cause },
    );
  }
}

/** Percent escapes that are not UTF-8 stay as they are. */
export function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** A model behind a URL: a file, or a folder when the URL ends in "/". Siblings are resolved beside it. Throws "bad-input" for no URL. */
export function urlFiles(url: string | URL, options: UrlOptions = {}): ModelFiles {
  const base = parseUrl(url);
  const entry = decoded(base.pathname.split("/").at(-1)!);
  return {
    entry,
    open: (name, signal) =>
      urlSource(name === entry ? base.href : new URL(encodeURIComponent(name) + base.search, base).href, options, signal),
    async close() {},
  };
}
