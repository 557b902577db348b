// Bundles worker.ts for workerd into out/, with the configuration beside it. Needs the npm package esbuild.
import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
await build({
  entryPoints: [at("worker.ts")],
  outfile: at("out/worker.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  conditions: ["workerd"],
  loader: { ".wasm": "copy" },
  assetNames: "[name]",
  logLevel: "warning",
});
await copyFile(at("worker.capnp"), at("out/worker.capnp"));
