// POST /v1/chat/completions
import type { ChatOptions } from "../index.ts";
import { complete, follow, type Job, streamed } from "./job.ts";
import { readMessages } from "./messages.ts";
import { invalid, type Params, unsupported } from "./params.ts";
import { type Limits, MAX_TOP, optionsOf, readWish, type Wish } from "./sampling.ts";
import { event } from "./sse.ts";
import { CallDeltas, callOf, readForm, readTools, type WireCall, type WireCallDelta } from "./tools.ts";
import {
  type Answer,
  finishOf,
  idOf,
  nowSeconds,
  timingsOf,
  usageOf,
  type WireFinish,
  type WireLogprob,
  type WireTimings,
  type WireUsage,
} from "./wire.ts";

/** The whole answer of a request that does not stream. */
export interface ChatBody {
  readonly id: string;
  readonly object: "chat.completion";
  readonly created: number;
  readonly model: string;
  readonly choices: {
    readonly index: number;
    readonly message: {
      readonly role: "assistant";
      readonly content: string | null;
      readonly refusal: null;
      readonly reasoning_content?: string;
      readonly tool_calls?: WireCall[];
    };
    readonly logprobs: { readonly content: WireLogprob[]; readonly refusal: null } | null;
    readonly finish_reason: WireFinish;
  }[];
  readonly usage: WireUsage;
  readonly timings: WireTimings;
}

/** How reasoning efforts of hosted models read here: "none" answers at once, any other lets a hybrid model think. */
export function thinkingOf(params: Params): boolean | undefined {
  const effort = params.oneOf("reasoning_effort", ["none", "minimal", "low", "medium", "high", "xhigh"]);
  return effort === undefined ? undefined : effort !== "none";
}

function templateOf(params: Params): Pick<ChatOptions, "enableThinking" | "templateArguments"> {
  const effort = thinkingOf(params);
  const raw = params.raw("chat_template_kwargs");
  if (raw === undefined) return effort === undefined ? {} : { enableThinking: effort };
  if (typeof raw !== "object" || raw === null || Array.isArray(raw))
    throw invalid("chat_template_kwargs", "an object of template variables", raw);
  const { enable_thinking: asked, ...rest } = raw as Readonly<Record<string, unknown>>;
  if (asked !== undefined && typeof asked !== "boolean")
    throw invalid("chat_template_kwargs.enable_thinking", "true or false", asked);
  const thinking = asked ?? effort;
  return {
    ...(thinking === undefined ? {} : { enableThinking: thinking }),
    ...(Object.keys(rest).length ? { templateArguments: rest } : {}),
  };
}

function logprobsWanted(params: Params): number | undefined {
  const wanted = params.flag("logprobs") ?? false;
  const top = params.integer("top_logprobs", 0, MAX_TOP);
  if (top !== undefined && top > 0 && !wanted) throw unsupported("top_logprobs", "only with logprobs: true");
  return wanted ? (top ?? 0) : undefined;
}

/** Answers one request. @throws Problem, CpmError */
export async function chatCompletion(job: Job, params: Params, limits: Limits): Promise<Response> {
  const messages = readMessages(params);
  const most = params.integer("max_completion_tokens", 1) ?? params.integer("max_tokens", 1);
  params.ignore("max_tokens");
  const wish = readWish(params, limits, most, logprobsWanted(params));
  params.only("modalities", [["text"]], "these models write text alone");
  const tooling = readTools(params);
  const form = readForm(params);
  params.only("verbosity", ["medium"], "models here have no such setting");
  const options: ChatOptions = { ...templateOf(params), ...tooling, ...form };
  params.only("cache_prompt", [true], "prompts always go on from what they share; the model was loaded so");
  params.end();
  const generations = Array.from({ length: wish.n }, (_, i) =>
    job.model.chat(messages, { ...optionsOf(wish, i, job), ...options, signal: job.signal }),
  );
  const head = { id: idOf("chatcmpl-"), created: nowSeconds(), model: job.id };
  if (wish.stream) return streamed(job, chunks(job, generations, wish, head), event("[DONE]"));
  const answers = await complete(job, generations);
  const body: ChatBody = {
    ...head,
    object: "chat.completion",
    choices: answers.map((answer, index) => ({
      index,
      message: {
        role: "assistant",
        content: contentOf(answer),
        refusal: null,
        ...(answer.reasoning === "" ? {} : { reasoning_content: answer.reasoning }),
        ...(answer.result!.toolCalls ? { tool_calls: answer.result!.toolCalls.map(callOf) } : {}),
      },
      logprobs: wish.logprobs === undefined ? null : { content: answer.logprobs, refusal: null },
      finish_reason: finishOf(answer.result!.finishReason),
    })),
    usage: usageOf(answers.map(({ result, reasoningTokens }) => ({ usage: result!.usage, reasoningTokens }))),
    timings: timingsOf(answers[0]!.result!),
  };
  job.done();
  return Response.json(body);
}

/** The text of an answer; null where it is calls alone. */
const contentOf = ({ result }: Answer): string | null => (result!.toolCalls && result!.text === "" ? null : result!.text);

export interface ChatChunk {
  readonly id: string;
  readonly object: "chat.completion.chunk";
  readonly created: number;
  readonly model: string;
  readonly choices: {
    readonly index: number;
    readonly delta: {
      readonly role?: "assistant";
      readonly content?: string;
      readonly reasoning_content?: string;
      readonly tool_calls?: WireCallDelta[];
    };
    readonly logprobs: { readonly content: WireLogprob[]; readonly refusal: null } | null;
    readonly finish_reason: WireFinish | null;
  }[];
  readonly usage?: WireUsage | null;
}

type Head = Pick<ChatChunk, "id" | "created" | "model">;

async function* chunks(
  job: Job,
  generations: Parameters<typeof follow>[1],
  wish: Wish,
  head: Head,
): AsyncGenerator<string, void> {
  const object = "chat.completion.chunk" as const;
  // Clients that asked for usage find the field in every chunk, filled in the last.
  const usage = wish.includeUsage ? { usage: null } : {};
  const chunk = (
    index: number,
    delta: ChatChunk["choices"][number]["delta"],
    logprobs: readonly WireLogprob[] = [],
    finish: WireFinish | null = null,
  ): ChatChunk => ({
    ...head,
    object,
    choices: [
      {
        index,
        delta,
        logprobs: wish.logprobs === undefined || !logprobs.length ? null : { content: [...logprobs], refusal: null },
        finish_reason: finish,
      },
    ],
    ...usage,
  });
  const begun = new Set<number>();
  const calls = generations.map(() => new CallDeltas());
  const ended: { usage: Parameters<typeof usageOf>[0][number]["usage"]; reasoningTokens: number }[] = [];
  let timings: object | undefined;
  for await (const { choice, part, answer, logprobs } of follow(job, generations)) {
    if (!begun.has(choice)) {
      begun.add(choice);
      yield event(chunk(choice, { role: "assistant", content: "" }));
    }
    if (part?.type === "tool-call") {
      const delta = calls[choice]!.of(part);
      if (delta) yield event(chunk(choice, { tool_calls: [delta] }, logprobs));
    } else if (part) {
      const delta = part.type === "reasoning" ? { reasoning_content: part.text } : { content: part.text };
      if (part.text !== "" || logprobs.length) yield event(chunk(choice, delta, logprobs));
    } else {
      const result = answer.result!;
      ended.push({ usage: result.usage, reasoningTokens: answer.reasoningTokens });
      timings ??= timingsOf(result);
      const last = chunk(choice, {}, [], finishOf(result.finishReason));
      yield event(ended.length === generations.length ? { ...last, timings } : last);
    }
  }
  if (wish.includeUsage) yield event({ ...head, object, choices: [], usage: usageOf(ended) } satisfies ChatChunk);
}
