// A hub on 127.0.0.1 with Hugging Face's routes, whose files lie on a second origin, and which misbehaves as it is told.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const commitOf = (text: string): string => createHash("sha1").update(text).digest("hex");
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

export interface Repo {
  /** Names of branches and tags, and their commits. */
  refs: Record<string, string>;
  files: Record<string, Uint8Array>;
}

/** How a request for bytes is answered; undefined: rightly. Gets how many came before. */
export type Misbehave = (count: number, request: IncomingMessage, response: ServerResponse, bytes: Uint8Array) => boolean;

export interface Request {
  readonly origin: "hub" | "files";
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Starts a hub; small files have git hashes, others sha256. `close` it. */
export async function openHub(repos: Record<string, Repo>, { small = 64 } = {}) {
  const requests: Request[] = [];
  const sent = { bytes: 0 };
  const state: {
    misbehave: Misbehave | undefined;
    hub: Misbehave | undefined;
    oid: string | undefined;
    pageSize: number;
    token: string | undefined;
  } = {
    misbehave: undefined,
    hub: undefined,
    oid: undefined,
    pageSize: 1000,
    token: undefined,
  };
  const counts = { files: 0, hub: 0 };
  const log = (origin: Request["origin"], { url = "", headers }: IncomingMessage) =>
    requests.push({ origin, url, range: headers.range, authorization: headers.authorization });

  /** What a hub allows pages of other origins. */
  const allow = (request: IncomingMessage, response: ServerResponse): boolean => {
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-expose-headers", "ETag, Content-Range, Link, Location");
    response.setHeader("access-control-allow-headers", "authorization, range, if-range");
    if (request.method !== "OPTIONS") return false;
    response.writeHead(204).end();
    return true;
  };
  const files = createServer((request, response) => {
    if (allow(request, response)) return;
    log("files", request);
    const [, repo, path] = /^\/cdn\/([^/]+\/[^/]+)\/(.+)$/.exec(decodeURIComponent(request.url!.replace(/\?.*$/s, ""))) ?? [];
    const bytes = repos[repo ?? ""]?.files[path ?? ""];
    if (!bytes) return void response.writeHead(404).end();
    if (state.misbehave?.(counts.files++, request, response, bytes)) return;
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const tag = `"${sha256(bytes).slice(0, 20)}"`;
    const begin = range && (request.headers["if-range"] ?? tag) === tag ? Number(range[1]) : 0;
    if (range && begin >= bytes.length && bytes.length > 0)
      return void response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    const part = bytes.subarray(begin, range?.[2] ? Number(range[2]) + 1 : undefined);
    sent.bytes += part.length;
    const partial = begin > 0 || part.length < bytes.length;
    response.writeHead(partial ? 206 : 200, {
      etag: tag,
      "content-length": part.length,
      ...(partial ? { "content-range": `bytes ${begin}-${begin + part.length - 1}/${bytes.length}` } : {}),
    });
    response.end(part);
  });

  const hub = createServer(async (request, response) => {
    if (allow(request, response)) return;
    log("hub", request);
    const url = new URL(request.url!, "http://x");
    const json = (value: unknown, headers = {}) =>
      response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
    const [, name, rest = ""] = /^\/api\/models\/([^/]+\/[^/]+)\/(.+)$/.exec(url.pathname) ?? [];
    if (state.token !== undefined && request.headers.authorization !== `Bearer ${state.token}`)
      return void response.writeHead(401).end();
    if (state.hub?.(counts.hub++, request, response, new Uint8Array(0))) return;
    const repo = repos[name ?? ""];
    if (repo && rest === "refs") {
      const branches = Object.entries(repo.refs).map(([n, targetCommit]) => ({ name: n, ref: `refs/heads/${n}`, targetCommit }));
      return void json({ branches, tags: [], converts: [] });
    }
    if (repo && rest.startsWith("revision/")) return void json({ id: name, sha: repo.refs[rest.slice(9)] ?? rest.slice(9) });
    if (repo && (rest.startsWith("tree/") || rest.startsWith("paths-info/"))) {
      const all = Object.entries(repo.files).map(([path, bytes]) => {
        const lfs = bytes.length > small;
        const oid = lfs ? (state.oid ?? sha256(bytes)) : gitSha1(bytes);
        return {
          type: "file",
          path,
          size: bytes.length,
          oid: lfs ? commitOf(path) : oid,
          ...(lfs ? { lfs: { oid, size: bytes.length, pointerSize: 135 } } : {}),
        };
      });
      if (rest.startsWith("paths-info/")) {
        let body = "";
        for await (const chunk of request) body += chunk;
        const { paths } = JSON.parse(body) as { paths: string[] };
        return void json(all.filter(({ path }) => paths.includes(path)));
      }
      const listed = [{ type: "directory", path: "folder", size: 0, oid: commitOf("folder") }, ...all];
      const at = Number(url.searchParams.get("cursor") ?? 0);
      const next =
        at + state.pageSize < listed.length
          ? `<${origin}${url.pathname}?recursive=true&cursor=${at + state.pageSize}>; rel="next"`
          : undefined;
      return void json(listed.slice(at, at + state.pageSize), next ? { link: next } : {});
    }
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(url.pathname);
    if (file && repos[file[1]!])
      return void response.writeHead(302, { location: `${filesOrigin}/cdn/${file[1]}/${file[3]}?X-Amz-Signature=secret` }).end();
    response.writeHead(404).end();
  });

  const listen = async (server: Server) => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const filesOrigin = await listen(files);
  const origin = await listen(hub);
  const close = () => {
    for (const server of [files, hub]) {
      server.closeAllConnections();
      server.close();
    }
  };
  const reset = () => {
    requests.length = 0;
    sent.bytes = 0;
    counts.files = counts.hub = 0;
    Object.assign(state, { misbehave: undefined, hub: undefined, oid: undefined, pageSize: 1000, token: undefined });
  };
  return { origin, filesOrigin, requests, sent, state, reset, close };
}
