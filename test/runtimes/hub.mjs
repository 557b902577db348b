// Models by name on a runtime: a hub here that cuts, lies and stalls, and pull.mjs there.
import { mkdtempSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { root } from "./package.mjs";

/** The hub of test/hub/hub.ts, which this Node may not read as it is. */
export async function hubServer() {
  const { build } = createRequire(join(root, "test/package.json"))("esbuild");
  const entryPoints = [join(root, "test/hub/hub.ts")];
  const { outputFiles } = await build({ entryPoints, bundle: true, platform: "node", format: "esm", write: false });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

/** `script(args)` runs pull.mjs with these arguments and reports its results. */
export async function hub({ project }, script) {
  const { commitOf, openHub } = await hubServer();
  const refs = { main: commitOf("main") };
  const story = new Uint8Array(readFileSync(join(root, "models/stories-q4_0.gguf")));
  const noise = (salt) => Uint8Array.from({ length: 300_000 }, (_, i) => ((i + salt) * 2654435761) >>> 13);
  const server = await openHub({
    "org/cut": { refs, files: { "cut-Q4_0.gguf": noise(1) } },
    "org/wrong": { refs, files: { "wrong-Q4_0.gguf": noise(2) } },
    "org/slow": { refs, files: { "slow-Q4_0.gguf": noise(3) } },
    "org/story": { refs, files: { "stories-Q4_0.gguf": story } },
  });
  let open;
  server.state.misbehave = (_, request, response, bytes) => {
    const begin = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
    const head = (extra = {}) => response.writeHead(begin ? 206 : 200, { "content-length": bytes.length - begin, ...extra });
    if (request.url.includes("wrong")) return head().end(noise(9).subarray(begin)) && true;
    if (request.url.includes("slow")) {
      head().write(bytes.subarray(0, 200_000));
      return true;
    }
    if (!request.url.includes("cut") || begin > 100_000) return false;
    const range = begin ? { "content-range": `bytes ${begin}-${bytes.length - 1}/${bytes.length}` } : {};
    head(range).write(bytes.subarray(begin, begin + 90_000));
    open = response;
    return true;
  };
  // Cut when the other side says that it has what was sent: some runtimes drop bytes that come together with the cut.
  server.state.hub = (_, request, response) => {
    if (request.url !== "/seen") return false;
    open?.destroy();
    return response.end() && true;
  };
  try {
    await script([server.origin, mkdtempSync(join(project, "cache-"))]);
  } finally {
    server.close();
  }
}
