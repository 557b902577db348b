// What the core needs from a runtime. Implementations are leaves in src/host/ that nothing else imports.
import type { Lane } from "./lane.ts";
import type { Lead } from "./pool.ts";

export type { Lane };

/** Lanes that run. */
export interface StartedLanes {
  end(): Promise<void>;
  /** Of hosts that `leads` is true of. */
  readonly lead?: Lead | undefined;
}

/** Built modules, by file name without ".wasm". */
export const ARTIFACTS = [
  "kernels",
  "kernels.relaxed",
  "kernels.mt",
  "kernels.relaxed.mt",
  "kernels64.relaxed.mt",
  "decide",
  "decide.mt",
  "constrain",
] as const;
export type Artifact = (typeof ARTIFACTS)[number];

/** Kernel build: SIMD level and threading. "auto" probes results and takes the fastest that is right. */
export type Variant = "base" | "relaxed";

/** The surroundings of an engine, seen from the thread it runs in. */
export interface EngineHost {
  readonly name: "node" | "deno" | "bun" | "browser" | "edge";
  /** Its version, for messages. */
  readonly version?: string | undefined;
  /** Compiled kernel module. `turbo`: with the experimental optimisations that `turbo` below tells of. */
  module(artifact: Artifact, turbo?: boolean): Promise<WebAssembly.Module>;
  /** This runtime can fuse neighbouring 128-bit operations into 256-bit ones (V8's re-vectoriser, off by default). */
  readonly turbo?: boolean;
  /** When wasm functions are optimised from now on: "at once", when they have run a little, by the thread that runs them, or in time. */
  tierUp?(when: "at once" | "in time"): void;
  /** Lanes that "auto" means: physical cores, 1 where there are no threads. */
  readonly cores: number;
  /** Why there are no threads here, when `startLanes` is absent. */
  readonly threadsNote?: string;
  /**
   * Starts worker lanes over shared memory; resolves when all are ready. `onDeath` is called when one ends by itself.
   */
  startLanes?(lanes: readonly Lane[], onDeath: () => void): Promise<StartedLanes>;
  /** This thread is the caller's own: it must not wait for lanes, so one of them (of index 0) leads in its place. */
  readonly leads?: boolean;
  /** Lets the event loop of this thread run once (a macrotask). */
  breathe(): Promise<void>;
  /**
   * Work belongs to requests, and the clock stands still while one computes (edge platforms). Every step breathes then, and
   * an aborted call settles only when it has passed its turn on: a request can be kept alive until that, and must be.
   */
  readonly requestBound?: boolean;
  /** Milliseconds, monotonic. */
  now(): number;
}
