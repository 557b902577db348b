// A hub's routes: refs, trees, files. Plain fetch, whose mechanisms (deadlines, retries, Retry-After) are those of model URLs.
import { CpmError } from "../errors.ts";
import { HttpFailure, type NetworkOptions, request, shownUrl, type UrlOptions } from "../file/http.ts";
import type { HubFile } from "./choose.ts";
import { isInside, nameOf, type Ref } from "./ref.ts";

export interface HubOptions {
  /** Where the hub is: HF_ENDPOINT. Default https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** Sent to the endpoint's origin and nowhere else. */
  readonly token?: string | undefined;
  readonly network?: NetworkOptions | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** No listing of a repository is longer. */
const MOST_JSON_BYTES = 32 << 20;
const MOST_FILES = 100_000;
const MOST_REDIRECTS = 5;
const COMMIT = /^[0-9a-f]{40}$/;
const OID = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

export class HubClient {
  readonly endpoint: string;
  readonly #options: UrlOptions;

  /** @throws CpmError "bad-option" for an endpoint that is no http(s) URL */
  constructor({ endpoint = "https://huggingface.co", token, network, fetch = globalThis.fetch }: HubOptions) {
    this.endpoint = endpoint.replace(/\/+$/, "");
    let origin: string;
    try {
      const url = new URL(this.endpoint);
      if (!/^https?:$/.test(url.protocol)) throw new Error("no http");
      origin = url.origin;
    } catch (cause) {
      throw new CpmError(
        "bad-option",
        `endpoint: expected an http(s) URL, found ${JSON.stringify(endpoint.slice(0, 200))}`,
        { field: "endpoint" },
        { cause },
      );
    }
    this.#options = { network, fetch: guardedFetch(fetch, origin, token) };
  }

  /** The commit that a revision is at. Rejects with "io" where there is no such repository or revision. */
  async commitOf(ref: Ref, signal?: AbortSignal): Promise<string> {
    if (COMMIT.test(ref.revision)) return ref.revision;
    const found = await this.#json(`/api/models/${ref.repo}/refs`, ref, signal);
    const { branches, tags } = found.json as { branches?: unknown; tags?: unknown };
    const all = [branches, tags].flatMap((list) => (Array.isArray(list) ? list : [])) as Partial<Record<string, unknown>>[];
    const match = all.find((r) => r?.["name"] === ref.revision || r?.["ref"] === ref.revision);
    const commit = match?.["targetCommit"];
    if (typeof commit === "string" && COMMIT.test(commit)) return commit;
    const names = all.map((r) => r?.["name"]).filter((name): name is string => typeof name === "string");
    throw new CpmError(
      "io",
      `${nameOf(ref)}: no revision "${ref.revision}"; there are ${JSON.stringify(names.slice(0, 20)).slice(1, -1) || "none"}`,
      { file: ref.repo },
    );
  }

  /** The files at a commit. Entries whose paths lead out of the repository are refused. */
  async files(ref: Ref, commit: string, signal?: AbortSignal): Promise<HubFile[]> {
    const files: HubFile[] = [];
    let path: string | undefined = `/api/models/${ref.repo}/tree/${commit}?recursive=true`;
    for (let page = 0; path !== undefined && page < 1000; page++) {
      const { json, next }: { json: unknown; next: string | undefined } = await this.#json(path, ref, signal);
      if (!Array.isArray(json)) throw this.#odd(ref, "the list of files is none");
      for (const entry of json as unknown[]) {
        const file = fileOf(entry);
        if (file === null) throw this.#odd(ref, "an entry of the list of files is none, or leads out of the repository");
        if (file) files.push(file);
      }
      if (files.length > MOST_FILES) throw this.#odd(ref, `there are more than ${MOST_FILES} files`);
      path = next;
    }
    return files;
  }

  /** Where the bytes of a file are. */
  urlOf(ref: Ref, commit: string, path: string): string {
    return `${this.endpoint}/${ref.repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
  }

  #odd(ref: Ref, what: string): CpmError {
    return new CpmError("io", `${shownUrl(this.endpoint)}: ${what} (${ref.repo}); check the endpoint`, {
      file: shownUrl(this.endpoint),
    });
  }

  async #json(path: string, ref: Ref, signal: AbortSignal | undefined): Promise<{ json: unknown; next: string | undefined }> {
    const url = this.endpoint + path;
    return request(url, this.#options, { accept: "application/json" }, signal, async ({ response, body }) => {
      if ([401, 403, 404].includes(response.status))
        throw new CpmError(
          "io",
          `${ref.repo}: HTTP status ${response.status} at ${shownUrl(this.endpoint)}: there is no such model, or it wants a token (HF_TOKEN); check the name`,
          { file: ref.repo },
        );
      if (response.status !== 200) throw new HttpFailure(response);
      const bytes = await body(undefined, MOST_JSON_BYTES, () =>
        this.#odd(ref, `an answer is longer than ${MOST_JSON_BYTES} bytes`),
      );
      let json: unknown;
      try {
        json = JSON.parse(new TextDecoder().decode(bytes));
      } catch {
        throw this.#odd(ref, "an answer is no JSON");
      }
      if (typeof json !== "object" || json === null) throw this.#odd(ref, "an answer is no object");
      return { json, next: this.#nextOf(response.headers.get("link"), url) };
    });
  }

  /** The next page, which must be the endpoint's own. */
  #nextOf(link: string | null, from: string): string | undefined {
    const target = /<([^>]+)>\s*;[^,]*rel="?next"?/i.exec(link ?? "")?.[1];
    if (target === undefined) return undefined;
    const url = new URL(target, from);
    const base = new URL(this.endpoint);
    if (url.origin !== base.origin) return undefined;
    return (url.pathname + url.search).slice(base.pathname.replace(/\/$/, "").length);
  }

  /**
   * Bytes of a file from `at()` on, given to `take` as they come. `at` is asked again before each try. `restart` is called where the
   * server sends the file from its beginning instead. Resolves when the file has all `size` bytes.
   */
  async download(
    ref: Ref,
    commit: string,
    file: HubFile,
    sink: { at(): number; restart(): Promise<void>; take(bytes: Uint8Array): Promise<void> },
    signal?: AbortSignal,
  ): Promise<void> {
    const url = this.urlOf(ref, commit, file.path);
    let tag: string | undefined;
    const headers = (): Record<string, string> => ({
      "accept-encoding": "identity",
      ...(sink.at() > 0 ? { range: `bytes=${sink.at()}-`, ...(tag ? { "if-range": tag } : {}) } : {}),
    });
    while (sink.at() < file.size || file.size === 0) {
      const before = sink.at();
      try {
        await request(url, this.#options, headers, signal, async ({ response, stream }) => {
          if (response.status === 416) {
            await sink.restart();
            throw new Error("the server has no such range");
          }
          if (response.status === 200) {
            if (sink.at() > 0) await sink.restart();
          } else if (response.status === 206) {
            const begin = /^\s*bytes\s+(\d{1,15})-/i.exec(response.headers.get("content-range") ?? "")?.[1];
            if (Number(begin) !== sink.at())
              throw new CpmError(
                "io",
                `${shownUrl(url)}: bytes from ${sink.at()} on were asked for, the server sent others; use another endpoint`,
                { file: file.path },
              );
          } else throw new HttpFailure(response);
          const found = response.headers.get("etag");
          tag = found && !found.startsWith("W/") ? found : undefined;
          await stream(async (bytes) => {
            if (sink.at() + bytes.length > file.size)
              throw new CpmError(
                "io",
                `${shownUrl(url)}: the server sent more than the ${file.size} bytes that the file has; pull it again, or use another endpoint`,
                { file: file.path },
              );
            await sink.take(bytes);
          });
          if (sink.at() < file.size) throw new Error(`${sink.at()} of ${file.size} bytes arrived`);
        });
        return;
      } catch (error) {
        // A connection that brought something is worth a new set of tries.
        const cut = error instanceof CpmError && error.code === "io" && error.cause !== undefined;
        if (signal?.aborted || !cut || sink.at() <= before) throw error;
      }
    }
  }
}

/** A file of a listing; undefined: a folder; null: nothing that may be stored. */
function fileOf(entry: unknown): HubFile | undefined | null {
  if (typeof entry !== "object" || entry === null) return null;
  const { type, path, size, oid, lfs } = entry as Record<string, unknown>;
  if (type !== "file") return undefined;
  const large = typeof lfs === "object" && lfs !== null ? (lfs as Record<string, unknown>) : undefined;
  const name = large ? large["oid"] : oid;
  const bytes = large ? (large["size"] ?? size) : size;
  if (typeof path !== "string" || /(?:^|[/\\])\.\.(?:[/\\]|$)|^[/\\]|^[A-Za-z]:|\0/.test(path)) return null;
  // Names that some system cannot store are no model's.
  if (!isInside(path)) return undefined;
  if (typeof name !== "string" || !OID.test(name) || (large && name.length !== 64)) return null;
  return Number.isSafeInteger(bytes) && (bytes as number) >= 0 ? { path, size: bytes as number, oid: name } : null;
}

/** fetch that gives the token to one origin only: redirects are followed here, not by a runtime that may pass it on. */
function guardedFetch(fetch: typeof globalThis.fetch, origin: string, token: string | undefined): typeof globalThis.fetch {
  return async (input, init) => {
    let url = typeof input === "string" ? input : "href" in input ? input.href : input.url;
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const headers = { ...(init?.headers as Record<string, string>) };
      if (token && new URL(url).origin === origin) headers["authorization"] = `Bearer ${token}`;
      const response = await fetch(url, { ...init, headers, redirect: "manual", cache: "no-store" });
      // A page does not see where it is sent; its fetch leaves the token out by itself on another origin.
      if (response.type === "opaqueredirect") return fetch(url, { ...init, headers, redirect: "follow", cache: "no-store" });
      const to = response.headers.get("location");
      if (response.status < 300 || response.status > 399 || response.status === 304 || !to) return response;
      void response.body?.cancel().catch(() => {});
      const next = new URL(to, url);
      if (!/^https?:$/.test(next.protocol) || (next.protocol === "http:" && url.startsWith("https:")))
        throw new Error("not supported: a redirect away from https");
      url = next.href;
    }
    throw new Error("redirect count exceeded");
  };
}
