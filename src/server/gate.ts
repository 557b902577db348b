// Who may ask: host names, origins of pages, keys.
import { Problem } from "./problem.ts";

export interface GateOptions {
  /** Keys of which requests must bring one as `Authorization: Bearer KEY`. Default: none is asked for. */
  readonly apiKeys?: readonly string[] | undefined;
  /** Origins of pages that may call, or "*". Pages of other origins are refused; the server's own may always. Default: none. */
  readonly cors?: readonly string[] | "*" | undefined;
  /**
   * Names that the Host header may have, without port. Default: any. A server on a loopback address without a key should give
   * its own names: otherwise a page whose name is made to point here could call it.
   */
  readonly hosts?: readonly string[] | undefined;
}

/** Compares in a time that depends on the lengths alone. */
function same(a: string, b: string): boolean {
  const [x, y] = [new TextEncoder().encode(a), new TextEncoder().encode(b)];
  let differ = x.length ^ y.length;
  for (let i = 0; i < x.length; i++) differ |= x[i]! ^ (y[i % y.length] ?? 0);
  return differ === 0;
}

export class Gate {
  readonly #options: GateOptions;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** @throws Problem 403 for a host or page that may not call. */
  origin(request: Request): void {
    const { cors, hosts } = this.#options;
    const url = new URL(request.url);
    if (hosts && !hosts.includes(url.hostname))
      throw new Problem(403, `this server does not answer to the name ${JSON.stringify(url.hostname.slice(0, 100))}`, {
        code: "host_not_allowed",
      });
    const origin = request.headers.get("origin");
    if (origin === null || cors === "*" || cors?.includes(origin) || origin === url.origin) return;
    throw new Problem(403, `pages of ${JSON.stringify(origin.slice(0, 100))} may not call this server (--cors allows them)`, {
      code: "origin_not_allowed",
    });
  }

  /** @throws Problem 401 without one of the keys. */
  key(request: Request): void {
    const { apiKeys } = this.#options;
    if (!apiKeys?.length) return;
    const given = /^Bearer\s+(.*)$/i.exec(request.headers.get("authorization") ?? "")?.[1] ?? request.headers.get("x-api-key");
    // Every key is compared, so that time tells nothing of which.
    const known = given !== null && given !== undefined && apiKeys.map((key) => same(given, key)).includes(true);
    if (!known)
      throw new Problem(
        401,
        given ? "this API key is not known here" : "this server asks for an API key: Authorization: Bearer KEY",
        {
          type: "authentication_error",
          code: "invalid_api_key",
          headers: { "www-authenticate": "Bearer" },
        },
      );
  }

  /** The headers that let a page read an answer; empty where none asked. */
  headers(request: Request): Readonly<Record<string, string>> {
    const { cors } = this.#options;
    const origin = request.headers.get("origin");
    if (origin === null || cors === undefined || (cors !== "*" && !cors.includes(origin))) return {};
    return {
      "access-control-allow-origin": cors === "*" ? "*" : origin,
      vary: "origin",
      "access-control-expose-headers": "x-request-id, retry-after",
    };
  }

  /** What a page asks before it asks. */
  preflight(request: Request): Response {
    return new Response(null, {
      status: 204,
      headers: {
        ...this.headers(request),
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": request.headers.get("access-control-request-headers") ?? "authorization, content-type",
        "access-control-max-age": "600",
      },
    });
  }
}
