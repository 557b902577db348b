// The engine: a loaded model and its sessions, in the thread that computes.
import { instantiateDecide } from "../wasm/decide.ts";
import { Sampler, samplerBytes } from "../decode/sampler.ts";
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import type { ModelConfig, ModelFile } from "../model/config.ts";
import { loadWeights } from "../model/load.ts";
import { withFactors } from "../model/longrope.ts";
import { type Plan, planModel, slots, STACK_BYTES } from "../model/plan.ts";
import { readModel } from "../model/read.ts";
import { pieceTable } from "../text/pieces.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type { Kernels } from "../wasm/abi.ts";
import { type Build, chooseBuild } from "../wasm/features.ts";
import { instantiateKernels } from "../wasm/instance.ts";
import { Arena, createMemory } from "../wasm/memory.ts";
import { type StepRow, Stepper } from "./forward.ts";
import { generate } from "./generate.ts";
import type { EngineHost, Lane } from "./host.ts";
import { type Sequence, Sequences } from "./sequences.ts";
import { BlockRecorder } from "./trace.ts";
import type { BlockTrace, EngineApi, EngineInfo, EngineOptions, GenerateHooks, GenerateRequest, GenerateResult, LoadProgress } from "./types.ts";

export interface EngineHooks {
  onProgress?(progress: LoadProgress): void;
  readonly signal?: AbortSignal | undefined;
}

interface Parts {
  readonly info: EngineInfo;
  readonly host: EngineHost;
  readonly arena: Arena;
  readonly stepper: Stepper;
  readonly sequences: Sequences;
  readonly sampler: Sampler;
  readonly table: PieceTable;
  readonly kernels: Kernels;
  readonly model: number;
  /** KV memory taken at load, for the first session of the model's context size. */
  readonly firstKv: number;
  endLanes(): Promise<void>;
}

export class Engine implements EngineApi {
  readonly #parts: Parts;
  #firstKvFree = true;
  #tokenizer: Tokenizer | undefined;
  /** Calls take turns: the kernels and the scratch memory are one. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Ends what is being computed when the engine is closed or has failed. */
  readonly #end = new AbortController();

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Reads, plans and packs a model. Throws CpmError "bad-model", "unsupported", "out-of-memory", "io"; rejects with the signal's reason. */
  static async load(host: EngineHost, files: ModelFiles, options: EngineOptions, hooks: EngineHooks = {}): Promise<Engine> {
    const started = host.now();
    const { signal } = hooks;
    const onProgress = hooks.onProgress?.bind(hooks) ?? (() => {});
    try {
      onProgress({ phase: "open", bytes: 0, totalBytes: 0 });
      const file = await readModel(files, signal);
      const model = { ...file, config: withFactors(file.config, options.ropeFactors) };
      const { lanes, note } = laneCount(host, options.threads);
      const build = await chooseBuild(host, options.variant, lanes > 1);
      const plan = planModel(build, model, options, lanes, options.batchSize);
      onProgress({ phase: "plan", bytes: 0, totalBytes: 0 });
      signal?.throwIfAborted();
      const parts = await assemble(host, model, build, plan, options, onProgress, signal, { started, note });
      onProgress({ phase: "ready", bytes: 0, totalBytes: 0 });
      return new Engine(parts);
    } finally {
      await files.close();
    }
  }

  get info(): EngineInfo {
    return this.#parts.info;
  }

  /**
   * Runs `task` when all earlier calls are done. A closed or failed engine refuses; an abort while waiting rejects at once.
   * The signal that the task gets also tells when the engine ends.
   */
  #inTurn<T>(task: (signal: AbortSignal) => Promise<T> | T, outer?: AbortSignal): Promise<T> {
    const end = this.#end.signal;
    const signal = outer ? AbortSignal.any([outer, end]) : end;
    const result = this.#turn.then(() => {
      signal.throwIfAborted();
      return task(signal);
    });
    this.#turn = result.catch((error: unknown) => {
      // A trap leaves the memory in no state to go on with.
      if (error instanceof WebAssembly.RuntimeError || (error instanceof CpmError && error.code === "engine-failed"))
        this.#end.abort(new CpmError("engine-failed", `the engine failed earlier (${error.message}); close this model and load it again`, {}, { cause: error }));
    });
    return outer ? untilAborted(result, outer) : result;
  }

  open(contextSize = this.info.contextSize): Promise<number> {
    return this.#inTurn(() => {
      if (!Number.isSafeInteger(contextSize) || contextSize < 1 || contextSize > 1 << 24)
        throw new CpmError("bad-option", `contextSize: expected a whole number of tokens from 1 to 16777216, found ${contextSize}`, { field: "contextSize" });
      const { sequences, firstKv } = this.#parts;
      if (this.#firstKvFree && slots(contextSize) <= slots(this.info.contextSize) && contextSize === this.info.contextSize) {
        this.#firstKvFree = false;
        return sequences.open(contextSize, firstKv);
      }
      if (slots(contextSize) > slots(this.info.contextSize))
        throw new CpmError("bad-option", `contextSize: this model was loaded for ${this.info.contextSize} tokens, a session of ${contextSize} does not fit; load with a larger contextSize`, { field: "contextSize" });
      return sequences.open(contextSize);
    });
  }

  forward(session: number, tokens: readonly number[], logits: "none" | "last" | "all", outer?: AbortSignal): Promise<Float32Array> {
    return this.#inTurn(async (signal) => {
      const sequence = this.#parts.sequences.get(session);
      const vocab = this.info.config.vocab;
      checkTokens(tokens, vocab, sequence);
      const out = new Float32Array(logits === "none" ? 0 : logits === "last" ? vocab : vocab * tokens.length);
      let filled = 0;
      const before = sequence.tokens.length;
      try {
        await this.#append(sequence, tokens, logits, signal, (row) => {
          out.set(row, filled);
          filled += row.length;
        });
      } catch (error) {
        sequence.tokens.length = before;
        throw error;
      }
      return out;
    }, outer);
  }

  trace(session: number, tokens: readonly number[], every: number, outer?: AbortSignal): Promise<BlockTrace> {
    return this.#inTurn(async (signal) => {
      const sequence = this.#parts.sequences.get(session);
      const { config, sparse } = this.info;
      checkTokens(tokens, config.vocab, sequence);
      if (!Number.isSafeInteger(every) || every < 1) throw new CpmError("bad-option", `every: expected a whole number of tokens, found ${every}`, { field: "every" });
      const shape = { layers: config.layers, kvHeads: config.kvHeads, blockSize: sparse?.blockSize ?? 64 };
      const before = sequence.tokens.length;
      const recorder = new BlockRecorder(shape, before, tokens.length, every);
      try {
        await this.#append(sequence, tokens, "none", signal, () => {}, 0, recorder);
      } catch (error) {
        sequence.tokens.length = before;
        throw error;
      }
      return recorder.trace;
    }, outer);
  }

  /** Appends tokens in batches; hands over each row of logits asked for, in order. */
  async #append(sequence: Sequence, tokens: readonly number[], logits: "none" | "last" | "all", signal: AbortSignal | undefined, onRows: (rows: Float32Array) => void, promptLength = 0, recorder?: BlockRecorder): Promise<void> {
    const { stepper, arena } = this.#parts;
    const vocab = this.info.config.vocab;
    // Dense or sparse is decided once, from the whole prompt: how it is cut into batches changes nothing.
    const total = Math.max(promptLength, sequence.tokens.length + tokens.length);
    for (let begin = 0; begin < tokens.length; begin += stepper.capacity) {
      const batch = tokens.slice(begin, begin + stepper.capacity);
      await stepper.layers(causalRows(sequence, batch, total), signal, recorder);
      const last = begin + batch.length === tokens.length;
      const wanted = logits === "all" ? batch.map((_, i) => i) : logits === "last" && last ? [batch.length - 1] : [];
      for (let i = 0; i < wanted.length; i += stepper.logitRows) {
        const picked = wanted.slice(i, i + stepper.logitRows);
        await stepper.head(picked, signal);
        onRows(new Float32Array(arena.memory.buffer, stepper.logits, picked.length * vocab));
      }
      sequence.tokens.push(...batch);
    }
  }

  generate(session: number, request: GenerateRequest, hooks: GenerateHooks): Promise<GenerateResult> {
    return this.#inTurn((signal) => {
      const { host, sampler, table, sequences, stepper, arena } = this.#parts;
      const sequence = sequences.get(session);
      const prompt = typeof request.prompt === "string" ? this.#encode(request.prompt) : request.prompt;
      checkTokens(prompt, this.info.config.vocab, { ...sequence, tokens: [] });
      const step = (tokens: readonly number[], logits: "none" | "last") => this.#append(sequence, tokens, logits, signal, () => {}, prompt.length);
      return generate({ now: () => host.now(), sampler, table, sequence, step, batchSize: stepper.capacity, memory: arena.memory, stop: this.info.tokenizer.stop }, { ...request, prompt }, hooks);
    }, hooks.signal);
  }

  /** A prompt's tokens; a BOS that the text already spells is not doubled. */
  #encode(text: string): number[] {
    this.#tokenizer ??= new Tokenizer(this.info.tokenizer);
    const ids = this.#tokenizer.encode(text);
    return ids.length > 1 && ids[0] === ids[1] && ids[0] === this.#tokenizer.bos ? ids.slice(1) : ids;
  }

  tokens(session: number): Promise<Int32Array> {
    return this.#inTurn(() => Int32Array.from(this.#parts.sequences.get(session).tokens));
  }

  truncate(session: number, length: number): Promise<void> {
    return this.#inTurn(() => {
      const { tokens } = this.#parts.sequences.get(session);
      if (!Number.isSafeInteger(length) || length < 0 || length > tokens.length)
        throw new CpmError("bad-option", `truncate: expected a length from 0 to ${tokens.length}, found ${length}`, { field: "length" });
      tokens.length = length;
    });
  }

  copy(session: number): Promise<number> {
    return this.#inTurn(() => this.#parts.sequences.copy(session));
  }

  save(session: number): Promise<Uint8Array> {
    return this.#inTurn(() => this.#parts.sequences.save(session));
  }

  restore(bytes: Uint8Array): Promise<number> {
    return this.#inTurn(() => this.#parts.sequences.restore(bytes));
  }

  closeSession(session: number): Promise<void> {
    return this.#inTurn(() => {
      const { sequences, firstKv } = this.#parts;
      if (sequences.has(session) && sequences.get(session).data === firstKv) this.#firstKvFree = true;
      sequences.close(session, firstKv);
    });
  }

  /** Ends what is being computed, then the lanes. The memory goes with the last reference to this engine. */
  async close(): Promise<void> {
    this.#end.abort(new CpmError("closed", "this model is closed; load it again"));
    await this.#turn;
    await this.#parts.endLanes();
  }
}

/** `work`, or the signal's reason as soon as it is aborted. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    work.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function laneCount(host: EngineHost, threads: number | "auto"): { lanes: number; note: string | undefined } {
  if (threads !== "auto" && (!Number.isSafeInteger(threads) || threads < 1 || threads > 64))
    throw new CpmError("bad-option", `threads: expected "auto" or a whole number from 1 to 64, found ${threads}`, { field: "threads" });
  const wanted = threads === "auto" ? host.cores : threads;
  if (wanted === 1 || host.startLanes) return { lanes: wanted, note: undefined };
  return { lanes: 1, note: host.threadsNote ?? "this runtime has no threads" };
}

async function startLanes(host: EngineHost, build: Build, kernels: Kernels, arena: Arena, lanes: number): Promise<() => Promise<void>> {
  if (lanes === 1 || !host.startLanes) return async () => {};
  const list: Lane[] = Array.from({ length: lanes - 1 }, (_, i) => ({
    module: build.module,
    memory: arena.memory,
    index: i + 1,
    stackTop: arena.take(STACK_BYTES) + STACK_BYTES,
  }));
  return host.startLanes(list, () => kernels.pool_fail());
}

async function assemble(
  host: EngineHost,
  model: ModelFile,
  build: Build,
  plan: Plan,
  options: EngineOptions,
  onProgress: (progress: LoadProgress) => void,
  signal: AbortSignal | undefined,
  { started, note }: { started: number; note: string | undefined },
): Promise<Parts> {
  const { config } = model;
  const threads = plan.lanes > 1;
  const memory = createMemory(plan.memory.total, threads);
  const kernels = await instantiateKernels(build.module, memory);
  const arena = new Arena(memory, kernels.__heap_base.value);
  const endLanes = await startLanes(host, build, kernels, arena, plan.lanes);
  try {
    kernels.pool_start(plan.lanes);
    const decide = await instantiateDecide(await host.module(threads ? "decide.mt" : "decide"), memory);
    const sizes = samplerBytes(config.vocab, plan.contextSize);
    const place = { scratch: arena.take(sizes.scratch), history: arena.take(sizes.history), params: arena.take(sizes.params) };
    // The first session's cache is the staging area until the weights are in.
    const firstKv = arena.take(Math.max(plan.kvBytes, plan.stagingBytes));
    const struct = await loadWeights({ kernels, arena, host, kvType: options.kvType, staging: firstKv, onProgress, signal }, model, plan);
    new Uint8Array(memory.buffer, firstKv, Math.max(plan.kvBytes, plan.stagingBytes)).fill(0);
    if (plan.stagingBytes > plan.kvBytes) arena.free(firstKv + Math.ceil(plan.kvBytes / 64) * 64, plan.stagingBytes - Math.ceil(plan.kvBytes / 64) * 64);
    const stepper = new Stepper(kernels, arena, host, plan, struct, config.layers, config.kvHeads, slots(plan.contextSize), config.vocab);
    const sampler = new Sampler(decide, memory, { ...place, logits: stepper.logits, vocab: config.vocab, historyCapacity: plan.contextSize });
    const sequences = new Sequences(arena, config, options.kvType, fingerprint(config, plan, memory), (slots) => kernels.kv_bytes(struct, slots));
    const packed: Record<string, number> = {};
    for (const w of plan.weights) packed[w.kind] = (packed[w.kind] ?? 0) + w.bytes;
    const info: EngineInfo = {
      config,
      tokenizer: model.tokenizer,
      format: model.format,
      contextSize: plan.contextSize,
      kvType: options.kvType,
      sparse: plan.sparse,
      threads: plan.lanes,
      threadsNote: note,
      variant: build.variant,
      memory: { ...plan.memory, total: memory.buffer.byteLength },
      loadMs: host.now() - started,
      packed,
    };
    return { info, host, arena, stepper, sequences, sampler, table: pieceTable(model.tokenizer), kernels, model: struct, firstKv, endLanes };
  } catch (error) {
    await endLanes();
    throw error;
  }
}

/** FNV-1a over the configuration and a sample of every weight: tells models apart, not forgeries. */
function fingerprint(config: ModelConfig, plan: Plan, memory: WebAssembly.Memory): bigint {
  let hash = 0xcbf29ce484222325n;
  const add = (byte: number) => {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  };
  for (const byte of new TextEncoder().encode(JSON.stringify(config))) add(byte);
  for (const w of plan.weights) for (const byte of new Uint8Array(memory.buffer, w.at, Math.min(64, w.bytes))) add(byte);
  return hash;
}

function checkTokens(tokens: readonly number[], vocab: number, sequence: Sequence): void {
  if (tokens.length === 0) throw new CpmError("bad-input", "no tokens to run: the prompt is empty and this model adds no BOS token; give at least one token");
  const bad = tokens.findIndex((t) => !Number.isSafeInteger(t) || t < 0 || t >= vocab);
  if (bad >= 0) throw new CpmError("bad-input", `token ${tokens[bad]} at index ${bad} is outside the vocabulary (0 to ${vocab - 1})`);
  const total = sequence.tokens.length + tokens.length;
  if (total > sequence.contextSize)
    throw new CpmError("context-overflow", `${total} tokens do not fit the context of ${sequence.contextSize}; shorten the input, truncate the session, or load with contextSize ${total} or more`);
}

function causalRows(sequence: Sequence, tokens: readonly number[], total: number): StepRow[] {
  const first = sequence.tokens.length;
  return tokens.map((token, i) => ({ sequence, token, position: first + i, slot: first + i, base: first + i + 1, maskLow: 0, maskHigh: 0, total }));
}
