// A static server on 127.0.0.1 with HTTP ranges, that also takes the results which pages post.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** The headers that make a page cross-origin isolated, which threads need. */
export const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/** Answers POST requests by handing the object in their body to `onResult`. */
export const resultTaker = (onResult) => async (request, response) => {
  let body = "";
  for await (const data of request) body += data;
  onResult(JSON.parse(body));
  response.writeHead(204).end();
};

/** Serves `folder` at "/" with `headers`; POST /results calls `onResult` with the object in its body. Gives { origin, close() }. */
export async function startServer(folder, { headers = {}, onResult = () => {} } = {}) {
  const take = resultTaker(onResult);
  const server = createServer(async (request, response) => {
    const pathname = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const all = {
      "cross-origin-resource-policy": "cross-origin",
      "cache-control": "no-store",
      "accept-ranges": "bytes",
      ...headers,
    };
    if (pathname === "/results") return take(request, response);
    const path = join(folder, normalize(pathname === "/" ? "/index.html" : pathname));
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat?.isFile()) {
      response.writeHead(404, all).end();
      return;
    }
    all["content-type"] = types[extname(path)] ?? "application/octet-stream";
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const start = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(stat.size - 1, Number(range[2])) : stat.size - 1;
    if (range) all["content-range"] = `bytes ${start}-${end}/${stat.size}`;
    response.writeHead(range ? 206 : 200, { ...all, "content-length": end - start + 1 });
    createReadStream(path, { start, end }).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
