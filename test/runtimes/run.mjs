// Runs the package, as packed and installed, on the real runtimes.
//   node test/runtimes/run.mjs [--keep] [package node20 node26 deno bun workerd chromium]
// Prints a line for each test and, at the end, "N passed, N failed". Installs its packages on first use.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../run.mjs";
import { installedPackage, root } from "./package.mjs";
import { runtimes } from "./runtimes.mjs";
import { startServer } from "./server.mjs";

const here = fileURLToPath(new URL(".", import.meta.url)).replace(/[/\\]$/, "");
const names = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const unknown = names.filter((name) => !(name in runtimes));
if (unknown.length) throw new Error(`no such runtime: ${unknown.join(", ")}; there are ${Object.keys(runtimes).join(", ")}`);

const counts = { passed: 0, failed: 0 };
const reporter = (runtime) => (result) => {
  counts[result.ok ? "passed" : "failed"]++;
  const note = result.note ? ` — ${result.note}` : "";
  console.log(`${result.ok ? "ok    " : "FAILED"} ${runtime}: ${result.title} (${result.ms} ms)${note}`);
  if (!result.ok) console.log(result.error.replace(/^/gm, "         "));
};

/** One test: `work` throws, or gives a note. */
const tester = (report) => async (title, work) => {
  const started = performance.now();
  const ms = () => Math.round(performance.now() - started);
  try {
    const note = await work();
    report({ title, ok: true, ms: ms(), ...(typeof note === "string" ? { note } : {}) });
  } catch (error) {
    report({ title, ok: false, ms: ms(), error: String(error?.stack ?? error) });
  }
};

install(join(root, "test"));
install(here);
const installed = installedPackage();
const models = await startServer(join(root, "models"));
const { expected } = await import(new URL(`file://${installed.project}/given.mjs`).href);

for (const [name, runtime] of Object.entries(runtimes)) {
  if (names.length && !names.includes(name)) continue;
  const report = reporter(runtime.name);
  const test = tester(report);
  const started = performance.now();
  console.log(`\n${runtime.name}`);
  try {
    await runtime.run({ ...installed, origin: models.origin, expected, report, test });
  } catch (error) {
    report({
      title: "the runtime's tests come to their end",
      ok: false,
      ms: Math.round(performance.now() - started),
      error: String(error?.stack ?? error),
    });
  }
  console.log(`${runtime.name} took ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

await models.close();
if (process.argv.includes("--keep")) console.log(`kept ${installed.project}`);
else rmSync(installed.project, { recursive: true, force: true, maxRetries: 3 });
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed ? 1 : 0;
