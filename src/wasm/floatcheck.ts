// The float kernels on fixed noise: what they gave on cold code they must give on code that an optimiser has rewritten.
import { KV_TYPES, STRUCT_BYTES, StructWriter } from "./abi.ts";
import type { Build } from "./features.ts";
import { align } from "./memory.ts";

// Queries are taken by twos or fours and dimensions by eights or sixteens: one query and six dimensions are left.
const HEADS = 7;
const DIM = 70;
const SLOTS = 96;
const ROWS = 3;
const COLUMNS = 160;

/** Numbers of 16 bits, the same ones for a seed. */
export function noise16(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 16;
  };
}

/** The bits of attention over caches of halves and of int8 (ROWS, HEADS * DIM each), of a norm and of SiLU (COLUMNS each). */
export function floatResults({ probe, probeMemory, probeBase }: Pick<Build, "probe" | "probeMemory" | "probeBase">): Uint32Array {
  const { buffer } = probeMemory;
  let top = probeBase;
  const take = (bytes: number) => {
    const at = align(top);
    top = at + bytes;
    return at;
  };
  const next = noise16(4321);
  const noise = (count: number) => {
    const at = take(4 * count);
    new Float32Array(buffer, at, count).set(Float32Array.from({ length: count }, () => (next() - 32768) / 12000));
    return at;
  };
  const results: number[] = [];
  const keep = (at: number, count: number) => results.push(...new Uint32Array(buffer, at, count));
  const [model, sequence, batch, rows] = [
    take(STRUCT_BYTES.model),
    take(STRUCT_BYTES.sequence),
    take(STRUCT_BYTES.batch),
    take(STRUCT_BYTES.row * ROWS),
  ];
  const [q, out, key, value] = [noise(ROWS * HEADS * DIM), take(4 * ROWS * HEADS * DIM), noise(SLOTS * DIM), noise(SLOTS * DIM)];
  const [x, w, y] = [noise(COLUMNS), noise(COLUMNS), take(4 * COLUMNS)];
  const free = top;
  for (const type of ["f16", "q8"] as const) {
    top = free;
    new Uint8Array(buffer, model, STRUCT_BYTES.model).fill(0);
    // One layer of one KV head, dense: cpp/abi.h.
    new StructWriter(buffer, model)
      .ints(1, 32, 32, HEADS, 1, DIM, 32, KV_TYPES[type], 256, 0, 0, 0, 0, 0, 0, 0, 0, 0)
      .floats(1e-5, 1, 1, 1, 1, 0);
    const cache = take(probe.kv_bytes(model, SLOTS));
    new StructWriter(buffer, sequence).words(cache).ints(SLOTS, 0).words(0);
    const scratch = take(probe.scratch_bytes(model, ROWS, 1, SLOTS));
    new StructWriter(buffer, batch).words(rows, scratch, 0).ints(ROWS, ROWS, 1, 1).words(0).ints(0, 0);
    const writer = new StructWriter(buffer, rows);
    for (let row = 0, slot = SLOTS - ROWS; row < ROWS; row++, slot++)
      writer.words(sequence).ints(0, slot, slot, slot + 1, 0, 0, 0, 0);
    for (let slot = 0; slot < SLOTS; slot++)
      probe.kv_store(model, sequence, 0, 0, slot, key + 4 * DIM * slot, value + 4 * DIM * slot);
    probe.attention(model, batch, SLOTS, 0, q, out, 7);
    keep(out, ROWS * HEADS * DIM);
  }
  probe.norm_row(x, w, y, COLUMNS, 1e-5, 1);
  keep(y, COLUMNS);
  probe.silu_row(y, w, COLUMNS);
  keep(y, COLUMNS);
  return Uint32Array.from(results);
}
