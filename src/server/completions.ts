// POST /v1/completions
import type { Generation } from "../index.ts";
import { complete, type Delta, follow, type Job, streamed } from "./job.ts";
import { invalid, type Params, unsupported } from "./params.ts";
import { type Limits, optionsOf, readWish, type Wish } from "./sampling.ts";
import { event } from "./sse.ts";
import { readForm } from "./tools.ts";
import {
  idOf,
  nowSeconds,
  textFinishOf,
  timingsOf,
  usageOf,
  type WireLogprob,
  type WireTextFinish,
  type WireTimings,
  type WireUsage,
} from "./wire.ts";

export type Prompt = string | readonly number[];

const isTokens = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.length > 0 && value.every((v) => Number.isSafeInteger(v) && (v as number) >= 0);

/** A text, token ids, or a list of either. */
export function readPrompts(params: Params, field: string, most: number): readonly Prompt[] {
  const value = params.raw(field);
  const name = params.name(field);
  if (typeof value === "string" || isTokens(value)) return [value];
  const fits = Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string" || isTokens(one));
  if (!fits) throw invalid(name, "a text, token ids, or a list of one of them", value ?? null);
  if (value.length > most) throw invalid(name, `at most ${most} of them`, `${value.length} of them`);
  return value as Prompt[];
}

/** Log-probabilities in the form of this older route: lists side by side. */
export interface WireTextLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: number[];
  readonly top_logprobs: Record<string, number>[];
  readonly text_offset: number[];
}

function listed(logprobs: readonly WireLogprob[], from: number): WireTextLogprobs {
  let at = from;
  const offsets = logprobs.map(({ token }) => {
    const start = at;
    at += token.length;
    return start;
  });
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top_logprobs: top }) => Object.fromEntries(top.map((t) => [t.token, t.logprob]))),
    text_offset: offsets,
  };
}

export interface TextChunk {
  readonly id: string;
  readonly object: "text_completion";
  readonly created: number;
  readonly model: string;
  readonly choices: {
    readonly index: number;
    readonly text: string;
    readonly logprobs: WireTextLogprobs | null;
    readonly finish_reason: WireTextFinish | null;
  }[];
  readonly usage?: WireUsage | null;
}

/** The whole answer of a request that does not stream. */
export interface TextBody extends Omit<TextChunk, "choices" | "usage"> {
  readonly choices: (Omit<TextChunk["choices"][number], "finish_reason"> & { readonly finish_reason: WireTextFinish })[];
  readonly usage: WireUsage;
  readonly timings: WireTimings;
}

/** Answers one request. @throws Problem, CpmError */
export async function textCompletion(job: Job, params: Params, limits: Limits): Promise<Response> {
  const prompts = readPrompts(params, "prompt", limits.maxChoices);
  const wish = readWish(params, limits, params.integer("max_tokens", 1) ?? 16, params.integer("logprobs", 0, 20));
  if (prompts.length * wish.n > limits.maxChoices)
    throw unsupported(
      "n",
      `${prompts.length} prompts with ${wish.n} answers each; this server gives at most ${limits.maxChoices} answers`,
    );
  const form = readForm(params);
  params.only("echo", [false], "the prompt is not repeated here");
  params.only("suffix", [""], "these models continue, they do not fill in");
  params.only("best_of", [1, wish.n], "every answer is given, none is chosen");
  params.end();
  const generations = prompts.flatMap((prompt) =>
    Array.from({ length: wish.n }, (_, i) =>
      job.model.generate(prompt, { ...optionsOf(wish, i, job), ...form, signal: job.signal }),
    ),
  );
  const head = { id: idOf("cmpl-"), object: "text_completion" as const, created: nowSeconds(), model: job.id };
  // Each prompt counts once, however many answers it has.
  const total = (all: readonly (Parameters<typeof usageOf>[0][number] & { readonly choice: number })[]): WireUsage => {
    const groups = prompts.map((_, p) => usageOf(all.filter(({ choice }) => Math.floor(choice / wish.n) === p)));
    const sum = (pick: (usage: WireUsage) => number) => groups.reduce((n, usage) => n + pick(usage), 0);
    return {
      prompt_tokens: sum((u) => u.prompt_tokens),
      completion_tokens: sum((u) => u.completion_tokens),
      total_tokens: sum((u) => u.total_tokens),
      prompt_tokens_details: { cached_tokens: sum((u) => u.prompt_tokens_details.cached_tokens) },
      completion_tokens_details: { reasoning_tokens: 0 },
    };
  };
  if (wish.stream) return streamed(job, chunks(job, generations, wish, head, total), event("[DONE]"));
  const answers = await complete(job, generations);
  const body: TextBody = {
    ...head,
    choices: answers.map(({ text, logprobs, result }, index) => ({
      index,
      text,
      logprobs: wish.logprobs === undefined ? null : listed(logprobs, 0),
      finish_reason: textFinishOf(result!.finishReason),
    })),
    usage: total(answers.map(({ result }, choice) => ({ usage: result!.usage, reasoningTokens: 0, choice }))),
    timings: timingsOf(answers[0]!.result!),
  };
  job.done();
  return Response.json(body);
}

async function* chunks(
  job: Job,
  generations: readonly Generation[],
  wish: Wish,
  head: Omit<TextChunk, "choices" | "usage">,
  total: (all: (Parameters<typeof usageOf>[0][number] & { choice: number })[]) => WireUsage,
): AsyncGenerator<string, void> {
  const usage = wish.includeUsage ? { usage: null } : {};
  const ended: Parameters<typeof total>[0] = [];
  const offsets = generations.map(() => 0);
  let timings: object | undefined;
  const chunk = ({ choice, part, logprobs, answer }: Delta): TextChunk => {
    const from = offsets[choice]!;
    offsets[choice] = from + (part?.text.length ?? 0);
    return {
      ...head,
      choices: [
        {
          index: choice,
          text: part?.text ?? "",
          logprobs: wish.logprobs === undefined || !logprobs.length ? null : listed(logprobs, from),
          finish_reason: part ? null : textFinishOf(answer.result!.finishReason),
        },
      ],
      ...usage,
    };
  };
  for await (const delta of follow(job, generations)) {
    if (delta.part) {
      yield event(chunk(delta));
      continue;
    }
    const result = delta.answer.result!;
    ended.push({ usage: result.usage, reasoningTokens: 0, choice: delta.choice });
    timings ??= timingsOf(result);
    yield event(ended.length === generations.length ? { ...chunk(delta), timings } : chunk(delta));
  }
  if (wish.includeUsage) yield event({ ...head, choices: [], usage: total(ended) } satisfies TextChunk);
}
