// Builds programs with the packed package in every bundler, and opens or runs what was built: a real generation each.
//   node test/bundlers/run.mjs [--all] [--keep] [name ...]
// Without --all the rows of Next are two (production and dev, with Turbopack); with it also those with webpack.
// Prints a line for each test and, at the end, "N passed, N failed". Installs its packages on first use.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../run.mjs";
import { installedPackage, root } from "../runtimes/package.mjs";
import { next } from "./next.mjs";
import { pages } from "./pages.mjs";
import { programs } from "./programs.mjs";
import { types } from "./types.mjs";
import { wrangler } from "./wrangler.mjs";

const here = fileURLToPath(new URL(".", import.meta.url)).replace(/[/\\]$/, "");
const groups = { ...pages, ...programs, types, next, wrangler };
const names = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const unknown = names.filter((name) => !(name in groups));
if (unknown.length) throw new Error(`no such row: ${unknown.join(", ")}; there are ${Object.keys(groups).join(", ")}`);

install(join(root, "test"));
install(here);
// Wrangler needs a newer Node than the oldest that the package runs on.
install(join(root, "test/runtimes"));
// Below this folder, so that bundlers which look for themselves in a project's parents are found.
const out = join(here, "out");
mkdirSync(out, { recursive: true });
const installed = installedPackage(out);
const { expected } = await import(new URL(`file://${installed.project}/given.mjs`).href);
const counts = { passed: 0, failed: 0 };

for (const [name, group] of Object.entries(groups)) {
  if (names.length && !names.includes(name)) continue;
  const test = async (title, work) => {
    const started = performance.now();
    const said = (state, note) =>
      console.log(`${state} ${name}: ${title} (${Math.round(performance.now() - started)} ms)${note ? ` — ${note}` : ""}`);
    try {
      const note = await work();
      counts.passed++;
      said("ok    ", typeof note === "string" ? note : "");
      return true;
    } catch (error) {
      counts.failed++;
      said("FAILED");
      console.log(String(error?.stack ?? error).replace(/^/gm, "         "));
      return false;
    }
  };
  try {
    await group({ ...installed, here, expected: expected.greedy[0], all: process.argv.includes("--all"), test });
  } catch (error) {
    await test("the row comes to its end", () => Promise.reject(error));
  }
}

if (process.argv.includes("--keep")) console.log(`kept ${installed.project}`);
else rmSync(installed.project, { recursive: true, force: true, maxRetries: 3 });
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed ? 1 : 0;
