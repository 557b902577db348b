// Sources over HTTP ranges (RFC 9110, section 14).
import { copyOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { joinSignals } from "../signals.ts";
import { decoded, parseUrl } from "./address.ts";
import { checkRange } from "./bytes.ts";
import { type Answer, HttpFailure, type NetworkOptions, request, shownUrl, type UrlOptions } from "./http.ts";
import { ReadAhead } from "./readahead.ts";
import type { ModelFiles, Source } from "./source.ts";

export type { NetworkOptions, UrlOptions };

/** A server without ranges is read whole, if the file is at most this long. */
const WHOLE_BYTES = 64 * 1024 * 1024;
/** Small reads (headers) are served from blocks of this size, of twice the last one's where a block follows it. */
const BLOCK_BYTES = 256 * 1024;
const LONGEST_BLOCK_BYTES = 2 * 1024 * 1024;

/** What a 206 answer says of itself: RFC 9110, section 14.4. The size may be unknown. */
function contentRange({ headers }: Response): { begin: number; end: number; size: number | undefined } | undefined {
  const match = /^\s*bytes\s+(\d{1,15})\s*-\s*(\d{1,15})\s*\/\s*(\d{1,15}|\*)\s*$/i.exec(headers.get("content-range") ?? "");
  if (!match) return undefined;
  const range = { begin: Number(match[1]), end: Number(match[2]) + 1, size: match[3] === "*" ? undefined : Number(match[3]) };
  return range.begin < range.end && range.end <= (range.size ?? range.end) ? range : undefined;
}

/** A weak tag does not promise the same bytes. */
function strongTag(response: Response): string | undefined {
  const tag = response.headers.get("etag");
  return tag && !tag.startsWith("W/") ? tag : undefined;
}

const isEncoded = ({ headers }: Response): boolean => !/^(?:identity)?$/i.test((headers.get("content-encoding") ?? "").trim());

function refuse(url: string, what: string, todo: string): CpmError {
  return new CpmError("io", `${shownUrl(url)}: ${what}; ${todo}`, { file: shownUrl(url) });
}

const longer = (url: string) => () =>
  refuse(url, "the server sent more bytes than it said", "use a server with working range requests");

/** The body of a 206 answer. Short bodies are worth another try, longer ones and compressed ones are refused. */
async function partOf(url: string, { response, body }: Answer, length: number): Promise<Uint8Array> {
  if (isEncoded(response))
    throw refuse(
      url,
      `the server compresses ranges (Content-Encoding: ${response.headers.get("content-encoding")!.slice(0, 40)})`,
      "let it send the file as it is",
    );
  return body(length, length, longer(url));
}

interface Opened {
  readonly bytes: Uint8Array;
  /** Undefined: the server gives no ranges, `bytes` is the whole file. */
  readonly size: number | undefined;
  readonly tag: string | undefined;
}

/** Opens a URL; undefined when it is not there (404, 410). Throws "io" for other failures. */
export async function urlSource(url: string, options: UrlOptions = {}, signal?: AbortSignal): Promise<Source | undefined> {
  const range = `bytes=0-${BLOCK_BYTES - 1}`;
  const first = await request(url, options, { range }, signal, (answer) => firstBlock(url, answer));
  if (!first) return undefined;
  const { size, bytes } = first;
  if (size === undefined) return fixedSource(shownUrl(url), bytes);
  const end = new AbortController();
  const fetchRange: Fetch = async (offset, length, abort) => {
    const joined = joinSignals(abort ?? signal, end.signal);
    try {
      return await readRange(url, options, first, offset, length, joined.signal);
    } finally {
      joined.release();
    }
  };
  return rangedSource(shownUrl(url), size, bytes, fetchRange, () => end.abort(new CpmError("closed", "this source is closed")));
}

async function firstBlock(url: string, answer: Answer): Promise<Opened | undefined> {
  const { response } = answer;
  if (response.status === 404 || response.status === 410) return undefined;
  // An empty file has no range to give: 416.
  if (response.status === 416) return { bytes: new Uint8Array(0), size: 0, tag: undefined };
  if (response.status === 200 || response.status === 203)
    return { bytes: await whole(url, answer), size: undefined, tag: undefined };
  if (response.status !== 206) throw new HttpFailure(response);
  const range = contentRange(response);
  // A shorter part than the one asked for is allowed.
  if (range?.begin !== 0 || range.size === undefined || range.end > BLOCK_BYTES)
    throw refuse(
      url,
      `the answer to a range request has no usable Content-Range (${response.headers.get("content-range")?.slice(0, 80)})`,
      "let the server send it, and expose it to pages of other origins (Access-Control-Expose-Headers)",
    );
  return { bytes: await partOf(url, answer, range.end), size: range.size, tag: strongTag(response) };
}

/** Bytes [offset, offset + length), in as many requests as the server wants them to be. */
async function readRange(
  url: string,
  options: UrlOptions,
  opened: Opened,
  offset: number,
  length: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  let all: Uint8Array | undefined;
  for (let done = 0; ; ) {
    const begin = offset + done;
    const headers = {
      range: `bytes=${begin}-${offset + length - 1}`,
      ...(opened.tag ? { "if-range": opened.tag } : {}),
    };
    const part = await request(url, options, headers, signal, (answer) => rangeOf(url, answer, opened, begin, length - done));
    if (part.length === length) return part;
    all ??= new Uint8Array(length);
    all.set(part, done);
    done += part.length;
    if (done === length) return all;
  }
}

async function rangeOf(url: string, answer: Answer, { size, tag }: Opened, offset: number, length: number): Promise<Uint8Array> {
  const { response } = answer;
  const range = contentRange(response);
  const other =
    response.status === 206 &&
    ((tag !== undefined && (strongTag(response) ?? tag) !== tag) || (range?.size !== undefined && range.size !== size));
  if (response.status === 200 || response.status === 416 || other)
    throw refuse(url, "the file changed on the server while it was read", "load it again");
  if (response.status !== 206) throw new HttpFailure(response);
  if (range && (range.begin !== offset || range.end > offset + length))
    throw refuse(
      url,
      `bytes ${offset} to ${offset + length} were asked for, the server sent ${range.begin} to ${range.end}`,
      "use a server with working range requests",
    );
  return partOf(url, answer, range ? range.end - range.begin : length);
}

/** A body read whole, because the server gives no ranges. */
async function whole(url: string, { response, body }: Answer): Promise<Uint8Array> {
  const tooLong = (bytes: number) =>
    new CpmError(
      "io",
      `${shownUrl(url)}: the server does not support range requests and the file has ${bytes ? `${bytes} bytes` : "no stated length"}, more than the ${WHOLE_BYTES} that are read whole; use a server with ranges or a local file`,
      { file: shownUrl(url) },
    );
  // The length of a compressed body is not that of the file.
  const header = isEncoded(response) ? null : response.headers.get("content-length");
  const stated = header !== null && /^\d{1,15}$/.test(header) ? Number(header) : undefined;
  if (stated !== undefined && stated > WHOLE_BYTES) throw tooLong(stated);
  return body(stated, WHOLE_BYTES, stated === undefined ? () => tooLong(0) : longer(url));
}

function fixedSource(name: string, bytes: Uint8Array): Source {
  const source = { name, size: bytes.length };
  return {
    ...source,
    async read(offset, length) {
      checkRange(source, offset, length);
      return copyOf(bytes.subarray(offset, offset + length));
    },
    async close() {},
  };
}

type Fetch = (offset: number, length: number, signal: AbortSignal | undefined) => Promise<Uint8Array>;

/** Small reads go through the last block fetched; large ones are requests of their own. What was announced is fetched ahead. */
function rangedSource(name: string, size: number, first: Uint8Array, fetchRange: Fetch, end: () => void): Source {
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
      return copyOf(block.bytes.subarray(offset - block.at, offset - block.at + length));
    },
    willRead(ranges) {
      for (const { offset, length } of ranges) checkRange(source, offset, length);
      ahead?.end();
      ahead = new ReadAhead((offset, length) => fetchRange(offset, length, undefined), ranges);
    },
    async close() {
      ahead?.end();
      end();
    },
  };
}

/** A model behind a URL: a file, or a folder when the URL ends in "/". Siblings are resolved beside it. Throws "bad-input" for no URL. */
export function urlFiles(url: string | URL, options: UrlOptions = {}): ModelFiles {
  const base = parseUrl(url);
  const entry = decoded(base.pathname.split("/").at(-1)!);
  const sources: Source[] = [];
  const addressOf = (name: string) => (name === entry ? base.href : new URL(encodeURIComponent(name) + base.search, base).href);
  return {
    entry,
    where: (name) => shownUrl(addressOf(name)),
    async open(name, signal) {
      const source = await urlSource(addressOf(name), options, signal);
      if (source) sources.push(source);
      return source;
    },
    async close() {
      await Promise.all(sources.splice(0).map((source) => source.close()));
    },
  };
}
