// The page: one build for both homes. The runtime is a chunk of its own, loaded only where the model runs in the page.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
export default defineConfig({
  root: at("."),
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  resolve: {
    alias: [
      { find: /^cpm-wasm$/, replacement: at("../dist/host/browser.plain.js") },
      { find: /^cpm-wasm\/hub$/, replacement: at("../dist/host/browser.hub.js") },
    ],
  },
  build: {
    outDir: at("../dist/web"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
