// The training module with a memory of its own: addresses are planned first, then the memory is made as large as the plan.
import { CpmError, typed } from "../errors.ts";
import { formatBytes, MAX_BYTES, PAGE } from "../wasm/memory.ts";

export const TRAIN_ABI_VERSION = 3;

/** What wasm/train*.wasm export (cpp/train/exports.cpp, cpp/pool.cpp). */
export interface TrainExports {
  readonly __heap_base: WebAssembly.Global;
  readonly __stack_pointer: WebAssembly.Global;
  train_abi_version(): number;
  train_real_bytes(): number;
  train_op_bytes(): number;
  matmul_scratch(lanes: number): number;
  attention_scratch(dim: number, lanes: number): number;
  train_run(ops: number, count: number): number;
  train_peak(rounds: number): number;
  pool_start(lanes: number): void;
  pool_worker(index: number): void;
  pool_fail(): void;
}

export type TrainCall = "train_run" | "train_peak";

/** A thread that leads the others, so that the caller's own never waits. */
export interface TrainLanes {
  lead(call: TrainCall, args: readonly number[]): Promise<number>;
  end(): Promise<void>;
}

/** Instantiates the module over a memory. @throws CpmError "unsupported" for a module of another ABI. */
export async function instantiateTrain(module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<TrainExports> {
  const exports = (await WebAssembly.instantiate(module, { env: { memory } })).exports as unknown as TrainExports;
  const found = exports.train_abi_version();
  if (found !== TRAIN_ABI_VERSION)
    throw new CpmError(
      "unsupported",
      `the training module speaks ABI ${found}, this loader ${TRAIN_ABI_VERSION}: rebuild wasm/ or reinstall the package`,
    );
  return exports;
}

/** How a build rounds: runs go on to the same bits under the same variant alone. */
export type TrainVariant = "base" | "relaxed";

export interface MachineOptions {
  readonly module: WebAssembly.Module;
  /** Whether the module was built for threads, and so needs a shared memory. */
  readonly shared: boolean;
  /** "relaxed": with fused multiply-adds, which round otherwise. Default "base". */
  readonly variant?: TrainVariant | undefined;
  /** Threads that compute; results are the same for any number. */
  readonly threads: number;
  /** Starts them; absent: the caller's thread computes, alone. */
  readonly start?: ((machine: Machine) => Promise<TrainLanes>) | undefined;
  /** Bytes that the memory may take. */
  readonly maxMemoryBytes?: number | undefined;
  /** Lets the caller's other work run between parts of a step. */
  readonly breathe?: (() => Promise<void>) | undefined;
}

/** Bytes of stack that each thread gets. */
export const LANE_STACK = 128 * 1024;
const ALIGN = 64;

const statusError = (status: number): CpmError =>
  new CpmError("engine-failed", `training kernels answered ${status}; start the run again from its last checkpoint`);

export class Machine {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly exports: TrainExports;
  readonly threads: number;
  readonly variant: TrainVariant;
  /** Bytes of a number: 4, or 8 in the build for tests. */
  readonly real: number;
  /** Where the threads' stacks lie, LANE_STACK bytes each. */
  readonly stacks: number;
  readonly #options: MachineOptions;
  #top: number;
  #lanes: TrainLanes | undefined;
  #closed = false;

  private constructor(options: MachineOptions, memory: WebAssembly.Memory, exports: TrainExports) {
    this.#options = options;
    this.module = options.module;
    this.memory = memory;
    this.exports = exports;
    this.threads = options.start ? options.threads : 1;
    this.variant = options.variant ?? "base";
    this.real = exports.train_real_bytes();
    this.#top = Number(exports.__heap_base.value);
    this.stacks = this.take(options.start ? LANE_STACK * this.threads : 0);
  }

  /** @throws CpmError "unsupported", "out-of-memory" */
  static async create(options: MachineOptions): Promise<Machine> {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: options.shared });
    return new Machine(options, memory, await instantiateTrain(options.module, memory));
  }

  /** Bytes planned so far. */
  get planned(): number {
    return this.#top;
  }

  /** Address of `bytes` bytes, zero when commit() has made them. */
  take(bytes: number): number {
    const at = Math.ceil(this.#top / ALIGN) * ALIGN;
    this.#top = at + bytes;
    return at;
  }

  /** Address of `count` numbers. */
  takeReals(count: number): number {
    return this.take(count * this.real);
  }

  /** Makes what was planned. @throws CpmError "out-of-memory" */
  commit(what = "this run"): void {
    const most = Math.min(this.#options.maxMemoryBytes ?? MAX_BYTES, MAX_BYTES);
    const fail = (cause?: unknown) =>
      new CpmError(
        "out-of-memory",
        `${what} needs ${formatBytes(this.#top)} of memory, more than ${cause ? "this runtime gives" : formatBytes(most)}; use fewer rows a step with more accumulation, recompute: true, or a shorter length`,
        { field: "maxMemoryBytes", expected: `at most ${most}`, found: String(this.#top) },
        { cause },
      );
    if (this.#top > most) throw fail();
    const missing = this.#top - this.memory.buffer.byteLength;
    if (missing <= 0) return;
    try {
      this.memory.grow(Math.ceil(missing / PAGE));
    } catch (cause) {
      throw fail(cause);
    }
  }

  reals(at: number, count: number): Float32Array | Float64Array {
    return this.real === 8 ? new Float64Array(this.memory.buffer, at, count) : new Float32Array(this.memory.buffer, at, count);
  }

  doubles(at: number, count: number): Float64Array {
    return new Float64Array(this.memory.buffer, at, count);
  }

  ints(at: number, count: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, count);
  }

  /** Starts the threads; before the first run. */
  async start(): Promise<void> {
    this.#lanes = await this.#options.start?.(this);
  }

  async call(call: TrainCall, ...args: readonly number[]): Promise<number> {
    if (this.#closed) throw new CpmError("closed", "this trainer was closed");
    if (this.#lanes) return await this.#lanes.lead(call, args);
    try {
      return this.exports[call](args[0]!, args[1]!);
    } catch (error) {
      throw typed(error);
    }
  }

  /**
   * Runs records of a program, part by part; an abort rejects between two parts with the signal's reason. Where threads compute and nobody
   * may abort, all at once: a small part takes less than telling a thread of it.
   */
  async run(ops: number, parts: readonly number[], opBytes: number, signal?: AbortSignal): Promise<void> {
    let from = 0;
    for (const to of this.#lanes && !signal ? parts.slice(-1) : parts) {
      signal?.throwIfAborted();
      const status = await this.call("train_run", ops + from * opBytes, to - from);
      if (status !== 0) throw statusError(status);
      from = to;
      if (!this.#lanes) await this.#options.breathe?.();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const lanes = this.#lanes;
    this.#lanes = undefined;
    await lanes?.end();
  }
}
