// The loop from a prompt to text: prefill, sample, decode, until something says stop.

import type { DraftTree } from "../decode/draft/tree.ts";
import type { Sampler } from "../decode/sampler.ts";
import { type GeneratedPiece, TextStream } from "../text/stream.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type { Sequence } from "./sequences.ts";
import type { Speculation } from "./speculate.ts";
import type { FinishReason, GeneratedPart, GenerateHooks, GenerateRequest, GenerateResult, TokenLogprob } from "./types.ts";

export interface Generator {
  now(): number;
  /** Of each row of logits. */
  readonly samplers: readonly Sampler[];
  readonly speculation: Speculation;
  readonly table: PieceTable;
  readonly sequence: Sequence;
  /** Prompt tokens of the next batch, of `total` in all. */
  batchRows(total: number): number;
  /** The model's own end tokens. */
  readonly stop: readonly number[];
  /** Appends tokens to the sequence; "last" leaves the last row's logits in place for the sampler. */
  step(tokens: readonly number[], logits: "none" | "last"): Promise<void>;
  /** Forgets the middle of the sequence. */
  slide(): void;
  /** Computes a tree's rows behind the sequence, and the logits after each node, in their order. */
  verify(tree: DraftTree): Promise<void>;
  /** Appends a node of the verified tree to the sequence, whose parent was the last one appended. */
  accept(tree: DraftTree, node: number): void;
}

/** A request whose prompt was encoded. */
export type TokenRequest = GenerateRequest & { readonly prompt: readonly number[] };

type Logprobs = TokenLogprob & { readonly top: readonly TokenLogprob[] };

/**
 * Keeps the prompt's common prefix with the sequence, computes the rest, and generates. The stop token is not part of the
 * result. Every token is drawn by the target's sampler from (seed, position) and the text before it, so drafts change
 * how many tokens a step gives and nothing else.
 */
export async function generate(g: Generator, request: TokenRequest, hooks: GenerateHooks): Promise<GenerateResult> {
  const { sequence, speculation } = g;
  const started = g.now();
  const cached = speculation.begin(sequence, commonPrefix(sequence.tokens, request.prompt), request.prompt);
  sequence.tokens.length = cached;
  hooks.onBegin?.({ promptTokens: request.prompt.length, cachedTokens: cached });
  await prefill(g, request.prompt, cached, hooks);
  const decodeStarted = g.now();
  const out = new Output(g, request, hooks);
  const stop = new Set([...g.stop, ...request.stopTokens]);
  /** Draws the token after the sequence from a row of logits, and emits it. */
  const draw = (row: number): { token: number; finish: FinishReason | undefined } => {
    const history = Int32Array.from(sequence.tokens.slice(-Math.max(1, request.sampling.penaltyWindow)));
    const { token, logprob } = g.samplers[row]!.sample(request.sampling, request.prompt.length + out.tokens.length, history);
    speculation.drew(token);
    if (stop.has(token)) return { token, finish: "stop" };
    if (out.push(token, logprob && out.named(logprob))) return { token, finish: "stop-string" };
    if (out.tokens.length >= request.maxTokens) return { token, finish: "length" };
    return { token, finish: full() && request.whenFull !== "slide" ? "context" : undefined };
  };
  const full = () => sequence.tokens.length >= sequence.contextSize;
  const slide = () => {
    g.slide();
    speculation.rest(sequence);
  };
  let drawn = draw(0);
  while (!drawn.finish) {
    if (full()) slide();
    const room = Math.min(sequence.contextSize - sequence.tokens.length, request.maxTokens - out.tokens.length);
    const tree = await speculation.propose(sequence, drawn.token, room);
    await g.verify(tree);
    const path: number[] = [];
    for (let node = 0; node >= 0; ) {
      g.accept(tree, node);
      path.push(node);
      drawn = draw(node);
      node = drawn.finish ? -1 : tree.child(node, drawn.token);
    }
    await speculation.settle(sequence, path);
  }
  out.finish();
  const ended = g.now();
  return out.result(drawn.finish, {
    promptTokens: request.prompt.length,
    cachedTokens: cached,
    prefillMs: decodeStarted - started,
    decodeMs: ended - decodeStarted,
  });
}

/** How many leading tokens of the prompt the cache already holds; the last one is always computed anew, for its logits. */
function commonPrefix(have: readonly number[], prompt: readonly number[]): number {
  const most = Math.min(have.length, prompt.length - 1);
  let n = 0;
  while (n < most && have[n] === prompt[n]) n++;
  return n;
}

async function prefill(g: Generator, prompt: readonly number[], cached: number, hooks: GenerateHooks): Promise<void> {
  for (let begin = cached, end = cached; begin < prompt.length; begin = end) {
    // As many as one step takes, so that a drafter finds the states of all of them.
    end = Math.min(prompt.length, begin + g.batchRows(prompt.length));
    await g.step(prompt.slice(begin, end), end === prompt.length ? "last" : "none");
    await g.speculation.observe(
      g.sequence,
      Array.from({ length: end - begin }, (_, i) => i),
    );
    hooks.onPrefill?.(end - cached, prompt.length - cached);
  }
}

/** What a generation has given so far. */
class Output {
  readonly tokens: number[] = [];
  readonly #generator: Generator;
  readonly #hooks: GenerateHooks;
  readonly #stream: TextStream;
  /** Log-probabilities of tokens whose text is still held back. */
  readonly #waiting: Logprobs[] = [];
  #text = "";
  #reasoning = "";

  constructor(generator: Generator, request: TokenRequest, hooks: GenerateHooks) {
    this.#generator = generator;
    this.#hooks = hooks;
    this.#stream = new TextStream(generator.table, {
      stop: request.stop,
      thinking: request.thinking,
      special: request.special,
      prompt: request.prompt,
    });
  }

  /** Takes a token; true when a stop string was completed. */
  push(token: number, logprob: Logprobs | undefined): boolean {
    this.tokens.push(token);
    if (logprob) this.#waiting.push(logprob);
    this.#emit(this.#stream.push(token));
    return this.#stream.stopped !== undefined;
  }

  /** The stop string that ended the text. */
  get stopped(): string | undefined {
    return this.#stream.stopped;
  }

  finish(): void {
    this.#emit(this.#stream.finish());
  }

  #emit(pieces: readonly GeneratedPiece[]): void {
    for (const piece of pieces) {
      if (piece.type === "text") this.#text += piece.text;
      else this.#reasoning += piece.text;
      const logprobs = this.#waiting.splice(0, piece.tokens.length);
      const part: GeneratedPart = {
        type: piece.type,
        text: piece.text,
        tokens: piece.tokens,
        ...(logprobs.length ? { logprobs } : {}),
      };
      this.#hooks.onPart(part);
    }
  }

  #textOf(token: number): string {
    const { bytes, offsets } = this.#generator.table;
    return new TextDecoder().decode(bytes.slice(offsets[token], offsets[token + 1]));
  }

  named(raw: { token: number; logprob: number; top: readonly { token: number; logprob: number }[] }): Logprobs {
    const name = (t: { token: number; logprob: number }): TokenLogprob => ({ ...t, text: this.#textOf(t.token) });
    return { ...name(raw), top: raw.top.map(name) };
  }

  result(
    finishReason: FinishReason,
    m: { promptTokens: number; cachedTokens: number; prefillMs: number; decodeMs: number },
  ): GenerateResult {
    const draft = this.#generator.speculation.stats;
    const perSecond = (tokens: number, ms: number) => (ms > 0 ? (1000 * tokens) / ms : 0);
    // The first token comes out of the prefill's logits: decoding computed one step fewer than there are tokens.
    const steps = Math.max(0, this.tokens.length - 1);
    return {
      text: this.#text,
      reasoning: this.#reasoning,
      tokens: this.tokens,
      finishReason,
      ...(this.stopped === undefined ? {} : { stopString: this.stopped }),
      usage: { promptTokens: m.promptTokens, cachedTokens: m.cachedTokens, completionTokens: this.tokens.length },
      timings: {
        prefillMs: m.prefillMs,
        decodeMs: m.decodeMs,
        prefillTokensPerSecond: perSecond(m.promptTokens - m.cachedTokens, m.prefillMs),
        decodeTokensPerSecond: perSecond(steps, m.decodeMs),
      },
      ...(draft ? { draft } : {}),
    };
  }
}
