// The shapes that answers have on the wire, OpenAI's and what llama.cpp adds to them. test/server/types.ts holds them to the
// client's own types.
import type { FinishReason, GeneratedPart, GenerateResult, Timings, Tokenizer, Usage } from "../index.ts";

export interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
}

export interface WireTimings {
  readonly prompt_n: number;
  readonly prompt_ms: number;
  readonly prompt_per_second: number;
  readonly predicted_n: number;
  readonly predicted_ms: number;
  readonly predicted_per_second: number;
  readonly cache_n: number;
}

export interface WireTop {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: number[];
}

export interface WireLogprob extends WireTop {
  readonly top_logprobs: WireTop[];
}

export type WireFinish = "stop" | "length" | "tool_calls";

export const finishOf = (reason: FinishReason): WireFinish =>
  reason === "tool-calls" ? "tool_calls" : reason === "length" || reason === "context" ? "length" : "stop";

/** Plain texts call no tools. */
export type WireTextFinish = Exclude<WireFinish, "tool_calls">;

export const textFinishOf = (reason: FinishReason): WireTextFinish => (finishOf(reason) === "length" ? "length" : "stop");

/** One answer's share, summed over the answers of a request; its prompt counts once. */
export function usageOf(all: readonly { readonly usage: Usage; readonly reasoningTokens: number }[]): WireUsage {
  const prompt = all[0]?.usage.promptTokens ?? 0;
  const cached = Math.min(prompt, ...all.map(({ usage }) => usage.cachedTokens));
  const completion = all.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: all.length ? cached : 0 },
    completion_tokens_details: { reasoning_tokens: all.reduce((sum, one) => sum + one.reasoningTokens, 0) },
  };
}

export function timingsOf({ timings, usage }: { readonly timings: Timings; readonly usage: Usage }): WireTimings {
  return {
    prompt_n: usage.promptTokens - usage.cachedTokens,
    prompt_ms: timings.prefillMs,
    prompt_per_second: timings.prefillTokensPerSecond,
    predicted_n: usage.completionTokens,
    predicted_ms: timings.decodeMs,
    predicted_per_second: timings.decodeTokensPerSecond,
    cache_n: usage.cachedTokens,
  };
}

/** Log-probabilities of a part's tokens. JSON has no infinity: what cannot be drawn is -9999, as OpenAI writes it. */
export function logprobsOf(part: GeneratedPart, tokenizer: Tokenizer): WireLogprob[] {
  const one = ({ token, logprob, text }: { token: number; logprob: number; text: string }): WireTop => ({
    token: text,
    logprob: Math.max(logprob, -9999),
    bytes: Array.from(tokenizer.bytes(token)),
  });
  return (part.logprobs ?? []).map((l) => ({ ...one(l), top_logprobs: l.top.map(one) }));
}

/** An answer as it grows. */
export class Answer {
  text = "";
  reasoning = "";
  reasoningTokens = 0;
  readonly logprobs: WireLogprob[] = [];
  result: GenerateResult | undefined;

  add(part: GeneratedPart, logprobs: readonly WireLogprob[]): void {
    if (part.type === "reasoning") {
      this.reasoning += part.text;
      this.reasoningTokens += part.tokens.length;
    } else if (part.type === "text") this.text += part.text;
    for (const one of logprobs) this.logprobs.push(one);
  }
}

/** "chatcmpl-" and 24 random letters and digits. */
export function idOf(prefix: string): string {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  return prefix + Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => letters[byte % letters.length]).join("");
}

export const nowSeconds = (): number => Math.floor(Date.now() / 1000);
