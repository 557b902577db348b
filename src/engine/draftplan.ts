// What drafts, read and planned before the model's weights: what cannot draft is not worth gigabytes of reading.

import { type PlannedHead, planHead } from "../decode/draft/headplan.ts";
import { lookupBytes } from "../decode/draft/lookup.ts";
import { maxNodes } from "../decode/draft/tree.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import { LINEARS, type ModelConfig, type ModelFile } from "../model/config.ts";
import { type HeadFile, readHead } from "../model/eagle.ts";
import { readMtp } from "../model/mtp.ts";
import {
  type DraftBytes,
  isFloat,
  type LoraBytes,
  type ModelPlan,
  type Plan,
  planModel,
  slots,
  workBytes,
  writeModel,
} from "../model/plan.ts";
import { readModel } from "../model/read.ts";
import { sparseWords } from "../model/sparse.ts";
import { pieceTable } from "../text/pieces.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import { STRUCT_BYTES } from "../wasm/abi.ts";
import type { Build } from "../wasm/features.ts";
import { align } from "../wasm/memory.ts";
import { warmContext } from "./measure.ts";
import type { DraftOptions, EagleOptions, EngineOptions } from "./types.ts";

/** A draft's files, understood and checked against their target. */
export interface DraftFile {
  readonly head?: HeadFile;
  readonly small?: ModelFile;
  /** Drafts for it. */
  readonly front?: ModelFile;
}

export interface DraftPlan extends DraftBytes {
  readonly head?: PlannedHead;
  readonly small?: PlannedSmall;
  readonly front?: PlannedSmall;
}

export interface PlannedSmall {
  readonly model: ModelFile;
  readonly plan: Plan;
}

/** Tokens that the lookup index holds: the context and the one that is drafted from. */
export const lookupCapacity = (contextSize: number): number => contextSize + 1;

/** Slots of a text that is drafted from: its own, and those of what is drafted behind it. */
export const draftContext = (contextSize: number): number => contextSize + maxNodes;

/** States of a head that are kept where it is drafted for. */
const keptStates = 1024;

/** Reads what `options` draft with out of `files`, and what drafts for that out of `frontFiles`. Throws CpmError "bad-model", "unsupported", and "bad-option" for what does not fit the target. */
export async function readDraft(
  files: ModelFiles | undefined,
  options: DraftOptions | undefined,
  config: ModelConfig,
  table: PieceTable,
  signal: AbortSignal | undefined,
  frontFiles?: ModelFiles,
): Promise<DraftFile> {
  const main = await readMain(files, options, config, table, signal);
  if (!frontFiles) return main;
  const front = await readModel(frontFiles, signal);
  checkSmall(front, config, table, "draft.front");
  return { ...main, front };
}

async function readMain(
  files: ModelFiles | undefined,
  options: DraftOptions | undefined,
  config: ModelConfig,
  table: PieceTable,
  signal: AbortSignal | undefined,
): Promise<DraftFile> {
  if (files && options?.eagle) {
    const head = await (options.eagle.mtp ? readMtp : readHead)(files, config, signal);
    checkHead(options.eagle, head, config);
    return { head };
  }
  if (files && options?.model) {
    const small = await readModel(files, signal);
    checkSmall(small, config, table);
    return { small };
  }
  return {};
}

function checkHead(options: EagleOptions, file: HeadFile, config: ModelConfig): void {
  const bad = options.vocabulary?.find((t) => t >= config.vocab);
  if (bad !== undefined)
    throw new CpmError("bad-option", `draft.vocabulary: token ${bad} is outside the target's vocabulary of ${config.vocab}`, {
      field: "draft.vocabulary",
    });
  if (file.mtp && file.head && options.vocabulary)
    throw new CpmError(
      "bad-option",
      "draft.vocabulary: this MTP layer has rows of its own, of all tokens; leave the option out",
      {
        field: "draft.vocabulary",
      },
    );
  const words = file.vocabulary?.length ?? options.vocabulary?.length ?? config.vocab;
  if (options.width > words)
    throw new CpmError(
      "bad-option",
      `draft.tree.width: ${options.width} tokens cannot be chosen from a draft vocabulary of ${words}`,
      { field: "draft.tree.width" },
    );
  if (options.weights !== "int8") return;
  for (const linear of [...Object.values(file.linears), ...(file.head ? [file.head] : [])])
    if (linear.kind === "plain" && linear.tensor.shape[1]! % 32)
      throw new CpmError(
        "bad-option",
        `draft.weights: ${linear.tensor.name} has ${linear.tensor.shape[1]} columns, and int8 takes multiples of 32; use "auto" or "float"`,
        { field: "draft.weights", found: linear.tensor.name },
      );
}

function checkSmall(model: ModelFile, config: ModelConfig, theirs: PieceTable, field = "draft.model"): void {
  const refuse = (what: string): never => {
    throw new CpmError("bad-option", `${field}: ${what}; a drafting model must have the target's vocabulary`, { field });
  };
  const mine = pieceTable(model.tokenizer);
  const [size, other] = [model.config.vocab, config.vocab];
  for (let id = 0; id < Math.max(size, other); id++) {
    const [a, b] = [pieceOf(mine, id), pieceOf(theirs, id)];
    if (a.length === b.length && a.every((byte, i) => byte === b[i])) continue;
    // Rows that only pad an embedding to a size have no text, or a name for want of one.
    if (isPadding(a) && isPadding(b)) continue;
    if (id >= Math.min(size, other)) refuse(`it has ${size} tokens, the target ${other}`);
    refuse(`its token ${id} means another text than the target's`);
  }
}

const noBytes = new Uint8Array(0);

function pieceOf({ bytes, offsets, special }: PieceTable, id: number): Uint8Array {
  return id < special.length ? bytes.subarray(offsets[id]!, offsets[id + 1]!) : noBytes;
}

/** Names that converters give to rows without a piece. */
const isPadding = (piece: Uint8Array): boolean =>
  piece.length === 0 || (piece.length < 40 && /^(?:\[PAD\d+\]|<unused_?\d+>)$/.test(new TextDecoder().decode(piece)));

/** Plans a model and what drafts for it. Throws as planModel does. */
export function planEngine(
  build: Build,
  model: ModelFile,
  options: EngineOptions,
  lanes: number,
  file: DraftFile,
  lora?: LoraBytes,
): { plan: Plan; draft: DraftPlan } {
  let draft: DraftPlan = { bytes: 0, stagingBytes: 0 };
  const beside = (target: ModelPlan) => {
    if (options.draft) draft = planDraft(build, model, options, options.draft, target, file);
    return draft;
  };
  const plan = planModel(build, model, options, lanes, options.batchSize, beside, lora);
  return { plan, draft };
}

function planDraft(
  build: Build,
  { config }: ModelFile,
  options: EngineOptions,
  draft: DraftOptions,
  target: ModelPlan,
  file: DraftFile,
): DraftPlan {
  const { contextSize } = target;
  const head = file.head && draft.eagle && eagle(build, config, options, draft.eagle, target, file.head);
  const small = file.small && smallPlan(build, file.small, options, target);
  const lookup = draft.lookup === "off" ? 0 : align(lookupBytes(lookupCapacity(contextSize)));
  const front = file.front && smallPlan(build, file.front, options, target);
  // An index of what the drafter will say.
  const index = (draft.eagle ?? draft.model)?.front === "lookup" ? lookupCapacity(draftContext(contextSize)) : 0;
  const guessing = (front ? smallBytes(front) : 0) + (index ? align(lookupBytes(index)) : 0);
  const main = (head?.bytes ?? (small ? smallBytes(small) : 0)) + guessing;
  if (main + lookup === 0) return { bytes: 0, stagingBytes: 0 };
  return {
    ...(head && { head }),
    ...(small && file.small && { small: { model: file.small, plan: small } }),
    ...(front && file.front && { front: { model: file.front, plan: front } }),
    bytes: main + lookup + (draft.adaptive ? warmBytes(build, config, options, target) : 0),
    // A small model is read into a cache of its own.
    stagingBytes: head?.stagingBytes ?? 0,
  };
}

function eagle(
  build: Build,
  config: ModelConfig,
  { kvType }: EngineOptions,
  { weights, vocabulary: ids, width, depth, front }: EagleOptions,
  target: ModelPlan,
  file: HeadFile,
): PlannedHead {
  // Of itself beside integers only: a float target's head stays what its file says.
  const integers = target.layers.every((l) => LINEARS.every((linear) => !isFloat(l[linear].kind)));
  const int8 = weights === "int8" || (weights !== "float" && integers);
  const [logitRows, kept] = front ? [depth, Math.min(keptStates, target.contextSize)] : [width, 0];
  return planHead(build, target, config, kvType, { file, ids, logitRows, int8, kept });
}

function smallPlan(build: Build, model: ModelFile, options: EngineOptions, target: ModelPlan): Plan {
  const contextSize = draftContext(target.contextSize);
  const own = { ...options, contextSize, maxMemoryBytes: undefined, sparse: false, parallel: undefined };
  return planModel(build, model, own, target.lanes, target.batchSize);
}

/** Weights, cache and activations, the rows of its steps, and small structs. */
const smallBytes = (plan: Plan): number => workBytes(plan) + 64 * plan.batchSize + 4096;

/** The sequence on which costs are measured again. */
function warmBytes(build: Build, config: ModelConfig, { kvType }: EngineOptions, target: ModelPlan): number {
  const { contextSize, sparse, ternaryBlock } = target;
  writeModel(build.probeMemory.buffer, build.probeBase, config, kvType, ternaryBlock, sparseWords(sparse, contextSize), target);
  return align(STRUCT_BYTES.sequence) + align(build.probe.kv_bytes(build.probeBase, slots(warmContext(contextSize))));
}
