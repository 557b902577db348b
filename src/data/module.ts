// The data module's boundary: what wasm/data.wasm exports (sources in assembly/data/), and its memory.
import { CpmError } from "../errors.ts";

export const dataAbiVersion = 2;

/** Addresses are bytes in the instance's memory; `last`: no more bytes follow. */
export interface DataExports {
  data_abi_version(): number;
  dictionary_open(at: number, slots: number): void;
  dictionary_clear(): void;
  dictionary_fill(words: number, count: number): void;
  count_open(counts: number, words: number): void;
  count_resume(counts: number, words: number, bytes: number, entries: number): void;
  count_take(at: number, end: number, last: number): number;
  count_entries(): number;
  count_bytes(): number;
  count_tokens(): number;
  line_open(rows: number, room: number, words: number, bucket: number, wordNgrams: number, minn: number, maxn: number): void;
  line_labels(at: number, room: number): void;
  line_prune(at: number, slots: number, pairs: number, count: number): void;
  line_begin(hashes: number): void;
  line_move(hashes: number): void;
  line_take(at: number, end: number, last: number): number;
  line_ended(): number;
  line_words(): number;
  line_finish(): void;
  tokens_open(slots: number): void;
  tokens_put(token: number, at: number, end: number, list: number): number;
  tokens_take(at: number, count: number): number;
  rows_open(kind: number, table: number, floats: number, sums: number): void;
  rows_begin(): void;
  rows_total(): number;
  fold_rows(from: number, count: number, dim: number, vectors: number, values: number, to: number): void;
  score_open(
    loss: number,
    labels: number,
    dense: number,
    floats: number,
    sums: number,
    output: number,
    norms: number,
    outputs: number,
    heap: number,
    tree: number,
  ): void;
  score_best(k: number, threshold: number): number;
  sigmoid_open(): void;
  train_seed(seed: number): void;
  train_fill(at: number, count: number, bound: number): void;
  train_open(
    loss: number,
    floats: number,
    labels: number,
    input: number,
    output: number,
    rows: number,
    room: number,
    targets: number,
    hidden: number,
    grad: number,
    outputs: number,
  ): void;
  train_negatives(at: number, count: number, draws: number): void;
  train_tree(parents: number): void;
  train_restart(): void;
  train_take(at: number, end: number, last: number, hashes: number, lr: number, updates: number): number;
  train_why(): number;
  train_local(): number;
  train_told(): void;
  train_loss(): number;
  train_examples(): number;
  minhash(at: number, end: number, signature: number): number;
  minhash_bands(signature: number, keys: number): void;
  hash_begin(state: number, seed: bigint): void;
  hash_stripes(state: number, at: number, length: number): void;
  hash_end(state: number, at: number, length: number): bigint;
}

/** Statics of the module lie below. */
const HEAP = 65536;
const PAGE = 65536;
/** What a 32-bit memory can have, less a page, so that no end is 2^32. */
export const MOST_BYTES = 2 ** 32 - PAGE;

/** An instance of the data module with a memory of its own, allocated from below, never freed but as a whole. */
export class DataInstance {
  readonly exports: DataExports;
  readonly memory: WebAssembly.Memory;
  #end = HEAP;

  private constructor(exports: DataExports, memory: WebAssembly.Memory) {
    this.exports = exports;
    this.memory = memory;
  }

  /** @throws CpmError "engine-failed" when the module was built for another ABI. */
  static async create(module: WebAssembly.Module, memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 })) {
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    const data = exports as unknown as DataExports;
    const found = data.data_abi_version?.();
    if (found !== dataAbiVersion)
      throw new CpmError(
        "engine-failed",
        `data.wasm has ABI ${found}, this package needs ${dataAbiVersion} (reinstall cpm-wasm)`,
        { field: "data_abi_version", expected: String(dataAbiVersion), found: String(found) },
      );
    return new DataInstance(data, memory);
  }

  /** Where the next allocation would begin. */
  get end(): number {
    return this.#end;
  }

  /** Address of `bytes` fresh bytes, aligned to 16; their content is whatever lay there. @throws "out-of-memory" */
  allocate(bytes: number): number {
    const at = this.#end;
    this.reserve(at + bytes);
    this.#end = Math.ceil((at + bytes) / 16) * 16;
    return at;
  }

  /** Gives back everything from `at` on. */
  release(at: number): void {
    this.#end = at;
  }

  /** Grows the memory so that addresses below `end` are there. @throws CpmError "out-of-memory" */
  reserve(end: number): void {
    const have = this.memory.buffer.byteLength;
    if (end <= have) return;
    const fail = (cause?: unknown) =>
      new CpmError(
        "out-of-memory",
        `${Math.ceil(end / 2 ** 20)} MiB are needed at once, more than this runtime gives; fold the model, or give shorter texts`,
        { field: "memory", found: String(end) },
        { cause },
      );
    if (end > MOST_BYTES) throw fail();
    try {
      this.memory.grow(Math.ceil((end - have) / PAGE));
    } catch (cause) {
      throw fail(cause);
    }
  }

  u8(at: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, length);
  }

  i32(at: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, length);
  }

  f32(at: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, length);
  }

  f64(at: number, length: number): Float64Array {
    return new Float64Array(this.memory.buffer, at, length);
  }
}

/** XXH64 over bytes that come in pieces (specification of xxHash, version 0.1.1); 16 hexadecimal digits. */
export class StreamHash {
  readonly #data: DataInstance;
  readonly #state: number;
  readonly #buffer: number;
  #held = 0;

  constructor(data: DataInstance, seed = 0n) {
    this.#data = data;
    this.#state = data.allocate(48);
    this.#buffer = data.allocate(BUFFER);
    data.exports.hash_begin(this.#state, seed);
  }

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + BUFFER - this.#held);
      this.#data.u8(this.#buffer + this.#held, part.length).set(part);
      this.#held += part.length;
      at += part.length;
      if (this.#held < BUFFER) continue;
      this.#data.exports.hash_stripes(this.#state, this.#buffer, BUFFER);
      this.#held = 0;
    }
  }

  end(): string {
    const whole = this.#held - (this.#held % 32);
    if (whole > 0) this.#data.exports.hash_stripes(this.#state, this.#buffer, whole);
    const hash = this.#data.exports.hash_end(this.#state, this.#buffer + whole, this.#held - whole);
    return BigInt.asUintN(64, hash).toString(16).padStart(16, "0");
  }
}

const BUFFER = 1 << 16;

/** A power of two with room for `count` entries at a load of at most two thirds. */
export function slotsFor(count: number): number {
  let slots = 16;
  while (slots * 2 < count * 3) slots *= 2;
  return slots;
}
