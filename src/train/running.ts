// What a run is given, what it tells and gives back, and what identifies it.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { now } from "../clock.ts";
import type { ModelFiles } from "../file/source.ts";
import type { ModelFile } from "../model/config.ts";
import { Checksum, hex } from "./checksum.ts";
import type { TrainConfig } from "./config.ts";
import type { Features } from "./features.ts";
import type { Feed } from "./feed.ts";
import type { FolderParts } from "./folder.ts";
import type { LogEntry } from "./log.ts";
import type { Machine, TrainVariant } from "./machine.ts";
import type { Dequantise } from "./model.ts";
import type { RunStore } from "./store.ts";
import type { Trainer } from "./trainer.ts";

export interface RunProgress {
  readonly update: number;
  readonly updates: number;
  readonly loss: number;
  readonly heldOut: number | undefined;
  readonly norm: number;
  readonly rate: number;
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Floating point operations of matrix products in a second, in units of 10^9. */
  readonly gflops: number;
  readonly secondsLeft: number;
  readonly stage: number;
}

export interface RunStart {
  readonly parameters: number;
  /** Numbers that are trained. */
  readonly trained: number;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly stage: number;
  /** Updates that a checkpoint has. */
  readonly resumedAt: number;
  readonly updates: number;
  readonly tokensPerUpdate: number;
  readonly documents: { readonly trained: number; readonly heldOut: number };
  /** Multiply-adds in registers on all threads, counted as two operations, in 10^9 a second. */
  readonly peakGflops: number;
  /** What the run told before this process. */
  readonly log: readonly LogEntry[];
}

export interface RunHooks {
  readonly signal?: AbortSignal | undefined;
  onStart?(start: RunStart): void;
  onProgress?(progress: RunProgress): void;
  onEntry?(entry: LogEntry): void;
  /** Continues prompts with the model as it is; files of a folder in memory. */
  sample?(files: ModelFiles, prompts: readonly string[], maxTokens: number): Promise<readonly string[]>;
}

export interface RunInput {
  readonly config: TrainConfig;
  readonly store: RunStore;
  /** A machine for a stage; the run closes it. `variant`: what the checkpoint was computed with, which must be gone on with. */
  machine(variant?: TrainVariant): Promise<Machine>;
  readonly model: ModelFile;
  readonly parts: FolderParts;
  readonly feed: Feed;
  /** Tells the data: a checkpoint of other data is refused. */
  readonly dataKey: string;
  /** FR-Spec's vocabulary of each stage that names one. */
  readonly vocabularies?: ReadonlyMap<string, Int32Array> | undefined;
  /** Models that stages name as teachers. */
  readonly teachers?: ReadonlyMap<string, ModelFile> | undefined;
  readonly dequantise?: Dequantise | undefined;
  /** Of heads for a resident target: its states. Absent: the trainer computes a target of floats itself. */
  readonly features?: Features | undefined;
}

export interface RunResult {
  /** At the end of the last stage; the caller closes it. */
  readonly trainer: Trainer;
  readonly log: readonly LogEntry[];
  readonly updates: number;
}

const PREFIX = "checkpoint-";
export const checkpointName = (updates: number): string => `${PREFIX}${String(updates).padStart(9, "0")}.ckpt`;

/**
 * What a run's results depend on, as a number. How often it is evaluated, sampled or saved changes nothing; a run may also become longer
 * where its schedule says the same for what was done.
 */
export function configKey(config: TrainConfig, dataKey: string): string {
  const { start, heldOut, packing, length, rows, accumulate, seed, sparse } = config;
  const stages = config.stages.map((stage, i) => (i < config.stages.length - 1 ? stage : { ...stage, updates: null }));
  const text = JSON.stringify({ start, heldOut, packing, length, rows, accumulate, seed, sparse, stages, dataKey });
  return bytesToHex(sha256(new TextEncoder().encode(text)));
}

/** Checkpoints of a store, the newest first. */
export async function checkpointsOf(store: RunStore): Promise<string[]> {
  return (await store.names())
    .filter((name) => name.startsWith(PREFIX) && name.endsWith(".ckpt"))
    .sort()
    .reverse();
}

const ROUNDS = 1 << 20;

/** The best of three. A round is 12 chains of 4 multiply-adds on every thread. */
export async function peakOf(machine: Machine): Promise<number> {
  let best = 0;
  for (let i = 0; i < 3; i++) {
    const began = now();
    await machine.call("train_peak", ROUNDS);
    best = Math.max(best, (ROUNDS * 12 * 4 * 2 * machine.threads) / (now() - began) / 1e6);
  }
  return best;
}

/** Tells the weights that a run reads and does not train. */
export function frozenKey(trainer: Trainer): string {
  const sum = new Checksum();
  const { graph, machine } = trainer;
  for (const t of graph.tensors.values()) {
    if (graph.trained.includes(t)) continue;
    const count = t.shape.reduce((a, b) => a * b, 1);
    sum.update(new Uint8Array(machine.memory.buffer, t.at, count * machine.real));
  }
  return hex(sum.digest());
}
