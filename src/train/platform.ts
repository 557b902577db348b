// What a runtime gives to training, and the machine made of it.
import { relaxedSimd } from "wasm-feature-detect";
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { startLanes, type TrainWorker } from "./lanes.ts";
import { Machine, type MachineOptions, type TrainVariant } from "./machine.ts";
import { Program, rows } from "./program.ts";

export type TrainModule = "train" | "train.mt" | "train.relaxed.mt";

export interface TrainPlatform {
  module(name: TrainModule): Promise<WebAssembly.Module>;
  /** Cores that this process may use. */
  cores(): Promise<number> | number;
  /** Starts a thread; absent where there are none, or memory cannot be shared. */
  readonly worker?: (() => TrainWorker) | undefined;
  breathe(): Promise<void>;
}

export interface ComputeOptions {
  /** Threads; results do not depend on it. Default: the physical cores; 1 where memory cannot be shared. */
  readonly threads?: number | undefined;
  /** "relaxed": fused multiply-adds; "base": none; default "auto": the first where they compute right. Results differ in rounding. */
  readonly variant?: "auto" | "base" | "relaxed" | undefined;
  /** Most bytes of memory. Default: what 32-bit WebAssembly has (4 GiB). */
  readonly maxMemoryBytes?: number | undefined;
}

/** Compares a product with its definition: some engines accept relaxed SIMD and compute wrong values. */
async function computesRight(module: WebAssembly.Module): Promise<boolean> {
  const machine = await Machine.create({ module, shared: true, threads: 1 });
  const [m, n, k] = [13, 19, 37];
  const scratch = machine.takeReals(machine.exports.matmul_scratch(1));
  const [a, b, c, d] = [m * k, k * n, m * n, m * n].map((count) => machine.takeReals(count)) as [number, number, number, number];
  const program = new Program(machine, () => scratch);
  program.matmul([m, n, k], rows(a, k), rows(b, n), rows(c, n));
  program.matmul([m, n, k], rows(a, k), rows(b, n), rows(d, n), {}, true);
  program.place();
  machine.commit();
  program.write();
  const noise = (at: number, count: number) => {
    const values = machine.reals(at, count);
    for (let i = 0; i < count; i++) values[i] = ((i * 2654435761) % 1000) / 500 - 1;
  };
  noise(a, m * k);
  noise(b, k * n);
  await program.run();
  const [got, want] = [machine.reals(c, m * n), machine.reals(d, m * n)];
  return got.every((x, i) => Math.abs(x - want[i]!) <= 1e-4);
}

/** A machine on a platform. @throws CpmError "unsupported", "bad-option" */
export async function openMachine(platform: TrainPlatform, options: ComputeOptions = {}): Promise<Machine> {
  const { variant = "auto", maxMemoryBytes } = options;
  const { worker } = platform;
  const threads = options.threads ?? (worker ? await platform.cores() : 1);
  const fail = (field: string, expected: string, found: unknown): never => {
    throw new CpmError("bad-option", `${field}: expected ${expected}, found ${shown(found)}`, { field, expected });
  };
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= 64)) fail("threads", "a whole number from 1 to 64", threads);
  if (!["auto", "base", "relaxed"].includes(variant)) fail("variant", '"auto", "base" or "relaxed"', variant);
  const breathe = () => platform.breathe();
  if (!worker) {
    if (variant === "relaxed")
      throw new CpmError(
        "unsupported",
        'variant "relaxed" needs threads that share memory, which this runtime has not; use "auto" or "base"',
        {
          field: "variant",
        },
      );
    if (threads > 1)
      throw new CpmError(
        "unsupported",
        "threads: this runtime has none that share memory (on a page: serve it cross-origin isolated); leave threads out",
        { field: "threads" },
      );
    return await Machine.create({ module: await platform.module("train"), shared: false, threads: 1, maxMemoryBytes, breathe });
  }
  const made = (module: WebAssembly.Module, of: TrainVariant): MachineOptions => ({
    module,
    variant: of,
    shared: true,
    threads,
    maxMemoryBytes,
    breathe,
    start: async (machine) => await startLanes(machine, machine.stacks, worker),
  });
  if (variant !== "base" && (await relaxedSimd())) {
    const module = await platform.module("train.relaxed.mt");
    if (await computesRight(module)) return await Machine.create(made(module, "relaxed"));
  }
  if (variant === "relaxed")
    throw new CpmError("unsupported", 'this runtime does not run relaxed SIMD correctly; use variant "auto" or "base"', {
      field: "variant",
    });
  return await Machine.create(made(await platform.module("train.mt"), "base"));
}
