// The quantiser's module (sources in cpp/quantise/): its boundary, a memory of its own, and the lanes that run it.

import { laneList } from "../engine/lanelist.ts";
import { CpmError, typed } from "../errors.ts";
import type { Kernels } from "../wasm/abi.ts";
import type { EngineHost, StartedLanes } from "../wasm/host.ts";
import { heapBase, instantiateKernels } from "../wasm/instance.ts";
import { Arena, createMemory, PAGE } from "../wasm/memory.ts";

export const quantiseAbiVersion = 1;
/** Rows of inputs that one hessian_add takes at most. */
export const CHUNK_ROWS = 128;

/** Calls that all lanes share. Addresses are bytes; float64 arrays are aligned to 8. See cpp/quantise/exports.cpp. */
export interface QuantiseCalls {
  /** `steps`: 0 for float products, or room for float64 of every packed column: inputs rounded to 12 bits and a sign. */
  hessian_add(h: number, x: number, packed: number, steps: number, rows: number, cols: number): number;
  grid_int4(
    w: number,
    factor: number,
    rows: number,
    cols: number,
    group: number,
    symmetric: number,
    search: number,
    weights: number,
    scales: number,
    zeros: number,
  ): number;
  grid_codes(
    w: number,
    factor: number,
    rows: number,
    cols: number,
    group: number,
    top: number,
    scales: number,
    zeros: number,
    codes: number,
  ): number;
  grid_ternary(
    w: number,
    factor: number,
    rows: number,
    cols: number,
    group: number,
    fit: number,
    scales: number,
    zeros: number,
    codes: number,
  ): number;
  encode_rows(
    type: number,
    w: number,
    factor: number,
    rows: number,
    cols: number,
    weights: number,
    searched: number,
    out: number,
  ): number;
  blocks_grid(type: number, blocks: number, rows: number, cols: number, scales: number, zeros: number): number;
  blocks_put(type: number, codes: number, scales: number, rows: number, cols: number, blocks: number): number;
  blocks_error(type: number, w: number, rows: number, cols: number, weights: number, blocks: number, sums: number): number;
  solve(h: number, diag: number, order: number, scratch: number, cols: number, damp: number): number;
  gptq(
    w: number,
    factor: number,
    rows: number,
    cols: number,
    inverse: number,
    order: number,
    dead: number,
    group: number,
    top: number,
    scales: number,
    zeros: number,
    codes: number,
    losses: number,
    scratch: number,
  ): number;
  output_loss(
    w: number,
    factor: number,
    rows: number,
    cols: number,
    h: number,
    diag: number,
    group: number,
    scales: number,
    zeros: number,
    codes: number,
    losses: number,
    scratch: number,
  ): number;
  pack_rows(tensor: number, fileType: number, from: number, row: number, count: number, heads: number): number;
  forward_phase(model: number, batch: number, context: number, begin: number, end: number, phase: number): number;
  peak_dot(pieces: number, rounds: number): number;
}

/** Calls that take this thread alone, and briefly. */
export interface QuantiseExports extends QuantiseCalls {
  quantise_abi(): number;
  quantise_grid_group(type: number): number;
  hessian_packed_bytes(cols: number): number;
  hessian_add_ref(h: number, x: number, rounded: number, rows: number, cols: number): void;
  column_sums(x: number, rows: number, cols: number, magnitudes: number, squares: number): number;
  hessian_finish(h: number, cols: number, scale: number, diag: number, dead: number): number;
  ternary_group(w: number, rows: number, cols: number, group: number): number;
  gptq_words(codes: number, rows: number, cols: number, out: number): number;
  gptq_scratch_bytes(cols: number, lanes: number): number;
  solve_scratch_bytes(cols: number): number;
  loss_scratch_bytes(cols: number, lanes: number): number;
  gptq_row_ref(
    w: number,
    factor: number,
    rows: number,
    cols: number,
    inverse: number,
    order: number,
    dead: number,
    group: number,
    top: number,
    scales: number,
    zeros: number,
    row: number,
    codes: number,
    scratch: number,
  ): void;
  calibrate_put(model: number, batch: number, context: number, which: number, from: number): number;
  calibrate_take(model: number, batch: number, context: number, which: number, to: number): number;
  calibrate_norm(x: number, w: number, y: number, count: number, cols: number, eps: number): void;
}

/** What a host gives the quantiser. */
export interface QuantiseModules {
  host(): Promise<EngineHost>;
  /** wasm/quantise.wasm, or wasm/quantise.mt.wasm for lanes that share a memory. `turbo`: see EngineHost.turbo; asked for where the host has it. */
  module(threads: boolean, turbo: boolean): Promise<WebAssembly.Module>;
}

/** Kinds of number in the memory. */
type Numbers = "u8" | "i32" | "f32" | "f64";
const BYTES = { u8: 1, i32: 4, f32: 4, f64: 8 } as const;

/** A piece of memory that is given back with its scope. */
export interface Piece {
  readonly at: number;
  readonly bytes: number;
}

export class Machine {
  readonly host: EngineHost;
  readonly module: WebAssembly.Module;
  readonly exports: QuantiseExports;
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly lanes: number;
  readonly #started: StartedLanes | undefined;

  private constructor(
    host: EngineHost,
    module: WebAssembly.Module,
    kernels: Kernels,
    arena: Arena,
    lanes: number,
    started: StartedLanes | undefined,
  ) {
    this.host = host;
    this.module = module;
    this.kernels = kernels;
    this.exports = kernels as unknown as QuantiseExports;
    this.arena = arena;
    this.lanes = lanes;
    this.#started = started;
  }

  /**
   * `threads`: lanes, "auto" for the physical cores; `maxMemoryBytes`: what the memory may grow to; `turbo`: 256-bit vectors, the same bits.
   * @throws CpmError "engine-failed" for a module of another ABI, "out-of-memory", "unsupported" for turbo where the host has none.
   */
  static async open(
    modules: QuantiseModules,
    threads: number | "auto" = "auto",
    maxMemoryBytes = Number.POSITIVE_INFINITY,
    turbo = false,
  ): Promise<Machine> {
    const host = await modules.host();
    if (turbo && !host.turbo)
      throw new CpmError("unsupported", `turbo: ${host.name} does not have it; leave it out, or use Node 24 or newer`, {
        field: "turbo",
        expected: "Node 24 or newer",
        found: `${host.name} ${host.version ?? ""}`.trim(),
      });
    const shared = host.startLanes !== undefined;
    const lanes = shared ? (threads === "auto" ? host.cores : threads) : 1;
    const module = await modules.module(shared, turbo);
    const memory = createMemory(64 * PAGE, shared);
    const kernels = await instantiateKernels(module, memory);
    const found = (kernels as unknown as QuantiseExports).quantise_abi?.();
    if (found !== quantiseAbiVersion)
      throw new CpmError("engine-failed", `quantise.wasm has ABI ${found}, this package needs ${quantiseAbiVersion}`, {
        field: "quantise_abi",
        expected: String(quantiseAbiVersion),
        found: String(found),
      });
    const arena = new Arena(memory, heapBase(kernels), false, maxMemoryBytes);
    // A lane that leads keeps this thread's event loop turning, also where it is the only one.
    const list = shared ? laneList(host, module, arena, lanes) : [];
    const started = list.length ? await host.startLanes?.(list, () => kernels.pool_fail()) : undefined;
    kernels.pool_start(started?.lead ? 1 : lanes);
    return new Machine(host, module, kernels, arena, lanes, started);
  }

  /** Runs a call on all lanes; its status, which is not negative. @throws CpmError "engine-failed" */
  async run<Name extends keyof QuantiseCalls>(name: Name, ...args: Parameters<QuantiseCalls[Name]>): Promise<number> {
    let status: number;
    if (this.#started?.lead) {
      this.kernels.pool_start(this.lanes);
      status = await this.#started.lead(name, args).finally(() => this.kernels.pool_start(1));
    } else {
      try {
        status = (this.exports[name] as (...values: readonly number[]) => number)(...args);
      } catch (error) {
        throw typed(error);
      }
      await this.host.breathe();
    }
    if (status < 0)
      throw new CpmError("engine-failed", `${name}: the quantiser refused its arguments (status ${status}); please report it`, {
        field: name,
      });
    return status;
  }

  /** How other code reaches the lanes, where one leads. */
  get lead(): StartedLanes["lead"] {
    return this.#started?.lead;
  }

  /** A piece for `count` numbers, zeroed. @throws CpmError "out-of-memory" */
  take(kind: Numbers, count: number): Piece {
    const bytes = BYTES[kind] * count;
    return { at: this.arena.take(bytes), bytes };
  }

  free(...pieces: readonly (Piece | undefined)[]): void {
    for (const piece of pieces) if (piece) this.arena.free(piece.at, piece.bytes);
  }

  /** Runs `work` with a taker of pieces, which are given back at its end. */
  async scope<T>(work: (take: (kind: Numbers, count: number) => Piece) => Promise<T>): Promise<T> {
    const pieces: Piece[] = [];
    try {
      return await work((kind, count) => {
        const piece = this.take(kind, count);
        pieces.push(piece);
        return piece;
      });
    } finally {
      this.free(...pieces.reverse());
    }
  }

  u8 = (at: number, count: number): Uint8Array => new Uint8Array(this.arena.memory.buffer, at, count);
  i32 = (at: number, count: number): Int32Array => new Int32Array(this.arena.memory.buffer, at, count);
  f32 = (at: number, count: number): Float32Array => new Float32Array(this.arena.memory.buffer, at, count);
  f64 = (at: number, count: number): Float64Array => new Float64Array(this.arena.memory.buffer, at, count);

  async end(): Promise<void> {
    await this.#started?.end();
  }
}
