// Every module that may run with `turbo` compiles whole under V8's re-vectoriser: where that fails, V8 ends the process, and only once the
// function is hot, so that no other test need meet it.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { expect, test } from "vitest";
import { wasmPath } from "../support/bench.ts";

const major = Number(process.versions.node.split(".")[0]);
if (major < 24) console.log(`turbo: not tested on Node ${process.versions.node}, which has none; .ci/run tests it on Node 26`);

const FLAGS = ["--experimental-wasm-revectorize", "--no-liftoff", "--no-wasm-lazy-compilation"];
const script = 'new WebAssembly.Module(require("node:fs").readFileSync(process.argv[1])); console.log("whole");';

for (const name of [
  "kernels",
  "kernels.relaxed",
  "kernels.mt",
  "kernels.relaxed.mt",
  "kernels64.relaxed.mt",
  "quantise",
  "quantise.mt",
])
  test.skipIf(major < 24)(`${name}.wasm compiles whole for 256-bit vectors`, { timeout: 240_000 }, () => {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...FLAGS, "-e", script, wasmPath(name)], {
      encoding: "utf8",
    });
    expect({ status, signal, stdout: stdout.trim() }, stderr.slice(0, 2000)).toEqual({
      status: 0,
      signal: null,
      stdout: "whole",
    });
  });
