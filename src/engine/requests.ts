// Requests: texts to generate and to embed, from the gate to their result. Sessions' other calls are the engine's.

import { CpmError } from "../errors.ts";
import type { Flow } from "../flow.ts";
import { PUBLISHED_SPARSE } from "../model/sparse.ts";
import { joinSignals, type Stop, withSignals } from "../signals.ts";
import type { Parts } from "./assemble.ts";
import { Batcher } from "./batcher.ts";
import { Constraints } from "./constraints.ts";
import { EmbedRun } from "./embedding.ts";
import { Gate } from "./gate.ts";
import { Guide } from "./guide.ts";
import type { TokenRequest } from "./output.ts";
import { type Loan, PrefixCache } from "./prefix.ts";
import { checkTokens, type Prompts } from "./prompts.ts";
import { type Run, TextRun } from "./run.ts";
import type { Sequence } from "./sequences.ts";
import { type Drafting, Speculation, silentDrafter } from "./speculate.ts";
import type { Turns } from "./turns.ts";
import {
  ANY_SESSION,
  type EmbedOptions,
  type EngineInfo,
  type EngineOptions,
  type GenerateHooks,
  type GenerateRequest,
  type GenerateResult,
} from "./types.ts";

/** Generations that run at once, and that wait, unless the options say otherwise. */
const DEFAULT_PARALLEL = 8;
const DEFAULT_QUEUE = 64;
/** Most bytes of finished texts that stay beyond the planned caches; else as much as two sessions take. */
const DEFAULT_CACHE_BYTES = 256 << 20;
/** Texts of one embed() call that are computed side by side. */
const EMBEDDED_AT_ONCE = 16;

export class Requests {
  readonly #parts: Parts;
  readonly #turns: Turns;
  readonly #prompts: Prompts;
  readonly #batcher: Batcher;
  readonly #gate: Gate;
  readonly #prefixes: PrefixCache;
  readonly #constraints: Constraints;
  #stepping = false;

  constructor(parts: Parts, options: EngineOptions, turns: Turns, prompts: Prompts) {
    this.#parts = parts;
    this.#turns = turns;
    this.#prompts = prompts;
    const { stepper, samplers, meter, drafting, host, plan, sequences } = parts;
    this.#batcher = new Batcher({ stepper, samplers, costs: meter, budget: drafting?.budget, now: () => host.now() });
    this.#gate = new Gate(options.parallel ?? DEFAULT_PARALLEL, options.queue ?? DEFAULT_QUEUE);
    this.#prefixes = new PrefixCache({
      sequences,
      contextSize: plan.contextSize,
      denseLen: plan.sparse?.denseLen,
      ropeSwitch: plan.ropeSwitch,
      keep: options.cacheBytes !== 0,
      bytes: options.cacheBytes ?? (host.requestBound ? 0 : Math.min(DEFAULT_CACHE_BYTES, 2 * plan.kvBytes)),
      forget: (sequence) => drafting?.drafter.close(sequence),
    });
    this.#constraints = new Constraints(host, parts.table, this.#info.tokenizer.stop);
    turns.end.addEventListener("abort", () => this.#batcher.fail(turns.end.reason), { once: true });
  }

  get #info(): EngineInfo {
    return this.#parts.info;
  }

  generate(session: number, request: GenerateRequest, hooks: GenerateHooks): Promise<GenerateResult> {
    const { sequences, meter } = this.#parts;
    const { contextSize, config } = this.#info;
    const { signal } = hooks;
    const any = session === ANY_SESSION;
    const work = async () => {
      const text = request.prompt;
      const most = any ? contextSize : sequences.get(session).contextSize;
      const prompt = typeof text === "string" ? await this.#prompts.encode(text, most, signal, request.ends) : text;
      let loan: Loan | undefined;
      const lease = request.constraint && (await this.#constraints.lease(request.constraint));
      try {
        const guide = lease && new Guide(lease.constraint, (inside) => this.#prompts.encodeInside(inside));
        const run = await this.#turns.inTurn(() => {
          const limit = any ? contextSize : sequences.get(session).contextSize;
          checkTokens(prompt, config.vocab, { contextSize: limit, tokens: [] });
          const wanted = request.whenFull === "slide" ? contextSize : Math.min(contextSize, prompt.length + request.maxTokens);
          const lora = any || request.lora ? this.#parts.adapters.set(request.lora) : undefined;
          if (any) loan = this.#prefixes.borrow(prompt, wanted, lora);
          else if (request.lora) sequences.adapt(sequences.get(session), lora);
          meter.warmUp();
          return this.#textRun(loan?.sequence ?? sequences.get(session), { ...request, prompt }, hooks, guide);
        }, signal);
        return await this.#complete(run, hooks.flow);
      } finally {
        lease?.release();
        if (loan) this.#prefixes.giveBack(loan);
      }
    };
    return this.#admitted(any ? undefined : session, work, signal);
  }

  #textRun(sequence: Sequence, request: TokenRequest, hooks: GenerateHooks, guide: Guide | undefined): TextRun {
    const { host, table } = this.#parts;
    const sparse = this.#turnsSparse(request, request.prompt.length);
    const speculation = new Speculation(this.#draftingFor(request), hooks.signal, sparse, guide);
    const slide = (full: Sequence) => this.#slide(full);
    const endOfReasoning = request.maxReasoningTokens === undefined ? undefined : this.#prompts.endOfReasoning;
    const { stop } = this.#info.tokenizer;
    const { ropeSwitch } = this.#parts.plan;
    const parts = { now: () => host.now(), table, stop, speculation, slide, guide, endOfReasoning, ropeSwitch };
    return new TextRun(parts, sequence, request, hooks);
  }

  embed(
    texts: readonly (string | readonly number[])[],
    options: EmbedOptions,
    { signal, onBegin }: Pick<GenerateHooks, "signal" | "onBegin">,
  ): Promise<Float32Array> {
    const { hidden, vocab } = this.#info.config;
    const { contextSize } = this.#info;
    const work = async () => {
      const prompts: (readonly number[])[] = [];
      for (const text of texts)
        prompts.push(typeof text === "string" ? await this.#prompts.encode(text, contextSize, signal) : text);
      for (const prompt of prompts) checkTokens(prompt, vocab, { contextSize, tokens: [] });
      onBegin?.({ promptTokens: prompts.reduce((sum, { length }) => sum + length, 0), cachedTokens: 0 });
      const out = new Float32Array(hidden * prompts.length);
      // One that fails ends the others; one that finds no memory beside others is left to them.
      const failed = new AbortController();
      const indices = prompts.map((_, i) => i).reverse();
      let active = 0;
      const some = async (both: AbortSignal) => {
        for (let i = indices.pop(); i !== undefined; i = indices.pop()) {
          active++;
          try {
            out.set(await this.#embedOne(prompts[i]!, options, both), hidden * i);
          } catch (error) {
            if (active === 1 || !(error instanceof CpmError) || error.code !== "out-of-memory") throw error;
            indices.push(i);
            return;
          } finally {
            active--;
          }
        }
      };
      await withSignals([signal, failed.signal], async (both) => {
        const tasks = Array.from({ length: Math.min(EMBEDDED_AT_ONCE, prompts.length) }, () =>
          some(both).catch((error: unknown) => {
            failed.abort(error);
            throw error;
          }),
        );
        const ended = await Promise.allSettled(tasks);
        for (const task of ended) if (task.status === "rejected") throw failed.signal.reason;
      });
      return out;
    };
    return this.#admitted(undefined, work, signal);
  }

  async #embedOne(prompt: readonly number[], options: EmbedOptions, signal: AbortSignal): Promise<Float32Array> {
    let loan: Loan | undefined;
    try {
      // Many at once share a signal: it is looked at, not listened to.
      const run = await this.#turns.inTurn(() => {
        signal.throwIfAborted();
        loan = this.#prefixes.temporary(prompt.length, this.#parts.adapters.set(options.lora));
        return new EmbedRun(this.#parts.stepper, loan.sequence, prompt, options, this.#info.config.hidden, signal);
      });
      return await this.#complete(run);
    } finally {
      if (loan) this.#prefixes.drop(loan);
    }
  }

  /** Lets `work` through the gate, in its session's line where it has one. Who is aborted while waiting gives its place back at once. */
  async #admitted<T>(session: number | undefined, work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    this.#gate.admit();
    let [begun, left] = [false, false];
    const leave = () => {
      if (!left) this.#gate.leave();
      left = true;
    };
    const abort = () => {
      if (!begun) leave();
    };
    signal?.addEventListener("abort", abort, { once: true });
    const admitted = async () => {
      try {
        signal?.throwIfAborted();
        this.#turns.end.throwIfAborted();
        begun = true;
        return await this.#gate.run(work, signal);
      } finally {
        signal?.removeEventListener("abort", abort);
        leave();
      }
    };
    const result = session === undefined ? admitted() : this.#turns.inSession(session, admitted);
    return this.#turns.heard(result, signal);
  }

  /** Steps until `run` has its result. */
  async #complete<T>(run: Run<T>, flow?: Flow): Promise<T> {
    this.#batcher.add(run);
    // Work belongs to requests there: each computes its own rows, in turn with the others.
    if (this.#parts.host.requestBound) {
      while (!run.settled) {
        if (run.held && !run.signal?.aborted && !this.#turns.end.aborted) await this.#released(run, flow);
        await this.#steps((stop) => this.#batcher.step(stop, [run]));
      }
      return run.result;
    }
    this.#wake();
    if (!flow) return run.result;
    // Neither a release nor an abort of a held text would be seen where no step is running.
    flow.listen(() => this.#wake());
    const wake = () => this.#wake();
    run.signal?.addEventListener("abort", wake, { once: true });
    return run.result.finally(() => run.signal?.removeEventListener("abort", wake));
  }

  /** Resolves when a held run is released, or has to end. */
  #released(run: Run, flow: Flow | undefined): Promise<void> {
    return new Promise((resolve) => {
      const { end } = this.#turns;
      const { signal, release } = joinSignals(run.signal, end);
      const done = () => {
        release();
        resolve();
      };
      flow?.listen((held) => held || done());
      if (signal.aborted) done();
      else signal.addEventListener("abort", done, { once: true });
    });
  }

  #wake(): void {
    if (!this.#stepping && this.#batcher.busy) void this.#keepStepping();
  }

  async #keepStepping(): Promise<void> {
    this.#stepping = true;
    while (this.#batcher.busy)
      await this.#steps(async (stop) => {
        // A turn goes on for as long as nobody waits for the next.
        do await this.#batcher.step(stop);
        while (this.#batcher.busy && !this.#turns.contended);
      });
    this.#stepping = false;
  }

  async #steps(task: (stop: Stop) => Promise<void>): Promise<void> {
    try {
      await this.#turns.inTurn(task);
    } catch (error) {
      this.#batcher.fail(error);
    }
  }

  /** Keeps the first blocks and the last window of a full sequence, or of a small one a quarter and a half. */
  #slide(sequence: Sequence): void {
    const { initBlocks, blockSize, windowSize } = this.#info.sparse ?? PUBLISHED_SPARSE;
    const { contextSize, tokens } = sequence;
    const first = Math.min(initBlocks * blockSize, contextSize >> 2);
    const last = Math.max(1, Math.min(windowSize, contextSize >> 1));
    if (first + last >= tokens.length) return;
    this.#parts.stepper.slide(sequence, tokens.length - last, first);
    sequence.pure = Math.min(sequence.pure, first);
  }

  /** Whether a generation may come to attend sparsely. */
  #turnsSparse({ maxTokens }: GenerateRequest, promptLength: number): boolean {
    const { sparse, contextSize } = this.#info;
    return sparse !== undefined && Math.min(contextSize, promptLength + maxTokens) >= sparse.denseLen;
  }

  #draftingFor({ draft = "text", constraint }: GenerateRequest): Drafting | undefined {
    const { drafting } = this.#parts;
    if (draft === "off" || !drafting) return undefined;
    if (!drafting.chatsOnly || draft === "chat") return drafting;
    return constraint && { ...drafting, drafter: silentDrafter };
  }
}
