// One text on its way: what the scheduler gives rows to. A run holds its sequence until it is settled.

import type { DraftTree } from "../decode/draft/tree.ts";
import type { SampledToken, Sampler } from "../decode/sampler.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type { Guide } from "./guide.ts";
import { Output, type TokenRequest } from "./output.ts";
import { cutTo, keepable, type Sequence } from "./sequences.ts";
import type { Speculation } from "./speculate.ts";
import type { FinishReason, GenerateHooks, GenerateResult } from "./types.ts";

/** A prompt to compute and what then becomes of it. */
export abstract class Run<Result = unknown> {
  readonly sequence: Sequence;
  readonly prompt: readonly number[];
  readonly signal: AbortSignal | undefined;
  readonly result: Promise<Result>;
  /** Steps since it last had rows. */
  waited = 0;
  #settled = false;
  #settle!: { resolve(result: Result): void; reject(error: unknown): void };

  constructor(sequence: Sequence, prompt: readonly number[], signal: AbortSignal | undefined) {
    this.sequence = sequence;
    this.prompt = prompt;
    this.signal = signal;
    this.result = new Promise<Result>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.result.catch(() => {});
  }

  /** Its reader is behind: no rows until it is released. */
  get held(): boolean {
    return false;
  }

  /** Prompt tokens still to compute. */
  abstract get left(): number;
  /** Whether the prompt's last token takes a row of logits. */
  abstract readonly wantsLogits: boolean;
  /** Rows of a step became the next tokens of the prompt, which are in the sequence. `sampler`: of the last one's logits, where they were wanted. */
  abstract prefilled(rows: readonly number[], sampler: Sampler | undefined): Promise<void>;

  get settled(): boolean {
    return this.#settled;
  }

  finish(result: Result): void {
    this.#settled = true;
    this.#settle.resolve(result);
  }

  fail(error: unknown): void {
    this.#settled = true;
    this.#settle.reject(error);
  }
}

export interface TextRunParts {
  now(): number;
  readonly table: PieceTable;
  /** Tokens beyond which a text turns by other divisors; 0: never. */
  readonly ropeSwitch: number;
  /** The model's own end tokens. */
  readonly stop: readonly number[];
  readonly speculation: Speculation;
  /** Forgets the middle of a full sequence. */
  slide(sequence: Sequence): void;
  /** What holds the text to a grammar, with what drafts have to know of it. */
  readonly guide?: Guide | undefined;
  /** Tokens that end reasoning. */
  readonly endOfReasoning?: readonly number[] | undefined;
}

/**
 * A generation. The stop token is not part of its result. Every token is drawn by the target's sampler from (seed, position) and
 * the text before it, so neither drafts nor the texts beside it change anything but how soon a token comes.
 */
export class TextRun extends Run<GenerateResult> {
  readonly wantsLogits = true;
  readonly #p: TextRunParts;
  readonly #request: TokenRequest;
  readonly #hooks: GenerateHooks;
  readonly #out: Output;
  readonly #stop: ReadonlySet<number>;
  readonly #started: number;
  readonly #cached: number;
  #decodeStarted = 0;
  /** Tokens to come whatever the model says: the end of reasoning that is cut off, or forced text that is written. */
  #forced: number[] = [];
  #drawn: { readonly token: number; readonly finish: FinishReason | undefined } | undefined;

  /** Keeps the prompt's common prefix with the sequence. */
  constructor(parts: TextRunParts, sequence: Sequence, request: TokenRequest, hooks: GenerateHooks) {
    super(sequence, request.prompt, hooks.signal);
    this.#p = parts;
    this.#request = request;
    this.#hooks = hooks;
    this.#started = parts.now();
    const common = keepable(sequence, commonPrefix(sequence.tokens, request.prompt));
    this.#cached = keepable(sequence, parts.speculation.begin(sequence, common, request.prompt));
    cutTo(sequence, this.#cached);
    hooks.onBegin?.({ promptTokens: request.prompt.length, cachedTokens: this.#cached });
    this.#out = new Output(parts.table, request, hooks);
    this.#stop = new Set([...parts.stop, ...request.stopTokens]);
    parts.guide?.begin(this.#out.dropsSpace);
  }

  override get held(): boolean {
    return this.#hooks.flow?.held ?? false;
  }

  get left(): number {
    return this.#drawn ? 0 : this.prompt.length - this.sequence.tokens.length;
  }

  async prefilled(rows: readonly number[], sampler: Sampler | undefined): Promise<void> {
    await this.#p.speculation.observe(this.sequence, rows);
    this.#hooks.onPrefill?.(this.sequence.tokens.length - this.#cached, this.prompt.length - this.#cached);
    if (!sampler) return;
    this.#decodeStarted = this.#p.now();
    this.#draw(sampler);
    this.#end();
  }

  /** The tree to verify next, in a step of this text's own. */
  async propose(): Promise<DraftTree> {
    const rows = this.#room();
    return this.#p.speculation.propose(this.sequence, this.#drawn!.token, rows, this.#toCome());
  }

  /** A proposal for a step that others share, and how many of its nodes can be of use; keep() then takes some. */
  async proposeBeside(): Promise<{ readonly tree: DraftTree; readonly limit: number }> {
    const limit = this.#room();
    return { tree: await this.#p.speculation.proposeBeside(this.sequence, this.#drawn!.token, limit, this.#toCome()), limit };
  }

  keep(marks: Uint8Array): DraftTree {
    return this.#p.speculation.keep(marks);
  }

  /** Tokens that can still be of use. */
  #room(): number {
    if (this.#full()) {
      this.#p.slide(this.sequence);
      this.#p.speculation.rest(this.sequence);
    }
    const { contextSize, tokens } = this.sequence;
    const { ropeSwitch } = this.#p;
    // A tree never reaches over where all that stands before it turns otherwise.
    const turn = tokens.length < ropeSwitch ? ropeSwitch - tokens.length : contextSize;
    return Math.min(contextSize - tokens.length, turn, this.#request.maxTokens - this.#out.tokens.length);
  }

  /** The tree's rows, from row `first` of the step on, were computed; `samplers` are of their logits. */
  async verified(tree: DraftTree, first: number, samplers: readonly Sampler[], accept: (node: number) => void): Promise<void> {
    const path: number[] = [];
    for (let node = 0; node >= 0; ) {
      accept(node);
      path.push(node);
      const { token, finish } = this.#draw(samplers[node]!);
      node = finish ? -1 : tree.child(node, token);
    }
    await this.#p.speculation.settle(this.sequence, path, first);
    this.#end();
  }

  #full(): boolean {
    return this.sequence.tokens.length >= this.sequence.contextSize;
  }

  /** Draws the token after the sequence from a row of logits, and emits it. */
  #draw(sampler: Sampler): { token: number; finish: FinishReason | undefined } {
    const { sequence } = this;
    const request = this.#request;
    const out = this.#out;
    const { guide } = this.#p;
    const forced = this.#toCome().shift();
    const history = new Int32Array(sequence.tokens.slice(-Math.max(1, request.sampling.penaltyWindow)));
    const position = this.prompt.length + out.tokens.length;
    const sampled: SampledToken =
      forced === undefined ? sampler.sample(request.sampling, position, history, guide?.mask()) : { token: forced };
    guide?.take(sampled.token);
    this.#p.speculation.drew(sampled.token);
    this.#drawn = { token: sampled.token, finish: this.#take(sampled) };
    return this.#drawn;
  }

  /** Tokens that come next and are not drawn: the end of reasoning, once there has been as much of it as there may be; forced text. */
  #toCome(): number[] {
    const { maxReasoningTokens, forcedText } = this.#request;
    const out = this.#out;
    const { guide, endOfReasoning } = this.#p;
    if (this.#forced.length > 0) return this.#forced;
    if (maxReasoningTokens !== undefined && out.inReasoning && out.reasoningTokens === maxReasoningTokens)
      this.#forced = [...(endOfReasoning ?? [])];
    else if (guide && forcedText === "write") this.#forced = guide.written();
    return this.#forced;
  }

  #take({ token, logprob }: SampledToken): FinishReason | undefined {
    const out = this.#out;
    const { maxTokens, whenFull } = this.#request;
    if (this.#stop.has(token)) {
      if (logprob) out.ended = out.named(logprob);
      return "stop";
    }
    if (out.push(token, logprob && out.named(logprob))) return "stop-string";
    if (this.#p.guide?.ended) return "stop";
    if (out.tokens.length >= maxTokens) return "length";
    return this.#full() && whenFull !== "slide" ? "context" : undefined;
  }

  #end(): void {
    const finish = this.#drawn?.finish;
    if (!finish) return;
    this.#out.finish();
    const m = {
      promptTokens: this.prompt.length,
      cachedTokens: this.#cached,
      prefillMs: this.#decodeStarted - this.#started,
      decodeMs: this.#p.now() - this.#decodeStarted,
    };
    this.finish(this.#out.result(finish, m, this.#p.speculation.stats));
  }
}

/** How many leading tokens of the prompt the cache already holds; the last one is always computed anew, for its logits. */
function commonPrefix(have: readonly number[], prompt: readonly number[]): number {
  const most = Math.min(have.length, prompt.length - 1);
  let n = 0;
  while (n < most && have[n] === prompt[n]) n++;
  return n;
}
