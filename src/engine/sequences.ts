// Sequences of an engine: which tokens they hold, where their KV caches lie, and how they are saved.
import { copyOf, viewOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { slots } from "../model/plan.ts";
import { ABI_VERSION, KV_TYPES, STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import type { Arena } from "../wasm/memory.ts";
import type { AdapterSet, Adapters } from "./adapters.ts";
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
  /** Slots that its layers with a window keep, and the window; undefined where no layer has one. */
  readonly ring: { readonly slots: number; readonly window: number } | undefined;
  /** One past the highest slot that was written: of layers with a window, slots a ring below it are gone. */
  reach: number;
  /** Its keys are turned as those of long texts. */
  far: boolean;
  /** What its tokens are computed with beside the model's weights; see adapt(). */
  lora: AdapterSet | undefined;
  /** What its cache holds is not what its tokens need: they are computed anew before anything follows them. */
  stale: boolean;
}

/** How many of a sequence's first `length` tokens can be gone on from without computing them anew: all, or none. */
export function keepable({ ring, reach, stale }: Sequence, length: number): number {
  if (stale) return 0;
  return ring === undefined || length - ring.window + 1 >= reach - ring.slots ? length : 0;
}

/** Forgets all but the first `length` tokens. */
export function cutTo(sequence: Sequence, length: number): void {
  if (length === 0) {
    sequence.reach = 0;
    sequence.stale = false;
  } else if (keepable(sequence, length) < length) sequence.stale = true;
  sequence.tokens.length = length;
}

const MAGIC = 0x534d5043; // "CPMS"
// Words: magic, ABI, KV type and flags, context size, tokens, checksum of all the others; then the fingerprint.
const HEADER_BYTES = 32;
const CHECKSUM_WORD = 5;
const FAR = 1 << 8;
const STALE = 1 << 9;
/** Above these the number of adapters, of which each has so many bytes behind the tokens. */
const ADAPTERS_BIT = 16;
const ADAPTER_BYTES = 12;
/** Byte offset of `lora` in the Sequence struct. */
const LORA = 16;

/** The first tile that a window of tokens behind the first `tokens` needs. */
const firstTile = (window: number, tokens: number): number => Math.floor(Math.max(0, tokens - window) / 32);

/** `reach` of a sequence that holds just what its first `tokens` tokens need. */
const reachOf = ({ ring }: Sequence, tokens: number): number => {
  const first = ring ? 32 * firstTile(ring.window, tokens) : 0;
  return ring && first > 0 ? Math.max(tokens, first + ring.slots) : tokens;
};

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
  /** Slots that layers with a window keep, 0 where there are none. */
  readonly ring: number;
  /** Bytes of a sequence of so many slots. */
  readonly kvBytes: (slots: number) => number;
  /** Adapters that sequences may have; absent: none. */
  readonly adapters?: Adapters | undefined;
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
  open(contextSize: number, lora?: AdapterSet): number {
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
    new StructWriter(this.#arena.memory.buffer, at).words(data).ints(slots(contextSize), 0).words(0);
    const window = this.#config.traits?.window;
    const ring = window === undefined ? undefined : { window, slots: Math.min(this.#options.ring, slots(contextSize)) };
    const fresh = { reach: 0, far: false, stale: false };
    const pure = Number.POSITIVE_INFINITY;
    const sequence = { at, data, bytes, contextSize, tokens: [], planned, pure, ring, lora: undefined, ...fresh };
    this.#open.set(this.#next, sequence);
    this.adapt(sequence, lora);
    return this.#next++;
  }

  /** Has a sequence's tokens computed with these adapters from now on: what was computed with others is forgotten. */
  adapt(sequence: Sequence, lora: AdapterSet | undefined): void {
    if (sequence.lora === lora) return;
    cutTo(sequence, 0);
    sequence.pure = Number.POSITIVE_INFINITY;
    if (sequence.lora) sequence.lora.users--;
    if (lora) lora.users++;
    sequence.lora = lora;
    new StructWriter(this.#arena.memory.buffer, sequence.at + LORA).words(lora?.at ?? 0);
  }

  /** Closes a sequence, if it is open, and gives its memory back. */
  close(id: number): Sequence | undefined {
    const sequence = this.#open.get(id);
    if (!sequence) return undefined;
    this.#open.delete(id);
    if (sequence.lora) sequence.lora.users--;
    if (sequence.planned) this.#free.push(sequence.data);
    else this.#arena.free(sequence.data, sequence.bytes);
    this.#arena.free(sequence.at, STRUCT_BYTES.sequence);
    return sequence;
  }

  /** Bytes of one tile of 32 slots, keys or values: cpp/model/kv.h. */
  get #tileBytes(): number {
    const { headDim } = this.#config;
    return this.#kvType === "f32" ? headDim * 128 : this.#kvType === "f16" ? headDim * 64 : Math.ceil(headDim / 4) * 128 + 128;
  }

  bytesOf(contextSize: number): number {
    return this.#options.kvBytes(slots(contextSize));
  }

  /** [start, bytes] of the pieces that the first `tokens` tokens need, in an order that the sizes of rings do not change. */
  #pieces(sequence: Sequence, tokens: number): { at: number; bytes: number }[] {
    const tile = this.#tileBytes;
    const last = Math.ceil(tokens / 32);
    const list: { at: number; bytes: number }[] = [];
    let region = sequence.data;
    for (let layer = 0; layer < this.#config.layers; layer++) {
      const ring = this.#config.traits?.layerKinds?.[layer]?.window ? sequence.ring : undefined;
      const own = (ring?.slots ?? slots(sequence.contextSize)) / 32;
      for (let i = 0; i < 2 * this.#config.kvHeads; i++, region += own * tile) {
        if (!ring) list.push({ at: region, bytes: last * tile });
        else
          for (let t = firstTile(ring.window, tokens); t < last; t++) list.push({ at: region + (t % own) * tile, bytes: tile });
      }
    }
    return list;
  }

  copy(id: number): number {
    const from = this.get(id);
    const copy = this.open(from.contextSize, from.lora);
    this.copyTokens(from, this.get(copy), from.tokens.length);
    return copy;
  }

  /** Makes an empty sequence hold the first `count` tokens of another of the same adapters. Compressed keys are built anew when they are asked for. */
  copyTokens(from: Sequence, to: Sequence, count: number): void {
    const memory = new Uint8Array(this.#arena.memory.buffer);
    const targets = this.#pieces(to, count);
    for (const [i, { at, bytes }] of this.#pieces(from, count).entries()) memory.copyWithin(targets[i]!.at, at, at + bytes);
    for (let i = 0; i < count; i++) to.tokens.push(from.tokens[i]!);
    to.pure = from.pure;
    to.far = from.far;
    to.reach = reachOf(to, count);
    to.stale = keepable(from, count) < count;
  }

  /** Bytes of the pieces of so many tokens, by layers that keep all and layers with a window. */
  #savedBytes(tokens: number): number {
    const { layers, kvHeads, traits } = this.#config;
    const rings = traits?.layerKinds?.filter(({ window }) => window).length ?? 0;
    const last = Math.ceil(tokens / 32);
    const tiles = (layers - rings) * last + rings * (last - firstTile(traits?.window ?? 0, rings > 0 ? tokens : 0));
    return tiles * 2 * kvHeads * this.#tileBytes;
  }

  /** Header, tokens, adapters, then the filled tiles of every region. */
  save(id: number): Uint8Array {
    const sequence = this.get(id);
    const regions = this.#pieces(sequence, sequence.tokens.length);
    const adapters = this.#options.adapters?.saved(sequence.lora) ?? [];
    const tokensEnd = HEADER_BYTES + 4 * sequence.tokens.length;
    const size = tokensEnd + ADAPTER_BYTES * adapters.length + regions.reduce((sum, r) => sum + r.bytes, 0);
    const out = new Uint8Array(size);
    const view = viewOf(out);
    const flags = (sequence.far ? FAR : 0) | (sequence.stale ? STALE : 0) | (adapters.length << ADAPTERS_BIT);
    const kind = KV_TYPES[this.#kvType] | flags;
    for (const [i, value] of [MAGIC, ABI_VERSION, kind, sequence.contextSize, sequence.tokens.length].entries())
      view.setUint32(4 * i, value, true);
    view.setBigUint64(24, this.#options.fingerprint, true);
    for (const [i, token] of sequence.tokens.entries()) view.setInt32(HEADER_BYTES + 4 * i, token, true);
    let at = tokensEnd;
    for (const { fingerprint, scale } of adapters) {
      view.setBigUint64(at, fingerprint, true);
      view.setFloat32(at + 8, scale, true);
      at += ADAPTER_BYTES;
    }
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
    if ((word(2) & ((1 << ADAPTERS_BIT) - 1) & ~(FAR | STALE)) !== KV_TYPES[this.#kvType])
      refuse(`its KV cache type is not ${this.#kvType}`);
    const length = word(4);
    const adapters = word(2) >>> ADAPTERS_BIT;
    const tokensEnd = HEADER_BYTES + 4 * length;
    if (length > word(3) || saved.length !== tokensEnd + ADAPTER_BYTES * adapters + this.#savedBytes(length))
      refuse("its length does not fit its header");
    if (view.getInt32(4 * CHECKSUM_WORD, true) !== checksum(saved)) refuse("its bytes are damaged");
    const most = this.#options.contextSize;
    if (length > most)
      throw new CpmError(
        "context-overflow",
        `saved session: its ${length} tokens do not fit the context of ${most}; load with contextSize ${length} or more`,
      );
    const uses = Array.from({ length: adapters }, (_, i) => ({
      fingerprint: view.getBigUint64(tokensEnd + ADAPTER_BYTES * i, true),
      scale: view.getFloat32(tokensEnd + ADAPTER_BYTES * i + 8, true),
    }));
    const lora = uses.length === 0 ? undefined : (this.#options.adapters?.restored(uses) ?? "unknown");
    if (lora === "unknown") return refuse("it was computed with LoRA adapters that are not loaded here");
    const id = this.open(Math.min(word(3), most), lora);
    const sequence = this.get(id);
    for (let i = 0; i < length; i++) {
      const token = view.getInt32(HEADER_BYTES + 4 * i, true);
      if (token < 0 || token >= this.#config.vocab) {
        this.close(id);
        refuse("it holds a token outside the vocabulary");
      }
      sequence.tokens.push(token);
    }
    let at = tokensEnd + ADAPTER_BYTES * adapters;
    sequence.reach = reachOf(sequence, length);
    sequence.far = (word(2) & FAR) !== 0;
    sequence.stale = (word(2) & STALE) !== 0;
    for (const region of this.#pieces(sequence, length)) {
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
