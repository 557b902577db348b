import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { BATCH_COUNT, KERNEL_ARITY, STRUCT_BYTES } from "../../src/wasm/abi.ts";
import { builds, wasmPath, workbench } from "../support/bench.ts";

test("a batch's count lies where cpp/abi.h has it", () => {
  const header = readFileSync(new URL("../../cpp/abi.h", import.meta.url), "utf8");
  const fields = /struct Batch \{([\s\S]*?)\n\};/.exec(header)![1]!.replace(/\/\/.*/g, "");
  const before = fields.slice(0, fields.search(/int32_t count\b/));
  expect(before).not.toContain("int32_t");
  expect(BATCH_COUNT).toBe(8 * before.match(/\bword\b/g)!.length);
});

for (const build of builds) {
  test(`${build} exports exactly the functions of the boundary, with their arities`, async () => {
    const { kernels } = await workbench(build);
    const exported = Object.fromEntries(
      Object.entries(kernels).flatMap(([name, f]) => (typeof f === "function" ? [[name, f.length]] : [])),
    );
    expect(exported).toEqual(KERNEL_ARITY);
  });

  test(`${build} has the struct layouts that the loader writes`, async () => {
    const { kernels } = await workbench(build);
    expect(Object.values(STRUCT_BYTES)).toEqual(Object.keys(STRUCT_BYTES).map((_, i) => kernels.abi_bytes(i)));
  });

  test(`${build} imports nothing but its memory and stays below 1 MB`, () => {
    const bytes = readFileSync(wasmPath(build));
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(bytes));
    expect(imports).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
    expect(bytes.length).toBeLessThan(1 << 20);
  });
}
