// Models in a page's own storage, in real Chromium.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, expect, test } from "vitest";
import { commitOf, sha256, startHub } from "./server.ts";

const chromium = [process.env["CHROMIUM"] ?? "", "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => path !== "" && existsSync(path),
);
if (!chromium) console.log("not tested: pulling in a browser takes Chromium");

const main = commitOf("main");
const large = Uint8Array.from({ length: 20_000_000 }, (_, i) => (i * 2654435761) >>> 13);
const folder = mkdtempSync(join(tmpdir(), "cpm-browser-"));
let browser: ChildProcess | undefined;
afterAll(async () => {
  if (browser && browser.exitCode === null) {
    const ended = new Promise((resolve) => browser!.once("close", resolve));
    browser.kill();
    await ended;
  }
  // A browser's helpers may still write for a moment; what they leave is the system's to clear.
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  } catch {}
});

test.runIf(chromium)(
  "a page pulls into its storage, goes on after a reload, finds without network, makes room and says where none is",
  { timeout: 240_000 },
  async () => {
    const hub = await startHub({
      "org/large": { refs: { main }, files: { "large-Q4_0.gguf": large } },
      "org/small": { refs: { main }, files: { "small-Q8_0.gguf": large.slice(0, 5000) } },
      "org/split": {
        refs: { main },
        files: { "m-00001-of-00002.gguf": large.slice(0, 500), "m-00002-of-00002.gguf": large.slice(0, 600) },
      },
      "org/wrong": { refs: { main }, files: { "wrong.gguf": large.slice(0, 700) } },
    });
    hub.state.misbehave = (_, request, response, bytes) => {
      if (!request.url!.includes("wrong")) return false;
      response.writeHead(200, { "content-length": bytes.length }).end(large.slice(1, 1 + bytes.length));
      return true;
    };
    const bundle = await build({
      entryPoints: [fileURLToPath(new URL("./page.ts", import.meta.url))],
      bundle: true,
      format: "esm",
      write: false,
    });
    const results: Record<string, unknown>[] = [];
    let look = () => {};
    const ended = new Promise<void>((resolve) => {
      look = () => results.some((r) => r["end"] || r["error"]) && resolve();
    });
    const server = createServer(async (request, response) => {
      if (request.method === "POST") {
        let body = "";
        for await (const chunk of request) body += chunk;
        results.push(JSON.parse(body) as Record<string, unknown>);
        response.writeHead(204).end();
        return look();
      }
      const script = request.url === "/page.js";
      response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
      response.end(script ? bundle.outputFiles[0]!.text : '<!doctype html><script type="module" src="/page.js"></script>');
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    afterAll(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/?hub=${encodeURIComponent(hub.origin)}`;
    const flags = [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      `--user-data-dir=${folder}`,
    ];
    browser = spawn(chromium!, [...flags, url], { stdio: "ignore" });
    await ended;
    expect(results.slice(0, -1)).toEqual([
      {
        before: true,
        // Two pieces of 8 MiB were there.
        from: 2 * (8 << 20),
        name: "large-Q4_0.gguf",
        size: large.length,
        hash: sha256(large),
        slice: sha256(large.subarray(8_388_600, 8_388_620)),
      },
      { found: ["large-Q4_0.gguf"], models: ["org/large"] },
      {
        offline: expect.stringMatching(/^io: .*not in this page's storage/),
        wrong: expect.stringMatching(/^io: .*the hash of what came is/),
        split: ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
        full: expect.stringMatching(/^io: this browser gives the page 0 MB more, and the model needs 0 MB/),
        left: 0,
        freed: 5000,
        models: 0,
      },
    ]);
    // The second visit asked for what was missing only.
    const ranges = hub.requests.filter((r) => r.origin === "files" && r.url.includes("large")).map((r) => r.range);
    expect(ranges).toEqual([undefined, `bytes=${2 * (8 << 20)}-`]);
  },
);
