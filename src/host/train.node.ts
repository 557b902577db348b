// Training in Node, Deno and Bun.
import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers";
import kernels from "../../wasm/kernels.wasm.js";
import mt from "../../wasm/train.mt.wasm.js";
import relaxedMt from "../../wasm/train.relaxed.mt.wasm.js";
import base from "../../wasm/train.wasm.js";
import type { TrainWorker } from "../train/lanes.ts";
import type { Machine } from "../train/machine.ts";
import { type Dequantise, kernelDequantiser } from "../train/model.ts";
import { type ComputeOptions, openMachine, type TrainPlatform } from "../train/platform.ts";
import { inlined } from "../wasm/inline.ts";
import { physicalCores } from "./cores.ts";
import { mayStartWorkers, textWorker } from "./threads.ts";
import laneScript from "./train.lane.text.js";

export * from "../train/api.ts";
export { pathFiles } from "./node.files.ts";
export { type LockOptions, lockRun } from "./train.lock.ts";
export { diskOutputs, diskPolicies, diskStore, type PolicyFolder } from "./train.store.ts";

const modules = {
  train: inlined("train", base),
  "train.mt": inlined("train.mt", mt),
  "train.relaxed.mt": inlined("train.relaxed.mt", relaxedMt),
};

const worker = (): TrainWorker => textWorker(laneScript, "cpm train");

const platform: TrainPlatform = {
  module: (name) => modules[name](),
  cores: () => physicalCores(availableParallelism()),
  worker: mayStartWorkers() ? worker : undefined,
  breathe: () => new Promise((resolve) => setImmediate(resolve)),
};

/** A memory with the training kernels and threads; {@link ComputeOptions} says which. @throws CpmError "unsupported", "bad-option" */
export const openTrainingMachine = (options?: ComputeOptions): Promise<Machine> => openMachine(platform, options);

const kernelModule = inlined("kernels", kernels);

/** What reads quantised weights as floats, for `setWeights`. */
export const dequantiser = async (): Promise<Dequantise> => await kernelDequantiser(await kernelModule());
