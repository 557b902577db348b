// From options to what drafts for an engine.
import { Budget } from "../decode/draft/budget.ts";
import type { Drafter } from "../decode/draft/drafter.ts";
import { EagleDrafter, type HiddenStates } from "../decode/draft/eagle.ts";
import { DraftHead } from "../decode/draft/head.ts";
import { JoinedDrafter } from "../decode/draft/join.ts";
import { LookupDrafter } from "../decode/draft/lookup.ts";
import { Ranker } from "../decode/draft/rank.ts";
import { maxNodes } from "../decode/draft/tree.ts";
import type { Near } from "../decode/near.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { ModelConfig } from "../model/config.ts";
import { type HeadFile, readHead } from "../model/eagle.ts";
import { loadWeights } from "../model/load.ts";
import { isFloat, type Plan, planModel, slots } from "../model/plan.ts";
import { readModel } from "../model/read.ts";
import { pieceTable } from "../text/pieces.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type { Kernels } from "../wasm/abi.ts";
import type { Decide } from "../wasm/decide.ts";
import type { Build } from "../wasm/features.ts";
import type { Arena } from "../wasm/memory.ts";
import { Stepper } from "./forward.ts";
import type { EngineHost } from "./host.ts";
import { measureSteps } from "./measure.ts";
import { type Sequence, Sequences } from "./sequences.ts";
import { SmallDrafter } from "./small.ts";
import type { Drafting } from "./speculate.ts";
import type { DraftOptions, EagleOptions, EngineOptions, LoadProgress, TreeOptions } from "./types.ts";
import { takeWork } from "./work.ts";

export interface DraftingParts {
  readonly host: EngineHost;
  readonly kernels: Kernels;
  readonly decide: Decide;
  readonly arena: Arena;
  readonly stepper: Stepper;
  readonly sequences: Sequences;
  readonly build: Build;
  readonly plan: Plan;
  /** Address of the target's Model struct. */
  readonly model: number;
  readonly config: ModelConfig;
  readonly options: EngineOptions;
  readonly kvType: EngineOptions["kvType"];
  /** The target's pieces. */
  readonly table: PieceTable;
  readonly near: Near;
  /** The sampler's regions. */
  readonly params: number;
  readonly scratch: number;
  onProgress(progress: LoadProgress): void;
  readonly signal: AbortSignal | undefined;
}

/** Steps after which the engine's compiler is done with the kernels, and costs are measured again. */
const WARM_STEPS = 64;

/** The drafter that was asked for; undefined for none. `files`: the draft head's; `own`: what tests and benchmarks bring. */
export async function openDrafting(
  p: DraftingParts,
  options: DraftOptions | undefined,
  files: ModelFiles | undefined,
  own: { readonly drafter: Drafter<Sequence> | undefined; readonly watch: Drafting["watch"] },
): Promise<Drafting | undefined> {
  const drafter = own.drafter ?? (options && (await openDrafter(p, options, files)));
  if (!drafter || !options) return undefined;
  const limit = Math.min(options.size, p.stepper.logitRows, p.stepper.capacity);
  const measure = (contextSize: number) => {
    const id = p.sequences.open(contextSize);
    const costs = measureSteps(p.stepper, p.sequences.get(id), p.config.layers, limit);
    p.sequences.close(id);
    return costs;
  };
  // At load the first session's cache is free for this.
  const budget = new Budget(options.adaptive ? measure(p.plan.contextSize) : [], options.adaptive);
  let warm = !options.adaptive;
  const warmUp = () => {
    if (warm || budget.steps < WARM_STEPS) return;
    warm = true;
    budget.measured(measure(Math.min(64, p.plan.contextSize)));
  };
  const chatsOnly = !own.drafter && !files && options.lookup === "chat";
  return { drafter, budget, limit, chatsOnly, watch: own.watch, now: () => p.host.now(), warmUp };
}

async function openDrafter(
  p: DraftingParts,
  options: DraftOptions,
  files: ModelFiles | undefined,
): Promise<Drafter<Sequence> | undefined> {
  const main =
    files &&
    (options.eagle ? await openEagle(p, options.eagle, files) : options.model && (await openSmall(p, options.model, files)));
  if (options.lookup === "off") return main;
  return main ? new JoinedDrafter(main, openLookup(p)) : openLookup(p);
}

function openLookup({ decide, near, plan }: DraftingParts): LookupDrafter {
  const capacity = plan.contextSize + 1;
  return new LookupDrafter(decide, near.memory, { state: near.take(decide.lookup_bytes(capacity)), capacity });
}

async function openEagle(p: DraftingParts, options: EagleOptions, files: ModelFiles): Promise<EagleDrafter<Sequence>> {
  const { config, plan, arena, stepper } = p;
  const file = await readHead(files, config, p.signal);
  const bad = options.vocabulary?.find((t) => t >= config.vocab);
  if (bad !== undefined)
    throw new CpmError("bad-option", `draft.vocabulary: token ${bad} is outside the target's vocabulary of ${config.vocab}`, {
      field: "draft.vocabulary",
    });
  const words = file.vocabulary?.length ?? options.vocabulary?.length ?? config.vocab;
  if (options.width > words)
    throw new CpmError(
      "bad-option",
      `draft.tree.width: ${options.width} tokens cannot be chosen from a draft vocabulary of ${words}`,
      { field: "draft.tree.width" },
    );
  const int8 = keptInt8(options.weights, file, plan);
  const target = { model: p.model, config, ternaryBlock: plan.ternaryBlock, lanes: plan.lanes, build: p.build, int8 };
  const head = await DraftHead.load(p, file, target, options.vocabulary, options.width);
  const { window } = options;
  return new EagleDrafter({
    head,
    states: file.version === 3 ? tapped(p, head.width) : final(stepper, head.width),
    decide: p.decide,
    near: p.near,
    memory: arena.memory,
    params: p.params,
    scratch: p.scratch,
    shape: options,
    window,
    now: () => p.host.now(),
  });
}

/** Whether float linears of a head are requantised. Of itself beside integers only: a float target's head stays what its file says. */
function keptInt8(weights: EagleOptions["weights"], { linears, head }: HeadFile, { layers }: Plan): boolean {
  if (weights === "float") return false;
  if (weights !== "int8")
    return layers.every((l) => [l.q, l.k, l.v, l.o, l.gate, l.up, l.down].every(({ kind }) => !isFloat(kind)));
  for (const file of [...Object.values(linears), ...(head ? [head] : [])])
    if (file.kind === "plain" && file.tensor.shape[1]! % 32)
      throw new CpmError(
        "bad-option",
        `draft.weights: ${file.tensor.name} has ${file.tensor.shape[1]} columns, and int8 takes multiples of 32; use "auto" or "float"`,
        { field: "draft.weights", found: file.tensor.name },
      );
  return true;
}

/** A whole model beside the target: its own weights, cache and activations in the same memory, run by the same lanes. */
async function openSmall(p: DraftingParts, options: TreeOptions, files: ModelFiles): Promise<SmallDrafter> {
  const { arena, config, host, kernels } = p;
  const model = await readModel(files, p.signal);
  const refuse = (what: string): never => {
    throw new CpmError("bad-option", `draft.model: ${what}; a drafting model must have the target's vocabulary`, {
      field: "draft.model",
    });
  };
  if (model.config.vocab !== config.vocab) refuse(`it has ${model.config.vocab} tokens, the target ${config.vocab}`);
  const [mine, theirs] = [pieceTable(model.tokenizer), p.table];
  if (mine.bytes.length !== theirs.bytes.length || mine.bytes.some((byte, i) => byte !== theirs.bytes[i]))
    refuse("its tokens mean other texts than the target's");
  const contextSize = p.plan.contextSize + maxNodes;
  const plan = planModel(
    p.build,
    model,
    { ...p.options, contextSize, maxMemoryBytes: undefined, sparse: false },
    p.plan.lanes,
    p.plan.batchSize,
  );
  const work = takeWork(arena, plan, config.vocab);
  const struct = await loadWeights({ ...p, staging: work.firstKv }, model, plan);
  new Uint8Array(arena.memory.buffer, work.firstKv, plan.stagingBytes).fill(0);
  work.trim();
  const stepper = new Stepper(kernels, arena, host, plan, {
    model: struct,
    layers: model.config.layers,
    kvHeads: model.config.kvHeads,
    context: slots(contextSize),
    ...work,
  });
  const sequences = new Sequences(arena, {
    config: model.config,
    kvType: p.kvType,
    contextSize,
    firstKv: work.firstKv,
    fingerprint: 0n,
    kvBytes: (capacity) => kernels.kv_bytes(struct, capacity),
  });
  const ranker = new Ranker(p, config.vocab, options.width);
  return new SmallDrafter({ stepper, sequences, ranker, shape: options, contextSize, now: () => host.now() });
}

const final = (stepper: Stepper, width: number): HiddenStates => ({ copy: (rows, out) => stepper.finalStates(rows, out, width) });

/** The residual stream as it enters three layers, times the residual scale. Source: EAGLE-3 as in CPM.cu. */
function tapped({ arena, stepper, config }: DraftingParts, width: number): HiddenStates {
  const at = arena.take(4 * width * stepper.capacity);
  stepper.tap({ layers: [2, config.layers >> 1, config.layers - 3], at, hidden: config.hidden, scale: config.residualScale });
  return {
    copy(rows, out) {
      const memory = new Uint8Array(arena.memory.buffer);
      for (const [i, row] of rows.entries())
        memory.copyWithin(out + 4 * width * i, at + 4 * width * row, at + 4 * width * (row + 1));
    },
  };
}
