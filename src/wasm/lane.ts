// A worker lane of the pool: see cpp/pool.cpp.
import type { Kernels } from "./abi.ts";
import { instantiateKernels, setStack } from "./instance.ts";

/** Everything a lane needs to exist. Sent once; a lane posts "ready" and nothing else. Index 0 leads: see runLeader. */
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
  setStack(kernels, stackTop);
  ready();
  try {
    kernels.pool_worker(index);
  } catch (error) {
    kernels.pool_fail();
    throw error;
  }
}

/** What the leading lane is asked. */
export interface LeadRequest {
  /** An export of the module, which need not be the kernels: wings have their own. */
  readonly call: string;
  readonly args: readonly number[];
}

/**
 * Becomes the lane that leads, in place of an engine's thread that must not wait: answers each request with the kernel's status, until
 * its worker is ended. A trap is reported to the other lanes and thrown on.
 */
export async function runLeader(
  { module, memory, stackTop }: Lane,
  listen: (handler: (request: LeadRequest) => void) => void,
  post: (message: "ready" | number) => void,
): Promise<void> {
  const kernels = await instantiateKernels(module, memory);
  setStack(kernels, stackTop);
  listen(({ call, args }) => {
    try {
      post((kernels as unknown as Record<string, (...values: readonly number[]) => number>)[call]!(...args));
    } catch (error) {
      kernels.pool_fail();
      throw error;
    }
  });
  post("ready");
}

/**
 * Ends the pool that a lane belongs to, from any thread: its lanes return, and an engine that waits for them fails
 * instead. Needed where the engine's own thread cannot hear of a lane's death, because it waits for it.
 */
export async function failPool({ module, memory, stackTop }: Lane): Promise<void> {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const kernels = exports as unknown as Kernels;
  // A new instance would begin on the engine's stack, which is in use.
  setStack(kernels, stackTop);
  kernels.pool_fail();
}
