// Where the package's files are: beside the script, apart from a dev server's bundle, or unknown.
import { expect, test } from "vitest";
import { packageFile, servedApart } from "../../src/host/browser.files.ts";
import { moduleBytes, modulesOf } from "../../src/host/embedded.modules.ts";

test("bundles that a dev server keeps of dependencies are known by their place", () => {
  const at = "http://127.0.0.1:5173";
  const folder = `${at}/node_modules/cpm-wasm/`;
  expect(servedApart(`${at}/node_modules/.vite/deps/cpm-wasm.js?v=1a2b`)).toBe(folder);
  expect(servedApart(`${at}/node_modules/.vite/deps_temp_12ab/cpm-wasm.js`)).toBe(folder);
  expect(servedApart(`${at}/base/node_modules/.vite/deps/chunk-X1.js?v=1`)).toBe(`${at}/base/node_modules/cpm-wasm/`);
  expect(servedApart(`${at}/node_modules/.cache/storybook/abc/sb-vite/deps/cpm-wasm.js?v=1`)).toBe(folder);
  for (const other of [
    `${at}/node_modules/cpm-wasm/dist/host/browser.js`,
    `${at}/assets/index-1a2b.js`,
    `${at}/deps/cpm-wasm.js`,
    "file:///project/node_modules/cpm-wasm/dist/host/browser.js",
    "",
    undefined,
  ])
    expect(servedApart(other), other).toBeUndefined();
});

test("a file is where its script says, in the package's folder beside a dev server's bundle, else near the page", () => {
  const spelled = (base: string | undefined) => () => new URL("../../wasm/decide.wasm", base);
  const script = "https://a.test/x/dist/host/browser.js";
  expect(packageFile("wasm/decide.wasm", spelled(script), script).href).toBe("https://a.test/x/wasm/decide.wasm");
  const bundle = "https://a.test/node_modules/.vite/deps/cpm-wasm.js?v=1";
  expect(packageFile("wasm/decide.wasm", spelled(bundle), bundle).href).toBe(
    "https://a.test/node_modules/cpm-wasm/wasm/decide.wasm",
  );
  // A script without an address: an old-fashioned bundle.
  expect(packageFile("wasm/decide.wasm", spelled(undefined), undefined)).toBeInstanceOf(URL);
});

test("modules come from texts, each compiled once; what is not among them is refused by name", async () => {
  const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]).toString("base64");
  const module = modulesOf({ decide: empty });
  expect(await module("decide")).toBeInstanceOf(WebAssembly.Module);
  expect(await module("decide")).toBe(await module("decide"));
  expect(moduleBytes({ decide: empty }, "decide").length).toBe(8);
  await expect(module("kernels64.relaxed.mt")).rejects.toMatchObject({ name: "CpmError", code: "unsupported" });
});
