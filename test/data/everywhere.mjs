// The data wing as it is shipped to a page and to workerd: its size, and the same numbers to the last bit as in Node. A page that is
// cross-origin isolated, and a worker of it, train on two threads; a page that is not trains on one, says why, and gives Node's file.
//   node test/data/everywhere.mjs         needs the packages of test/ and test/runtimes/, and chromium
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { fold, train } from "../../dist/host/data.node.js";
import { install } from "../run.mjs";
import { visit } from "../runtimes/chromium.mjs";
import { isolation, startServer } from "../runtimes/server.mjs";
import { answerOf, domOf } from "../support/shipped.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
install(join(root, "test"));
install(join(root, "test/runtimes"));
const { build } = createRequire(join(root, "test/package.json"))("esbuild");
const folder = mkdtempSync(join(tmpdir(), "cpm-everywhere-"));

let state = 5;
const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
const words = (n) =>
  Array.from({ length: n }, () => `w${Math.floor(next() ** 2 * 300)}${"é漢z"[Math.floor(next() * 3)]}`).join(" ");
const text = Array.from({ length: 800 }, (_, i) => `__label__${i % 3} t${i % 3} ${words(20)}\n`).join("");
const lines = Array.from({ length: 300 }, () => words(1 + Math.floor(next() * 30)));
const models = [];
for (const loss of ["softmax", "ova", "hs"]) {
  const { pieces } = await train(new TextEncoder().encode(text), {
    loss,
    dim: 12,
    wordNgrams: 2,
    bucket: 2000,
    minn: 2,
    maxn: 3,
    lr: 0.4,
  });
  const bytes = Buffer.concat([...pieces()]);
  models.push(bytes.toString("base64"), Buffer.from(await fold(bytes)).toString("base64"));
}
/** Every float's bits, of all labels, of all lines, of all models. */
const body = `
const models = ${JSON.stringify(models)}, lines = ${JSON.stringify(lines)};
export async function bits() {
  let h = 0xcbf29ce484222325n, n = 0;
  const view = new DataView(new ArrayBuffer(4));
  for (const model of models) {
    const classifier = await loadClassifier(Uint8Array.from(atob(model), (c) => c.charCodeAt(0)));
    for (const { labels, probabilities } of classifier.score(lines, { k: 3 }))
      labels.forEach((label, i) => {
        view.setFloat32(0, probabilities[i]);
        for (const byte of [label.charCodeAt(9), view.getUint8(0), view.getUint8(1), view.getUint8(2), view.getUint8(3)])
          h = BigInt.asUintN(64, (h ^ BigInt(byte)) * 0x100000001b3n);
        n++;
      });
  }
  return n + " " + h.toString(16);
}
`;
const bundle = async (entry, source, options) => {
  const file = join(folder, `${entry}.entry.mjs`);
  writeFileSync(file, source);
  await build({
    entryPoints: [file],
    outfile: join(folder, `${entry}.js`),
    bundle: true,
    minify: true,
    format: "esm",
    logLevel: "error",
    ...options,
  });
};
const from = (path) => `import { loadClassifier, train } from ${JSON.stringify(join(root, "dist", path))};\n`;

// What a page loads to score: threads are a script of their own, loaded when they are asked for.
await bundle("size", `${from("host/data.browser.js")}globalThis.load = loadClassifier;`, {
  splitting: true,
  outfile: undefined,
  outdir: join(folder, "split"),
});
const scripts = new Set(["size.entry.js"]);
for (const name of scripts)
  for (const [, found] of readFileSync(join(folder, "split", name), "utf8").matchAll(/(?:from|import)\s*"\.\/([^"]+)"/g))
    scripts.add(found);
const shipped = Buffer.concat([...scripts].map((name) => readFileSync(join(folder, "split", name))));
console.log(`shipped to a page: ${shipped.length} bytes, ${gzipSync(shipped).length} gzipped, the module included`);
const results = {};
await bundle("node", from("host/data.browser.js") + body);
results.node = await (await import(join(folder, "node.js"))).bits();
await bundle(
  "page",
  `${from("host/data.browser.js")}${body}bits().then((found) => (document.body.textContent = "bits: " + found));`,
  { format: "iife" },
);
const dom = domOf(folder, readFileSync(join(folder, "page.js"), "utf8"), 90_000);
results.chromium = /bits: (\d+ [0-9a-f]+)/.exec(dom)?.[1] ?? "nothing";
await bundle("worker", `${from("data/edge.js")}${body}export default { fetch: async () => new Response(await bits()) };`, {
  loader: { ".wasm": "copy" },
  assetNames: "[name]",
});
results.workerd = await answerOf(folder, "data.wasm");
console.log(JSON.stringify(results));
let [passed, failed] = [0, 0];
const check = (what, good, found) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}: ${JSON.stringify(found)}`);
  if (good) passed++;
  else failed++;
};
check("the same bits everywhere", new Set(Object.values(results)).size === 1 && !results.node.startsWith("0 "), results);

// Training, on the page and in a worker of it.
const options = { dim: 12, wordNgrams: 2, bucket: 2000, epoch: 15, lr: 0.4, seed: 4 };
const training = `
const text = new TextEncoder().encode(${JSON.stringify(text)});
async function trained() {
  const { pieces, threads, threadsNote = "" } = await train(text, { ...${JSON.stringify(options)}, threads: 2 });
  const file = new Uint8Array(await new Blob([...pieces()]).arrayBuffer());
  const classifier = await loadClassifier(file);
  let right = 0;
  for (let i = 0; i < 300; i++) if (classifier.score("t" + (i % 3) + " w1z w2z").labels[0] === "__label__" + (i % 3)) right++;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", file));
  return { threads, threadsNote, right, bytes: file.length, hash: [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
}
`;
const done = `const post = (found) => fetch("/results", { method: "POST", body: JSON.stringify(found) });
const failed = (where) => (error) => post({ where, error: String(error.stack ?? error) });
`;
const inWorker = `${from("host/data.browser.js")}${training}trained().then(postMessage, (error) => postMessage({ error: String(error.stack ?? error) }));`;
await bundle("training.worker", inWorker);
await bundle(
  "training",
  `${from("host/data.browser.js")}${training}${done}
trained().then((found) => post({ where: "page", ...found }), failed("page")).then(() => {
  const worker = new Worker("/training.worker.js", { type: "module" });
  worker.onmessage = ({ data }) => post({ where: "worker", ...data });
  worker.onerror = (event) => post({ where: "worker", error: event.message });
});`,
);
writeFileSync(
  join(folder, "index.html"),
  '<!doctype html><meta charset="utf-8"><script type="module" src="/training.js"></script>',
);
const one = await train(new TextEncoder().encode(text), options);
const hash = createHash("sha256");
for (const piece of one.pieces()) hash.update(piece);
const sha256 = hash.digest("hex");
for (const isolated of [true, false]) {
  const found = [];
  const server = await startServer(folder, { headers: isolated ? isolation : {}, onResult: (result) => found.push(result) });
  try {
    await visit(folder, server.origin, () => found.length > 1, 300_000);
  } catch (error) {
    found.push({ error: error.message });
  }
  await server.close();
  for (const where of ["page", "worker"]) {
    const result = found.find((result) => result.where === where) ?? found.at(-1);
    const good = isolated
      ? result.threads === 2 && result.threadsNote === ""
      : result.threads === 1 && /cross-origin isolated/.test(result.threadsNote) && result.hash === sha256;
    check(
      `a classifier trained in a ${where}, ${isolated ? "isolated: two threads" : "not isolated: one, the same file as Node's"}`,
      good && result.right === 300 && result.bytes === one.bytes,
      result,
    );
  }
}
rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
