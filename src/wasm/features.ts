// Which kernel build this engine runs right. Validation is not enough: some engines accept relaxed SIMD and
// compute wrong values (Node 20 behind its flag), so a build is taken only after its results were compared.
import { memory64 as hasMemory64, relaxedSimd } from "wasm-feature-detect";
import { CpmError } from "../errors.ts";
import { type Kernels, KINDS, StructWriter } from "./abi.ts";
import { floatResults, noise16 } from "./floatcheck.ts";
import type { Artifact, EngineHost, Variant } from "./host.ts";
import { heapBase, instantiateKernels } from "./instance.ts";
import { createMemory, PAGE } from "./memory.ts";

export interface Build {
  readonly variant: Variant;
  /** Addresses of 64 bits: memories beyond 4 GiB. */
  readonly memory64: boolean;
  readonly module: WebAssembly.Module;
  /** An instance with a small memory of its own, for asking sizes. */
  readonly probe: Kernels;
  readonly probeMemory: WebAssembly.Memory;
  /** First free byte of probeMemory. */
  readonly probeBase: number;
}

const PROBE_PAGES = 16;

async function build(host: EngineHost, variant: Variant, threads: boolean, turbo = false): Promise<Build> {
  const artifact = `kernels${variant === "relaxed" ? ".relaxed" : ""}${threads ? ".mt" : ""}` as Artifact;
  const module = await host.module(artifact, turbo);
  return probed(
    module,
    variant,
    new WebAssembly.Memory({ initial: PROBE_PAGES, maximum: threads ? PROBE_PAGES : 65536, shared: threads }),
    false,
  );
}

async function probed(
  module: WebAssembly.Module,
  variant: Variant,
  probeMemory: WebAssembly.Memory,
  memory64: boolean,
): Promise<Build> {
  const probe = await instantiateKernels(module, probeMemory);
  return { variant, memory64, module, probe, probeMemory, probeBase: Math.ceil(heapBase(probe) / 64) * 64 };
}

/**
 * The build for memories beyond 4 GiB. `needed`: what does not fit; without it, the build was asked for. Throws CpmError
 * "out-of-memory" or "unsupported" where the runtime has no such memory.
 */
export async function chooseBuild64(host: EngineHost, wanted: Variant | "auto", needed?: string): Promise<Build> {
  const refuse = (what: string, todo: string) =>
    needed
      ? new CpmError(
          "out-of-memory",
          `${needed}, and ${what}; ${todo}, or use a smaller contextSize, kvType "q8", or a smaller model`,
        )
      : new CpmError("unsupported", `memory64: ${what}; ${todo}, or load without it`, { field: "memory64" });
  if (wanted === "base") throw refuse("the 64-bit build uses relaxed SIMD", 'use variant "auto"');
  if (!(await hasMemory64()))
    throw refuse(`this runtime (${runtimeOf(host)}) has no 64-bit WebAssembly memory`, "use a newer one");
  const memory = createMemory(PROBE_PAGES * PAGE, true, true);
  const candidate = await probed(await host.module("kernels64.relaxed.mt"), "relaxed", memory, true);
  if (computesRight(candidate)) return candidate;
  throw refuse(`this runtime (${runtimeOf(host)}) does not compute right in 64-bit memory`, "use another");
}

const NAMES = { node: "Node", deno: "Deno", bun: "Bun", browser: "browser", edge: "edge" } as const;

/** "Node 20.20.2", for messages. */
export const runtimeOf = ({ name, version }: Pick<EngineHost, "name" | "version">): string =>
  version ? `${NAMES[name]} ${version}` : NAMES[name];

/**
 * Runs every integer kernel on fixed noise against its scalar definition: bit for bit, or the build is not used. `whole`: minima, and
 * panels by fours, as well, whose instructions are the others' and whose code is not; where the compiler is in doubt, not the instructions.
 */
export function computesRight({ probe, probeMemory, probeBase }: Build, tokens = 5, whole = false): boolean {
  // One token takes seven panels of 8 rows four or two at a time, then the last alone; more tokens take them one by one.
  const [rows, cols] = [whole && tokens === 1 ? 56 : 16, 256];
  const tensor = probeBase;
  const data = tensor + 64;
  const x = data + 16384;
  const q = x + tokens * cols * 4;
  const scales = q + tokens * cols;
  const got = scales + tokens * cols;
  const want = got + tokens * rows * 4;
  const noise = new Uint8Array(probeMemory.buffer, data, 16384);
  const next = noise16(12345);
  const inputs = new Float32Array(probeMemory.buffer, x, tokens * cols);
  for (let i = 0; i < inputs.length; i++) inputs[i] = (next() - 32768) / 1000;
  for (const kind of ["int4", "int6", "int8", "ternary", ...(whole ? (["int4-min", "int8-min"] as const) : [])] as const) {
    for (let i = 0; i < noise.length; i++) noise[i] = kind === "ternary" ? next() & 0x2a : next();
    new StructWriter(probeMemory.buffer, tensor).tensors([KINDS.indexOf(kind), rows, cols, 256, data]);
    const bytes = probe.tensor_bytes(tensor) / (rows / 8);
    const step = kind === "ternary" || kind === "int6" ? bytes : bytes / (cols / 32);
    const halves = new DataView(probeMemory.buffer, data);
    // Scales, and minima behind them.
    const numbers = kind.endsWith("-min") ? 16 : 8;
    for (let at = 0; at < bytes * (rows / 8); at += step)
      for (let r = 0; r < numbers; r++) halves.setUint16(at + 2 * r, 0x2c00 + (next() & 0x3ff), true);
    const block = kind === "ternary" ? 256 : 32;
    probe.gemm_rows(tensor, x, q, scales, got, tokens, block, 1);
    probe.gemm_rows_ref(tensor, x, q, scales, want, tokens, block);
    const a = new Uint32Array(probeMemory.buffer, got, tokens * rows);
    const b = new Uint32Array(probeMemory.buffer, want, tokens * rows);
    if (a.some((bits, i) => bits !== b[i])) return false;
  }
  return true;
}

/**
 * Rounds of the check. Where the host has functions optimised as soon as they have run for a while, and by the thread that calls them
 * (`tierUp`), every function that the check reaches is optimised by the twelfth, on a busy machine as on an idle one.
 */
export const WARM_ROUNDS = 24;

/**
 * The same check on optimised code: engines compile twice, and only the second compiler fuses vectors. Loops until it has
 * come, counted in rounds, at every tile width; float kernels must give what they gave at first, before that compiler came.
 */
export async function staysRight(host: Pick<EngineHost, "breathe">, candidate: Build): Promise<boolean> {
  const cold = floatResults(candidate);
  for (let round = 0; round < WARM_ROUNDS; round++) {
    for (let tokens = 1; tokens <= 8; tokens++) if (!computesRight(candidate, tokens, true)) return false;
    if (floatResults(candidate).some((bits, i) => bits !== cold[i])) return false;
    await host.breathe();
  }
  return true;
}

async function turboBuild(host: EngineHost, wanted: Variant | "auto", threads: boolean): Promise<Build> {
  const refuse = (why: string) => new CpmError("unsupported", `turbo: ${why}; load without it`, { field: "turbo" });
  if (!host.turbo) throw refuse(`it needs Node 24 or newer, this is ${runtimeOf(host)}`);
  host.tierUp?.("at once");
  try {
    const candidate = await build(host, wanted === "base" ? "base" : "relaxed", threads, true);
    if (await staysRight(host, candidate)) return candidate;
  } finally {
    host.tierUp?.("in time");
  }
  throw refuse("this engine's 256-bit code does not compute what the kernels are defined to");
}

/** The fastest build that computes right here, or the one asked for (CpmError "unsupported" when it does not). */
export async function chooseBuild(host: EngineHost, wanted: Variant | "auto", threads: boolean, turbo = false): Promise<Build> {
  if (turbo) return turboBuild(host, wanted, threads);
  if (wanted === "base") return build(host, "base", threads);
  if (await relaxedSimd()) {
    const candidate = await build(host, "relaxed", threads);
    if (computesRight(candidate)) return candidate;
  }
  if (wanted === "auto") return build(host, "base", threads);
  throw new CpmError(
    "unsupported",
    `this runtime (${runtimeOf(host)}) does not run relaxed SIMD correctly; use variant "auto" or "base"`,
    { field: "variant" },
  );
}
