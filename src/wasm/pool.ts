// How a kernel reaches the lanes: from this thread, which then waits with them, or through a lane that leads the others.
import type { Kernels } from "./abi.ts";

/** Kernels that all lanes share and that take long. */
export type PoolCall = "forward" | "head" | "pack_rows" | "pack_words";

/** Has the leading lane run a call of its module with the others; resolves with its status, rejects when a lane died. */
export type Lead = (call: string, args: readonly number[]) => Promise<number>;

export class Pool {
  readonly #kernels: Kernels;
  readonly #all: number;
  readonly #lead: Lead | undefined;

  /** `lead`: absent where this thread is the first lane and may wait for the others. */
  constructor(kernels: Kernels, lanes: number, lead: Lead | undefined) {
    this.#kernels = kernels;
    this.#all = lanes;
    this.#lead = lead;
    this.join(lanes);
  }

  /** What this thread runs by itself from now on takes `lanes` lanes: only its own where another one leads. */
  join(lanes = this.#all): void {
    this.#kernels.pool_start(this.#lead ? 1 : lanes);
  }

  /** Runs a kernel on `lanes` lanes; its status. A promise only where this thread must not wait. */
  run(lanes: number, call: PoolCall, ...args: readonly number[]): number | Promise<number> {
    const kernels = this.#kernels;
    if (!this.#lead || lanes === 1) {
      this.join(lanes);
      return (kernels[call] as (...values: readonly number[]) => number)(...args);
    }
    kernels.pool_start(lanes);
    return this.#lead(call, args).finally(() => kernels.pool_start(1));
  }

  /** As run(), on all lanes. */
  runAll(call: PoolCall, ...args: readonly number[]): number | Promise<number> {
    return this.run(this.#all, call, ...args);
  }
}
