// A draft head in linear memory: its weights, its keys and values, and steps of up to 64 rows through it.
import { LINEARS, ropeFactors } from "../../model/config.ts";
import { type LoadContext, packWeights, placeRope, placeVector, tensorWords } from "../../model/load.ts";
import { check, type Kernels, readWord, STRUCT_BYTES, StructWriter, type TensorWords } from "../../wasm/abi.ts";
import type { Arena } from "../../wasm/memory.ts";
import { headSlots, type PlannedHead, writeHead } from "./headplan.ts";
import { maxNodes } from "./tree.ts";

/** One row: see cpp/model/draft.h. It sees slots [first, base) and, from base on, those of its mask. */
export interface HeadRow {
  readonly token: number;
  readonly position: number;
  readonly slot: number;
  readonly first: number;
  readonly base: number;
  readonly maskLow: number;
  readonly maskHigh: number;
}

/** Keys and values of one text. */
export interface HeadCache {
  readonly at: number;
  readonly data: number;
  readonly bytes: number;
  /** Address of (maxNodes, width) float32: rows of the target that wait for the token after them. */
  readonly waiting: number;
  /** Address of (head.kept, hidden) float32: states that its rows gave, that of slot s at s modulo head.kept. */
  readonly states: number;
}

// Byte offsets in the Model and the DraftBatch struct.
const ROPE = 96;
const NORM = 104;
const EMBEDDING = 112;
const HEAD = 136;
const BATCH_COUNT = 48;
const BATCH_FROM_TARGET = 64;

export class DraftHead {
  readonly #kernels: Kernels;
  readonly #arena: Arena;
  readonly #at: number;
  readonly #batch: number;
  readonly #rows: number;
  readonly #first: number;
  readonly #picked: number;
  readonly #hiddenSize: number;
  readonly #norm: number;
  readonly version: 2 | 3;
  /** EAGLE-3: the layers of the target that it reads. */
  readonly taps: PlannedHead["file"]["taps"];
  /** EAGLE-3: address of the norm of all that it reads of the target's layers together (width) float32; 0: none. */
  readonly tapNorm: number;
  /** Of its norms. */
  readonly eps: number;
  /** What an MTP layer is told of; undefined for EAGLE heads. */
  readonly mtp: PlannedHead["file"]["mtp"];
  /** Floats of a row of `hidden` that comes from the target. */
  readonly width: number;
  /** Tokens it can say: the target's ids of its head's rows; undefined when they are all, in order. */
  readonly ids: Int32Array | undefined;
  readonly vocab: number;
  /** Address of (maxNodes, width) float32: what rows start from. Rows of the head's own states are (hidden) apart. */
  readonly hidden: number;
  /** Address of (maxNodes, hidden) float32: the states that the last rows gave. */
  readonly out: number;
  /** Address of (logitRows, vocab) float32. */
  readonly logits: number;
  readonly logitRows: number;
  /** States of its own that are kept of each text. */
  readonly kept: number;

  private constructor(kernels: Kernels, arena: Arena, at: number, planned: PlannedHead, tapNorm: number) {
    const { file, config, ids, lanes, logitRows } = planned;
    this.logitRows = logitRows;
    this.kept = planned.kept;
    this.#kernels = kernels;
    this.#arena = arena;
    this.#at = at;
    this.#hiddenSize = config.hidden;
    this.version = file.version;
    this.mtp = file.mtp;
    this.taps = file.taps;
    this.tapNorm = tapNorm;
    this.eps = config.rmsEps;
    this.#norm = readWord(arena.memory.buffer, at + NORM);
    this.width = planned.width;
    this.ids = file.vocabulary ?? (ids && Int32Array.from(ids));
    this.vocab = planned.vocab;
    this.hidden = arena.take(4 * maxNodes * this.width);
    this.out = arena.take(4 * maxNodes * this.#hiddenSize);
    this.logits = arena.take(4 * logitRows * this.vocab);
    this.#rows = arena.take(STRUCT_BYTES.row * maxNodes);
    this.#first = arena.take(4 * maxNodes);
    this.#picked = arena.take(4 * maxNodes);
    this.#batch = arena.take(STRUCT_BYTES.draftBatch);
    const scratch = arena.take(kernels.draft_scratch_bytes(at, maxNodes, lanes));
    new StructWriter(arena.memory.buffer, this.#batch)
      .words(this.#rows, this.#first, this.hidden, this.out, scratch, this.logits)
      .ints(0, maxNodes, lanes, logitRows, 1);
  }

  /** Places, reads and packs a head. `context.staging`: of planned.stagingBytes; `model`: address of the target's Model struct. */
  static async load(context: LoadContext, planned: PlannedHead, model: number, contextSize: number): Promise<DraftHead> {
    const { arena, kernels } = context;
    const { file, own, ids, linears: w } = planned;
    for (const weight of planned.weights) weight.at = arena.take(weight.bytes);
    await packWeights(context, planned.weights);
    const norms = new Map<string, number>();
    for (const [name, tensor] of Object.entries(file.norms)) norms.set(name, tensor ? await placeVector(context, { tensor }) : 0);
    if (file.mtp && !file.norms.norm) norms.set("norm", readWord(arena.memory.buffer, model + NORM));
    const { buffer } = arena.memory;
    const { config } = planned;
    const rope = planned.ownRope
      ? placeRope(context, config.headDim, config.ropeTheta, ropeFactors(config, contextSize))
      : readWord(buffer, model + ROPE);
    const layer = arena.take(STRUCT_BYTES.layer);
    new StructWriter(buffer, layer)
      .words(norms.get("attnNorm")!, norms.get("ffnNorm")!)
      .tensors(...LINEARS.map((name) => tensorWords(w[name])));
    const at = arena.take(STRUCT_BYTES.draftHead);
    writeHead(buffer, at, planned, {
      rope,
      norms: (name) => norms.get(name)!,
      embedding: planned.embedding ? tensorWords(planned.embedding) : readTensor(buffer, model + EMBEDDING),
      head: own ? tensorWords(own) : ids ? gathered(kernels, arena, model + HEAD, ids) : readTensor(buffer, model + HEAD),
      layer,
      fc: tensorWords(w.fc),
    });
    return new DraftHead(kernels, arena, at, planned, norms.get("tapNorm") ?? 0);
  }

  get memory(): WebAssembly.Memory {
    return this.#arena.memory;
  }

  /** A cache for texts of up to `contextSize` tokens, and the tree behind them. Throws "out-of-memory", and then takes nothing. */
  openCache(contextSize: number): HeadCache {
    const capacity = headSlots(contextSize);
    const taken: (readonly [at: number, bytes: number])[] = [];
    const take = (bytes: number): number => {
      const at = this.#arena.take(bytes);
      taken.push([at, bytes]);
      return at;
    };
    const bytes = this.#kernels.kv_bytes(this.#at, capacity);
    try {
      const at = take(STRUCT_BYTES.sequence);
      const data = take(bytes);
      const waiting = take(4 * maxNodes * this.width);
      const states = this.kept > 0 ? take(4 * this.kept * this.#hiddenSize) : 0;
      new StructWriter(this.#arena.memory.buffer, at).words(data).ints(capacity, 0).words(0);
      return { at, data, bytes, waiting, states };
    } catch (error) {
      for (const piece of taken) this.#arena.free(...piece);
      throw error;
    }
  }

  closeCache({ at, data, bytes, waiting, states }: HeadCache): void {
    if (states > 0) this.#arena.free(states, 4 * this.kept * this.#hiddenSize);
    this.#arena.free(waiting, 4 * maxNodes * this.width);
    this.#arena.free(data, bytes);
    this.#arena.free(at, STRUCT_BYTES.sequence);
  }

  /** Runs rows from `hidden` to `out`. fromTarget: `hidden` holds states of the target, not of the head itself. */
  run(cache: HeadCache, rows: readonly HeadRow[], fromTarget: boolean): void {
    const { buffer } = this.#arena.memory;
    const writer = new StructWriter(buffer, this.#rows);
    for (const r of rows) writer.words(cache.at).ints(r.token, r.position, r.slot, r.base, r.maskLow, r.maskHigh, 0, 0);
    new StructWriter(buffer, this.#first).ints(...rows.map((r) => r.first));
    new StructWriter(buffer, this.#batch + BATCH_COUNT).ints(rows.length);
    new StructWriter(buffer, this.#batch + BATCH_FROM_TARGET).ints(fromTarget ? 1 : 0);
    check(this.#kernels.draft_forward(this.#at, this.#batch), "draft_forward");
  }

  /** Logits after `count` rows of the last run from `first` on, into `logits`. */
  score(first: number, count: number): void {
    const picked = new Int32Array(this.#arena.memory.buffer, this.#picked, count);
    for (let i = 0; i < count; i++) picked[i] = first + i;
    check(this.#kernels.draft_logits(this.#at, this.#batch, this.#picked, count), "draft_logits");
  }

  /**
   * Row `from` of `list`, by default of what the last rows gave, becomes row `to` of `hidden`, a list of the head's own states; `normed`: after
   * the norm before its logits.
   */
  carry(from: number, to: number, normed = false, list = this.out): void {
    const size = this.#hiddenSize;
    const { buffer } = this.#arena.memory;
    const row = (at: number) => new Float32Array(buffer, at, size);
    const [source, target] = [row(list + 4 * size * from), row(this.hidden + 4 * size * to)];
    if (normed) rmsNorm(source, row(this.#norm), this.eps, target);
    else target.set(source);
  }

  /** Keeps the states that the first `count` rows of the last run gave, as those of the slots from `slot` on. */
  keep({ states }: HeadCache, slot: number, count: number): void {
    const bytes = 4 * this.#hiddenSize;
    const memory = new Uint8Array(this.#arena.memory.buffer);
    for (let i = Math.max(0, count - this.kept); i < count; i++)
      memory.copyWithin(states + ((slot + i) % this.kept) * bytes, this.out + i * bytes, this.out + (i + 1) * bytes);
  }
}

/** RMSNorm of x into `out`, which may be x. */
export function rmsNorm(x: Float32Array, weight: Float32Array, eps: number, out: Float32Array): void {
  let sum = 0;
  for (const value of x) sum += value * value;
  const scale = 1 / Math.sqrt(sum / x.length + eps);
  for (let i = 0; i < x.length; i++) out[i] = x[i]! * scale * weight[i]!;
}

function readTensor(memory: ArrayBufferLike, at: number): TensorWords {
  const [kind, rows, cols, group] = new Int32Array(memory, at, 4);
  return [kind!, rows!, cols!, group!, readWord(memory, at + 16)];
}

/** Rows of a packed weight as a weight of their own: its words. */
function gathered(kernels: Kernels, arena: Arena, from: number, ids: readonly number[]): TensorWords {
  const [kind, , cols, group] = readTensor(arena.memory.buffer, from);
  const descriptor = arena.take(STRUCT_BYTES.tensor);
  const list = arena.take(4 * ids.length);
  new Int32Array(arena.memory.buffer, list, ids.length).set(ids);
  new StructWriter(arena.memory.buffer, descriptor).tensors([kind, ids.length, cols, group, 0]);
  const words: TensorWords = [kind, ids.length, cols, group, arena.take(kernels.tensor_bytes(descriptor))];
  new StructWriter(arena.memory.buffer, descriptor).tensors(words);
  check(kernels.gather_rows(from, list, ids.length, descriptor), "gather_rows");
  arena.free(list, 4 * ids.length);
  return words;
}
