// A worker lane of the pool: see cpp/pool.cpp.
import { instantiateKernels } from "./instance.ts";

/** Everything a lane needs to exist. Sent once; a lane posts "ready" and nothing else. */
export interface Lane {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly index: number;
  /** Top of this lane's own stack in `memory`. */
  readonly stackTop: number;
}

/**
 * Becomes lane `index` and does not return while the pool lives. A trap is reported to the other lanes,
 * which then fail instead of waiting, and thrown on.
 */
export async function runLane({ module, memory, index, stackTop }: Lane, ready: () => void): Promise<void> {
  const kernels = await instantiateKernels(module, memory);
  kernels.__stack_pointer.value = stackTop;
  ready();
  try {
    kernels.pool_worker(index);
  } catch (error) {
    kernels.pool_fail();
    throw error;
  }
}
