// Sources over HTTP ranges (RFC 9110, section 14).
import { CpmError } from "../errors.ts";
import { checkRange } from "./bytes.ts";
import type { ModelFiles, Source } from "./source.ts";

export interface UrlOptions {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A server without ranges is read whole, if the file is at most this long. */
const WHOLE_BYTES = 64 * 1024 * 1024;
/** Small reads (headers) are served from blocks of this size. */
const BLOCK_BYTES = 256 * 1024;
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
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
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
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new CpmError("io", `${url}: ${why}${final ? "" : ` (tried ${attempt} times)`}; check the address and the network`, { file: url }, { cause });
      }
      await pause(150 * 2 ** attempt, signal);
    }
  }
}

async function drain(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => {});
}

/** Opens a URL; undefined when it is not there (404, 410). Throws "io" for other failures. */
export async function urlSource(url: string, options: UrlOptions = {}, signal?: AbortSignal): Promise<Source | undefined> {
  const get = options.fetch ?? globalThis.fetch;
  const request = (range: string, etag?: string) =>
    get(url, { headers: { ...options.headers, range, ...(etag ? { "if-range": etag } : {}) }, ...(signal ? { signal } : {}) });
  const first = await patiently(url, signal, async () => {
    const response = await request(`bytes=0-${BLOCK_BYTES - 1}`);
    if (response.status === 404 || response.status === 410) {
      await drain(response);
      return undefined;
    }
    // An empty file has no range to give: 416.
    if (response.status === 416) return { bytes: new Uint8Array(0), size: 0, etag: undefined };
    if (!response.ok) {
      await drain(response);
      throw new HttpFailure(response.status);
    }
    if (response.status === 206) {
      const size = Number(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (!Number.isSafeInteger(size) || bytes.length !== Math.min(size, BLOCK_BYTES)) throw new Error("the answer to a range request has no usable Content-Range");
      const tag = response.headers.get("etag");
      return { bytes, size, etag: tag && !tag.startsWith("W/") ? tag : undefined };
    }
    return { bytes: await whole(url, response), size: -1, etag: undefined };
  });
  if (!first) return undefined;
  if (first.size === -1) return fixedSource(url, first.bytes);
  return rangedSource(url, first.size, first.bytes, (offset, length, abort) =>
    patiently(url, abort ?? signal, async () => {
      const response = await request(`bytes=${offset}-${offset + length - 1}`, first.etag);
      if (response.status === 200) {
        await drain(response);
        throw new CpmError("io", `${url}: the file changed on the server while it was read; load it again`, { file: url, offset });
      }
      if (response.status !== 206) {
        await drain(response);
        throw new HttpFailure(response.status);
      }
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length !== length) throw new Error(`${bytes.length} of ${length} bytes arrived`);
      return bytes;
    }),
  );
}

/** A body read whole, because the server gives no ranges. */
async function whole(url: string, response: Response): Promise<Uint8Array> {
  const refuse = (bytes: number) =>
    new CpmError("io", `${url}: the server does not support range requests and the file has ${bytes ? `${bytes} bytes` : "no stated length"}, more than the ${WHOLE_BYTES} that are read whole; use a server with ranges or a local file`, { file: url });
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

/** Small reads go through the last block fetched; large ones are requests of their own. */
function rangedSource(name: string, size: number, first: Uint8Array, fetchRange: Fetch): Source {
  const source = { name, size };
  let block = { at: 0, bytes: first };
  return {
    ...source,
    async read(offset, length, signal) {
      checkRange(source, offset, length);
      if (length === 0) return new Uint8Array(0);
      if (length >= BLOCK_BYTES) return fetchRange(offset, length, signal);
      if (offset < block.at || offset + length > block.at + block.bytes.length)
        block = { at: offset, bytes: await fetchRange(offset, Math.min(BLOCK_BYTES, size - offset), signal) };
      return block.bytes.slice(offset - block.at, offset - block.at + length);
    },
    async close() {},
  };
}

/** A model behind a URL: a file, or a folder when the URL ends in "/". Siblings are resolved beside it. */
export function urlFiles(url: string | URL, options: UrlOptions = {}): ModelFiles {
  const base = new URL(url);
  const folder = base.pathname.endsWith("/");
  const entry = folder ? "" : decodeURIComponent(base.pathname.split("/").at(-1)!);
  return {
    entry,
    open: (name, signal) => urlSource(name === entry ? base.href : new URL(encodeURIComponent(name) + base.search, base).href, options, signal),
    async close() {},
  };
}
