// The page of a run while it trains: on the loopback alone, read alone.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { CpmError } from "../index.ts";

export interface TrainServer {
  readonly url: string;
  close(): Promise<void>;
}

const HEADERS = {
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/**
 * Serves what `page` gives, drawn anew for every visit. `port` 0: any that is free.
 * Rejects with CpmError "bad-option" where the port is taken or none.
 */
export async function startTrainServer(page: () => string, port: number): Promise<TrainServer> {
  if (!(Number.isInteger(port) && port >= 0 && port <= 65535))
    throw new CpmError("bad-option", `--port: expected a whole number from 0 to 65535, found ${port}`, { field: "port" });
  let hosts: readonly string[] = [];
  const respond = ({ method, url, headers }: IncomingMessage, response: ServerResponse) => {
    const say = (status: number, text: string, type = "text/plain") =>
      response
        .writeHead(status, { ...HEADERS, "content-type": `${type}; charset=utf-8` })
        .end(method === "HEAD" ? undefined : text);
    // Another name that leads here is another page's trick.
    if (!hosts.includes(headers.host ?? "")) return say(403, "this name is not served\n");
    if (url !== "/") return say(404, "there is but one page: /\n");
    if (method !== "GET" && method !== "HEAD") return say(405, "the page is read, nothing else\n");
    return say(200, page(), "text/html");
  };
  const server = createServer(respond);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new CpmError("bad-option", `--port ${port}: ${cause.message}; give another`, { field: "port" }, { cause })),
    );
    server.listen(port, "127.0.0.1", resolve);
  });
  const { port: got } = server.address() as AddressInfo;
  hosts = [`127.0.0.1:${got}`, `localhost:${got}`];
  // The run keeps the process, not its page.
  server.unref();
  return {
    url: `http://127.0.0.1:${got}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
