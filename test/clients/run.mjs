// Tests the server with the real clients, on Node 26: through the handler, through ports of `cpm serve` on Node, Deno and Bun, and
// through a worker in workerd; and the compiler holds what is written to the clients' types.
//   node test/clients/run.mjs [node26 deno bun workerd]
// Prints a line a scenario and, at the end, "N passed, N failed". Installs its packages on first use.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { install } from "../run.mjs";
import { started, writeConfig } from "../runtimes/workerd.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const here = fileURLToPath(new URL(".", import.meta.url)).replace(/[/\\]$/, "");
const dist = join(root, "dist");
const bin = (name) => join(root, "test/runtimes/node_modules/.bin", name);
install(join(root, "test"));
install(join(root, "test/runtimes"));
install(here);

const counts = { passed: 0, failed: 0 };
function report({ title, ok, ms, error }) {
  counts[ok ? "passed" : "failed"]++;
  console.log(`${ok ? "ok    " : "FAILED"} ${title}${ms === undefined ? "" : ` (${ms} ms)`}`);
  if (!ok) console.log(String(error).replace(/^/gm, "         "));
}

const main = join(dist, "cli/main.js");
const serve = ["serve", "--port", "0", "--host", "127.0.0.1", "--ctx", "2048"];
const commands = {
  node26: [bin("node"), [main, ...serve]],
  deno: [bin("deno"), ["run", "--allow-all", main, ...serve]],
  bun: [bin("bun"), [main, ...serve]],
};

/** Starts `cpm serve`; gives its address and how to end it. */
function listening([command, args]) {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, NO_COLOR: "1" } });
  let log = "";
  const ended = new Promise((resolve) => child.on("close", (code, signal) => resolve({ code, signal })));
  const url = new Promise((resolve, reject) => {
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      const match = /^serving .* at (http:\S+\/)v1$/m.exec(log);
      if (match) resolve(match[1]);
    });
    ended.then(() => reject(new Error(`it ended before it listened: ${log}`)));
  });
  url.catch(() => {});
  return {
    url,
    async end() {
      child.kill("SIGTERM");
      const { code, signal } = await ended;
      if (code !== 0) throw new Error(`exit code ${code}, signal ${signal}: ${log.slice(-2000)}`);
    },
  };
}

/** The worker with what it imports, and its configuration. */
async function bundled(folder) {
  const { build } = await import(pathToFileURL(join(root, "test/node_modules/esbuild/lib/main.js")).href);
  await build({
    entryPoints: [join(here, "worker.mjs")],
    outfile: join(folder, "worker.js"),
    bundle: true,
    format: "esm",
    target: "es2022",
    conditions: ["workerd"],
    alias: {
      "cpm-wasm/models": join(root, "models"),
      "cpm-wasm/server": join(dist, "server/index.js"),
      "cpm-wasm": join(dist, "host/edge.js"),
    },
    loader: { ".wasm": "copy", ".gguf": "copy" },
    assetNames: "[name]",
    logLevel: "warning",
  });
  const files = readdirSync(folder).filter((file) => file !== "worker.js" && /\.(wasm|gguf)$/.test(file));
  const kinds = files.map((file) => [file, file.endsWith(".wasm") ? "wasm" : "data"]);
  return writeConfig(folder, "serving", { "worker.js": "esModule", ...Object.fromEntries(kinds) });
}

const wanted = process.argv.slice(2);
const chosen = (name) => wanted.length === 0 || wanted.includes(name);
const running = new Map();
for (const [name, command] of Object.entries(commands)) if (chosen(name)) running.set(name, listening(command));
if (chosen("workerd")) {
  const folder = join(root, "test/out/serving-worker");
  const worker = await started(await bundled(folder));
  running.set("workerd", { url: Promise.resolve(worker.url), end: () => worker.end() });
}

const types = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", here], { encoding: "utf8" });
report({ title: "types: what is written is what the clients' types say", ok: types.status === 0, error: types.stdout });

try {
  const addresses = [];
  for (const [name, { url }] of running) {
    try {
      addresses.push(`${name}=${await url}`);
    } catch (error) {
      report({ title: `${name}: cpm serve listens`, ok: false, error });
    }
  }
  const child = spawn(bin("node"), [join(here, "main.mjs"), dist, ...addresses], {
    cwd: here,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let rest = "";
  let scenarios = 0;
  child.stdout.setEncoding("utf8").on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const result = JSON.parse(line);
      if (result.note) console.log(result.note);
      else report(result);
      scenarios++;
    }
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0 || scenarios === 0) report({ title: "the scenarios come to their end", ok: false, error: `exit code ${code}` });
} finally {
  for (const [name, { end }] of running) {
    try {
      await end();
      report({ title: `${name}: the server ends when told to`, ok: true });
    } catch (error) {
      report({ title: `${name}: the server ends when told to`, ok: false, error });
    }
  }
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed ? 1 : 0;
