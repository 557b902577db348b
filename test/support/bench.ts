// A workbench over one kernel build: a memory, typed arrays in it, and reproducible noise.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Kernels, KINDS, type Kind, STRUCT_BYTES, StructWriter } from "../../src/wasm/abi.ts";
import { heapBase, instantiateKernels } from "../../src/wasm/instance.ts";
import { createMemory, PAGE } from "../../src/wasm/memory.ts";

export const wasmPath = (name: string): string => fileURLToPath(new URL(`../../wasm/${name}.wasm`, import.meta.url));

/** CPM_TEST_BUILDS=a,b: only these, where each takes minutes (emulators). */
const chosen = process.env["CPM_TEST_BUILDS"]?.split(",");
/** Kernel builds that this Node can compile; relaxed SIMD needs Node 22. */
export const builds = ["kernels", "kernels.mt", "kernels.relaxed", "kernels.relaxed.mt", "kernels64.relaxed.mt"].filter(
  (name) => (chosen?.includes(name) ?? true) && WebAssembly.validate(readFileSync(wasmPath(name))),
);
if (chosen) console.log(`kernels: ${builds.join(", ")} are tested here, as CPM_TEST_BUILDS says`);
else if (builds.length < 5)
  console.log(
    `kernels: relaxed and 64-bit builds are not tested on Node ${process.versions.node}, which has neither; .ci/run tests them on Node 26`,
  );

export interface Bench {
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  take(bytes: number): number;
  floats(values: ArrayLike<number> | number): { at: number; values: Float32Array };
  bytes(values: ArrayLike<number> | number): { at: number; values: Uint8Array };
  /** A zeroed packed weight. */
  tensor(kind: Kind, rows: number, cols: number, group?: number): { at: number; data: number; bytes: number };
}

export async function workbench(build: string): Promise<Bench> {
  const threads = build.endsWith(".mt");
  const memory = build.startsWith("kernels64")
    ? createMemory(512 * PAGE, threads, true)
    : new WebAssembly.Memory({ initial: 512, maximum: 512, shared: threads });
  const kernels = await instantiateKernels(await WebAssembly.compile(readFileSync(wasmPath(build))), memory);
  let top = heapBase(kernels);
  const take = (bytes: number): number => {
    const at = Math.ceil(top / 64) * 64;
    top = at + bytes;
    if (top > memory.buffer.byteLength) throw new Error("the workbench is full");
    return at;
  };
  const place = <T extends Float32Array | Uint8Array>(
    view: (at: number, n: number) => T,
    size: number,
    values: ArrayLike<number> | number,
  ) => {
    const n = typeof values === "number" ? values : values.length;
    const at = take(n * size);
    const array = view(at, n);
    if (typeof values !== "number") array.set(values);
    return { at, values: array };
  };
  return {
    kernels,
    memory,
    take,
    floats: (values) => place((at, n) => new Float32Array(memory.buffer, at, n), 4, values),
    bytes: (values) => place((at, n) => new Uint8Array(memory.buffer, at, n), 1, values),
    tensor(kind, rows, cols, group = kind === "ternary" ? 256 : 32) {
      const at = take(STRUCT_BYTES.tensor);
      new StructWriter(memory.buffer, at).tensors([KINDS.indexOf(kind), rows, cols, group, 0]);
      const bytes = kernels.tensor_bytes(at);
      const data = take(bytes);
      new StructWriter(memory.buffer, at).tensors([KINDS.indexOf(kind), rows, cols, group, data]);
      return { at, data, bytes };
    },
  };
}
