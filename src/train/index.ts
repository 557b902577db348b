// Training where scripts carry the module themselves: pages and their workers. It computes in the thread that calls it: a page runs it in
// a worker of its own.
import kernels from "../../wasm/kernels.wasm.js";
import text from "../../wasm/train.wasm.js";
import { inlined } from "../wasm/inline.ts";
import type { Machine } from "./machine.ts";
import { type Dequantise, kernelDequantiser } from "./model.ts";
import { type ComputeOptions, openMachine } from "./platform.ts";

export * from "./api.ts";

const module = inlined("train", text);

/** A memory with the training kernels; {@link ComputeOptions} says which. @throws CpmError "unsupported", "bad-option" */
export const openTrainingMachine = (options?: ComputeOptions): Promise<Machine> =>
  openMachine({ module, cores: () => 1, breathe: () => new Promise((resolve) => setTimeout(resolve)) }, options);

const kernelModule = inlined("kernels", kernels);

/** What reads quantised weights as floats, for `setWeights`. */
export const dequantiser = async (): Promise<Dequantise> => await kernelDequantiser(await kernelModule());
