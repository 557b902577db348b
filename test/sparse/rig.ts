// One attention layer over a cache that a test filled, in one kernel build.

import type { KvType } from "../../src/engine/types.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { writeModel } from "../../src/model/plan.ts";
import { type SparseConfig, sparseWords } from "../../src/model/sparse.ts";
import { STRUCT_BYTES, StructWriter } from "../../src/wasm/abi.ts";
import { type Bench, workbench } from "../support/bench.ts";
import { noise } from "../support/noise.ts";

/** A key or value of a cache of 8 bits. */
interface Coded {
  readonly codes: readonly number[];
  readonly scale: number;
}

export interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly kvType: KvType;
  readonly sparse: SparseConfig;
  /** Slots, a multiple of 64. */
  readonly capacity: number;
  /** Rows of a step, at most. */
  readonly rows: number;
}

export interface TestRow {
  readonly position: number;
  readonly slot: number;
  readonly base: number;
  readonly mask: bigint;
  readonly total: number;
}

export const causal = (slot: number, total: number): TestRow => ({ position: slot, slot, base: slot + 1, mask: 0n, total });

export class Rig {
  readonly bench: Bench;
  readonly shape: Shape;
  readonly model: number;
  readonly sequence: number;
  readonly #batch: number;
  readonly #rows: number;
  readonly #q: { at: number; values: Float32Array };
  readonly #o: { at: number; values: Float32Array };
  readonly #pair: { at: number; values: Float32Array };

  static async open(build: string, shape: Shape): Promise<Rig> {
    return new Rig(await workbench(build), shape);
  }

  private constructor(bench: Bench, shape: Shape) {
    this.bench = bench;
    this.shape = shape;
    const { memory, kernels, take, floats } = bench;
    const { heads, kvHeads, headDim, capacity, rows } = shape;
    const config = {
      layers: 1,
      hidden: 32,
      intermediate: 32,
      heads,
      kvHeads,
      headDim,
      vocab: 32,
      rmsEps: 1e-5,
      embeddingScale: 1,
      residualScale: 1,
      logitScale: 1,
      ropeScale: 1,
    } as unknown as ModelConfig;
    this.model = take(STRUCT_BYTES.model);
    writeModel(memory.buffer, this.model, config, shape.kvType, 256, sparseWords(shape.sparse, capacity));
    this.sequence = take(STRUCT_BYTES.sequence);
    new StructWriter(memory.buffer, this.sequence)
      .words(take(kernels.kv_bytes(this.model, capacity)))
      .ints(capacity, 0)
      .words(0);
    this.#rows = take(STRUCT_BYTES.row * rows);
    this.#batch = take(STRUCT_BYTES.batch);
    const scratch = take(kernels.scratch_bytes(this.model, rows, 1, capacity));
    new StructWriter(memory.buffer, this.#batch).words(this.#rows, scratch, 0).ints(0, rows, 1, 1).words(0).ints(0, 0);
    this.#q = floats(rows * heads * headDim);
    this.#o = floats(rows * heads * headDim);
    this.#pair = floats(2 * headDim);
  }

  store(head: number, slot: number, key: ArrayLike<number>, value: ArrayLike<number>): void {
    const { headDim } = this.shape;
    this.#pair.values.set(key);
    this.#pair.values.set(value, headDim);
    this.bench.kernels.kv_store(this.model, this.sequence, 0, head, slot, this.#pair.at, this.#pair.at + 4 * headDim);
  }

  /** The keys and values of a slot as the cache holds them: cpp/model/kv.h. */
  stored(head: number, slot: number): { key: number[]; value: number[] } {
    const { headDim: dim, kvType, capacity } = this.shape;
    if (kvType === "q8") {
      const { key, value } = this.codes(head, slot);
      const floats = ({ codes, scale }: Coded) => Array.from(codes, (code) => code * scale);
      return { key: floats(key), value: floats(value) };
    }
    const size = kvType === "f32" ? 4 : 2;
    const bytes = dim * 32 * size;
    const data = new DataView(this.bench.memory.buffer).getUint32(this.sequence, true);
    const j = slot % 32;
    const read = (which: number): number[] => {
      const at = data + (head * 2 + which) * (capacity / 32) * bytes + Math.floor(slot / 32) * bytes;
      const view = new DataView(this.bench.memory.buffer, at, bytes);
      return Array.from({ length: dim }, (_, d) => {
        const index = which ? j * dim + d : d * 32 + j;
        return size === 4 ? view.getFloat32(4 * index, true) : half(view.getUint16(2 * index, true));
      });
    };
    return { key: read(0), value: read(1) };
  }

  /** The codes and scales of a slot of a cache of 8 bits. */
  codes(head: number, slot: number): { key: Coded; value: Coded } {
    const { headDim: dim, capacity } = this.shape;
    const padded = Math.ceil(dim / 4) * 4;
    const bytes = padded * 32 + 128;
    const data = new DataView(this.bench.memory.buffer).getUint32(this.sequence, true);
    const j = slot % 32;
    const read = (which: number): Coded => {
      const at = data + (head * 2 + which) * (capacity / 32) * bytes + Math.floor(slot / 32) * bytes;
      const view = new DataView(this.bench.memory.buffer, at, bytes);
      const code = (d: number) =>
        which ? (Math.floor(j / 4) * padded + d) * 4 + (j % 4) : (Math.floor(d / 4) * 32 + j) * 4 + (d % 4);
      return {
        codes: Array.from({ length: dim }, (_, d) => view.getInt8(code(d))),
        scale: view.getFloat32(padded * 32 + 4 * j, true),
      };
    };
    return { key: read(0), value: read(1) };
  }

  /** Compressed key `window` as the cache holds it. */
  storedWindow(head: number, level: number, window: number, { fine, coarse }: { fine: number; coarse: number }): number[] {
    const { headDim: dim, kvType, capacity, kvHeads } = this.shape;
    const size = kvType === "f32" ? 4 : 2;
    const kvTile = kvType === "q8" ? Math.ceil(dim / 4) * 128 + 128 : dim * 32 * size;
    const tiles = (n: number) => Math.ceil(n / 32);
    const data = new DataView(this.bench.memory.buffer).getUint32(this.sequence, true);
    const at =
      data +
      kvHeads * 2 * (capacity / 32) * kvTile +
      (head * (tiles(fine) + tiles(coarse)) + (level ? tiles(fine) : 0) + Math.floor(window / 32)) * dim * 32 * size;
    const view = new DataView(this.bench.memory.buffer, at, dim * 32 * size);
    return Array.from({ length: dim }, (_, d) =>
      size === 4 ? view.getFloat32(4 * (d * 32 + (window % 32)), true) : half(view.getUint16(2 * (d * 32 + (window % 32)), true)),
    );
  }

  /** Runs attention for rows; q (rows, heads, dim), already scaled. `parts` as forward_attention in cpp/model/forward.h. */
  attend(rows: readonly TestRow[], q: ArrayLike<number>, parts = 7): Float32Array {
    const { memory, kernels } = this.bench;
    const writer = new StructWriter(memory.buffer, this.#rows);
    for (const r of rows)
      writer
        .words(this.sequence)
        .ints(
          0,
          r.position,
          r.slot,
          r.base,
          Number(BigInt.asIntN(32, r.mask)),
          Number(BigInt.asIntN(32, r.mask >> 32n)),
          r.total,
          0,
        );
    new StructWriter(memory.buffer, this.#batch + 24).ints(rows.length);
    this.#q.values.set(q);
    const status = kernels.attention(this.model, this.#batch, this.shape.capacity, 0, this.#q.at, this.#o.at, parts);
    if (status !== 0) throw new Error(`attention returned ${status}`);
    return this.#o.values.slice(0, rows.length * this.shape.heads * this.shape.headDim);
  }

  /** Blocks that row t of the last call chose. */
  chosen(t: number, head: number): number[] {
    const { memory, kernels } = this.bench;
    const words = kernels.choice_words(this.model, this.#batch, this.shape.capacity);
    const at = kernels.choices(this.model, this.#batch, this.shape.capacity) + 4 * (t * this.shape.kvHeads + head) * words;
    const [count = 0, ...blocks] = new Int32Array(memory.buffer, at, words);
    return blocks.slice(0, count);
  }

  /** Fills slots [from, to) with noise; some keys are made to stand out, so that blocks differ. */
  fill(seed: number, from: number, to: number): void {
    const random = noise(seed);
    const { kvHeads, headDim } = this.shape;
    const vector = (scale: number) => Float32Array.from({ length: headDim }, () => (random() - 0.5) * scale);
    for (let slot = from; slot < to; slot++)
      for (let head = 0; head < kvHeads; head++) this.store(head, slot, vector(random() < 0.05 ? 12 : 3), vector(2));
  }
}

function half(bits: number): number {
  const magnitude =
    (bits & 0x7c00) === 0 ? (bits & 0x3ff) * 2 ** -24 : (1 + (bits & 0x3ff) / 1024) * 2 ** (((bits >> 10) & 31) - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
}
