// The server of cpm review: a page, a sample, a verdict. On the loopback alone, for whoever has the token alone.
import { timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { isRecord } from "../brands.ts";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { type ReviewVerdict, type SampleFile, type VerdictFile, verdicts } from "./reviewfile.ts";
import { reviewCss, reviewHtml } from "./reviewpage.ts";

export interface Reviewed {
  readonly samples: SampleFile;
  readonly log: VerdictFile;
  /** Samples that are shown, by their places in the file. */
  readonly order: readonly number[];
}

const MOST_BODY = 1 << 16;
const MOST_NOTE = 10_000;
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
} as const;

class Refused extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** How far the review is. */
export function stateOf({ samples, log, order }: Reviewed) {
  const counts: Record<ReviewVerdict, number> = { keep: 0, drop: 0, unsure: 0 };
  let open = order.length;
  for (const [i, at] of order.entries()) {
    const verdict = log.entries.get(samples.places[at]!.hash)?.verdict;
    if (verdict) counts[verdict]++;
    else open = Math.min(open, i);
  }
  return { total: order.length, counts, open };
}

async function answer(reviewed: Reviewed, request: IncomingMessage, path: string): Promise<unknown> {
  const { samples, log, order } = reviewed;
  const [, index] = /^\/api\/sample\/(\d{1,9})$/.exec(path) ?? [];
  const placeOf = (i: unknown) => {
    const at = Number.isSafeInteger(i) ? order[i as number] : undefined;
    if (at === undefined) throw new Refused(404, "there is no such sample");
    return at;
  };
  if (request.method === "GET" && path === "/api/state") return stateOf(reviewed);
  if (request.method === "GET" && index !== undefined) {
    const at = placeOf(Number(index));
    const { hash, line } = samples.places[at]!;
    const entry = log.entries.get(hash);
    const record = await samples.record(at);
    return {
      state: stateOf(reviewed),
      index: Number(index),
      line,
      record,
      verdict: entry?.verdict ?? null,
      note: entry?.note ?? "",
    };
  }
  if (request.method === "POST" && path === "/api/verdict") {
    const body = await bodyOf(request);
    const { index: given, verdict, note } = body;
    const at = placeOf(given);
    if (verdict !== null && !verdicts.includes(verdict as ReviewVerdict))
      throw new Refused(400, "verdict: keep, drop, unsure or null");
    if (typeof note !== "string" || note.length > MOST_NOTE) throw new Refused(400, "note: a text");
    const { hash, line } = samples.places[at]!;
    const { id } = await samples.record(at);
    await log.add({
      hash,
      ...(typeof id === "string" || typeof id === "number" ? { id } : {}),
      line,
      verdict: verdict as ReviewVerdict | null,
      ...(note.trim() === "" ? {} : { note }),
      time: new Date().toISOString(),
    });
    return stateOf(reviewed);
  }
  throw new Refused(404, "there is nothing here");
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  if (!/^application\/json\b/.test(request.headers["content-type"] ?? "")) throw new Refused(415, "expected JSON");
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > MOST_BODY) throw new Refused(413, "the body is too long");
    pieces.push(piece);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch {
    throw new Refused(400, "no JSON");
  }
  if (!isRecord(value)) throw new Refused(400, "expected an object");
  return value;
}

function allowed(request: IncomingMessage, token: string): boolean {
  const given = Buffer.from(/^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "");
  const wanted = Buffer.from(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** Starts the server; its address, with the token in the part that browsers keep to themselves. */
export async function startReview(
  reviewed: Reviewed,
  token: string,
  port: number,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const script = await readFile(new URL("./reviewclient.js", import.meta.url), "utf8");
  const files: Readonly<Record<string, readonly [string, string]>> = {
    "/": ["text/html; charset=utf-8", reviewHtml],
    "/review.css": ["text/css; charset=utf-8", reviewCss],
    "/review.js": ["text/javascript; charset=utf-8", script],
  };
  let own = 0;
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const send = (status: number, type: string, body: string) =>
      void response.writeHead(status, { ...HEADERS, "content-type": type }).end(request.method === "HEAD" ? "" : body);
    const json = (status: number, value: unknown) => send(status, "application/json", JSON.stringify(value));
    try {
      const hosts = [`127.0.0.1:${own}`, `localhost:${own}`];
      // Another name that leads here is another page's.
      if (!hosts.includes(request.headers.host ?? "")) throw new Refused(403, "this name is not served");
      const { origin } = request.headers;
      if (origin !== undefined && !hosts.some((host) => origin === `http://${host}`))
        throw new Refused(403, "another page may not ask");
      const path = new URL(request.url ?? "/", "http://x").pathname;
      const file = Object.hasOwn(files, path) ? files[path] : undefined;
      if (file && (request.method === "GET" || request.method === "HEAD")) return send(200, ...file);
      if (!allowed(request, token))
        throw new Refused(401, "the token is missing or wrong; open the address that the command printed");
      json(200, await answer(reviewed, request, path));
    } catch (error) {
      if (!response.headersSent) json(error instanceof Refused ? error.status : 500, { error: reasonOf(error) });
    }
  };
  const server: Server = createServer((request, response) => void respond(request, response));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "EADDRINUSE" ? "the port is taken; choose another with --port" : cause.message;
      reject(new CpmError("io", `127.0.0.1:${port}: ${why}`, {}, { cause }));
    });
    server.listen(port, "127.0.0.1", resolve);
  });
  own = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${own}/#${token}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
