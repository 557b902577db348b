// A model of the shape of the published classifiers (2,000,000 buckets, 256 dimensions: 2.1 GB of made-up weights, written here) folds from a
// stream, in Node from the disk and in a page of Chromium from a server on this machine, in less than 300 MB of memory, to the same bytes.
//   node test/data/fold.mjs [--buckets 2000000] [--dim 256] [--words 50000]      needs 2.2 GB of disk, and chromium
import { execFileSync, spawn } from "node:child_process";
import { closeSync, createReadStream, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { install } from "../run.mjs";
import { chromiumFlags, peaksOf } from "../support/chromium.mjs";

const { values } = parseArgs({
  options: {
    buckets: { type: "string", default: "2000000" },
    dim: { type: "string", default: "256" },
    words: { type: "string", default: "50000" },
  },
});
const [buckets, dim, words] = [values.buckets, values.dim, values.words].map(Number);
const root = fileURLToPath(new URL("../../", import.meta.url));
install(join(root, "test"));
const { build } = createRequire(join(root, "test/package.json"))("esbuild");
const folder = mkdtempSync(join(tmpdir(), "cpm-fold-"));
const MOST = 300e6;

/** The file, as fastText lays it out (version 12). The input matrix repeats a block of random floats, shifted from row to row. */
function writeModel(path) {
  const file = openSync(path, "w");
  const put = (bytes) => writeSync(file, bytes);
  const ints = (...all) => put(Buffer.from(Int32Array.from(all).buffer));
  const longs = (...all) => put(Buffer.from(BigInt64Array.from(all.map(BigInt)).buffer));
  ints(793712314, 12);
  // dim, ws, epoch, minCount, neg, wordNgrams, loss (softmax), model (supervised), bucket, minn, maxn, lrUpdateRate; t
  ints(dim, 5, 3, 5, 5, 3, 3, 3, buckets, 0, 0, 100);
  put(Buffer.from(Float64Array.of(1e-4).buffer));
  ints(words + 2, words, 2);
  longs(1_000_000, -1);
  const entry = (word, type) => {
    const bytes = Buffer.alloc(Buffer.byteLength(word) + 10);
    bytes.write(word);
    bytes.writeBigInt64LE(10n, bytes.length - 9);
    bytes[bytes.length - 1] = type;
    return bytes;
  };
  put(Buffer.concat(Array.from({ length: words }, (_, i) => entry(i === 0 ? "</s>" : `word${i}`, 0))));
  put(Buffer.concat([entry("__label__pos", 1), entry("__label__neg", 1)]));
  put(Buffer.of(0));
  const rows = words + buckets;
  longs(rows, dim);
  const block = new Float32Array((1 << 20) + 4099);
  let state = 12345;
  for (let i = 0; i < block.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    block[i] = (state / 2 ** 32 - 0.5) / dim;
  }
  for (let left = rows * dim, at = 0; left > 0; at = (at + 17) % 4099) {
    const count = Math.min(left, 1 << 20);
    put(new Uint8Array(block.buffer, 4 * at, 4 * count));
    left -= count;
  }
  put(Buffer.of(0));
  longs(2, dim);
  put(new Uint8Array(block.buffer, 0, 8 * dim));
  closeSync(file);
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
let [passed, failed] = [0, 0];
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (good) passed++;
  else failed++;
};

const model = join(folder, "model.bin");
writeModel(model);
const { size } = statSync(model);
console.log(`${words} words, ${buckets} buckets, ${dim} dimensions: ${size} bytes`);

/** In Node, in a process of its own: its peak is the process's. */
const inNode = JSON.parse(
  execFileSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `import { createHash } from "node:crypto";
import { fold, loadClassifier } from ${JSON.stringify(join(root, "dist/host/data.node.js"))};
const started = performance.now();
const bytes = await fold(${JSON.stringify(model)});
const seconds = (performance.now() - started) / 1000;
const peak = process.resourceUsage().maxRSS * 1024;
const { probabilities } = (await loadClassifier(bytes)).score("word1 word2 word77 nothing", { k: 2 });
console.log(JSON.stringify({ seconds, peak, bytes: bytes.length, probabilities, sha256: createHash("sha256").update(bytes).digest("hex") }));`,
    ],
    { encoding: "utf8" },
  ),
);
check(
  `Node ${process.version}, from the disk: ${inNode.bytes} bytes in ${inNode.seconds.toFixed(1)} s, peak of the process ${megabytes(inNode.peak)}`,
  inNode.peak < MOST,
);
check(
  `the folded file has 4 bytes for a row and label but one, and the dictionary`,
  inNode.bytes >= 4 * (words + buckets) && inNode.bytes < 4 * (words + buckets) + 16 * words + 4096,
);

await build({
  stdin: {
    contents: `import { fold, loadClassifier } from ${JSON.stringify(join(root, "dist/data/index.js"))};
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const started = performance.now();
let answer;
try {
  const bytes = await fold(new URL("/model.bin", location.href));
  const seconds = (performance.now() - started) / 1000;
  const { probabilities } = (await loadClassifier(bytes)).score("word1 word2 word77 nothing", { k: 2 });
  answer = { seconds, bytes: bytes.length, probabilities, sha256: hex(await crypto.subtle.digest("SHA-256", bytes)) };
} catch (error) {
  answer = { error: String(error?.stack ?? error) };
}
await fetch("/result", { method: "POST", body: JSON.stringify(answer) });`,
    resolveDir: root,
  },
  outfile: join(folder, "page.js"),
  bundle: true,
  format: "esm",
  logLevel: "error",
});

const answered =
  Promise.withResolvers?.() ??
  (() => {
    const deferred = {};
    deferred.promise = new Promise((resolve) => (deferred.resolve = resolve));
    return deferred;
  })();
const server = createServer((request, response) => {
  if (request.url === "/result") {
    let text = "";
    request.setEncoding("utf8").on("data", (part) => (text += part));
    request.on("end", () => {
      answered.resolve(JSON.parse(text));
      response.end();
    });
  } else if (request.url === "/model.bin") {
    const [, from, to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "") ?? [];
    const [begin, end] = [Number(from ?? 0), Math.min(to ? Number(to) : size - 1, size - 1)];
    response.writeHead(from === undefined ? 200 : 206, {
      "accept-ranges": "bytes",
      "content-length": end - begin + 1,
      "cache-control": "no-store",
      etag: '"1"',
      ...(from === undefined ? {} : { "content-range": `bytes ${begin}-${end}/${size}` }),
    });
    if (request.method === "HEAD") response.end();
    else
      createReadStream(model, { start: begin, end })
        .on("error", () => response.destroy())
        .pipe(response);
  } else if (request.url === "/page.js")
    response.writeHead(200, { "content-type": "text/javascript" }).end(readFileSync(join(folder, "page.js")));
  else if (request.url === "/")
    response.writeHead(200, { "content-type": "text/html" }).end('<!doctype html><script type="module" src="/page.js"></script>');
  else response.writeHead(404).end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = spawn(
  process.env.CHROMIUM ?? "chromium",
  [...chromiumFlags, `--user-data-dir=${join(folder, "profile")}`, `http://127.0.0.1:${server.address().port}/`],
  { stdio: "ignore" },
);
browser.on("error", (error) => answered.resolve({ error: error.message }));
browser.on("exit", () => answered.resolve({ error: "the browser ended" }));
const limit = setTimeout(() => answered.resolve({ error: "nothing came in 20 minutes" }), 1_200_000);
const inPage = await answered.promise;
const peak = peaksOf(browser.pid);
clearTimeout(limit);
const gone = new Promise((resolve) => browser.once("exit", resolve));
if (browser.exitCode === null && browser.pid && browser.kill("SIGKILL")) await gone;
server.closeAllConnections();
server.close();
check(
  `Chromium, from a server: ${inPage.error ?? `${inPage.bytes} bytes in ${inPage.seconds.toFixed(1)} s, peak of the renderer ${megabytes(peak.renderer)}, of the network process ${megabytes(peak.network ?? 0)}`}`,
  !inPage.error && peak.renderer < MOST && (peak.network ?? 0) < MOST,
);
check(
  "both give the same file and the same scores",
  inPage.sha256 === inNode.sha256 && `${inPage.probabilities}` === `${inNode.probabilities}`,
);
// Helpers of the browser write a moment longer.
for (let tries = 0; tries < 50; tries++)
  try {
    rmSync(folder, { recursive: true, force: true });
    break;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
