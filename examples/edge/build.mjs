// Bundles edge-worker.ts for workerd: one script, and beside it the .wasm and .gguf files, which the platform compiles
// and reads by itself. esbuild, because workerd looks modules up by exact name and knows no node_modules; config.capnp
// then lists four files instead of some sixty. Needs the npm package esbuild.
//   node examples/edge/build.mjs && npx workerd serve examples/edge/config.capnp
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

await build({
  entryPoints: [fileURLToPath(new URL("../edge-worker.ts", import.meta.url))],
  outfile: fileURLToPath(new URL("out/worker.js", import.meta.url)),
  bundle: true,
  format: "esm",
  target: "es2022",
  conditions: ["workerd"],
  loader: { ".wasm": "copy", ".gguf": "copy" },
  assetNames: "[name]",
  logLevel: "warning",
});
