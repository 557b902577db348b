// A model file and a host -> the parts of an engine: memory, kernels, lanes, weights, sampler.

import { engineMemory, ownMemory } from "../decode/decidermemory.ts";
import type { Drafter } from "../decode/draft/drafter.ts";
import { DraftHead } from "../decode/draft/head.ts";
import { Sampler, samplerBytes } from "../decode/sampler.ts";
import { CpmError } from "../errors.ts";
import { abortable, type ModelFiles } from "../file/source.ts";
import { type ModelConfig, type ModelFile, ropeFactors } from "../model/config.ts";
import { loadWeights } from "../model/load.ts";
import { withFactors } from "../model/longrope.ts";
import { type LoraFile, readLora } from "../model/lora.ts";
import { type LoraPlan, loadLora, planLora } from "../model/loraload.ts";
import { type Plan, STACK_BYTES, slots } from "../model/plan.ts";
import { readModel } from "../model/read.ts";
import { pieceTable } from "../text/pieces.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type { Kernels } from "../wasm/abi.ts";
import { instantiateDecide } from "../wasm/decide.ts";
import { type Build, chooseBuild, chooseBuild64 } from "../wasm/features.ts";
import { CACHE, chooseForms, type Forms, formsByKind, takeForms } from "../wasm/forms.ts";
import type { EngineHost, StartedLanes } from "../wasm/host.ts";
import { heapBase, instantiateKernels } from "../wasm/instance.ts";
import { Arena, createMemory, formatBytes, MAX_BYTES } from "../wasm/memory.ts";
import { Pool } from "../wasm/pool.ts";
import { takeActivations } from "./activations.ts";
import { Adapters } from "./adapters.ts";
import { openDrafting } from "./drafting.ts";
import { type DraftFile, type DraftPlan, planEngine, readDraft } from "./draftplan.ts";
import { Stepper } from "./forward.ts";
import { laneList } from "./lanelist.ts";
import { CostMeter } from "./measure.ts";
import { type Sequence, Sequences } from "./sequences.ts";
import type { Drafting } from "./speculate.ts";
import type { EngineInfo, EngineOptions, LoadProgress, LoraInfo } from "./types.ts";

export interface EngineHooks {
  onProgress?(progress: LoadProgress): void;
  readonly signal?: AbortSignal | undefined;
  /** Drafts instead of what the options say: for tests and benchmarks. */
  readonly drafter?: Drafter<Sequence>;
  /** Bytes that stay free below everything else, for tests of high addresses. */
  readonly below?: number;
  /** Sees every tree that was verified and the nodes accepted, for tests and benchmarks. */
  readonly watch?: Drafting["watch"];
}

export interface Parts {
  readonly info: EngineInfo;
  readonly host: EngineHost;
  readonly kernels: Kernels;
  readonly plan: Plan;
  readonly arena: Arena;
  readonly stepper: Stepper;
  readonly sequences: Sequences;
  readonly adapters: Adapters;
  /** Of each row of logits. */
  readonly samplers: readonly Sampler[];
  readonly meter: CostMeter;
  readonly drafting: Drafting | undefined;
  readonly table: PieceTable;
  endLanes(): Promise<void>;
}

/**
 * Reads, plans and packs a model; resolves with everything that an engine is made of. Rejects with CpmError "bad-model",
 * "unsupported", "out-of-memory", "io", or with the signal's reason; lanes that were started are ended then.
 */
export async function assemble(
  host: EngineHost,
  files: ModelFiles,
  options: EngineOptions,
  hooks: EngineHooks,
  draftFiles: ModelFiles | undefined,
  loraFiles: readonly ModelFiles[] = [],
  frontFiles?: ModelFiles,
): Promise<Parts> {
  const begun = host.now();
  const { signal, below = 0 } = hooks;
  const onProgress = hooks.onProgress?.bind(hooks) ?? (() => {});
  onProgress({ phase: "open", bytes: 0, totalBytes: 0 });
  const file = await readModel(signal ? abortable(files, signal) : files, signal);
  const model = { ...file, config: withFactors(file.config, options.ropeFactors) };
  const { config } = model;
  // Before the weights: a vocabulary that cannot be used is not worth gigabytes of reading.
  const table = paddedTable(pieceTable(model.tokenizer), config.vocab);
  const { lanes, note } = laneCount(host, options.threads);
  const [drafts, fronts] = [draftFiles, frontFiles].map((own) => (own && signal ? abortable(own, signal) : own));
  const draftFile = await readDraft(drafts, options.draft, config, table, signal, fronts);
  const loras: LoraFile[] = [];
  for (const own of loraFiles) loras.push(await readLora(signal ? abortable(own, signal) : own, config, signal));
  const { build, plan, draft, lora } = await buildAndPlan(host, model, options, lanes, draftFile, loras);
  onProgress({ phase: "plan", bytes: 0, totalBytes: 0 });
  signal?.throwIfAborted();
  const forms = await chooseForms(host, build, plan.weights, options.form ?? "auto", options.turbo);
  signal?.throwIfAborted();
  // The 64-bit build has threads, whether they are used or not.
  const leading = lanes > 1 && host.leads === true ? STACK_BYTES : 0;
  const memory = createMemory(plan.memory.total + below + leading, lanes > 1 || build.memory64, build.memory64);
  const kernels = await instantiateKernels(build.module, memory);
  takeForms(kernels, forms);
  const arena = new Arena(memory, heapBase(kernels) + below, build.memory64, options.maxMemoryBytes);
  const started = await startLanes(host, build, kernels, arena, lanes);
  const endLanes = () => started.end();
  try {
    const pool = new Pool(kernels, lanes, started.lead);
    const deciding = build.memory64 ? ownMemory(arena, config.vocab) : engineMemory(arena);
    const decide = await instantiateDecide(
      await host.module(lanes > 1 && !build.memory64 ? "decide.mt" : "decide"),
      deciding.memory,
    );
    const sizes = samplerBytes(config.vocab, plan.contextSize);
    const sampling = {
      scratch: deciding.take(sizes.scratch),
      history: deciding.take(sizes.history),
      params: deciding.take(sizes.params),
    };
    const work = takeActivations(arena, plan, config.vocab);
    const { kvType } = options;
    const loading = { kernels, pool, arena, host, kvType, staging: work.firstKv, onProgress, signal };
    const struct = await loadWeights(loading, model, plan);
    const scales = options.lora?.map(({ scale }) => scale) ?? [];
    const adapters = new Adapters(arena, await loadLora(loading, lora), scales);
    const head = draft.head && (await DraftHead.load(loading, draft.head, struct, plan.contextSize));
    new Uint8Array(memory.buffer, work.firstKv, plan.stagingBytes).fill(0);
    work.trim();
    const { contextSize } = plan;
    const { layers, kvHeads, hidden } = config;
    const place = { model: struct, layers, kvHeads, hidden, context: slots(contextSize), ...work };
    const stepper = new Stepper(kernels, pool, arena, host, plan, place);
    const { vocab } = config;
    const sampler = new Sampler(decide, deciding, { ...sampling, logits: work.logits, vocab, historyCapacity: contextSize });
    const kvBytes = (slots: number) => kernels.kv_bytes(struct, slots);
    const samplers = Array.from({ length: plan.logitRows }, (_, row) => sampler.at(work.logits + 4 * row * vocab));
    const plannedKv = [work.firstKv];
    while (plannedKv.length < plan.sequences) plannedKv.push(arena.take(plan.kvBytes));
    const own = {
      config,
      kvType,
      contextSize,
      plannedKv,
      fingerprint: fingerprint(config, plan, memory),
      kvBytes,
      ring: plan.ring,
      adapters,
    };
    const sequences = new Sequences(arena, own);
    const meter = new CostMeter({ stepper, sequences, layers: config.layers, contextSize });
    const drafting = await openDrafting(
      {
        host,
        kernels,
        pool,
        decide,
        arena,
        stepper,
        sequences,
        meter,
        plan,
        config,
        kvType,
        deciding,
        draft,
        head,
        ...sampling,
        onProgress,
        signal,
      },
      options.draft,
      { drafter: hooks.drafter, watch: hooks.watch },
    );
    const about = { note, forms, loadMs: host.now() - begun, lora: loraInfo(options, loras, lora) };
    const info = infoOf(model, plan, build, options, memory, about);
    onProgress({ phase: "ready", bytes: 0, totalBytes: 0 });
    return { info, host, kernels, plan, arena, stepper, sequences, adapters, samplers, meter, drafting, table, endLanes };
  } catch (error) {
    await endLanes();
    throw error;
  }
}

/** 32-bit memory where the model fits, since every runtime has it; 64-bit where it does not, or was asked for. */
async function buildAndPlan(
  host: EngineHost,
  model: ModelFile,
  options: EngineOptions,
  lanes: number,
  draftFile: DraftFile,
  loras: readonly LoraFile[],
): Promise<{ build: Build; plan: Plan; draft: DraftPlan; lora: LoraPlan }> {
  const { variant, memory64 = "auto" } = options;
  if (memory64 === true && options.turbo)
    throw new CpmError("unsupported", "turbo: it brings nothing in 64-bit memory; load without it", { field: "turbo" });
  const build =
    memory64 === true ? await chooseBuild64(host, variant) : await chooseBuild(host, variant, lanes > 1, options.turbo);
  const lora = planLora(build, loras);
  const planned = { ...planEngine(build, model, options, lanes, draftFile, lora), lora };
  const { plan } = planned;
  if (plan.memory.total <= MAX_BYTES || memory64 !== "auto") return { build, ...planned };
  const needed = `this model needs ${formatBytes(plan.memory.total)} of memory in all, more than 32-bit WebAssembly can address (4 GiB)`;
  return { build: await chooseBuild64(host, variant, needed), ...planned };
}

function infoOf(
  model: ModelFile,
  plan: Plan,
  build: Build,
  options: EngineOptions,
  memory: WebAssembly.Memory,
  { note, forms, loadMs, lora }: { note: string | undefined; forms: Forms; loadMs: number; lora: readonly LoraInfo[] },
): EngineInfo {
  const packed: Record<string, number> = {};
  for (const w of plan.weights) packed[w.kind] = (packed[w.kind] ?? 0) + w.bytes;
  return {
    config: model.config,
    tokenizer: model.tokenizer,
    format: model.format,
    contextSize: plan.contextSize,
    kvType: options.kvType,
    sparse: plan.sparse,
    threads: plan.lanes,
    threadsNote: note,
    variant: build.variant,
    forms: formsByKind(forms, [...Object.keys(packed), ...(options.kvType === "q8" ? [CACHE] : [])]),
    turbo: options.turbo,
    memory64: build.memory64,
    memory: { ...plan.memory, total: memory.buffer.byteLength },
    loadMs,
    packed,
    lora,
  };
}

const loraInfo = (options: EngineOptions, files: readonly LoraFile[], plan: LoraPlan): LoraInfo[] =>
  files.map(({ format }, i) => {
    const { name, scale } = options.lora?.[i] ?? { name: String(i), scale: 1 };
    const { rank, bytes } = plan.adapters[i]!;
    return { name, scale, rank, bytes, format };
  });

/** Embeddings may have more rows than there are pieces; such tokens have no text. */
function paddedTable(table: PieceTable, vocab: number): PieceTable {
  const { length } = table.special;
  if (length >= vocab) return table;
  const offsets = new Uint32Array(vocab + 1).fill(table.bytes.length);
  offsets.set(table.offsets);
  const special = new Uint8Array(vocab);
  special.set(table.special);
  return { ...table, offsets, special };
}

function laneCount(host: EngineHost, threads: number | "auto"): { lanes: number; note: string | undefined } {
  if (threads !== "auto" && (!Number.isSafeInteger(threads) || threads < 1 || threads > 64))
    throw new CpmError("bad-option", `threads: expected "auto" or a whole number from 1 to 64, found ${threads}`, {
      field: "threads",
    });
  const wanted = threads === "auto" ? host.cores : threads;
  if (threads === 1 || host.startLanes) return { lanes: wanted, note: undefined };
  return { lanes: 1, note: host.threadsNote ?? "this runtime has no threads" };
}

async function startLanes(host: EngineHost, build: Build, kernels: Kernels, arena: Arena, lanes: number): Promise<StartedLanes> {
  if (lanes === 1 || !host.startLanes) return { end: async () => {} };
  const list = laneList(host, build.module, arena, lanes);
  return host.startLanes(list, () => kernels.pool_fail());
}

/**
 * FNV-1a over the configuration, its rotation as this context size chooses it, and a sample of every weight: tells models
 * apart, not forgeries.
 */
function fingerprint(config: ModelConfig, plan: Plan, memory: WebAssembly.Memory): bigint {
  let hash = 0xcbf29ce484222325n;
  const add = (byte: number) => {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  };
  const same = {
    ...config,
    name: "",
    ropeShort: ropeFactors(config, plan.contextSize),
    ropeLong: plan.ropeSwitch > 0 ? config.ropeLong : undefined,
  };
  for (const byte of new TextEncoder().encode(JSON.stringify(same))) add(byte);
  for (const w of plan.weights) for (const byte of new Uint8Array(memory.buffer, w.at, Math.min(64, w.bytes))) add(byte);
  return hash;
}
