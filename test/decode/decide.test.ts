import { expect, test } from "vitest";
import { samplerBytes } from "../../src/decode/sampler.ts";
import { decideAbiVersion, decideArity, instantiateDecide, paramWords } from "../../src/wasm/decide.ts";
import { builds, bytesOf, rig } from "./rig.ts";

// [id, size] of each section of a wasm module.
function sections(bytes: Uint8Array): [number, number][] {
  const found: [number, number][] = [];
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at++]!;
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    found.push([id, size]);
    at += size;
  }
  return found;
}

const startSection = 8;
const dataSection = 11;

for (const build of builds) {
  test(`${build}.wasm exports the functions of the table, with their numbers of parameters`, async () => {
    const { decide } = await rig(build, 4);
    const arity = Object.fromEntries(Object.entries(decide).map(([name, work]) => [name, (work as () => unknown).length]));
    expect(arity).toEqual(decideArity);
    expect(decide.decide_abi_version()).toBe(decideAbiVersion);
    expect(decide.param_words()).toBe(paramWords.length);
  });

  test(`${build}.wasm imports env.memory alone, runs nothing on start and has no statics`, async () => {
    const bytes = bytesOf(build);
    console.log(`${build}.wasm: ${bytes.length} bytes`);
    expect(WebAssembly.Module.imports(await WebAssembly.compile(bytes))).toEqual([
      { module: "env", name: "memory", kind: "memory" },
    ]);
    const ids = sections(bytes).map(([id]) => id);
    expect(ids).toContain(10);
    expect(ids).not.toContain(startSection);
    expect(ids).not.toContain(dataSection);
  });

  test(`${build}.wasm asks for the scratch that the memory plan gives it`, async () => {
    const { decide } = await rig(build, 1);
    for (const vocab of [1, 511, 512, 513, 2785, 2786, 73448, 130560, 2 ** 20]) {
      expect(decide.sample_scratch_bytes(vocab)).toBe(samplerBytes(vocab, 0).scratch);
    }
  });
}

test("a module of another ABI is refused", async () => {
  // (module (func (export "decide_abi_version") (result i32) i32.const 99))
  const head = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 22, 1, 18];
  const tail = [0, 0, 10, 7, 1, 5, 0, 65, 227, 0, 11];
  const module = await WebAssembly.compile(Uint8Array.of(...head, ...new TextEncoder().encode("decide_abi_version"), ...tail));
  const memory = new WebAssembly.Memory({ initial: 1 });
  await expect(instantiateDecide(module, memory)).rejects.toMatchObject({ code: "engine-failed", detail: { found: "99" } });
});
