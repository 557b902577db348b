// How a model will lie in linear memory: every size is known before a byte is allocated.

import { CpmError } from "../errors.ts";
import type { WeightType } from "../file/tensor.ts";
import { FILE_TYPES, KINDS, type Kind, KV_TYPES, STRUCT_BYTES, StructWriter } from "../wasm/abi.ts";
import type { Build } from "../wasm/features.ts";
import { align, formatBytes, PAGE } from "../wasm/memory.ts";
import {
  type LayerFiles,
  LINEARS,
  type Linear,
  type ModelConfig,
  type ModelFile,
  ropeSwitch,
  type WeightFile,
} from "./config.ts";
import { eachLinear } from "./layers.ts";
import type { EngineOptions, MemoryPlan } from "./options.ts";
import { resolveSparse, type SparseConfig, sparseWords } from "./sparse.ts";

/** A weight as it will be packed; `at` is filled in when it is placed. */
export interface PlannedWeight {
  readonly file: WeightFile;
  readonly kind: Kind;
  readonly rows: number;
  readonly cols: number;
  readonly group: number;
  readonly bytes: number;
  at: number;
}

export type PlannedLayer = { readonly [K in Linear]: PlannedWeight } & {
  readonly files: LayerFiles;
};

export interface Plan {
  readonly embedding: PlannedWeight;
  /** The embedding itself when tied. */
  readonly head: PlannedWeight;
  readonly layers: readonly PlannedLayer[];
  /** Every weight once. */
  readonly weights: readonly PlannedWeight[];
  readonly ternaryBlock: number;
  readonly sparse: SparseConfig | undefined;
  readonly contextSize: number;
  /** Slots that layers with a window keep; 0 where there are none. */
  readonly ring: number;
  /** Tokens beyond which texts turn by other divisors; 0: never. */
  readonly ropeSwitch: number;
  readonly batchSize: number;
  readonly lanes: number;
  /** Rows of logits that one head call gives. */
  readonly logitRows: number;
  /** Of one sequence, and how many are planned. */
  readonly kvBytes: number;
  readonly sequences: number;
  readonly scratchBytes: number;
  /** Floats of each row at the end of the scratch memory, for adapters: see cpp/model/lora.h. */
  readonly loraWidth: number;
  /** Bytes of the weight staging area used while loading; it lies in the KV cache and the activations, as far as they reach. */
  readonly stagingBytes: number;
  readonly memory: MemoryPlan;
}

/** All but what it comes to in bytes, which depends on what drafts beside the model. */
export type ModelPlan = Omit<Plan, "memory">;

/** What drafts beside a model: the memory that it takes, and of the staging area. */
export interface DraftBytes {
  readonly bytes: number;
  readonly stagingBytes: number;
}

/** What adapters take beside a model: loraload.ts. */
export interface LoraBytes {
  readonly bytes: number;
  readonly stagingBytes: number;
  readonly width: number;
}

export const STACK_BYTES = 128 * 1024;
const STAGING_BYTES = 4 * 1024 * 1024;
const LOGIT_BYTES = 4 * 1024 * 1024;
const LOOKUP_ROWS = 17;
export const DEFAULT_CONTEXT = 4096;

/** Slots of a KV cache that holds `context` tokens. */
export const slots = (context: number): number => Math.ceil(context / 64) * 64;

/** Rows of a draft tree, all of which a window's cache holds beside the window. */
const TREE_ROWS = 64;

/** Slots that a layer with a window keeps, so that every row of a batch and of a tree finds its own window: a multiple of 32. */
export const ringSlots = ({ traits }: ModelConfig, batchSize: number): number =>
  traits?.window === undefined ? 0 : Math.ceil((traits.window + Math.max(batchSize, TREE_ROWS)) / 32) * 32;

/** Bytes of one row of a plain weight as stored. */
export const rowBytes = (file: WeightFile): number => (file.kind === "plain" ? file.tensor.bytes / file.tensor.shape[0]! : 0);

/** Kinds that are multiplied in float32. */
export const isFloat = (kind: Kind): boolean => kind === "f32" || kind === "f16" || kind === "bf16";

/** A weight as it will be packed, not placed yet. `int8`: requantise floats, where the columns are a multiple of 32. */
export function planWeight(build: Build, file: WeightFile, int8 = false): PlannedWeight {
  const [rows, cols] = file.kind === "plain" ? [file.tensor.shape[0]!, file.tensor.shape[1]!] : [file.rows, file.cols];
  const type = file.kind === "plain" ? FILE_TYPES[file.tensor.type as WeightType] : FILE_TYPES.Q4_0;
  const own = file.kind === "plain" ? KINDS[build.probe.packed_kind(type)]! : file.zeros === undefined ? "int4" : "int4-min";
  const kind = int8 && isFloat(own) && cols % 32 === 0 ? "int8" : own;
  const group = kind === "ternary" ? 256 : 32;
  return { file, kind, rows, cols, group, bytes: tensorBytes(build, { kind, rows, cols, group }), at: 0 };
}

/** Bytes of a packed weight. */
export function tensorBytes(build: Build, w: Pick<PlannedWeight, "kind" | "rows" | "cols" | "group">): number {
  // One panel of 8 rows is asked for: a whole weight may exceed what 32 bits hold, and must be refused by its true size.
  new StructWriter(build.probeMemory.buffer, build.probeBase).tensors([KINDS.indexOf(w.kind), 8, w.cols, w.group, 0]);
  return Math.ceil(w.rows / 8) * build.probe.tensor_bytes(build.probeBase);
}

/** Bytes of the Model struct's end, which says what a family adds; and of the numbers before its pointers. */
export const TRAIT_BYTES = 56;
const TRAIT_NUMBERS = 40;

/** Model struct (cpp/abi.h) but for its pointers, for asking sizes and for the real thing; the writer stands at the first of them. */
export function writeModel(
  memory: ArrayBufferLike,
  at: number,
  config: ModelConfig,
  kvType: EngineOptions["kvType"],
  ternaryBlock: number,
  sparse: readonly number[],
  caches: Pick<Plan, "ring" | "ropeSwitch"> = { ring: 0, ropeSwitch: 0 },
): StructWriter {
  const c = config;
  const t = c.traits ?? {};
  const windowed = t.layerKinds?.filter(({ window }) => window).length ?? 0;
  new StructWriter(memory, at + STRUCT_BYTES.model - TRAIT_BYTES)
    .ints(
      t.activation === "gelu" ? 1 : 0,
      t.qkNorm === "whole" ? 1 : 0,
      caches.ring,
      windowed,
      t.ropeLocal ? 2 : 1,
      caches.ropeSwitch,
    )
    .floats(t.scoreCap ?? 0, t.logitCap ?? 0, t.ropeLocal?.scale ?? 1, 0);
  return new StructWriter(memory, at)
    .ints(
      c.layers,
      c.hidden,
      c.intermediate,
      c.heads,
      c.kvHeads,
      c.headDim,
      c.vocab,
      KV_TYPES[kvType],
      ternaryBlock,
      t.ropeDim ?? 0,
      ...sparse,
    )
    .floats(c.rmsEps, c.embeddingScale, c.residualScale, c.logitScale, c.ropeScale, t.attentionScale ?? 0);
}

/** The pointers at the end of a Model struct that was written at `at`: the other rotations' frequencies. */
export function writeRotations(memory: ArrayBufferLike, at: number, local: number, long: number): void {
  new StructWriter(memory, at + STRUCT_BYTES.model - TRAIT_BYTES + TRAIT_NUMBERS).words(local, long);
}

function checkShape(c: ModelConfig): void {
  const refuse = (what: string, found: number) => {
    throw new CpmError("unsupported", `${what}, found ${found}; this model's shape is outside what the kernels run`, {
      field: what,
      found: String(found),
    });
  };
  if (c.headDim % 2 || c.headDim > 512) refuse("head_dim must be an even number up to 512", c.headDim);
  if (c.heads / c.kvHeads > 64) refuse("at most 64 query heads may share a KV head", c.heads / c.kvHeads);
  if (c.hidden % 4 || c.intermediate % 4)
    refuse("hidden and intermediate sizes must be multiples of 4", c.hidden % 4 ? c.hidden : c.intermediate);
}

/**
 * Plans a model, and `draft` beside it. Throws "unsupported" for shapes outside the kernels and "out-of-memory" beyond
 * maxMemoryBytes.
 */
export function planModel(
  build: Build,
  model: ModelFile,
  options: EngineOptions,
  lanes: number,
  batchSize: number,
  draft: (plan: ModelPlan) => DraftBytes = () => ({ bytes: 0, stagingBytes: 0 }),
  lora: LoraBytes = { bytes: 0, stagingBytes: 0, width: 0 },
): Plan {
  const { config } = model;
  checkShape(config);
  const contextSize = options.contextSize ?? Math.min(config.contextLength, DEFAULT_CONTEXT);
  const sparse = resolveSparse(config.sparse, options.sparse);
  checkSparseTraits(config, sparse !== undefined);
  const embedding = planWeight(build, model.embedding);
  const head = model.head ? planWeight(build, model.head) : embedding;
  const layers = model.layers.map((files) => {
    return { files, ...eachLinear((linear) => planWeight(build, files[linear])) };
  });
  const inner = layers.flatMap((l) => LINEARS.map((linear) => l[linear]));
  const weights = [embedding, ...(head === embedding ? [] : [head]), ...inner];
  const ternaryBlock = 256;
  // A batch larger than the context would only be memory.
  const rows = Math.max(1, Math.min(batchSize, contextSize));
  const caches = { ring: ringSlots(config, rows), ropeSwitch: ropeSwitch(config, contextSize) };
  const words = sparseWords(sparse, contextSize);
  writeModel(build.probeMemory.buffer, build.probeBase, config, options.kvType, ternaryBlock, words, caches);
  const scratchBytes = build.probe.scratch_bytes(build.probeBase, rows, lanes, slots(contextSize)) + align(4 * lora.width * rows);
  const kvBytes = build.probe.kv_bytes(build.probeBase, slots(contextSize));
  const logitRows = Math.max(1, Math.min(rows, Math.max(draftRows(options.draft), Math.floor(LOGIT_BYTES / (4 * config.vocab)))));
  const plan = {
    embedding,
    head,
    layers,
    weights,
    ternaryBlock,
    sparse,
    contextSize,
    ...caches,
    batchSize: rows,
    lanes,
    logitRows,
    kvBytes,
    sequences: options.parallel ?? 1,
    scratchBytes,
    loraWidth: lora.width,
    stagingBytes: Math.max(lora.stagingBytes, ...weights.map((w) => stagingOf(w))),
  };
  const beside = draft(plan);
  const stagingBytes = Math.max(plan.stagingBytes, beside.stagingBytes);
  const packed = weights.reduce((sum, w) => sum + align(w.bytes), 0);
  const vectors = model.layers.flatMap((l) => Object.values(l.vectors)).map((v) => align(4 * v!.tensor.shape[0]!));
  const small =
    align(STRUCT_BYTES.layer * config.layers) +
    vectors.reduce((sum, bytes) => sum + bytes, 0) +
    // The last norm, and what a vector is read into.
    2 * Math.max(align(4 * config.hidden), ...vectors) +
    8 * align(8 * config.headDim);
  const memory = {
    weights: packed + small + lora.bytes,
    kvCache: align(kvBytes) * plan.sequences,
    activations: align(scratchBytes) + align(logitRows * config.vocab * 4),
    stacks: (lanes - 1) * STACK_BYTES,
    draft: beside.bytes,
  };
  const parts = workBytes({ stagingBytes, kvBytes, memory }) + memory.stacks + memory.draft;
  const total = align(
    build.probeBase + parts + samplerBytes(config.vocab, contextSize) + 64 * (rows + plan.sequences) + 4096,
    PAGE,
  );
  if (options.maxMemoryBytes !== undefined && total > options.maxMemoryBytes) {
    const drafting = memory.draft > 0 ? `, drafting ${formatBytes(memory.draft)}` : "";
    const listed = `weights ${formatBytes(memory.weights)}, KV cache ${formatBytes(memory.kvCache)} for ${plan.sequences > 1 ? `${plan.sequences} times ` : ""}${contextSize} tokens, activations ${formatBytes(memory.activations)}${drafting}`;
    throw new CpmError(
      "out-of-memory",
      `the model needs ${formatBytes(total)} (${listed}), more than maxMemoryBytes ${formatBytes(options.maxMemoryBytes)}; lower contextSize or use kvType "q8"`,
      { field: "maxMemoryBytes" },
    );
  }
  return { ...plan, stagingBytes, memory: { ...memory, total } };
}

/** Weights, caches and activations, and what the staging area needs beyond the first cache and the activations. */
export function workBytes({
  stagingBytes,
  kvBytes,
  memory,
}: {
  readonly stagingBytes: number;
  readonly kvBytes: number;
  readonly memory: Pick<MemoryPlan, "weights" | "kvCache" | "activations">;
}): number {
  const first = align(kvBytes) + memory.activations;
  return memory.weights + memory.kvCache - align(kvBytes) + Math.max(first, stagingBytes);
}

/** Blocks are chosen by keys that all layers keep, and scored without caps. */
function checkSparseTraits({ traits, architecture }: ModelConfig, sparse: boolean): void {
  if (sparse && (traits?.window !== undefined || traits?.scoreCap !== undefined))
    throw new CpmError(
      "unsupported",
      `sparse: sparse attention beside the windows or soft caps of ${architecture} is not supported; load without it`,
      { field: "sparse" },
    );
}

/** Rows of a draft's tree, all of whose logits one step gives: as large as asked for, or a chain of lookup with its root. */
function draftRows(draft: EngineOptions["draft"]): number {
  if (!draft) return 0;
  return Math.min(draft.size, Math.max(draft.eagle?.size ?? 0, draft.model?.size ?? 0, LOOKUP_ROWS));
}

/** Enough for the sampler's regions: see samplerBytes in decode/sampler.ts. */
const samplerBytes = (vocab: number, context: number): number => 9 * vocab + 4 * context + 32 * 1024;

/** Two halves of a few MiB, so that reading overlaps packing; never less than one row, or one GPTQ slice with its scales. */
export function stagingOf(w: PlannedWeight): number {
  if (w.file.kind === "plain") {
    const row = rowBytes(w.file);
    return 2 * align(Math.max(row, Math.min(STAGING_BYTES / 2, row * w.rows)));
  }
  const { scales, zeros } = w.file;
  return (
    align(scales.bytes) +
    align(zeros?.bytes ?? 0) +
    2 * align(Math.max(16 * w.rows, Math.min(STAGING_BYTES / 2, w.file.qweight.bytes)))
  );
}
