// From options to what drafts for an engine.

import type { DeciderMemory } from "../decode/decidermemory.ts";
import { Budget } from "../decode/draft/budget.ts";
import { StepCosts } from "../decode/draft/costs.ts";
import type { Drafter } from "../decode/draft/drafter.ts";
import { EagleDrafter, type HiddenStates } from "../decode/draft/eagle.ts";
import { Front } from "../decode/draft/front.ts";
import { type DraftHead, rmsNorm } from "../decode/draft/head.ts";
import { JoinedDrafter } from "../decode/draft/join.ts";
import { LookupDrafter, lookupBytes } from "../decode/draft/lookup.ts";
import { Ranker } from "../decode/draft/rank.ts";
import type { ModelConfig } from "../model/config.ts";
import { loadWeights } from "../model/load.ts";
import { type Plan, slots } from "../model/plan.ts";
import type { Kernels } from "../wasm/abi.ts";
import type { Decide } from "../wasm/decide.ts";
import type { EngineHost } from "../wasm/host.ts";
import type { Arena } from "../wasm/memory.ts";
import type { Pool } from "../wasm/pool.ts";
import { takeActivations } from "./activations.ts";
import { SmallDrafter } from "./draftmodel.ts";
import { type DraftPlan, draftContext, lookupCapacity, type PlannedSmall } from "./draftplan.ts";
import { Stepper } from "./forward.ts";
import { CostMeter, measureHead } from "./measure.ts";
import { type Sequence, Sequences } from "./sequences.ts";
import type { Drafting } from "./speculate.ts";
import type { DraftOptions, EagleOptions, EngineOptions, LoadProgress, TreeOptions } from "./types.ts";

export interface DraftingParts {
  readonly host: EngineHost;
  readonly kernels: Kernels;
  readonly pool: Pool;
  readonly decide: Decide;
  readonly arena: Arena;
  readonly stepper: Stepper;
  readonly sequences: Sequences;
  readonly plan: Plan;
  readonly config: ModelConfig;
  readonly kvType: EngineOptions["kvType"];
  readonly deciding: DeciderMemory;
  readonly meter: CostMeter;
  /** What drafts: planned, and a head that is loaded. */
  readonly draft: DraftPlan;
  readonly head: DraftHead | undefined;
  /** The sampler's regions. */
  readonly params: number;
  readonly scratch: number;
  onProgress(progress: LoadProgress): void;
  readonly signal: AbortSignal | undefined;
}

/** The drafter that was asked for; undefined for none. `own`: what tests and benchmarks bring. */
export async function openDrafting(
  p: DraftingParts,
  options: DraftOptions | undefined,
  own: { readonly drafter: Drafter<Sequence> | undefined; readonly watch: Drafting["watch"] },
): Promise<Drafting | undefined> {
  const drafter = own.drafter ?? (options && (await openDrafter(p, options)));
  if (!drafter || !options) return undefined;
  const limit = Math.min(options.size, p.stepper.logitRows, p.stepper.capacity);
  // At load the first session's cache is free for this.
  if (options.adaptive) p.meter.measure(p.plan.contextSize);
  const budget = new Budget(p.meter.costs, options.adaptive);
  const chatsOnly = !own.drafter && !p.head && !p.draft.small && options.lookup === "chat";
  return { drafter, budget, limit, chatsOnly, watch: own.watch, now: () => p.host.now() };
}

async function openDrafter(p: DraftingParts, options: DraftOptions): Promise<Drafter<Sequence> | undefined> {
  const main =
    p.head && options.eagle
      ? await openEagle(p, p.head, options.eagle, options.adaptive)
      : p.draft.small && options.model && (await openSmall(p, options.model, options.adaptive, p.draft.small));
  if (options.lookup === "off") return main;
  return main ? new JoinedDrafter(main, openLookup(p)) : openLookup(p);
}

function openLookup({ decide, deciding, plan }: DraftingParts): LookupDrafter<Sequence> {
  const capacity = lookupCapacity(plan.contextSize);
  return new LookupDrafter(decide, deciding, { state: deciding.take(lookupBytes(capacity)), capacity });
}

async function openEagle(
  p: DraftingParts,
  head: DraftHead,
  options: EagleOptions,
  adaptive: boolean,
): Promise<EagleDrafter<Sequence>> {
  const costs = new StepCosts(options.front && adaptive ? measureHead(head, () => p.host.now()) : []);
  return new EagleDrafter({
    front: await openFront(p, options, costs, adaptive),
    contextSize: draftContext(p.plan.contextSize),
    head,
    states: statesOf(p, head, options),
    normed: options.mtp?.own === "post",
    least: options.mtp?.least ?? 0,
    decide: p.decide,
    deciding: p.deciding,
    memory: p.arena.memory,
    params: p.params,
    scratch: p.scratch,
    shape: options,
    window: options.window,
    now: () => p.host.now(),
  });
}

/** A whole model beside the target: its own weights, cache and activations in the same memory, run by the same lanes. */
async function openSmall(
  p: DraftingParts,
  options: TreeOptions,
  adaptive: boolean,
  { model, plan }: PlannedSmall,
): Promise<SmallDrafter> {
  const { arena, config, host, kernels, pool } = p;
  const { contextSize } = plan;
  const work = takeActivations(arena, plan, model.config.vocab);
  const struct = await loadWeights({ ...p, staging: work.firstKv }, model, plan);
  new Uint8Array(arena.memory.buffer, work.firstKv, plan.stagingBytes).fill(0);
  work.trim();
  const stepper = new Stepper(kernels, pool, arena, host, plan, {
    model: struct,
    layers: model.config.layers,
    kvHeads: model.config.kvHeads,
    hidden: model.config.hidden,
    context: slots(contextSize),
    ...work,
  });
  const sequences = new Sequences(arena, {
    config: model.config,
    kvType: p.kvType,
    contextSize,
    plannedKv: [work.firstKv],
    fingerprint: 0n,
    kvBytes: (capacity) => kernels.kv_bytes(struct, capacity),
    ring: plan.ring,
  });
  // Embeddings of one family are padded to different sizes: only what both have is drafted.
  const { vocab } = model.config;
  const ranker = new Ranker(p, Math.min(vocab, config.vocab), options.width, undefined, vocab);
  const now = () => host.now();
  const meter = new CostMeter({ stepper, sequences, layers: model.config.layers, contextSize });
  if (options.front && adaptive) meter.measure(contextSize);
  const front = await openFront(p, options, meter.costs, adaptive);
  return new SmallDrafter({ stepper, sequences, ranker, vocab, shape: options, contextSize, front, now });
}

/** What drafts for a drafter whose steps take `costs`: prompt lookup in what it has read and said, or a smaller model. */
async function openFront(
  p: DraftingParts,
  { front, depth }: TreeOptions,
  costs: StepCosts,
  adaptive: boolean,
): Promise<Front | undefined> {
  if (!front) return undefined;
  const { decide, deciding, host, draft, plan } = p;
  const capacity = lookupCapacity(draftContext(plan.contextSize));
  const drafter = draft.front
    ? await openSmall(p, { depth, width: 1, size: depth + 1 }, adaptive, draft.front)
    : new LookupDrafter(decide, deciding, { state: deciding.take(lookupBytes(capacity)), capacity });
  return new Front(drafter, costs, adaptive, () => host.now());
}

/** What the head reads of the target. */
function statesOf(p: DraftingParts, head: DraftHead, { mtp }: EagleOptions): HiddenStates {
  const { taps, width } = head;
  if (taps) return tapped(p, taps, head);
  const { stepper } = p;
  if (mtp?.target === "pre") return { copy: (rows, out) => stepper.lastStates(rows, out, width) };
  return { copy: (rows, out) => stepper.finalStates(rows, out, width) };
}

/** The residual stream as it enters three layers, normed where the head says so; of MiniCPM times the residual scale. Source: EAGLE-3, and as in CPM.cu. */
function tapped(
  { arena, stepper, config }: DraftingParts,
  taps: NonNullable<DraftHead["taps"]>,
  { width, tapNorm, eps }: DraftHead,
): HiddenStates {
  const at = arena.take(4 * width * stepper.capacity);
  stepper.tap({ ...taps, at, hidden: config.hidden });
  return {
    copy(rows, out) {
      const memory = new Uint8Array(arena.memory.buffer);
      const floats = (from: number) => new Float32Array(memory.buffer, from, width);
      for (const [i, row] of rows.entries()) {
        const to = out + 4 * width * i;
        if (tapNorm) rmsNorm(floats(at + 4 * width * row), floats(tapNorm), eps, floats(to));
        else memory.copyWithin(to, at + 4 * width * row, at + 4 * width * (row + 1));
      }
    },
  };
}
