// Running rows through the layers in slices short enough that the thread's event loop keeps turning.

import type { Plan } from "../model/plan.ts";
import { check, type Kernels, STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import type { Arena } from "../wasm/memory.ts";
import type { EngineHost } from "./host.ts";
import type { Sequence } from "./sequences.ts";

/** One row of a step: see Row in cpp/abi.h. */
export interface StepRow {
  readonly sequence: Sequence;
  readonly token: number;
  readonly position: number;
  readonly slot: number;
  /** Sees slots below `base`, and slot base + j for each bit j of the mask. */
  readonly base: number;
  readonly maskLow: number;
  readonly maskHigh: number;
}

/** A model in memory, and where its steps are computed. */
export interface StepperPlace {
  /** Address of the Model struct. */
  readonly model: number;
  readonly layers: number;
  /** Slots of the longest sequence. */
  readonly context: number;
  /** Address of plan.scratchBytes. */
  readonly scratch: number;
  /** Address of (plan.logitRows, vocab) float32. */
  readonly logits: number;
}

/** Longest time between two looks at the event loop, roughly, in milliseconds. */
const SLICE_MS = 12;

export class Stepper {
  readonly #kernels: Kernels;
  readonly #arena: Arena;
  readonly #host: EngineHost;
  readonly #plan: Plan;
  readonly #model: number;
  readonly #layers: number;
  readonly #context: number;
  readonly #batch: number;
  readonly #rows: number;
  readonly #picked: number;
  /** Address of (plan.logitRows, vocab) float32. */
  readonly logits: number;
  #msPerLayerRow = 0.05;
  #breathed = 0;

  constructor(kernels: Kernels, arena: Arena, host: EngineHost, plan: Plan, place: StepperPlace) {
    this.#kernels = kernels;
    this.#arena = arena;
    this.#host = host;
    this.#plan = plan;
    this.#model = place.model;
    this.#layers = place.layers;
    this.#context = place.context;
    this.logits = place.logits;
    this.#rows = arena.take(STRUCT_BYTES.row * plan.batchSize);
    this.#picked = arena.take(4 * plan.batchSize);
    this.#batch = arena.take(STRUCT_BYTES.batch);
    new StructWriter(arena.memory.buffer, this.#batch).ints(
      this.#rows,
      place.scratch,
      this.logits,
      0,
      plan.batchSize,
      plan.lanes,
      plan.logitRows,
    );
  }

  get capacity(): number {
    return this.#plan.batchSize;
  }

  get logitRows(): number {
    return this.#plan.logitRows;
  }

  /** Runs at most `capacity` rows through all layers. */
  async layers(rows: readonly StepRow[], signal?: AbortSignal): Promise<void> {
    const writer = new StructWriter(this.#arena.memory.buffer, this.#rows);
    for (const r of rows) writer.ints(r.sequence.at, r.token, r.position, r.slot, r.base, r.maskLow, r.maskHigh);
    new StructWriter(this.#arena.memory.buffer, this.#batch + 12).ints(rows.length);
    for (let begin = 0; begin < this.#layers; ) {
      const count = Math.max(1, Math.floor(SLICE_MS / (this.#msPerLayerRow * rows.length)));
      const end = Math.min(this.#layers, begin + count);
      const started = this.#host.now();
      check(this.#kernels.forward(this.#model, this.#batch, this.#context, begin, end), "forward");
      const ms = this.#host.now() - started;
      this.#msPerLayerRow = Math.max(1e-4, 0.7 * this.#msPerLayerRow + (0.3 * ms) / ((end - begin) * rows.length));
      begin = end;
      await this.breathe(signal);
    }
  }

  /** Logits of some rows of the last step (at most logitRows), into `logits`. */
  async head(picked: readonly number[], signal?: AbortSignal): Promise<void> {
    new Int32Array(this.#arena.memory.buffer, this.#picked, picked.length).set(picked);
    check(this.#kernels.head(this.#model, this.#batch, this.#context, this.#picked, picked.length), "head");
    await this.breathe(signal);
  }

  /** Gives the event loop a turn when the last one is a slice ago; throws when aborted. */
  async breathe(signal?: AbortSignal): Promise<void> {
    const now = this.#host.now();
    if (this.#host.requestBound || now - this.#breathed >= SLICE_MS) {
      await this.#host.breathe();
      this.#breathed = this.#host.now();
    }
    signal?.throwIfAborted();
  }
}
