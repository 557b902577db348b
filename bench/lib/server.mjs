// A file server on 127.0.0.1 for pages that measure: cross-origin isolated, byte ranges, bare imports of our modules resolved.
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
};

/** The address of a bare import of the package (its dependencies ship ES modules), as a browser's bundler would find it. */
function resolveBare(name) {
  const parts = name.split("/");
  const folder = join(root, "node_modules", ...parts.slice(0, name.startsWith("@") ? 2 : 1));
  const { exports: map, module, main } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  let entry = map?.["."] ?? map ?? module ?? main ?? "index.js";
  while (typeof entry === "object") entry = entry.browser ?? entry.import ?? entry.default;
  return `/${relative(root, join(folder, entry)).split(sep).join("/")}`;
}

const isPackage = (name) => existsSync(join(root, "node_modules", name));
const withAddresses = (text) =>
  text.replace(/^((?:import|export|\}) .*?|import )"([a-z@][^"]*)";$/gm, (line, before, name) =>
    isPackage(name) ? `${before}"${resolveBare(name)}";` : line,
  );

/**
 * Serves the repository's files; `outside` maps further addresses to files. onResult(id, value) gets what pages POST to /result/ID.
 * Gives { port, close }.
 */
export async function serve(outside, onResult) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://127.0.0.1");
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    response.setHeader("Cross-Origin-Resource-Policy", "same-origin");
    response.setHeader("Cache-Control", "no-store");
    if (request.method === "POST") {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        response.end();
        onResult(pathname.split("/").at(-1), JSON.parse(Buffer.concat(chunks).toString()));
      });
      return;
    }
    const inside = normalize(join(root, decodeURIComponent(pathname)));
    const path = outside[pathname] ?? (inside.startsWith(root + sep) ? inside : undefined);
    if (!path || !existsSync(path) || !statSync(path).isFile()) {
      response.writeHead(404).end();
      return;
    }
    const { size } = statSync(path);
    const headers = { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream", "Accept-Ranges": "bytes" };
    if (path.startsWith(join(root, "dist") + sep) && extname(path) === ".js") {
      const text = withAddresses(readFileSync(path, "utf8"));
      response.writeHead(200, headers).end(request.method === "HEAD" ? undefined : text);
      return;
    }
    const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
    let start = 0;
    let end = size - 1;
    if (range && (range[1] || range[2])) {
      start = range[1] ? Number(range[1]) : Math.max(0, size - Number(range[2]));
      end = range[1] && range[2] ? Math.min(size - 1, Number(range[2])) : size - 1;
      if (start > end) {
        response.writeHead(416, { "Content-Range": `bytes */${size}` }).end();
        return;
      }
      response.writeHead(206, {
        ...headers,
        "Content-Range": `bytes ${start}-${end}/${size}`,
        "Content-Length": end - start + 1,
      });
    } else {
      response.writeHead(200, { ...headers, "Content-Length": size });
    }
    if (request.method === "HEAD" || size === 0) response.end();
    else
      createReadStream(path, { start, end, highWaterMark: 1 << 20 })
        .on("error", () => response.destroy())
        .pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
