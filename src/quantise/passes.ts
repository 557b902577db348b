// One layer of the model over all calibration sequences: the inference forward pass with float32 weights, cut where its linears read.
// What does not fit the memory lies in stores; the order of sequences and rows is fixed, so every run has the same bits.
import type { EngineOptions } from "../engine/types.ts";
import type { LayerFiles, LayerKind, ModelFile, WeightFile } from "../model/config.ts";
import { type LoadContext, placeModel } from "../model/load.ts";
import { type Plan, type PlannedWeight, planModel, slots } from "../model/plan.ts";
import { KINDS, readWord, STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import { Arena } from "../wasm/memory.ts";
import { Pool } from "../wasm/pool.ts";
import type { Destination, Store } from "./destination.ts";
import { CHUNK_ROWS, type Machine, type Piece } from "./module.ts";

/** The linears of a layer. */
export const PARTS = ["q", "k", "v", "o", "gate", "up", "down"] as const;
export type Part = (typeof PARTS)[number];
/** Linears that read the same input, in the order in which they are quantised. */
export const STAGES = { qkv: ["q", "k", "v"], o: ["o"], mlp: ["gate", "up"], down: ["down"] } as const;
export type Stage = keyof typeof STAGES;
export const STAGE_NAMES = Object.keys(STAGES) as readonly Stage[];

/** enum Phase of cpp/model/forward.h. */
const PHASE = { norm: 2, qkv: 4, attend: 8, out: 16, gateUp: 32, down: 64 } as const;
/** enum Which of cpp/quantise/calibrate.cpp. */
const WHICH = { hidden: 0, attended: 1, inner: 2 } as const;
/** Byte offset of `count` in the Batch struct. */
const BATCH_COUNT = 24;

/** Rows of one sequence that go through a layer together. */
interface Chunk {
  /** Position of the first row in its sequence. */
  readonly from: number;
  readonly count: number;
  /** Rows of all sequences before it. */
  readonly row: number;
  /** Tokens of the whole sequence. */
  readonly total: number;
  /** Which sequence. */
  readonly sequence: number;
}

/** Sees rows (count, cols) float32 at `at` that enter linears; `from`: position of the first in its sequence, the `sequence`-th. */
export type OnInput = (at: number, count: number, from: number, sequence: number) => Promise<void>;

export interface Sizes {
  readonly hidden: number;
  readonly attended: number;
  readonly inner: number;
}

export class Passes {
  readonly sizes: Sizes;
  readonly rows: number;
  readonly #machine: Machine;
  readonly #model: ModelFile;
  /** By the kind of layer: whether it has a window, and how it turns. */
  readonly #plans: ReadonlyMap<string, Plan>;
  readonly #chunks: readonly Chunk[];
  readonly #destination: Destination;
  readonly #signal: AbortSignal | undefined;
  readonly #onRows: (rows: number) => void;
  readonly #stores = new Map<string, Store>();
  readonly #pieces: Piece[] = [];
  /** Rows on their way between a store and the memory, which may be shared: not every runtime's files take that. */
  readonly #moved: Uint8Array<ArrayBuffer>;
  readonly #at: { rows: number; sequence: number; batch: number; tensor: number; region: number; a: number; b: number };
  readonly #weights: Readonly<Record<Part, PlannedWeight>>;
  #plan: Plan;
  #struct = 0;
  #norms: readonly [number, number] = [0, 0];

  /**
   * `lengths`: tokens of each sequence. `onRows`: is told of rows that went through a part of the layer.
   * @throws CpmError "out-of-memory", and what planModel throws.
   */
  constructor(
    machine: Machine,
    model: ModelFile,
    lengths: readonly number[],
    destination: Destination,
    hooks: { signal?: AbortSignal | undefined; onRows(rows: number): void },
  ) {
    this.#machine = machine;
    this.#model = model;
    this.#destination = destination;
    this.#signal = hooks.signal;
    this.#onRows = hooks.onRows;
    const { hidden, intermediate, heads, headDim } = model.config;
    this.sizes = { hidden, attended: heads * headDim, inner: intermediate };
    const chunks: Chunk[] = [];
    let row = 0;
    for (const [sequence, total] of lengths.entries())
      for (let from = 0; from < total; from += CHUNK_ROWS) {
        const count = Math.min(CHUNK_ROWS, total - from);
        chunks.push({ from, count, row, total, sequence });
        row += count;
      }
    this.#chunks = chunks;
    this.rows = row;
    const probe = this.#take(4096);
    const context = Math.max(...lengths);
    const build = {
      variant: "base",
      memory64: false,
      module: machine.module,
      probe: machine.kernels,
      probeMemory: machine.arena.memory,
      probeBase: probe,
    } as const;
    const plans = new Map<string, Plan>();
    for (const [i, layer] of model.layers.entries()) {
      const kind = this.#kind(i);
      if (!plans.has(kind)) {
        const options = optionsFor(context, machine.lanes);
        plans.set(kind, planModel(build, this.#single(layer, i), options, machine.lanes, CHUNK_ROWS));
      }
    }
    this.#plans = plans;
    this.#plan = plans.get(this.#kind(0))!;
    const largest = (bytes: (plan: Plan) => number) => Math.max(...[...plans.values()].map(bytes));
    const layer = this.#plan.layers[0]!;
    for (const part of PARTS) layer[part].at = this.#take(layer[part].bytes);
    this.#weights = layer;
    const wide = Math.max(hidden, heads * headDim, intermediate);
    this.#moved = new Uint8Array(4 * CHUNK_ROWS * wide);
    this.#at = {
      rows: this.#take(STRUCT_BYTES.row * CHUNK_ROWS),
      sequence: this.#take(STRUCT_BYTES.sequence),
      batch: this.#take(STRUCT_BYTES.batch),
      tensor: this.#take(STRUCT_BYTES.tensor),
      region: this.#take(this.#regionBytes),
      a: this.#take(4 * CHUNK_ROWS * wide),
      b: this.#take(4 * CHUNK_ROWS * wide),
    };
    const kv = this.#take(largest((plan) => plan.kvBytes));
    const scratch = this.#take(largest((plan) => plan.scratchBytes));
    const { buffer } = machine.arena.memory;
    new StructWriter(buffer, this.#at.sequence).words(kv).ints(slots(context), 0).words(0);
    new StructWriter(buffer, this.#at.batch)
      .words(this.#at.rows, scratch, this.#at.rows)
      .ints(0, this.#plan.batchSize, this.#plan.lanes, 1)
      .words(0)
      .ints(0, 0);
  }

  get #regionBytes(): number {
    const { hidden, attended, inner } = this.sizes;
    return (1 << 16) + 64 * (hidden + attended + inner);
  }

  #layerKind(layer: number): LayerKind | undefined {
    return this.#model.config.traits?.layerKinds?.[layer];
  }

  #kind(layer: number): string {
    const kind = this.#layerKind(layer);
    return kind ? `${kind.window} ${kind.rope}` : "";
  }

  #take(bytes: number): number {
    const piece = this.#machine.take("u8", bytes);
    this.#pieces.push(piece);
    return piece.at;
  }

  /** The model cut down to one layer, the `layer`-th, whose linears are float32 and come later. */
  #single(files: LayerFiles, layer: number): ModelFile {
    const float = (name: string, shape: readonly number[]): WeightFile => {
      const { source } = this.#model.norm.tensor;
      const bytes = 4 * shape.reduce((a, b) => a * b, 1);
      return { kind: "plain", ropeHeads: 0, tensor: { name, type: "F32", shape, source, offset: 0, bytes } };
    };
    const shapes = PARTS.map((part) => [part, float(part, shapeOf(files[part]))] as const);
    const { traits } = this.#model.config;
    const kind = this.#layerKind(layer);
    const own = traits ? { traits: { ...traits, ...(kind ? { layerKinds: [kind] } : {}) } } : {};
    return {
      ...this.#model,
      config: { ...this.#model.config, ...own, layers: 1, vocab: 8, tied: true, sparse: undefined },
      embedding: float("embedding", [8, this.#model.config.hidden]),
      head: undefined,
      layers: [{ ...files, ...(Object.fromEntries(shapes) as Record<Part, WeightFile>) }],
    };
  }

  /** Goes to a layer: its vectors, or others in their place. Weights come by `pack`. */
  async place(layer: number, vectors: LayerFiles["vectors"] = {}): Promise<void> {
    const machine = this.#machine;
    const { memory } = machine.arena;
    new Uint8Array(memory.buffer, this.#at.region, this.#regionBytes).fill(0);
    const arena = new Arena(memory, this.#at.region);
    const context: LoadContext = {
      kernels: machine.kernels,
      pool: new Pool(machine.kernels, machine.lanes, machine.lead),
      arena,
      host: machine.host,
      kvType: "f32",
      staging: 0,
      onProgress: () => {},
      signal: this.#signal,
    };
    const own = this.#model.layers[layer]!;
    const files = { ...own, vectors: { ...own.vectors, ...vectors } };
    this.#plan = this.#plans.get(this.#kind(layer))!;
    const plan = { ...this.#plan, layers: [{ ...this.#weights, files }] };
    this.#struct = await placeModel(context, this.#single(files, layer), plan);
    const at = readWord(
      memory.buffer,
      this.#struct + layerOffset(memory.buffer, this.#struct, this.#at.region, this.#regionBytes, this.#weights.q.at),
    );
    this.#norms = [readWord(memory.buffer, at), readWord(memory.buffer, at + 8)];
  }

  /** Gives a linear the values (rows, cols) float32 at `at`, in the order of the file; `heads`: see WeightFile.ropeHeads. */
  async pack(part: Part, at: number, heads: number): Promise<void> {
    const w = this.#weights[part];
    new StructWriter(this.#machine.arena.memory.buffer, this.#at.tensor).tensors([
      KINDS.indexOf("f32"),
      w.rows,
      w.cols,
      w.group,
      w.at,
    ]);
    await this.#machine.run("pack_rows", this.#at.tensor, 0, at, 0, w.rows, heads);
  }

  /** What enters `stage`, now that all before it are as they will be. Reads hidden states from the store `from`, and gives them to `to` at the end. */
  async run(stage: Stage | "end", from: string, to: string, onInput: OnInput): Promise<void> {
    const { hidden, attended, inner } = this.sizes;
    const { a, b } = this.#at;
    for (const chunk of this.#chunks) {
      if (stage === "qkv") {
        await this.#read(from, chunk, hidden, a);
        this.#norm(0, chunk);
        await onInput(b, chunk.count, chunk.from, chunk.sequence);
      } else if (stage === "o") {
        await this.#read(from, chunk, hidden, a);
        this.#put("hidden", chunk, a);
        await this.#phase(PHASE.norm | PHASE.qkv | PHASE.attend);
        this.#get("attended", a);
        await this.#write("attended", chunk, attended, a);
        await onInput(a, chunk.count, chunk.from, chunk.sequence);
      } else if (stage === "mlp") {
        await this.#read(from, chunk, hidden, a);
        this.#put("hidden", chunk, a);
        await this.#read("attended", chunk, attended, a);
        this.#put("attended", chunk, a);
        await this.#phase(PHASE.out);
        this.#get("hidden", a);
        await this.#write("middle", chunk, hidden, a);
        this.#norm(1, chunk);
        await onInput(b, chunk.count, chunk.from, chunk.sequence);
      } else if (stage === "down") {
        await this.#read("middle", chunk, hidden, a);
        this.#put("hidden", chunk, a);
        await this.#phase(PHASE.norm | PHASE.gateUp);
        this.#get("inner", a);
        await this.#write("inner", chunk, inner, a);
        await onInput(a, chunk.count, chunk.from, chunk.sequence);
      } else {
        await this.#read("middle", chunk, hidden, a);
        this.#put("hidden", chunk, a);
        await this.#read("inner", chunk, inner, a);
        this.#put("inner", chunk, a);
        await this.#phase(PHASE.down);
        this.#get("hidden", a);
        await this.#write(to, chunk, hidden, a);
      }
      this.#onRows(chunk.count);
      this.#signal?.throwIfAborted();
    }
  }

  /** What enters each stage with the weights as they are; nothing is kept. */
  async observe(from: string, onInput: (stage: Stage, ...input: Parameters<OnInput>) => Promise<void>): Promise<void> {
    const { a, b } = this.#at;
    for (const chunk of this.#chunks) {
      await this.#read(from, chunk, this.sizes.hidden, a);
      this.#norm(0, chunk);
      await onInput("qkv", b, chunk.count, chunk.from, chunk.sequence);
      this.#put("hidden", chunk, a);
      await this.#phase(PHASE.norm | PHASE.qkv | PHASE.attend);
      this.#get("attended", b);
      await onInput("o", b, chunk.count, chunk.from, chunk.sequence);
      await this.#phase(PHASE.out);
      this.#get("hidden", a);
      this.#norm(1, chunk);
      await onInput("mlp", b, chunk.count, chunk.from, chunk.sequence);
      await this.#phase(PHASE.norm | PHASE.gateUp);
      this.#get("inner", b);
      await onInput("down", b, chunk.count, chunk.from, chunk.sequence);
      this.#onRows(chunk.count);
      this.#signal?.throwIfAborted();
    }
  }

  /** The whole layer with the weights as they are. */
  async forward(from: string, to: string): Promise<void> {
    const { a } = this.#at;
    for (const chunk of this.#chunks) {
      await this.#read(from, chunk, this.sizes.hidden, a);
      this.#put("hidden", chunk, a);
      await this.#phase(PHASE.norm | PHASE.qkv | PHASE.attend | PHASE.out | PHASE.gateUp | PHASE.down);
      this.#get("hidden", a);
      await this.#write(to, chunk, this.sizes.hidden, a);
      this.#onRows(chunk.count);
      this.#signal?.throwIfAborted();
    }
  }

  async store(name: string): Promise<Store> {
    let store = this.#stores.get(name);
    if (!store) this.#stores.set(name, (store = await this.#destination.store(name)));
    return store;
  }

  end(): void {
    this.#machine.free(...this.#pieces.splice(0).reverse());
  }

  async #read(name: string, { row, count }: Chunk, cols: number, at: number): Promise<void> {
    const bytes = this.#moved.subarray(0, 4 * count * cols);
    await (await this.store(name)).read(4 * row * cols, bytes);
    this.#machine.u8(at, bytes.length).set(bytes);
  }

  async #write(name: string, { row, count }: Chunk, cols: number, at: number): Promise<void> {
    const bytes = this.#moved.subarray(0, 4 * count * cols);
    bytes.set(this.#machine.u8(at, bytes.length));
    await (await this.store(name)).write(4 * row * cols, bytes);
  }

  #put(which: keyof typeof WHICH, { from, count, total }: Chunk, at: number): void {
    const { buffer } = this.#machine.arena.memory;
    const rows = new StructWriter(buffer, this.#at.rows);
    for (let i = from; i < from + count; i++) rows.words(this.#at.sequence).ints(0, i, i, i + 1, 0, 0, total, 0);
    new StructWriter(buffer, this.#at.batch + BATCH_COUNT).ints(count);
    const { exports } = this.#machine;
    exports.calibrate_put(this.#struct, this.#at.batch, slots(this.#plan.contextSize), WHICH[which], at);
  }

  #get(which: keyof typeof WHICH, at: number): void {
    const { exports } = this.#machine;
    exports.calibrate_take(this.#struct, this.#at.batch, slots(this.#plan.contextSize), WHICH[which], at);
  }

  async #phase(phases: number): Promise<void> {
    await this.#machine.run("forward_phase", this.#struct, this.#at.batch, slots(this.#plan.contextSize), 0, 1, phases);
  }

  /** Rows of `a` normed into `b`. */
  #norm(which: 0 | 1, { count }: Chunk): void {
    const { a, b } = this.#at;
    const { hidden, rmsEps } = this.#model.config;
    this.#machine.exports.calibrate_norm(a, this.#norms[which], b, count, hidden, rmsEps);
  }
}

const shapeOf = (file: WeightFile): readonly number[] => (file.kind === "plain" ? file.tensor.shape : [file.rows, file.cols]);

/** Byte offset in the Model struct of the address of its layers: the word that points to a Layer, whose third word block is q. */
function layerOffset(memory: ArrayBufferLike, struct: number, region: number, bytes: number, q: number): number {
  for (let at = 0; at < STRUCT_BYTES.model; at += 8) {
    const layer = readWord(memory, struct + at);
    if (layer >= region && layer + STRUCT_BYTES.layer <= region + bytes && readWord(memory, layer + 32) === q) return at;
  }
  throw new Error("the Model struct has no layers");
}

const optionsFor = (contextSize: number, threads: number): EngineOptions => ({
  contextSize,
  kvType: "f32",
  threads,
  variant: "base",
  turbo: false,
  batchSize: CHUNK_ROWS,
  maxMemoryBytes: undefined,
});
