// The data wing as it is shipped to a page and to workerd: its size, and the same numbers to the last bit as in Node.
//   node test/data/everywhere.mjs         needs the packages of test/ and test/runtimes/, and chromium
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { fold, train } from "../../dist/host/data.node.js";
import { install } from "../run.mjs";
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
  return readFileSync(join(folder, `${entry}.js`));
};
const from = (path) => `import { loadClassifier } from ${JSON.stringify(join(root, "dist", path))};\n`;

const shipped = await bundle("size", `${from("data/index.js")}globalThis.load = loadClassifier;`);
console.log(`shipped to a page: ${shipped.length} bytes, ${gzipSync(shipped).length} gzipped, the module included`);
const results = {};
await bundle("node", from("data/index.js") + body);
results.node = await (await import(join(folder, "node.js"))).bits();
const page = await bundle(
  "page",
  `${from("data/index.js")}${body}bits().then((found) => (document.body.textContent = "bits: " + found));`,
  { format: "iife" },
);
const dom = domOf(folder, page.toString(), 90_000);
results.chromium = /bits: (\d+ [0-9a-f]+)/.exec(dom)?.[1] ?? "nothing";
await bundle("worker", `${from("data/edge.js")}${body}export default { fetch: async () => new Response(await bits()) };`, {
  loader: { ".wasm": "copy" },
  assetNames: "[name]",
});
results.workerd = await answerOf(folder, "data.wasm");
rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
console.log(JSON.stringify(results));
const same = new Set(Object.values(results)).size === 1 && !results.node.startsWith("0 ");
console.log(same ? "1 passed, 0 failed" : "0 passed, 1 failed");
process.exitCode = same ? 0 : 1;
