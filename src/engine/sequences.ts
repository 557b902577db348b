// Sequences of an engine: which tokens they hold, where their KV caches lie, and how they are saved.
import { copyOf, viewOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { slots } from "../model/plan.ts";
import { ABI_VERSION, KV_TYPES, STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import type { Arena } from "../wasm/memory.ts";
import type { KvType } from "./types.ts";

export interface Sequence {
  /** Address of the Sequence struct. */
  readonly at: number;
  readonly data: number;
  readonly bytes: number;
  /** Tokens it may hold. */
  readonly contextSize: number;
  /** Tokens it holds. */
  readonly tokens: number[];
  /** Its cache is of the memory that was planned at load. */
  readonly planned: boolean;
  /** Leading tokens that lie where they were computed: all, unless the sequence slid. */
  pure: number;
}

const MAGIC = 0x534d5043; // "CPMS"
// Words: magic, ABI, KV type, context size, tokens, checksum of all the others; then the fingerprint.
const HEADER_BYTES = 32;
const CHECKSUM_WORD = 5;

/** What all sequences of a model have in common. */
export interface SequenceOptions {
  readonly config: ModelConfig;
  readonly kvType: KvType;
  /** Tokens that the model was loaded for: no sequence may hold more. */
  readonly contextSize: number;
  /** Pieces of KV memory taken at load, each for a sequence of `contextSize`. They are never given back. */
  readonly plannedKv: readonly number[];
  /** Tells one model from another in saved sessions. */
  readonly fingerprint: bigint;
  /** Bytes of a sequence of so many slots. */
  readonly kvBytes: (slots: number) => number;
}

export class Sequences {
  readonly #arena: Arena;
  readonly #config: ModelConfig;
  readonly #kvType: KvType;
  readonly #options: SequenceOptions;
  readonly #open = new Map<number, Sequence>();
  readonly #free: number[];
  #next = 1;

  constructor(arena: Arena, options: SequenceOptions) {
    this.#arena = arena;
    this.#config = options.config;
    this.#kvType = options.kvType;
    this.#options = options;
    this.#free = [...options.plannedKv].reverse();
  }

  /** Whether a planned piece of memory is free. */
  get plannedFree(): boolean {
    return this.#free.length > 0;
  }

  get(id: number): Sequence {
    const sequence = this.#open.get(id);
    if (!sequence) throw new CpmError("closed", "this session is closed; open another with model.session()");
    return sequence;
  }

  /** A new empty sequence. Throws "out-of-memory" when the memory cannot grow by its KV cache. */
  open(contextSize: number): number {
    const bytes = this.bytesOf(contextSize);
    const at = this.#arena.take(STRUCT_BYTES.sequence);
    const planned = contextSize === this.#options.contextSize && this.#free.length > 0;
    let data: number;
    try {
      data = planned ? this.#free.pop()! : this.#arena.take(bytes);
    } catch (error) {
      this.#arena.free(at, STRUCT_BYTES.sequence);
      throw error;
    }
    new StructWriter(this.#arena.memory.buffer, at).words(data).ints(slots(contextSize), 0);
    this.#open.set(this.#next, { at, data, bytes, contextSize, tokens: [], planned, pure: Number.POSITIVE_INFINITY });
    return this.#next++;
  }

  /** Closes a sequence, if it is open, and gives its memory back. */
  close(id: number): Sequence | undefined {
    const sequence = this.#open.get(id);
    if (!sequence) return undefined;
    this.#open.delete(id);
    if (sequence.planned) this.#free.push(sequence.data);
    else this.#arena.free(sequence.data, sequence.bytes);
    this.#arena.free(sequence.at, STRUCT_BYTES.sequence);
    return sequence;
  }

  /** Bytes of one tile of 32 slots, keys or values: cpp/model/kv.h. */
  get #tileBytes(): number {
    const { headDim } = this.#config;
    return this.#kvType === "f32" ? headDim * 128 : this.#kvType === "f16" ? headDim * 64 : headDim * 32 + 128;
  }

  bytesOf(contextSize: number): number {
    return this.#options.kvBytes(slots(contextSize));
  }

  /** [start, bytes] of the filled part of each region (layer, KV head, keys or values). */
  #regions(sequence: Sequence, tokens: number): { at: number; bytes: number }[] {
    const region = (slots(sequence.contextSize) / 32) * this.#tileBytes;
    const bytes = Math.ceil(tokens / 32) * this.#tileBytes;
    const count = this.#config.layers * this.#config.kvHeads * 2;
    return Array.from({ length: count }, (_, i) => ({ at: sequence.data + i * region, bytes }));
  }

  copy(id: number): number {
    const from = this.get(id);
    const copy = this.open(from.contextSize);
    this.copyTokens(from, this.get(copy), from.tokens.length);
    return copy;
  }

  /** Makes an empty sequence hold the first `count` tokens of another. Compressed keys are built anew when they are asked for. */
  copyTokens(from: Sequence, to: Sequence, count: number): void {
    const memory = new Uint8Array(this.#arena.memory.buffer);
    const targets = this.#regions(to, count);
    for (const [i, { at, bytes }] of this.#regions(from, count).entries()) memory.copyWithin(targets[i]!.at, at, at + bytes);
    for (let i = 0; i < count; i++) to.tokens.push(from.tokens[i]!);
    to.pure = from.pure;
  }

  /** Header, tokens, then the filled tiles of every region. */
  save(id: number): Uint8Array {
    const sequence = this.get(id);
    const regions = this.#regions(sequence, sequence.tokens.length);
    const size = HEADER_BYTES + 4 * sequence.tokens.length + regions.reduce((sum, r) => sum + r.bytes, 0);
    const out = new Uint8Array(size);
    const view = viewOf(out);
    for (const [i, value] of [MAGIC, ABI_VERSION, KV_TYPES[this.#kvType], sequence.contextSize, sequence.tokens.length].entries())
      view.setUint32(4 * i, value, true);
    view.setBigUint64(24, this.#options.fingerprint, true);
    for (const [i, token] of sequence.tokens.entries()) view.setInt32(HEADER_BYTES + 4 * i, token, true);
    let at = HEADER_BYTES + 4 * sequence.tokens.length;
    for (const region of regions) {
      out.set(new Uint8Array(this.#arena.memory.buffer, region.at, region.bytes), at);
      at += region.bytes;
    }
    view.setInt32(4 * CHECKSUM_WORD, checksum(out), true);
    return out;
  }

  /**
   * A new sequence from what save() gave, by this model or one loaded with another context size. Throws "bad-input" for
   * another model, ABI or KV type, or damaged bytes; "context-overflow" for more tokens than this model was loaded for.
   */
  restore(saved: Uint8Array): number {
    const refuse = (why: string): never => {
      throw new CpmError("bad-input", `saved session: ${why}; run the prompt again and save anew`);
    };
    const view = new DataView(saved.buffer, saved.byteOffset, saved.byteLength);
    if (saved.length < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) refuse("these bytes are not a saved session");
    const word = (i: number) => view.getUint32(4 * i, true);
    if (word(1) !== ABI_VERSION) refuse(`it was saved by ABI ${word(1)}, this is ABI ${ABI_VERSION}`);
    if (view.getBigUint64(24, true) !== this.#options.fingerprint) refuse("it belongs to another model");
    if (word(2) !== KV_TYPES[this.#kvType]) refuse(`its KV cache type is not ${this.#kvType}`);
    const length = word(4);
    const regionBytes = Math.ceil(length / 32) * this.#tileBytes * this.#config.layers * this.#config.kvHeads * 2;
    if (length > word(3) || saved.length !== HEADER_BYTES + 4 * length + regionBytes)
      refuse("its length does not fit its header");
    if (view.getInt32(4 * CHECKSUM_WORD, true) !== checksum(saved)) refuse("its bytes are damaged");
    const most = this.#options.contextSize;
    if (length > most)
      throw new CpmError(
        "context-overflow",
        `saved session: its ${length} tokens do not fit the context of ${most}; load with contextSize ${length} or more`,
      );
    const id = this.open(Math.min(word(3), most));
    const sequence = this.get(id);
    for (let i = 0; i < length; i++) {
      const token = view.getInt32(HEADER_BYTES + 4 * i, true);
      if (token < 0 || token >= this.#config.vocab) {
        this.close(id);
        refuse("it holds a token outside the vocabulary");
      }
      sequence.tokens.push(token);
    }
    let at = HEADER_BYTES + 4 * length;
    for (const region of this.#regions(sequence, length)) {
      new Uint8Array(this.#arena.memory.buffer, region.at, region.bytes).set(saved.subarray(at, at + region.bytes));
      at += region.bytes;
    }
    return id;
  }
}

/** FNV-1a over all 32-bit words but the checksum itself. */
function checksum(saved: Uint8Array): number {
  const bytes = saved.byteOffset % 4 ? copyOf(saved) : saved;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < words.length; i++) if (i !== CHECKSUM_WORD) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  return hash;
}
