import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { KERNEL_ARITY, STRUCT_BYTES } from "../../src/wasm/abi.ts";
import { builds, wasmPath, workbench } from "../support/bench.ts";

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
