// What a generation has given so far: its tokens, their text as it becomes complete, and the result.
import { type GeneratedPiece, TextStream } from "../text/stream.ts";
import type { PieceTable } from "../text/vocabulary.ts";
import type {
  DraftStats,
  FinishReason,
  GeneratedPart,
  GenerateHooks,
  GenerateRequest,
  GenerateResult,
  TokenLogprob,
} from "./types.ts";

/** A request whose prompt was encoded. */
export type TokenRequest = GenerateRequest & { readonly prompt: readonly number[] };

type Logprobs = TokenLogprob & { readonly top: readonly TokenLogprob[] };

/** What a generation has given so far. */
export class Output {
  readonly tokens: number[] = [];
  reasoningTokens = 0;
  /** The stop token that was drawn. */
  ended: Logprobs | undefined;
  readonly #table: PieceTable;
  readonly #hooks: Pick<GenerateHooks, "onPart">;
  readonly #stream: TextStream;
  /** Log-probabilities of tokens whose text is still held back. */
  readonly #waiting: Logprobs[] = [];
  readonly #split: boolean;
  #text = "";
  #reasoning = "";

  constructor(table: PieceTable, request: TokenRequest, hooks: Pick<GenerateHooks, "onPart">) {
    this.#table = table;
    this.#hooks = hooks;
    this.#split = request.thinking !== "none";
    this.#stream = new TextStream(table, {
      stop: request.stop,
      thinking: request.thinking,
      marks: request.marks,
      special: request.special,
      prompt: request.prompt,
    });
  }

  /** Takes a token; true when a stop string was completed. */
  push(token: number, logprob: Logprobs | undefined): boolean {
    this.tokens.push(token);
    if (this.#stream.inReasoning) this.reasoningTokens++;
    if (logprob) this.#waiting.push(logprob);
    this.#emit(this.#stream.push(token));
    return this.#stream.stopped !== undefined;
  }

  /** The stop string that ended the text. */
  get stopped(): string | undefined {
    return this.#stream.stopped;
  }

  /** A leading space of the next token with text will be left out. */
  get dropsSpace(): boolean {
    return this.#stream.dropsSpace;
  }

  get inReasoning(): boolean {
    return this.#stream.inReasoning;
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

  get #reasoned(): { readonly reasoningTokens?: number } {
    return this.#split ? { reasoningTokens: this.reasoningTokens } : {};
  }

  #textOf(token: number): string {
    const { bytes, offsets } = this.#table;
    return new TextDecoder().decode(bytes.subarray(offsets[token], offsets[token + 1]));
  }

  named(raw: { token: number; logprob: number; top: readonly { token: number; logprob: number }[] }): Logprobs {
    const name = (t: { token: number; logprob: number }): TokenLogprob => ({ ...t, text: this.#textOf(t.token) });
    return { ...name(raw), top: raw.top.map(name) };
  }

  result(
    finishReason: FinishReason,
    m: { promptTokens: number; cachedTokens: number; prefillMs: number; decodeMs: number },
    draft: DraftStats | undefined,
  ): GenerateResult {
    const perSecond = (tokens: number, ms: number) => (ms > 0 ? (1000 * tokens) / ms : 0);
    // The first token comes out of the prefill's logits: decoding computed one step fewer than there are tokens.
    const steps = Math.max(0, this.tokens.length - 1);
    return {
      text: this.#text,
      reasoning: this.#reasoning,
      tokens: this.tokens,
      finishReason,
      ...(this.stopped === undefined ? {} : { stopString: this.stopped }),
      ...(this.ended ? { stopToken: { token: this.ended.token, text: this.ended.text, logprob: this.ended.logprob } } : {}),
      usage: {
        promptTokens: m.promptTokens,
        cachedTokens: m.cachedTokens,
        completionTokens: this.tokens.length,
        ...this.#reasoned,
      },
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
