// Bundlers for pages: what they build is served and opened in Chromium.
import { cpSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { visit } from "../runtimes/chromium.mjs";
import { isolation, resultTaker } from "../runtimes/server.mjs";
import { bin, folderOf, html, must, opened, pageProgram, refused, works } from "./given.mjs";

const require = createRequire(import.meta.url);
const BESIDE = "new URL('/stories-q4_0.gguf', location.href)";
const withModel = (project, folder) =>
  cpSync(join(project, "node_modules/cpm-wasm/models/stories-q4_0.gguf"), join(folder, "stories-q4_0.gguf"));

/** A page of the default entry with the embedded model's own address. */
const source = (project, name, expected, script = "./main.js") =>
  folderOf(project, name, { "index.html": html(script), "main.js": pageProgram("cpm-wasm", "cpm.defaultModel", expected) });

const vite =
  (alias) =>
  async ({ project, expected, test }) => {
    const folder = source(project, alias, expected);
    await test("build, without configuration", async () => {
      await must(process.execPath, [bin(alias, "vite"), "build", "--logLevel", "warn"], { cwd: folder });
      return works(await opened(project, join(folder, "dist")), expected);
    });
    await test("dev server, without configuration", async () => {
      const { createServer } = await import(
        pathToFileURL(join(dirname(require.resolve(`${alias}/package.json`)), "dist/node/index.js")).href
      );
      const results = [];
      const taker = resultTaker((result) => results.push(result));
      const server = await createServer({
        root: folder,
        configFile: false,
        logLevel: "warn",
        server: { host: "127.0.0.1", headers: isolation },
        plugins: [{ name: "results", configureServer: ({ middlewares }) => void middlewares.use("/results", taker) }],
      });
      try {
        await server.listen();
        await visit(project, server.resolvedUrls.local[0], () => results.length > 0, 60_000);
        return works(results[0], expected);
      } finally {
        await server.close();
      }
    });
  };

async function webpack({ project, expected, test }) {
  const folder = source(project, "webpack", expected, "./dist/main.js");
  await test("build, without configuration", async () => {
    await must(process.execPath, [bin("webpack-cli"), "--entry", "./main.js", "--mode", "production"], { cwd: folder });
    return works(await opened(project, folder), expected);
  });
}

async function parcel({ project, expected, test }) {
  const folder = source(project, "parcel", expected);
  await test("build, without configuration", async () => {
    await must(process.execPath, [bin("parcel"), "build", "index.html", "--no-cache", "--no-autoinstall", "--dist-dir", "dist"], {
      cwd: folder,
      env: { PARCEL_WORKERS: "0" },
    });
    return works(await opened(project, join(folder, "dist")), expected);
  });
}

/** A page of the entry that needs no other file, bundled by `command`. */
async function embedded({ project, expected, test }, name, command, args) {
  await test('"cpm-wasm/embedded" bundles into one script', async () => {
    const folder = folderOf(project, name, {
      "out/index.html": html("./main.js"),
      "main.js": pageProgram("cpm-wasm/embedded", BESIDE, expected),
    });
    withModel(project, join(folder, "out"));
    await must(command, args, { cwd: folder });
    return works(await opened(project, join(folder, "out")), expected);
  });
}

/** The default entry in a bundler that leaves its files behind: the error names what to import. */
async function leftBehind({ project, expected, test }, name, command, args) {
  await test("the default entry says which line to change", async () => {
    const folder = folderOf(project, `${name}-default`, {
      "out/index.html": html("./main.js"),
      "main.js": pageProgram("cpm-wasm", BESIDE, expected),
    });
    withModel(project, join(folder, "out"));
    await must(command, args, { cwd: folder });
    return refused(await opened(project, join(folder, "out")), "engine-failed", /cpm-wasm\/embedded/);
  });
}

const esbuildArgs = ["main.js", "--bundle", "--format=esm", "--outfile=out/main.js", "--log-level=error"];
async function esbuild(context) {
  const command = bin("esbuild");
  await embedded(context, "esbuild", command, esbuildArgs);
  await leftBehind(context, "esbuild", command, esbuildArgs);
}

async function rollup(context) {
  const args = [
    bin("rollup"),
    "main.js",
    "--file",
    "out/main.js",
    "--format",
    "es",
    "--plugin",
    "@rollup/plugin-node-resolve",
    "--silent",
  ];
  await embedded(context, "rollup", process.execPath, args);
  // The default entry has a part that is loaded when it is used: a folder, not one file.
  const several = args.map((arg) => (arg === "--file" ? "--dir" : arg === "out/main.js" ? "out" : arg));
  await leftBehind(context, "rollup", process.execPath, several);
}

async function bun(context) {
  const command = join(context.here, "node_modules/.bin/bun");
  const args = ["build", "main.js", "--outfile=out/main.js", "--target=browser"];
  await embedded(context, "bun-page", command, args);
  await leftBehind(context, "bun-page", command, args);
}

/** No bundler at all: an import map names two packages; workers, which know no import map, are whole scripts. */
async function importMap({ project, expected, test }) {
  await test("an import map without a bundler", async () => {
    const map = {
      imports: {
        "cpm-wasm": "/node_modules/cpm-wasm/dist/host/browser.js",
        "wasm-feature-detect": "/node_modules/wasm-feature-detect/dist/esm/index.js",
      },
    };
    const page = html("./main.js").replace("</head>", `<script type="importmap">${JSON.stringify(map)}</script></head>`);
    const folder = folderOf(project, "import-map", {
      "index.html": page,
      "main.js": pageProgram("cpm-wasm", "cpm.defaultModel", expected),
    });
    symlinkSync(join(project, "node_modules"), join(folder, "node_modules"));
    return works(await opened(project, folder), expected);
  });
}

/** What a content security policy forbids is a CpmError that names the directive; what it must allow is enough. */
async function policy({ project, expected, test }) {
  const folder = source(project, "policy", expected);
  const built = join(folder, "dist");
  await test("vite builds the page", () =>
    must(process.execPath, [bin("vite7", "vite"), "build", "--logLevel", "warn"], { cwd: folder }));
  const open = (value) => opened(project, built, { ...isolation, "content-security-policy": value });
  const base = "default-src 'self'; connect-src 'self'";
  await test("script-src 'self' 'wasm-unsafe-eval' is enough", async () =>
    works(await open(`${base}; script-src 'self' 'wasm-unsafe-eval'`), expected));
  await test("without 'wasm-unsafe-eval' the error names it", async () =>
    refused(await open(`${base}; script-src 'self'`), "unsupported", /'wasm-unsafe-eval' to script-src/));
  await test("worker-src 'none' is named", async () =>
    refused(await open(`${base}; script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'`), "engine-failed", /worker-src/));
}

export const pages = {
  vite7: vite("vite7"),
  vite8: vite("vite8"),
  webpack,
  rollup,
  esbuild,
  parcel,
  bun,
  "import-map": importMap,
  policy,
};
