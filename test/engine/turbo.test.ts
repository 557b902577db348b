// Turbo: 256-bit code of the engine's own making must give the bits of plain code, or be refused.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { expect, test } from "vitest";
import { CpmError, defaultModel, load } from "../../dist/host/node.js";
import { nodeHost } from "../../src/host/node.host.ts";
import { moduleFromDisk } from "../../src/host/node.package.ts";
import { startLane } from "../../src/host/threads.files.ts";
import { type Build, staysRight, WARM_ROUNDS } from "../../src/wasm/features.ts";
import { floatResults } from "../../src/wasm/floatcheck.ts";
import { heapBase, instantiateKernels } from "../../src/wasm/instance.ts";
import { builds, wasmPath, workbench } from "../support/bench.ts";

const capable = Number(process.versions.node.split(".")[0]) >= 24;
if (!capable)
  console.log(
    `turbo: its results are not tested on Node ${process.versions.node}, which has none; .ci/run tests them on Node 26`,
  );

test("turbo gives the bits of plain code where there is turbo, and a typed error elsewhere", async () => {
  if (!capable) {
    const refused = await load(defaultModel, { turbo: true }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(CpmError);
    expect(refused).toMatchObject({ code: "unsupported", detail: { field: "turbo" } });
    return;
  }
  const tokens = Array.from({ length: 200 }, (_, i) => (i * 37) % 2000);
  const results: Float32Array[] = [];
  for (const turbo of [false, true])
    for (const variant of ["base", "relaxed"] as const) {
      const model = await load(defaultModel, { turbo, variant, threads: 2 });
      expect(model.info.turbo).toBe(turbo);
      const session = await model.session();
      // Often enough for the optimising compiler to have had its turn.
      for (let i = 0; i < 5; i++) {
        await session.truncate(0);
        results.push(await session.forward(tokens, { logits: "all" }));
      }
      await model.dispose();
    }
  for (const result of results) expect(Buffer.from(result.buffer).equals(Buffer.from(results[0]!.buffer))).toBe(true);
});

async function candidate(name: string): Promise<Build> {
  const { kernels, memory } = await workbench(name);
  const probeBase = Math.ceil(heapBase(kernels) / 64) * 64;
  return { variant: "base", memory64: false, module: undefined as never, probe: kernels, probeMemory: memory, probeBase };
}

const host = { breathe: () => new Promise<void>((resolve) => setImmediate(resolve)) };

test("what is compared on cold and on warm code has the same bits in every build", async () => {
  const all = await Promise.all(builds.filter((name) => !name.startsWith("kernels64")).map(candidate));
  const [first, ...others] = all.map(floatResults);
  expect(new Set(first).size).toBeGreaterThan(3000);
  for (const other of others) expect(other).toEqual(first);
});

test("code that computes otherwise once it is warm is not used", async () => {
  const right = await candidate("kernels");
  expect(await staysRight(host, right)).toBe(true);
  // Wrong from the last round on: rounds are counted, so no load of the machine can let it pass.
  const [perRound, last] = [2, 2 * WARM_ROUNDS];
  let calls = 0;
  const attention: Build["probe"]["attention"] = (model, batch, context, layer, q, o, parts) => {
    const status = right.probe.attention(model, batch, context, layer, q, o, parts);
    if (++calls > last) new Uint32Array(right.probeMemory.buffer, o, 1)[0]! ^= 1;
    return status;
  };
  expect(await staysRight(host, { ...right, probe: { ...right.probe, attention } })).toBe(false);
  expect(calls).toBe(last + perRound);
});

/** Whether a function's code is the optimising compiler's. */
const isOptimised = (): ((f: unknown) => boolean) => {
  setFlagsFromString("--allow-natives-syntax");
  return new Function("f", "return %IsTurboFanFunction(f)") as (f: unknown) => boolean;
};

test("the code that the check has seen is the optimising compiler's", async () => {
  if (!capable) return;
  const optimised = isOptimised();
  const { tierUp, module } = await nodeHost("node", moduleFromDisk, startLane);
  tierUp!("at once");
  try {
    const probeMemory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
    const probe = await instantiateKernels(await module("kernels", true), probeMemory);
    const build = { ...(await candidate("kernels")), probe, probeMemory, probeBase: Math.ceil(heapBase(probe) / 64) * 64 };
    expect(await staysRight(host, build)).toBe(true);
    const { gemm_rows, gemm_rows_ref, kv_store, attention } = build.probe;
    expect([gemm_rows, gemm_rows_ref, kv_store, attention].map(optimised)).toEqual([true, true, true, true]);
  } finally {
    tierUp!("in time");
  }
});

// Where compiling fails under the re-vectoriser, V8 ends the process, and only once a function is hot, so that no other test need meet it.
const modules = readdirSync(new URL("../../wasm/", import.meta.url)).filter((name) => name.endsWith(".wasm"));
for (const file of capable ? modules.sort() : []) {
  const path = wasmPath(file.replace(/\.wasm$/, ""));
  if (!WebAssembly.validate(readFileSync(path))) {
    console.log(`turbo: ${file} is not compiled here: Node ${process.versions.node} cannot, with or without turbo`);
    continue;
  }
  test(`${file} compiles whole for 256-bit vectors`, { timeout: 240_000 }, () => {
    const flags = ["--experimental-wasm-revectorize", "--no-liftoff", "--no-wasm-lazy-compilation"];
    const script = 'new WebAssembly.Module(require("node:fs").readFileSync(process.argv[1])); console.log("whole");';
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...flags, "-e", script, path], { encoding: "utf8" });
    expect({ status, signal, stdout: stdout.trim() }, stderr.slice(0, 2000)).toEqual({
      status: 0,
      signal: null,
      stdout: "whole",
    });
  });
}
