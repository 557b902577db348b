// The chat page that `cpm serve` sends along: the files of dist/web, where they were built.
import { readFile } from "node:fs/promises";
import { extname } from "node:path";

const folder = new URL("../web/", import.meta.url);
const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
};

/** The file of a path, or undefined. Only plain names in the page's own folder, and no kernels: the model runs in the server. */
export async function pageFile(path: string): Promise<Response | undefined> {
  const name = path === "/" ? "index.html" : path.slice(1);
  if (name === "config.json") return Response.json({ home: "serve" });
  const type = types[extname(name)];
  if (type === undefined || !/^(assets\/)?[\w.-]+$/.test(name) || name.includes("..") || name === "sw.js") return undefined;
  try {
    const body = await readFile(new URL(name, folder));
    const cache = name.startsWith("assets/") ? "public, max-age=31536000, immutable" : "no-cache";
    return new Response(new Uint8Array(body), {
      headers: {
        "content-type": type,
        "cache-control": cache,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
      },
    });
  } catch {
    return undefined;
  }
}
