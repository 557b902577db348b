// How a draft head will lie in linear memory: like model/plan.ts, every size is known before a byte is allocated.

import type { ModelConfig } from "../../model/config.ts";
import type { HeadFile } from "../../model/eagle.ts";
import type { EngineOptions } from "../../model/options.ts";
import {
  type ModelPlan,
  type PlannedWeight,
  planWeight,
  slots,
  stagingOf,
  TRAIT_BYTES,
  tensorBytes,
  writeModel,
} from "../../model/plan.ts";
import { sparseWords } from "../../model/sparse.ts";
import { STRUCT_BYTES, type StructWriter, type TensorWords } from "../../wasm/abi.ts";
import type { Build } from "../../wasm/features.ts";
import { align } from "../../wasm/memory.ts";
import { maxNodes } from "./tree.ts";

export interface HeadChoice {
  readonly file: HeadFile;
  /** The draft vocabulary of an EAGLE-2 head (FR-Spec), most frequent first; undefined: all tokens. */
  readonly ids: readonly number[] | undefined;
  /** Rows of logits that are ranked together: the tree's width. */
  readonly logitRows: number;
  /** Keep float linears in 8 bits where their columns are a multiple of 32. */
  readonly int8: boolean;
  /** States of its own that are kept of each text, where it is drafted for. */
  readonly kept: number;
}

export interface PlannedHead extends HeadChoice {
  /** Its one layer, as the kernels are told of it. */
  readonly config: ModelConfig;
  readonly kvType: EngineOptions["kvType"];
  readonly ternaryBlock: number;
  readonly lanes: number;
  readonly linears: { readonly [K in keyof HeadFile["linears"]]: PlannedWeight };
  /** Its heads turn by a table of angles of their own. */
  readonly ownRope: boolean;
  /** EAGLE-3, MTP: the rows of its own. */
  readonly own: PlannedWeight | undefined;
  /** MTP: an embedding of its own. */
  readonly embedding: PlannedWeight | undefined;
  /** All that is read. */
  readonly weights: readonly PlannedWeight[];
  /** Floats of a row that comes from the target. */
  readonly width: number;
  /** Tokens it can say. */
  readonly vocab: number;
  /** Of the staging area while it is read. */
  readonly stagingBytes: number;
  /** In all, with the cache of a first text and what is kept of the target's states; the staging area apart. */
  readonly bytes: number;
}

/** Slots of the cache of a text of up to `contextSize` tokens, and of the tree behind it. */
export const headSlots = (contextSize: number): number => slots(contextSize + maxNodes);

/** Plans a head beside a target of `config`, planned as `target`. */
export function planHead(
  build: Build,
  target: ModelPlan,
  config: ModelConfig,
  kvType: EngineOptions["kvType"],
  choice: HeadChoice,
): PlannedHead {
  const { file, ids, logitRows, int8, kept } = choice;
  const linears = Object.fromEntries(
    Object.entries(file.linears).map(([name, weight]) => [name, planWeight(build, weight, int8)]),
  ) as PlannedHead["linears"];
  const own = file.head && planWeight(build, file.head, int8);
  const embedding = file.embedding && planWeight(build, file.embedding, false);
  const weights = [...Object.values(linears), ...(own ? [own] : []), ...(embedding ? [embedding] : [])];
  const { heads, kvHeads, headDim, intermediate, rmsEps, residualScale } = file;
  // An EAGLE-3 head has logits of its own; EAGLE-2 reads the target's rows, scaled as the target's.
  const logitScale = file.version === 3 ? 1 : config.logitScale;
  // What the target's family adds, a head does not have.
  const { traits: _, ...plain } = config;
  const layer: ModelConfig = {
    ...plain,
    ...file.rope,
    ...{ layers: 1, heads, kvHeads, headDim, intermediate, rmsEps, residualScale, logitScale },
  };
  // The target's table of angles serves where it turns whole heads of this size alike.
  const ownRope = file.rope !== undefined || headDim !== config.headDim || config.traits?.ropeDim !== undefined;
  const { ternaryBlock, lanes } = target;
  const common = { ...choice, config: layer, kvType, ternaryBlock, lanes, linears, own, ownRope, embedding, weights };
  const { hidden } = config;
  const width = file.version === 3 ? file.fcInputs : hidden;
  const vocab = own?.rows ?? ids?.length ?? config.vocab;
  const at = build.probeBase;
  const none: TensorWords = [0, 0, 0, 0, 0];
  writeHead(build.probeMemory.buffer, at, common, { rope: 0, norms: () => 0, embedding: none, head: none, layer: 0, fc: none });
  const norms = Object.values(file.norms).flatMap((tensor) => (tensor ? [4 * tensor.shape[0]!] : []));
  const pieces = [
    ...weights.map((w) => w.bytes),
    ...norms,
    STRUCT_BYTES.layer,
    STRUCT_BYTES.draftHead,
    STRUCT_BYTES.tensor,
    ...(ownRope ? [8 * (headDim / 2), 4 * (headDim / 2)] : []),
    // What DraftHead takes for its steps.
    4 * maxNodes * width,
    4 * maxNodes * hidden,
    4 * logitRows * vocab,
    STRUCT_BYTES.row * maxNodes,
    4 * maxNodes,
    4 * maxNodes,
    STRUCT_BYTES.draftBatch,
    build.probe.draft_scratch_bytes(at, maxNodes, lanes),
    // The cache of one text.
    STRUCT_BYTES.sequence,
    build.probe.kv_bytes(at, headSlots(target.contextSize)),
    4 * maxNodes * width,
    ...(kept > 0 ? [4 * kept * hidden] : []),
    // Where the costs of its steps are measured.
    ...(kept > 0 ? [STRUCT_BYTES.sequence, build.probe.kv_bytes(at, headSlots(0)), 4 * maxNodes * width, 4 * kept * hidden] : []),
    // The target's layers as they are tapped.
    ...(file.version === 3 ? [4 * width * target.batchSize] : []),
    // Gathered rows, the list of them and their descriptor.
    ...(ids && !own ? [STRUCT_BYTES.tensor, 4 * ids.length, tensorBytes(build, { ...target.head, rows: ids.length })] : []),
  ];
  const bytes = pieces.reduce((sum, piece) => sum + align(piece), 0);
  return { ...common, width, vocab, bytes, stagingBytes: Math.max(...weights.map(stagingOf)) };
}

/** EAGLE-3 whose layer adds to what was normed: kNormedResidual of cpp/model/draft.h. */
const NORMED_RESIDUAL = 4;

/** The DraftHead struct of cpp/model/draft.h. */
export function writeHead(
  memory: ArrayBufferLike,
  at: number,
  head: Pick<PlannedHead, "file" | "config" | "kvType" | "ternaryBlock">,
  place: {
    readonly rope: number;
    norms(name: keyof HeadFile["norms"]): number;
    readonly embedding: TensorWords;
    readonly head: TensorWords;
    readonly layer: number;
    readonly fc: TensorWords;
  },
): StructWriter {
  const { file, config, kvType, ternaryBlock } = head;
  return writeModel(memory, at, config, kvType, ternaryBlock, sparseWords(undefined, 0))
    .words(place.rope, place.norms("norm"))
    .tensors(place.embedding, place.head)
    .words(place.layer)
    .skip(TRAIT_BYTES)
    .ints(file.normedResidual ? NORMED_RESIDUAL : file.version, file.fcInputs)
    .tensors(place.fc)
    .words(place.norms("bias"), place.norms("embedNorm"), place.norms("hiddenNorm"));
}
