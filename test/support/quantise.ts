// The quantiser with one lane, over the modules as built, and what tests ask of it.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { pathFiles } from "../../src/host/node.files.ts";
import { type MemoryDestination, memoryDestination } from "../../src/quantise/destination.ts";
import { Machine, type QuantiseModules } from "../../src/quantise/module.ts";
import { openQuantise, type QuantizeOptions } from "../../src/quantise/quantize.ts";
import { noise } from "./noise.ts";

export const quantiseModules: QuantiseModules = {
  host: async () => ({
    name: "node",
    module: async () => Promise.reject(new Error("the quantiser asks for its own")),
    cores: 1,
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
  }),
  module: async () => WebAssembly.compile(await readFile(fileURLToPath(new URL("../../wasm/quantise.wasm", import.meta.url)))),
};

export const door = openQuantise({ ...quantiseModules, openPath: pathFiles });

export const openMachine = (): Promise<Machine> => Machine.open(quantiseModules, 1);

/** Sequences of tokens from 3 to below `vocab`, each after a beginning. */
export function sequences(count: number, length: number, vocab = 320): number[][] {
  const random = noise(7);
  const rest = () => Array.from({ length: length - 1 }, () => 3 + Math.floor(random() * (vocab - 3)));
  return Array.from({ length: count }, () => [1, ...rest()]);
}

/** The files that a model becomes; "" is a GGUF. */
export async function quantised(
  model: Parameters<typeof door.quantize>[0],
  options: QuantizeOptions,
): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const out: MemoryDestination = memoryDestination();
  await door.quantize(model, out, options);
  return out.files();
}
