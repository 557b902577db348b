// Running rows through the layers in slices short enough that the thread's event loop keeps turning.

import type { Plan } from "../model/plan.ts";
import type { Stop } from "../signals.ts";
import { BATCH_COUNT, check, type Kernels, STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import type { EngineHost } from "../wasm/host.ts";
import { type Arena, align } from "../wasm/memory.ts";
import type { Pool } from "../wasm/pool.ts";
import { LaneChoice } from "./lanes.ts";
import type { Sequence } from "./sequences.ts";
import type { BlockRecorder } from "./trace.ts";

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
  /** Tokens of the sequence after the whole call that this row is part of: decides dense or sparse. */
  readonly total: number;
}

/** Rows of tokens that follow a sequence in order, or its first `first` tokens. `total`: tokens of the sequence after the whole call; see Row in cpp/abi.h. */
export function causalRows(
  sequence: Sequence,
  tokens: readonly number[],
  total: number,
  first = sequence.tokens.length,
): StepRow[] {
  return tokens.map((token, i) => ({
    sequence,
    token,
    position: first + i,
    slot: first + i,
    base: first + i + 1,
    maskLow: 0,
    maskHigh: 0,
    total,
  }));
}

/** A model in memory, and where its steps are computed. */
export interface StepperPlace {
  /** Address of the Model struct. */
  readonly model: number;
  readonly layers: number;
  readonly kvHeads: number;
  readonly hidden: number;
  /** Slots of the longest sequence. */
  readonly context: number;
  /** Address of plan.scratchBytes. */
  readonly scratch: number;
  /** Address of (plan.logitRows, vocab) float32. */
  readonly logits: number;
}

/** Final states that are copied together. */
const STATE_ROWS = 32;

/** Longest time between two looks at the event loop, roughly, in milliseconds. */
const SLICE_MS = 12;
/** Steps of so few rows may take one lane: see LaneChoice. */
const SMALL_ROWS = 4;
/** Longest time that one layer of a batch should take, and a guess (of one lane's speed in attention) before any was timed. */
const LAYER_MS = 36;
const MULTIPLICATIONS_PER_MS = 1.2e7;

/** States of the residual stream as it enters some layers, kept for every row of a step, side by side, times `scale`. */
export interface LayerTaps {
  readonly layers: readonly number[];
  /** Address of (capacity, layers × hidden) float32. */
  readonly at: number;
  readonly hidden: number;
  readonly scale: number;
}

export class Stepper {
  readonly #kernels: Kernels;
  readonly #pool: Pool;
  readonly #arena: Arena;
  readonly #host: EngineHost;
  readonly #plan: Plan;
  readonly #model: number;
  readonly #layers: number;
  readonly #kvHeads: number;
  readonly #context: number;
  readonly #hidden: number;
  readonly #batch: number;
  readonly #rows: number;
  readonly #picked: number;
  /** Address of (plan.logitRows, vocab) float32. */
  readonly logits: number;
  #taps: LayerTaps | undefined;
  /** Address of (STATE_ROWS, hidden) float32, once asked for. */
  #states: number | undefined;
  /** Where taps of a step are kept, and numbers of a row that fit. */
  #tapped = { at: 0, width: 0 };
  readonly #lanes: LaneChoice;
  #msPerLayerRow = 0.05;
  #breathed = 0;
  /** Lanes of the last step. */
  #active = 1;

  constructor(kernels: Kernels, pool: Pool, arena: Arena, host: EngineHost, plan: Plan, place: StepperPlace) {
    this.#kernels = kernels;
    this.#pool = pool;
    this.#arena = arena;
    this.#host = host;
    this.#plan = plan;
    this.#lanes = new LaneChoice(plan.lanes);
    this.#model = place.model;
    this.#layers = place.layers;
    this.#kvHeads = place.kvHeads;
    this.#context = place.context;
    this.#hidden = place.hidden;
    this.logits = place.logits;
    this.#rows = arena.take(STRUCT_BYTES.row * plan.batchSize);
    this.#picked = arena.take(4 * plan.batchSize);
    this.#batch = arena.take(STRUCT_BYTES.batch);
    new StructWriter(arena.memory.buffer, this.#batch)
      .words(this.#rows, place.scratch, this.logits)
      .ints(0, plan.batchSize, plan.lanes, plan.logitRows)
      .words(plan.loraWidth > 0 ? place.scratch + plan.scratchBytes - align(4 * plan.loraWidth * plan.batchSize) : 0)
      .ints(plan.loraWidth, 0);
  }

  get capacity(): number {
    return this.#plan.batchSize;
  }

  get logitRows(): number {
    return this.#plan.logitRows;
  }

  /**
   * Rows of the next batch of a call that ends at `total` tokens: at most `capacity`, and so few in a long context that one
   * layer of them does not hold up an abort. How tokens are cut into batches changes no bit of the result.
   */
  batchRows(total: number): number {
    const { sparse, layers, lanes } = this.#plan;
    const seen =
      sparse && total >= sparse.denseLen
        ? Math.min(total, sparse.windowSize + sparse.blockSize * sparse.topk + total / sparse.kernelStride)
        : total;
    const attention = (2 * seen * layers[0]!.q.rows) / (MULTIPLICATIONS_PER_MS * lanes);
    return Math.max(1, Math.min(this.capacity, Math.floor(LAYER_MS / Math.max(this.#msPerLayerRow, attention))));
  }

  /**
   * Runs at most `capacity` rows through all layers. Sequences whose caches are not what these rows need, as after a cut below what
   * windows keep or where a text outgrows its rotation, are computed anew before. `taps`: layers whose inputs states() will give.
   */
  async layers(rows: readonly StepRow[], stop?: Stop, recorder?: BlockRecorder, taps: readonly number[] = []): Promise<void> {
    if (this.#plan.ring > 0 || this.#plan.ropeSwitch > 0)
      for (const sequence of new Set(rows.map((row) => row.sequence))) await this.#renew(sequence, rows, stop);
    if (taps.length === 0) return this.#compute(rows, stop, recorder);
    const hidden = this.#hidden;
    if (taps.length * hidden > this.#tapped.width)
      this.#tapped = { at: this.#arena.take(4 * taps.length * hidden * this.capacity), width: taps.length * hidden };
    const own = { layers: taps, at: this.#tapped.at, hidden, scale: 1 };
    await this.#compute(rows, stop, recorder, this.#taps ? [this.#taps, own] : [own]);
  }

  #isFar(total: number): boolean {
    return this.#plan.ropeSwitch > 0 && total > this.#plan.ropeSwitch;
  }

  async #renew(sequence: Sequence, rows: readonly StepRow[], stop?: Stop): Promise<void> {
    const total = rows.reduce((most, row) => (row.sequence === sequence ? Math.max(most, row.total) : most), 0);
    const { tokens } = sequence;
    if (tokens.length > 0 && (sequence.stale || sequence.far !== this.#isFar(total))) {
      sequence.stale = true;
      sequence.reach = 0;
      for (let first = 0, end = 0; first < tokens.length; first = end) {
        end = Math.min(tokens.length, first + this.batchRows(total));
        await this.#compute(causalRows(sequence, tokens.slice(first, end), total, first), stop);
      }
      sequence.stale = false;
    }
    sequence.far = this.#isFar(total);
  }

  async #compute(
    rows: readonly StepRow[],
    stop?: Stop,
    recorder?: BlockRecorder,
    taps: readonly LayerTaps[] = this.#taps ? [this.#taps] : [],
  ): Promise<void> {
    this.#write(rows);
    const single = rows.length === 1;
    const lanes = rows.length <= SMALL_ROWS ? this.#lanes.next(single) : this.#plan.lanes;
    this.#active = lanes;
    let spent = 0;
    for (let begin = 0; begin < this.#layers; ) {
      const count = recorder ? 1 : Math.max(1, Math.floor(SLICE_MS / (this.#msPerLayerRow * rows.length)));
      let end = Math.min(this.#layers, begin + count);
      for (const some of taps) {
        for (const layer of some.layers) if (layer > begin && layer < end) end = layer;
        this.#tap(some, begin, rows.length);
      }
      const started = this.#host.now();
      check(await this.#pool.run(lanes, "forward", this.#model, this.#batch, this.#context, begin, end), "forward");
      const ms = this.#host.now() - started;
      this.#msPerLayerRow = Math.max(1e-4, 0.7 * this.#msPerLayerRow + (0.3 * ms) / ((end - begin) * rows.length));
      spent += ms;
      recorder?.take(begin, rows, ...this.#choices(rows));
      begin = end;
      await this.breathe(stop);
    }
    if (single) this.#lanes.took(lanes, spent);
  }

  /** Forgets tokens [to, from) of a sequence: the later ones take their places, and their positions. */
  slide(sequence: Sequence, from: number, to: number): void {
    if (this.#plan.ring > 0 || this.#plan.ropeSwitch > 0) {
      // What windows let through of the forgotten ones is in the later ones' states: they are computed anew.
      sequence.tokens.splice(to, from - to);
      sequence.stale = true;
      return;
    }
    check(this.#kernels.kv_slide(this.#model, sequence.at, from, to, sequence.tokens.length - from), "slide");
    sequence.tokens.splice(to, from - to);
  }

  /** What the rows of the last layer chose, if they chose. */
  #choices(rows: readonly StepRow[]): [Int32Array | undefined, number] {
    const { sparse } = this.#plan;
    if (!sparse || rows[0]!.total < sparse.denseLen) return [undefined, 0];
    const words = this.#kernels.choice_words(this.#model, this.#batch, this.#context);
    const at = this.#kernels.choices(this.#model, this.#batch, this.#context);
    return [new Int32Array(this.#arena.memory.buffer, at, rows.length * this.#kvHeads * words), words];
  }

  /** Logits of some rows of the last step (at most logitRows), into `logits`. */
  async head(picked: readonly number[], stop?: Stop): Promise<void> {
    new Int32Array(this.#arena.memory.buffer, this.#picked, picked.length).set(picked);
    const { length } = picked;
    check(await this.#pool.run(this.#active, "head", this.#model, this.#batch, this.#context, this.#picked, length), "head");
    await this.breathe(stop);
  }

  /** Keeps states inside the model from now on. */
  tap(taps: LayerTaps): void {
    this.#taps = taps;
  }

  #tap(taps: LayerTaps, layer: number, rows: number): void {
    if (!taps.layers.includes(layer)) return;
    const all = Array.from({ length: rows }, (_, i) => i);
    for (const [i, tapped] of taps.layers.entries())
      if (tapped === layer)
        this.#copyStates(all, taps.at + 4 * i * taps.hidden, taps.layers.length * taps.hidden, false, taps.scale);
  }

  /** Final hidden states of rows of the last step, after the final norm, to `out`: (rows, stride) float32. */
  finalStates(rows: readonly number[], out: number, stride: number): void {
    this.#copyStates(rows, out, stride, true, 1);
  }

  /** As finalStates, before the final norm. */
  lastStates(rows: readonly number[], out: number, stride: number): void {
    this.#copyStates(rows, out, stride, false, 1);
  }

  /**
   * Calls back with the final hidden state of each of these rows of the last step, after the final norm; a view that the next one overwrites.
   * `taps`: how many layers were tapped; their inputs come before.
   */
  states(rows: readonly number[], onState: (state: Float32Array) => void, taps = 0): void {
    const hidden = this.#hidden;
    this.#states ??= this.#arena.take(4 * hidden * STATE_ROWS);
    for (let begin = 0; begin < rows.length; begin += STATE_ROWS) {
      const some = rows.slice(begin, begin + STATE_ROWS);
      this.finalStates(some, this.#states, hidden);
      for (const [i, row] of some.entries()) {
        const { buffer } = this.#arena.memory;
        if (taps > 0) onState(new Float32Array(buffer, this.#tapped.at + 4 * taps * hidden * row, taps * hidden));
        onState(new Float32Array(buffer, this.#states + 4 * hidden * i, hidden));
      }
    }
  }

  #copyStates(rows: readonly number[], out: number, stride: number, normed: boolean, scale: number): void {
    new Int32Array(this.#arena.memory.buffer, this.#picked, rows.length).set(rows);
    check(
      this.#kernels.draft_taps(
        this.#model,
        this.#batch,
        this.#context,
        this.#picked,
        rows.length,
        out,
        stride,
        normed ? 1 : 0,
        scale,
      ),
      "draft_taps",
    );
  }

  /** Milliseconds of one layer for these rows, run on whatever the scratch memory holds. */
  timeLayer(rows: readonly StepRow[], layer: number): number {
    this.#write(rows);
    this.#pool.join();
    const started = this.#host.now();
    check(this.#kernels.forward(this.#model, this.#batch, this.#context, layer, layer + 1), "forward");
    return this.#host.now() - started;
  }

  /** Milliseconds of the head for the first row of the last step. */
  timeHead(): number {
    new Int32Array(this.#arena.memory.buffer, this.#picked, 1).set([0]);
    const started = this.#host.now();
    check(this.#kernels.head(this.#model, this.#batch, this.#context, this.#picked, 1), "head");
    return this.#host.now() - started;
  }

  /** Writes rows for phases(), which then computes them as often as asked. */
  prepare(rows: readonly StepRow[]): void {
    this.#write(rows);
    this.#pool.join();
  }

  /** Some phases (enum Phase of cpp/model/forward.h) of layers [begin, end), or of the head where begin is their number. */
  phases(begin: number, end: number, phases: number): void {
    check(this.#kernels.forward_phase(this.#model, this.#batch, this.#context, begin, end, phases), "forward_phase");
  }

  #write(rows: readonly StepRow[]): void {
    const writer = new StructWriter(this.#arena.memory.buffer, this.#rows);
    for (const r of rows) {
      if (r.slot >= r.sequence.reach) r.sequence.reach = r.slot + 1;
      writer.words(r.sequence.at).ints(r.token, r.position, r.slot, r.base, r.maskLow, r.maskHigh, r.total, 0);
    }
    new StructWriter(this.#arena.memory.buffer, this.#batch + BATCH_COUNT).ints(rows.length);
  }

  /** Copies the keys and values of a slot to another of the same sequence. */
  move(sequence: Sequence, from: number, to: number): void {
    if (from !== to) check(this.#kernels.kv_move(this.#model, sequence.at, from, sequence.at, to, 1), "kv_move");
  }

  /** Gives the event loop a turn when the last one is a slice ago; throws when aborted. */
  async breathe(stop?: Stop): Promise<void> {
    const now = this.#host.now();
    if (this.#host.requestBound || now - this.#breathed >= SLICE_MS) {
      await this.#host.breathe();
      this.#breathed = this.#host.now();
    }
    stop?.throwIfAborted();
  }
}
