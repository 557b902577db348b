// The verifiers and their sandboxes in a page of headless Chromium, bundled by Vite as an application would: its interpreters from files
// beside the page. And in workerd: what is there works, and programs are refused with the reason.
//   node test/data/verify/page.mjs         needs a build, the packages of test/ and test/runtimes/, and chromium
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install } from "../../run.mjs";
import { visit } from "../../runtimes/chromium.mjs";
import { startServer } from "../../runtimes/server.mjs";
import { started, writeConfig } from "../../runtimes/workerd.mjs";

const root = fileURLToPath(new URL("../../../", import.meta.url));
install(join(root, "test"));
install(join(root, "test/runtimes"));
let [passed, failed] = [0, 0];
const check = (what, error) => {
  console.log(`${error === undefined ? "ok" : "FAILED"}: ${what}${error === undefined ? "" : `: ${error}`}`);
  if (error === undefined) passed++;
  else failed++;
};
// Inside the checkout, so that the package is found by its own name.
mkdirSync(join(root, "build"), { recursive: true });
const folder = mkdtempSync(join(root, "build/verify-"));
let server;
try {
  for (const name of ["checks.mjs", "escapes.mjs"]) cpSync(join(root, "test/data/verify", name), join(folder, name));
  writeFileSync(
    join(folder, "index.html"),
    '<!doctype html><meta charset="utf-8"><script type="module" src="./page.mjs"></script>',
  );
  writeFileSync(
    join(folder, "page.mjs"),
    `import * as verify from "cpm-wasm/data/verify";
import { runChecks } from "./checks.mjs";
const post = (result) => fetch("/results", { method: "POST", body: JSON.stringify(result) });
// The page itself goes on meanwhile: this counts only if its loop is free.
let turns = 0;
setInterval(() => turns++, 10);
await runChecks(verify, { pyodide: "pyodide/", quickjs: "quickjs/quickjs.mjs" }, (title, error) => void post({ title, error })).catch((error) =>
  post({ title: "the checks come to their end", error: String(error.stack) }),
);
for (const language of ["python", "javascript"]) {
  const missing = await verify.createSandbox().run({ language, code: "" }).then(() => "nothing", (error) => error.code + " " + error.message);
  await post({ title: language + ": without an address it is told what is missing", error: /^unsupported .*give its address as /.test(missing) ? undefined : missing });
}
await post({ title: "the page's own loop ran all the time", error: turns > 5 ? undefined : String(turns) });
await post({ end: true });
`,
  );
  const vite = join(root, "test/node_modules/vite/bin/vite.js");
  execFileSync(process.execPath, [vite, "build", folder, "--logLevel", "warn"], { stdio: "inherit" });
  mkdirSync(join(folder, "dist/pyodide"), { recursive: true });
  for (const name of readdirSync(join(root, "node_modules/pyodide")))
    if (/^(?:pyodide\.(?:mjs|asm\.mjs|asm\.wasm)|pyodide-lock\.json|python_stdlib\.zip)$/.test(name))
      cpSync(join(root, "node_modules/pyodide", name), join(folder, "dist/pyodide", name));
  // The package as one file, with its WebAssembly beside it.
  const { build } = createRequire(join(root, "test/package.json"))("esbuild");
  const bundle = { bundle: true, format: "esm", logLevel: "error" };
  const quickjs = join(folder, "dist/quickjs");
  writeFileSync(join(folder, "quickjs.mjs"), 'export { getQuickJS } from "quickjs-emscripten";\n');
  const asks = { entryPoints: [join(folder, "quickjs.mjs")], outfile: join(quickjs, "quickjs.mjs"), conditions: ["browser"] };
  await build({ ...bundle, ...asks, platform: "browser" });
  const variant = join(root, "node_modules/@jitl/quickjs-wasmfile-release-sync/dist/emscripten-module.wasm");
  cpSync(variant, join(quickjs, "emscripten-module.wasm"));
  let ended = false;
  server = await startServer(join(folder, "dist"), {
    onResult: ({ title, error, end }) => {
      if (end) ended = true;
      else check(`Chromium: ${title}`, error);
    },
  });
  await visit(folder, server.origin, () => ended, 600_000);

  writeFileSync(
    join(folder, "edge.mjs"),
    `import { createSandbox, verifyToolCalls, verifyAnswer } from "cpm-wasm/data/verify";
export default { async fetch() {
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object", properties: { a: { type: "integer" } } } } }];
  const call = (given) => ({ tools, messages: [{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: given } }] }] });
  const said = [verifyToolCalls(call('{"a":1}')).ok, verifyToolCalls(call('{"a":"b"}')).ok, verifyAnswer({ response: "\\\\boxed{1/2}", answer: "0.5" }).ok];
  try { createSandbox(); } catch (error) { said.push(error.code, error.message); }
  return Response.json(said);
} };
`,
  );
  await build({
    ...bundle,
    entryPoints: [join(folder, "edge.mjs")],
    outfile: join(folder, "worker.js"),
    conditions: ["workerd"],
  });
  writeConfig(folder, "edge", { "worker.js": "esModule" });
  const edge = await started(join(folder, "edge.capnp"));
  try {
    const [right, wrong, answer, code, reason] = await (await fetch(edge.url)).json();
    check("workerd: verifiers say what they say elsewhere", right && !wrong && answer ? undefined : "otherwise");
    check(
      "workerd: programs are refused with the reason",
      code === "unsupported" && /cannot end/.test(reason) ? undefined : `${code} ${reason}`,
    );
  } finally {
    await edge.end();
  }
} catch (error) {
  check("all of it comes to its end", error.stack);
} finally {
  await server?.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
