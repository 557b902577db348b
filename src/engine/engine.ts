// The engine: a loaded model and its sessions, in the thread that computes.
import { CpmError, typed } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import { PUBLISHED_SPARSE } from "../model/sparse.ts";
import { untilAborted, withSignals } from "../signals.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { assemble, type EngineHooks, type Parts } from "./assemble.ts";
import { Batcher } from "./batcher.ts";
import { causalRows } from "./forward.ts";
import { Gate } from "./gate.ts";
import type { EngineHost } from "./host.ts";
import { profileSequence } from "./profile.ts";
import { type Run, TextRun } from "./run.ts";
import type { Sequence } from "./sequences.ts";
import { type Drafting, Speculation } from "./speculate.ts";
import { BlockRecorder } from "./trace.ts";
import type {
  BlockTrace,
  EngineApi,
  EngineInfo,
  EngineOptions,
  GenerateHooks,
  GenerateRequest,
  GenerateResult,
  Profile,
} from "./types.ts";

export type { EngineHooks };

/** Generations that run at once, and that wait, unless the options say otherwise. */
export const DEFAULT_PARALLEL = 8;
export const DEFAULT_QUEUE = 64;

export class Engine implements EngineApi {
  readonly #parts: Parts;
  readonly #batcher: Batcher;
  readonly #gate: Gate;
  #tokenizer: Tokenizer | undefined;
  /** Steps and other calls take turns: the kernels and the scratch memory are one. */
  #turn: Promise<unknown> = Promise.resolve();
  /** The calls of each session take turns, however long one is. */
  readonly #lines = new Map<number, Promise<unknown>>();
  #stepping = false;
  /** Ends what is being computed when the engine is closed or has failed. */
  readonly #end = new AbortController();

  private constructor(parts: Parts, options: EngineOptions) {
    this.#parts = parts;
    const { stepper, samplers, meter, drafting, host } = parts;
    this.#batcher = new Batcher({ stepper, samplers, costs: meter, budget: drafting?.budget, now: () => host.now() });
    this.#gate = new Gate(options.parallel ?? DEFAULT_PARALLEL, options.queue ?? DEFAULT_QUEUE);
    this.#end.signal.addEventListener("abort", () => this.#batcher.fail(this.#end.signal.reason), { once: true });
  }

  /** Reads, plans and packs a model, and what drafts for it out of `draftFiles`. Throws CpmError "bad-model", "unsupported", "out-of-memory", "io"; rejects with the signal's reason. */
  static async load(
    host: EngineHost,
    files: ModelFiles,
    options: EngineOptions,
    hooks: EngineHooks = {},
    draftFiles?: ModelFiles,
  ): Promise<Engine> {
    try {
      return new Engine(await assemble(host, files, options, hooks, draftFiles), options);
    } catch (error) {
      throw typed(error);
    } finally {
      await files.close();
      await draftFiles?.close();
    }
  }

  get info(): EngineInfo {
    return this.#parts.info;
  }

  /** Linear memory in all, now: info.memory.total at first, more when further sessions needed it. */
  get memoryBytes(): number {
    return this.#parts.arena.memory.buffer.byteLength;
  }

  /**
   * Runs `task` when what is being computed is done: a step, or a batch of another call. A closed or failed engine refuses. The
   * signal that the task gets also tells when the engine ends.
   */
  #inTurn<T>(task: (signal: AbortSignal) => Promise<T> | T, outer?: AbortSignal): Promise<T> {
    const result = this.#turn.then(() =>
      withSignals([outer, this.#end.signal], async (signal) => {
        signal.throwIfAborted();
        try {
          return await task(signal);
        } catch (error) {
          throw typed(error);
        }
      }),
    );
    this.#turn = result.catch((error: unknown) => {
      if (error instanceof CpmError && error.code === "engine-failed")
        this.#end.abort(
          new CpmError(
            "engine-failed",
            `the engine failed earlier (${error.message}); close this model and load it again`,
            {},
            { cause: error },
          ),
        );
    });
    return result;
  }

  /** Runs `task` when all earlier calls of its session are done. An abort while waiting rejects at once. */
  #inSession<T>(session: number, task: () => Promise<T>, outer?: AbortSignal): Promise<T> {
    const result = (this.#lines.get(session) ?? Promise.resolve()).then(() => {
      outer?.throwIfAborted();
      return task();
    });
    const line = result
      .catch(() => {})
      .then(() => {
        if (this.#lines.get(session) === line) this.#lines.delete(session);
      });
    this.#lines.set(session, line);
    return outer && !this.#parts.host.requestBound ? untilAborted(result, outer) : result;
  }

  /** One turn of a session. */
  #turnOf<T>(session: number, task: (signal: AbortSignal) => Promise<T> | T, outer?: AbortSignal): Promise<T> {
    return this.#inSession(session, () => this.#inTurn(task, outer), outer);
  }

  open(contextSize = this.info.contextSize): Promise<number> {
    return this.#inTurn(() => {
      if (!Number.isSafeInteger(contextSize) || contextSize < 1 || contextSize > 1 << 24)
        throw new CpmError(
          "bad-option",
          `contextSize: expected a whole number of tokens from 1 to 16777216, found ${contextSize}`,
          { field: "contextSize" },
        );
      const most = this.info.contextSize;
      if (contextSize > most)
        throw new CpmError(
          "bad-option",
          `contextSize: this model was loaded for ${most} tokens, a session of ${contextSize} does not fit; load with a larger contextSize`,
          { field: "contextSize" },
        );
      return this.#parts.sequences.open(contextSize);
    });
  }

  forward(
    session: number,
    tokens: readonly number[],
    logits: "none" | "last" | "all",
    outer?: AbortSignal,
  ): Promise<Float32Array> {
    return this.#inSession(
      session,
      async () => {
        const { sequence, out } = await this.#inTurn(() => {
          const sequence = this.#parts.sequences.get(session);
          const vocab = this.info.config.vocab;
          checkTokens(tokens, vocab, sequence);
          return { sequence, out: logitsArray(logits === "none" ? 0 : logits === "last" ? vocab : vocab * tokens.length) };
        }, outer);
        let filled = 0;
        await this.#append(sequence, tokens, logits, outer, (row) => {
          out.set(row, filled);
          filled += row.length;
        });
        return out;
      },
      outer,
    );
  }

  trace(session: number, tokens: readonly number[], every: number, outer?: AbortSignal): Promise<BlockTrace> {
    return this.#inSession(
      session,
      async () => {
        const { config, sparse } = this.info;
        const sequence = await this.#inTurn(() => {
          const sequence = this.#parts.sequences.get(session);
          checkTokens(tokens, config.vocab, sequence);
          if (!Number.isSafeInteger(every) || every < 1)
            throw new CpmError("bad-option", `every: expected a whole number of tokens, found ${every}`, { field: "every" });
          return sequence;
        }, outer);
        const shape = { layers: config.layers, kvHeads: config.kvHeads, blockSize: sparse?.blockSize ?? 64 };
        const recorder = new BlockRecorder(shape, sequence.tokens.length, tokens.length, every);
        await this.#append(sequence, tokens, "none", outer, () => {}, recorder);
        return recorder.trace;
      },
      outer,
    );
  }

  profile(session: number, steps: number, outer?: AbortSignal): Promise<Profile> {
    const work = (signal: AbortSignal) => {
      if (!Number.isSafeInteger(steps) || steps < 1 || steps > 10000)
        throw new CpmError("bad-option", `steps: expected a whole number from 1 to 10000, found ${steps}`, { field: "steps" });
      const sequence = this.#parts.sequences.get(session);
      checkTokens([0], this.info.config.vocab, sequence);
      return profileSequence(this.#parts, sequence, steps, signal);
    };
    return this.#turnOf(session, work, outer);
  }

  /** Appends tokens in batches, each a turn of its own; hands over each row of logits asked for, in order. All are appended, or none. */
  async #append(
    sequence: Sequence,
    tokens: readonly number[],
    logits: "none" | "last" | "all",
    outer: AbortSignal | undefined,
    onRows: (rows: Float32Array) => void,
    recorder?: BlockRecorder,
  ): Promise<void> {
    const { stepper, arena } = this.#parts;
    const vocab = this.info.config.vocab;
    const before = sequence.tokens.length;
    // Dense or sparse is decided once, from the whole call: how it is cut into batches changes nothing.
    const total = before + tokens.length;
    try {
      for (let begin = 0, end = 0; begin < tokens.length; begin = end)
        await this.#inTurn(async (signal) => {
          end = Math.min(tokens.length, begin + stepper.batchRows(total));
          const batch = tokens.slice(begin, end);
          await stepper.layers(causalRows(sequence, batch, total), signal, recorder);
          const last = end === tokens.length;
          const wanted = logits === "all" ? batch.map((_, i) => i) : logits === "last" && last ? [batch.length - 1] : [];
          for (let i = 0; i < wanted.length; i += stepper.logitRows) {
            const picked = wanted.slice(i, i + stepper.logitRows);
            await stepper.head(picked, signal);
            onRows(new Float32Array(arena.memory.buffer, stepper.logits, picked.length * vocab));
          }
          sequence.tokens.push(...batch);
        }, outer);
    } catch (error) {
      sequence.tokens.length = before;
      throw error;
    }
  }

  generate(session: number, request: GenerateRequest, hooks: GenerateHooks): Promise<GenerateResult> {
    return this.#admitted(session, hooks.signal, async () => {
      const { host, table, sequences, drafting, meter } = this.#parts;
      const text = request.prompt;
      const prompt = typeof text === "string" ? await this.#encode(text, sequences.get(session).contextSize, hooks.signal) : text;
      return this.#inTurn(() => {
        const sequence = sequences.get(session);
        checkTokens(prompt, this.info.config.vocab, { ...sequence, tokens: [] });
        if (drafting) meter.warmUp();
        const parts = {
          now: () => host.now(),
          table,
          stop: this.info.tokenizer.stop,
          speculation: new Speculation(this.#draftingFor(request), hooks.signal, this.#turnsSparse(request, prompt.length)),
          slide: (full: Sequence) => this.#slide(full),
        };
        return new TextRun(parts, sequence, { ...request, prompt }, hooks);
      }, hooks.signal);
    });
  }

  /** Lets a run through the gate and to its result, in its session's line. */
  async #admitted<T>(session: number, signal: AbortSignal | undefined, begin: () => Promise<Run<T>>): Promise<T> {
    this.#gate.admit();
    const work = async () => {
      try {
        return await this.#gate.run(async () => this.#complete(await begin()), signal);
      } finally {
        this.#gate.leave();
      }
    };
    return this.#inSession(session, work, signal);
  }

  /** Steps until `run` has its result. */
  async #complete<T>(run: Run<T>): Promise<T> {
    this.#batcher.add(run);
    // Work belongs to requests there: each computes its own rows, in turn with the others.
    if (this.#parts.host.requestBound) while (!run.settled) await this.#step([run]);
    else if (!this.#stepping) void this.#keepStepping();
    return run.result;
  }

  async #keepStepping(): Promise<void> {
    this.#stepping = true;
    while (this.#batcher.busy) await this.#step();
    this.#stepping = false;
  }

  async #step(only?: readonly Run[]): Promise<void> {
    try {
      await this.#inTurn((signal) => this.#batcher.step(signal, only));
    } catch (error) {
      this.#batcher.fail(error);
    }
  }

  /** Keeps the first blocks and the last window of a full sequence, or of a small one a quarter and a half. */
  #slide(sequence: Sequence): void {
    const { initBlocks, blockSize, windowSize } = this.info.sparse ?? PUBLISHED_SPARSE;
    const { contextSize, tokens } = sequence;
    const first = Math.min(initBlocks * blockSize, contextSize >> 2);
    const last = Math.max(1, Math.min(windowSize, contextSize >> 1));
    if (first + last < tokens.length) this.#parts.stepper.slide(sequence, tokens.length - last, first);
  }

  /** Whether a generation may come to attend sparsely. */
  #turnsSparse({ maxTokens }: GenerateRequest, promptLength: number): boolean {
    const { sparse, contextSize } = this.info;
    return sparse !== undefined && Math.min(contextSize, promptLength + maxTokens) >= sparse.denseLen;
  }

  #draftingFor({ draft = "text" }: GenerateRequest): Drafting | undefined {
    const { drafting } = this.#parts;
    return draft === "off" || (drafting?.chatsOnly && draft !== "chat") ? undefined : drafting;
  }

  /**
   * A prompt's tokens; a BOS that the text already spells is not doubled. Looks at the signal and the event loop on the way, and refuses
   * as soon as there are more tokens than fit.
   */
  async #encode(text: string, most: number, signal: AbortSignal | undefined): Promise<number[]> {
    this.#tokenizer ??= new Tokenizer(this.info.tokenizer);
    const steps = this.#tokenizer.encodeSteps(text);
    let step = steps.next();
    for (; !step.done; step = steps.next()) {
      if (step.value.length > most + 1)
        throw new CpmError(
          "context-overflow",
          `the prompt has more than the ${most} tokens that the context holds; shorten it or load with a larger contextSize`,
          { field: "prompt" },
        );
      await this.#parts.stepper.breathe(signal);
      this.#end.signal.throwIfAborted();
    }
    const ids = step.value;
    return ids.length > 1 && ids[0] === ids[1] && ids[0] === this.#tokenizer.bos ? ids.slice(1) : ids;
  }

  tokens(session: number): Promise<Int32Array> {
    return this.#turnOf(session, () => Int32Array.from(this.#parts.sequences.get(session).tokens));
  }

  truncate(session: number, length: number): Promise<void> {
    return this.#turnOf(session, () => {
      const sequence = this.#parts.sequences.get(session);
      const { tokens } = sequence;
      if (!Number.isSafeInteger(length) || length < 0 || length > tokens.length)
        throw new CpmError("bad-option", `truncate: expected a length from 0 to ${tokens.length}, found ${length}`, {
          field: "length",
        });
      tokens.length = length;
      this.#parts.drafting?.drafter.cut(sequence, length);
    });
  }

  copy(session: number): Promise<number> {
    return this.#turnOf(session, () => this.#parts.sequences.copy(session));
  }

  save(session: number): Promise<Uint8Array> {
    return this.#turnOf(session, () => this.#parts.sequences.save(session));
  }

  restore(bytes: Uint8Array): Promise<number> {
    return this.#inTurn(() => this.#parts.sequences.restore(bytes));
  }

  closeSession(session: number): Promise<void> {
    return this.#turnOf(session, () => {
      const { sequences, drafting } = this.#parts;
      const closed = sequences.close(session);
      if (closed) drafting?.drafter.close(closed);
    });
  }

  /** Ends what is being computed, then the lanes. The memory goes with the last reference to this engine. */
  async close(): Promise<void> {
    this.#end.abort(new CpmError("closed", "this model is closed; load it again"));
    await this.#turn;
    await this.#parts.endLanes();
  }
}

function logitsArray(length: number): Float32Array {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw new CpmError(
      "out-of-memory",
      `${length} logits do not fit into memory; ask for fewer tokens at a time, or for the last one's only`,
      { field: "logits" },
      { cause },
    );
  }
}

function checkTokens(tokens: readonly number[], vocab: number, sequence: Sequence): void {
  if (tokens.length === 0)
    throw new CpmError(
      "bad-input",
      "no tokens to run: the prompt is empty and this model adds no BOS token; give at least one token",
    );
  const bad = tokens.findIndex((t) => !Number.isSafeInteger(t) || t < 0 || t >= vocab);
  if (bad >= 0)
    throw new CpmError("bad-input", `token ${tokens[bad]} at index ${bad} is outside the vocabulary (0 to ${vocab - 1})`);
  const total = sequence.tokens.length + tokens.length;
  if (total > sequence.contextSize)
    throw new CpmError(
      "context-overflow",
      `${total} tokens do not fit the context of ${sequence.contextSize}; shorten the input, truncate the session, or load with contextSize ${total} or more`,
    );
}
