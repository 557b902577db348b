// Model file -> a model in linear memory. Weights stream through a small staging area and are packed by all lanes
// while the next piece is read; the file is never held beside them.

import { CpmError, modelError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { type FileTensor, TENSOR_TYPES, type WeightType } from "../file/tensor.ts";
import { check, FILE_TYPES, type Kernels, KINDS, STRUCT_BYTES, StructWriter, type TensorWords } from "../wasm/abi.ts";
import type { EngineHost } from "../wasm/host.ts";
import { type Arena, align } from "../wasm/memory.ts";
import type { Pool } from "../wasm/pool.ts";
import { EXTRA_VECTORS, LINEARS, type ModelFile, ropeDim, ropeFactors, type VectorFile } from "./config.ts";
import type { EngineOptions, LoadProgress } from "./options.ts";
import { type Plan, type PlannedWeight, rowBytes, writeModel, writeRotations } from "./plan.ts";
import { sparseWords } from "./sparse.ts";

export interface LoadContext {
  readonly kernels: Kernels;
  readonly pool: Pool;
  readonly arena: Arena;
  readonly host: EngineHost;
  readonly kvType: EngineOptions["kvType"];
  /** Staging area of plan.stagingBytes. */
  readonly staging: number;
  onProgress(progress: LoadProgress): void;
  readonly signal: AbortSignal | undefined;
}

/** Places, reads and packs everything; returns the address of the Model struct of cpp/abi.h. */
export async function loadWeights(context: LoadContext, model: ModelFile, plan: Plan): Promise<number> {
  const { arena } = context;
  for (const w of plan.weights) w.at = arena.take(w.bytes);
  announce([
    model.norm.tensor,
    ...plan.layers.flatMap((l) => Object.values(l.files.vectors).map((v) => v!.tensor)),
    ...inFileOrder(plan.weights).flatMap(tensorsOf),
  ]);
  const struct = await placeModel(context, model, plan);
  await packWeights(context, plan.weights);
  return struct;
}

/** Reads and packs weights that were placed. */
export async function packWeights(context: LoadContext, weights: readonly PlannedWeight[]): Promise<void> {
  const descriptor = context.arena.take(STRUCT_BYTES.tensor);
  const totalBytes = weights.reduce((sum, w) => sum + fileBytes(w), 0);
  let bytes = 0;
  const report = (w: PlannedWeight, read: number) => {
    bytes += read;
    context.onProgress({
      phase: "weights",
      bytes,
      totalBytes,
      tensor: w.file.kind === "plain" ? w.file.tensor.name : w.file.qweight.name,
    });
  };
  for (const w of inFileOrder(weights)) {
    writeTensor(context.arena, descriptor, w);
    await (w.file.kind === "plain" ? packPlain(context, descriptor, w, report) : packGptq(context, descriptor, w, report));
  }
}

/** Sources are read forward, one after another, which suits disks and HTTP alike. */
function inFileOrder(weights: readonly PlannedWeight[]): PlannedWeight[] {
  const sources = [...new Set(weights.map((w) => firstTensor(w).source))];
  const place = (w: PlannedWeight) => sources.indexOf(firstTensor(w).source);
  return [...weights].sort((a, b) => place(a) - place(b) || firstTensor(a).offset - firstTensor(b).offset);
}

/** Tells each source what will be read of it, in order. */
function announce(tensors: readonly FileTensor[]): void {
  const ranges = new Map<Source, { offset: number; length: number }[]>();
  for (const { source, offset, bytes } of tensors) {
    const list = ranges.get(source) ?? [];
    list.push({ offset, length: bytes });
    ranges.set(source, list);
  }
  for (const [source, list] of ranges) source.willRead?.(list);
}

/** What a weight is read from, in the order of reading. */
const tensorsOf = ({ file }: PlannedWeight): FileTensor[] =>
  file.kind === "plain" ? [file.tensor] : [file.scales, ...(file.zeros ? [file.zeros] : []), file.qweight];
const firstTensor = (w: PlannedWeight): FileTensor => (w.file.kind === "plain" ? w.file.tensor : w.file.qweight);
const fileBytes = (w: PlannedWeight): number =>
  w.file.kind === "plain" ? w.file.tensor.bytes : w.file.qweight.bytes + w.file.scales.bytes;

/** A placed weight's Tensor struct. */
export const tensorWords = (w: PlannedWeight): TensorWords => [KINDS.indexOf(w.kind), w.rows, w.cols, w.group, w.at];

function writeTensor(arena: Arena, at: number, w: PlannedWeight): void {
  new StructWriter(arena.memory.buffer, at).tensors(tensorWords(w));
}

/** Fills [at, at + length) of linear memory from a source. */
async function readInto(context: LoadContext, source: Source, offset: number, length: number, at: number): Promise<void> {
  const { arena, signal } = context;
  if (source.readInto) await source.readInto(new Uint8Array(arena.memory.buffer, at, length), offset, signal);
  else new Uint8Array(arena.memory.buffer, at, length).set(await source.read(offset, length, signal));
  signal?.throwIfAborted();
}

interface Piece {
  readonly offset: number;
  readonly bytes: number;
  pack(at: number): Promise<void>;
}

/** Reads pieces into two halves of the staging area by turns: one is packed while the other fills. */
async function pipeline(
  context: LoadContext,
  source: Source,
  staging: number,
  half: number,
  pieces: readonly Piece[],
  done: (bytes: number) => void,
): Promise<void> {
  let pending = pieces[0] && readInto(context, source, pieces[0].offset, pieces[0].bytes, staging);
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i]!;
    await pending;
    const next = pieces[i + 1];
    pending = next && readInto(context, source, next.offset, next.bytes, staging + ((i + 1) % 2) * half);
    // A failure of the read ahead is reported when its turn comes, not as an unhandled rejection.
    pending?.catch(() => {});
    await piece.pack(staging + (i % 2) * half);
    done(piece.bytes);
    await context.host.breathe();
    context.signal?.throwIfAborted();
  }
}

async function packPlain(
  context: LoadContext,
  descriptor: number,
  w: PlannedWeight,
  report: (w: PlannedWeight, bytes: number) => void,
): Promise<void> {
  if (w.file.kind !== "plain") return;
  const { tensor, ropeHeads } = w.file;
  const bytes = rowBytes(w.file);
  const half = align(Math.max(bytes, Math.min(2 * 1024 * 1024, bytes * w.rows)));
  const rows = Math.floor(half / bytes);
  const type = FILE_TYPES[tensor.type as WeightType];
  const pieces: Piece[] = [];
  for (let row = 0; row < w.rows; row += rows) {
    const count = Math.min(rows, w.rows - row);
    const pack = async (at: number) =>
      check(await context.pool.runAll("pack_rows", descriptor, type, at, row, count, ropeHeads), `packing ${tensor.name}`);
    pieces.push({ offset: tensor.offset + row * bytes, bytes: count * bytes, pack });
  }
  await pipeline(context, tensor.source, context.staging, half, pieces, (read) => report(w, read));
}

async function packGptq(
  context: LoadContext,
  descriptor: number,
  w: PlannedWeight,
  report: (w: PlannedWeight, bytes: number) => void,
): Promise<void> {
  if (w.file.kind !== "gptq") return;
  const { qweight, scales, zeros, group, zeroPlusOne } = w.file;
  const scalesAt = context.staging;
  const zerosAt = scalesAt + align(scales.bytes);
  const wordsAt = zerosAt + align(zeros?.bytes ?? 0);
  await readInto(context, scales.source, scales.offset, scales.bytes, scalesAt);
  if (zeros) await readInto(context, zeros.source, zeros.offset, zeros.bytes, zerosAt);
  report(w, scales.bytes);
  const wordBytes = 4 * w.rows;
  const half = align(Math.max(4 * wordBytes, Math.min(2 * 1024 * 1024, qweight.bytes)));
  const words = Math.floor(half / wordBytes / 4) * 4;
  const pieces: Piece[] = [];
  for (let first = 0; first < w.cols / 8; first += words) {
    const count = Math.min(words, w.cols / 8 - first);
    const pack = async (at: number) => {
      const args = [descriptor, at, first, count, scalesAt, zeros ? zerosAt : 0, group, zeroPlusOne ? 1 : 0];
      check(await context.pool.runAll("pack_words", ...args), `packing ${qweight.name}`);
    };
    pieces.push({ offset: qweight.offset + first * wordBytes, bytes: count * wordBytes, pack });
  }
  await pipeline(context, qweight.source, wordsAt, half, pieces, (read) => report(w, read));
}

/** A small vector tensor as float32 in linear memory, rows of rotated heads in half-split order. */
export async function placeVector(context: LoadContext, { tensor, ropeHeads = 0, plus = 0 }: VectorFile): Promise<number> {
  const { block, bytes } = TENSOR_TYPES[tensor.type];
  const count = tensor.shape.reduce((a, b) => a * b, 1);
  const at = context.arena.take(4 * count);
  const raw = await tensor.source.read(tensor.offset, tensor.bytes, context.signal);
  const staging = context.arena.take(raw.length);
  new Uint8Array(context.arena.memory.buffer, staging, raw.length).set(raw);
  context.kernels.dequantize(FILE_TYPES[tensor.type as WeightType], staging, count / block, at);
  context.arena.free(staging, raw.length);
  const values = new Float32Array(context.arena.memory.buffer, at, count);
  const bad = values.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0)
    throw modelError(
      {
        file: tensor.source.name,
        offset: tensor.offset + Math.floor(bad / block) * bytes,
        field: tensor.name,
        expected: "finite numbers",
        found: `${values[bad]} at element ${bad}`,
      },
      "value",
    );
  if (plus !== 0) for (let i = 0; i < count; i++) values[i] = values[i]! + plus;
  if (ropeHeads > 0) {
    const [stored, dim] = [values.slice(), count / ropeHeads];
    for (let row = 0; row < count; row++) {
      const r = row % dim;
      values[row - r + (r & 1) * (dim / 2) + (r >> 1)] = stored[row]!;
    }
  }
  return at;
}

/** Frequencies of a rotation of `dim` dimensions. */
export function placeRope(context: LoadContext, dim: number, theta: number, factors: Float32Array | undefined): number {
  const { arena, kernels } = context;
  const at = arena.take(8 * (dim / 2));
  let factorsAt = 0;
  if (factors) {
    if (factors.length !== dim / 2)
      throw new CpmError(
        "bad-model",
        `rope factors: expected ${dim / 2} values (half of the dimensions that turn), found ${factors.length}`,
        { field: "rope factors" },
      );
    factorsAt = arena.take(4 * factors.length);
    new Float32Array(arena.memory.buffer, factorsAt, factors.length).set(factors);
  }
  kernels.rope_frequencies(at, dim, theta, factorsAt);
  return at;
}

export async function placeModel(context: LoadContext, model: ModelFile, plan: Plan): Promise<number> {
  const { arena } = context;
  const struct = arena.take(STRUCT_BYTES.model);
  const layersAt = arena.take(STRUCT_BYTES.layer * plan.layers.length);
  const norm = await placeVector(context, model.norm);
  const { config } = model;
  const dim = ropeDim(config);
  const rope = placeRope(context, dim, config.ropeTheta, ropeFactors(config, plan.contextSize));
  const near = config.traits?.ropeLocal;
  const local = near ? placeRope(context, dim, near.theta, near.factors) : 0;
  const long = plan.ropeSwitch > 0 ? placeRope(context, dim, config.ropeTheta, config.ropeLong) : 0;
  writeRotations(arena.memory.buffer, struct, local, long);
  writeModel(
    arena.memory.buffer,
    struct,
    config,
    context.kvType,
    plan.ternaryBlock,
    sparseWords(plan.sparse, plan.contextSize),
    plan,
  )
    .words(rope, norm)
    .tensors(tensorWords(plan.embedding), tensorWords(plan.head))
    .words(layersAt);
  let rings = 0;
  for (const [i, l] of plan.layers.entries()) {
    const at: Record<string, number> = {};
    for (const [name, vector] of Object.entries(l.files.vectors)) if (vector) at[name] = await placeVector(context, vector);
    const kind = config.traits?.layerKinds?.[i];
    new StructWriter(arena.memory.buffer, layersAt + i * STRUCT_BYTES.layer)
      .words(at["attnNorm"] ?? 0, at["ffnNorm"] ?? 0)
      .tensors(...LINEARS.map((linear) => tensorWords(l[linear])))
      .words(...EXTRA_VECTORS.map((name) => at[name] ?? 0))
      .ints(kind?.rope ?? 0, kind?.window ? (config.traits?.window ?? 0) : 0, i - rings, rings);
    if (kind?.window) rings++;
  }
  return struct;
}
