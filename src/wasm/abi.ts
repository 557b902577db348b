// The boundary with cpp/, by hand: function names, arities and struct layouts as in cpp/abi.h and cpp/exports.cpp.
// test/kernels/abi.test.ts holds every built module to this file.
import { CpmError } from "../errors.ts";

export const ABI_VERSION = 10;

/** Addresses and sizes are plain numbers in every build: see Ref in cpp/abi.h. The two globals of wasm64 are BigInts. */
export interface Kernels {
  readonly __stack_pointer: WebAssembly.Global<"i32" | "i64">;
  readonly __heap_base: WebAssembly.Global<"i32" | "i64">;
  abi_version(): number;
  abi_bytes(which: number): number;
  packed_kind(fileType: number): number;
  tensor_bytes(tensor: number): number;
  kv_bytes(model: number, capacity: number): number;
  scratch_bytes(model: number, rows: number, lanes: number, context: number): number;
  rope_frequencies(out: number, dim: number, theta: number, factors: number): void;
  pack_rows(tensor: number, fileType: number, from: number, row: number, count: number, ropeHeads: number): number;
  pack_words(
    tensor: number,
    qweight: number,
    first: number,
    count: number,
    scales: number,
    zeros: number,
    group: number,
    plusOne: number,
  ): number;
  forward(model: number, batch: number, context: number, layerBegin: number, layerEnd: number): number;
  forward_phase(model: number, batch: number, context: number, layerBegin: number, layerEnd: number, phase: number): number;
  choices(model: number, batch: number, context: number): number;
  choice_words(model: number, batch: number, context: number): number;
  head(model: number, batch: number, context: number, picked: number, count: number): number;
  kv_move(model: number, fromSequence: number, from: number, toSequence: number, to: number, count: number): number;
  kv_slide(model: number, sequence: number, from: number, to: number, count: number): number;
  gather_rows(fromTensor: number, ids: number, count: number, toTensor: number): number;
  draft_scratch_bytes(head: number, rows: number, lanes: number): number;
  draft_forward(head: number, batch: number): number;
  draft_logits(head: number, batch: number, picked: number, count: number): number;
  draft_taps(
    model: number,
    batch: number,
    context: number,
    picked: number,
    count: number,
    out: number,
    stride: number,
    normed: number,
    scale: number,
  ): number;
  choose_form(kind: number, form: number): number;
  machine_traits(): number;
  quantize_row(x: number, cols: number, block: number, q: number, scales: number): void;
  quantize_row_ref(x: number, cols: number, block: number, q: number, scales: number): void;
  gemm_rows(
    tensor: number,
    x: number,
    q: number,
    scales: number,
    y: number,
    tokens: number,
    block: number,
    repeat: number,
  ): number;
  gemm_rows_ref(tensor: number, x: number, q: number, scales: number, y: number, tokens: number, block: number): void;
  tensor_row(tensor: number, row: number, out: number): void;
  dequantize(fileType: number, from: number, blocks: number, out: number): void;
  norm_row(x: number, w: number, y: number, cols: number, eps: number, scale: number): void;
  norm_row_ref(x: number, w: number, y: number, cols: number, eps: number, scale: number): void;
  silu_row(gate: number, up: number, cols: number): void;
  silu_row_ref(gate: number, up: number, cols: number): void;
  gelu_row(gate: number, up: number, cols: number): void;
  gelu_row_ref(gate: number, up: number, cols: number): void;
  cap_row(x: number, count: number, cap: number): void;
  cap_row_ref(x: number, count: number, cap: number): void;
  rope_row(frequency: number, position: number, scale: number, table: number, dim: number): void;
  kv_store(model: number, sequence: number, layer: number, head: number, slot: number, key: number, value: number): void;
  attention(model: number, batch: number, context: number, layer: number, q: number, o: number, parts: number): number;
  compress_row(
    model: number,
    sequence: number,
    layer: number,
    head: number,
    level: number,
    begin: number,
    out: number,
    scratch: number,
  ): void;
  compress_row_ref(
    model: number,
    sequence: number,
    layer: number,
    head: number,
    level: number,
    begin: number,
    out: number,
    scratch: number,
  ): void;
  peak_read(from: number, pieces: number, repeat: number): number;
  peak_dot(pieces: number, rounds: number): number;
  pool_start(lanes: number): void;
  pool_worker(lane: number): void;
  pool_patience(tenths: number): void;
  pool_fail(): void;
}

/** Parameter counts, which a wasm export tells as its `length`. */
export const KERNEL_ARITY: Readonly<Record<Exclude<keyof Kernels, "__stack_pointer" | "__heap_base">, number>> = {
  abi_version: 0,
  abi_bytes: 1,
  packed_kind: 1,
  tensor_bytes: 1,
  kv_bytes: 2,
  scratch_bytes: 4,
  rope_frequencies: 4,
  pack_rows: 6,
  pack_words: 8,
  forward: 5,
  forward_phase: 6,
  choices: 3,
  choice_words: 3,
  head: 5,
  kv_move: 6,
  kv_slide: 5,
  gather_rows: 4,
  draft_scratch_bytes: 3,
  draft_forward: 2,
  draft_logits: 4,
  draft_taps: 9,
  choose_form: 2,
  machine_traits: 0,
  quantize_row: 5,
  quantize_row_ref: 5,
  gemm_rows: 8,
  gemm_rows_ref: 7,
  tensor_row: 3,
  dequantize: 4,
  norm_row: 6,
  norm_row_ref: 6,
  silu_row: 3,
  silu_row_ref: 3,
  gelu_row: 3,
  gelu_row_ref: 3,
  cap_row: 3,
  cap_row_ref: 3,
  rope_row: 5,
  kv_store: 7,
  attention: 7,
  compress_row: 8,
  compress_row_ref: 8,
  peak_read: 3,
  peak_dot: 2,
  pool_start: 1,
  pool_worker: 1,
  pool_patience: 1,
  pool_fail: 0,
};

/** How a weight lies in memory: enum Kind of cpp/abi.h. */
export const KINDS = ["f32", "f16", "bf16", "int4", "int4-min", "int6", "int8", "int8-min", "ternary"] as const;
export type Kind = (typeof KINDS)[number];

/** How products of integers are spelled: enum Form of cpp/kernels/gemm.h. */
export const FORMS = ["dot16", "dot32", "dot32-lanes", "extended"] as const;
export type Form = (typeof FORMS)[number];

/** enum KvType. */
export const KV_TYPES = { f16: 0, f32: 1, q8: 2 } as const;

/** ggml type ids: enum FileType. */
export const FILE_TYPES = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
} as const;

/** A Tensor struct: kind, rows, cols, group, address. */
export type TensorWords = readonly [kind: number, rows: number, cols: number, group: number, at: number];

/** Bytes of the shared structs, in the order of abi_bytes(); the same in every build. */
export const STRUCT_BYTES = {
  tensor: 24,
  layer: 288,
  model: 224,
  row: 40,
  sequence: 24,
  batch: 56,
  draftHead: 280,
  draftBatch: 72,
  loraLayer: 392,
  loraUse: 16,
  loraSet: 16,
} as const;

/** Where `count` lies in a Batch, the one field that is written again with every step. */
export const BATCH_COUNT = 24;

/** A struct being written field by field, in declaration order. */
export class StructWriter {
  readonly #view: DataView;
  #at: number;

  constructor(memory: ArrayBufferLike, at: number) {
    this.#view = new DataView(memory);
    this.#at = at;
  }

  ints(...values: number[]): this {
    for (const value of values) {
      this.#view.setInt32(this.#at, value, true);
      this.#at += 4;
    }
    return this;
  }

  /** Addresses. */
  words(...values: number[]): this {
    for (const value of values) {
      this.#view.setUint32(this.#at, value % 2 ** 32, true);
      this.#view.setUint32(this.#at + 4, Math.floor(value / 2 ** 32), true);
      this.#at += 8;
    }
    return this;
  }

  /** Leaves bytes as they are. */
  skip(bytes: number): this {
    this.#at += bytes;
    return this;
  }

  tensors(...values: TensorWords[]): this {
    for (const [kind, rows, cols, group, at] of values) this.ints(kind, rows, cols, group).words(at);
    return this;
  }

  floats(...values: number[]): this {
    for (const value of values) {
      this.#view.setFloat32(this.#at, value, true);
      this.#at += 4;
    }
    return this;
  }
}

/** The address at `at`. */
export const readWord = (memory: ArrayBufferLike, at: number): number => Number(new DataView(memory).getBigUint64(at, true));

/** Throws CpmError "engine-failed" for any status but 0. */
export function check(status: number, what: string): void {
  if (status === 0) return;
  if (status === -3) throw new CpmError("engine-failed", `${what}: a compute thread died; close this model and load it again`);
  throw new CpmError(
    "engine-failed",
    `${what}: the kernels refused their arguments (status ${status}), which is a mistake in this package; please report it`,
  );
}
