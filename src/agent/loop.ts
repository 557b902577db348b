// The loop: generate, read calls, ask, run them, go on, until there is an answer.
import { isRecord } from "../brands.ts";
import { type ChatAnswer, type ChatModel, counterOf, formatOf, isLocal } from "../chat/model.ts";
import { CpmError, didYouMean } from "../errors.ts";
import type { ChatOptions, DialectName, ToolCall, Usage } from "../index.ts";
import { reasonOf, shown } from "../shown.ts";
import { untilAborted, withSignals } from "../signals.ts";
import type { ChatMessage } from "../text/template.ts";
import { Conversation } from "./conversation.ts";
import { ToolError } from "./errors.ts";
import { disarmer } from "./marks.ts";
import { clip, outputText } from "./result.ts";
import type { ToolServer } from "./server.ts";
import { type AgentTool, type Offer, Toolbox } from "./toolbox.ts";

/** A call that waits for approval. */
export interface PendingCall {
  readonly id: string;
  /** As the model calls it. */
  readonly name: string;
  /** As its server or the caller calls it. */
  readonly tool: string;
  /** undefined: a function of the caller's own. */
  readonly server: string | undefined;
  readonly input: Readonly<Record<string, unknown>>;
  readonly readOnly: boolean;
}

export interface CallResult {
  readonly id: string;
  readonly name: string;
  /** What the model reads: clipped, and without marks of its own. */
  readonly text: string;
  readonly isError: boolean;
  /** Something was left out, and a mark in the text says how much. */
  readonly clipped: boolean;
  /** What went wrong, where the tool did not say so itself. */
  readonly error?: ToolError;
}

export interface AgentStep {
  readonly text: string;
  readonly calls: readonly ToolCall[];
  readonly results: readonly CallResult[];
  readonly usage: Usage;
}

export type AgentEvent =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string }
  /** An answer of the model is whole. */
  | {
      readonly type: "answer";
      readonly step: number;
      readonly text: string;
      readonly calls: readonly ToolCall[];
      readonly usage: Usage;
    }
  | { readonly type: "call"; readonly call: PendingCall }
  | { readonly type: "result"; readonly call: PendingCall; readonly result: CallResult }
  | { readonly type: "tools"; readonly added: readonly string[]; readonly removed: readonly string[] }
  | { readonly type: "warning"; readonly message: string };

export interface AgentOptions {
  readonly tools?: readonly AgentTool[] | undefined;
  /** Asked before every call of a tool that is not read-only (every call with `approveAll`). Absent: such calls are not made. */
  readonly approve?: ((call: PendingCall) => boolean | Promise<boolean>) | undefined;
  readonly approveAll?: boolean | undefined;
  /** Answers of the model, at most. The last one may not call tools. Default 8. */
  readonly maxSteps?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Tokens of a result that the model reads. Default 2048, or an eighth of the model's context where that is less. */
  readonly maxResultTokens?: number | undefined;
  /** Milliseconds for a call. Default 60,000. */
  readonly toolTimeoutMs?: number | undefined;
  readonly toolFormat?: DialectName | undefined;
  /** Sampling and lengths of each answer; maxTokens is 1024 unless given. */
  readonly generate?: Omit<ChatOptions, "tools" | "toolChoice" | "signal" | "toolFormat"> | undefined;
  readonly onEvent?: ((event: AgentEvent) => unknown) | undefined;
}

export interface AgentResult {
  /** The last answer. */
  readonly text: string;
  /** What goes behind the messages given: answers, calls and results, as chat() and APIs take them. */
  readonly messages: readonly ChatMessage[];
  readonly steps: readonly AgentStep[];
  /**
   * "stop": it answered; "steps": maxSteps was reached; "repeated": it made the same calls again after it was told so; "length" and
   * "context": the answer was cut off.
   */
  readonly finishReason: "stop" | "steps" | "repeated" | "length" | "context";
  /** Of all steps together. */
  readonly usage: Usage;
}

function whole(name: string, value: number | undefined, otherwise: number, least = 1): number {
  if (value === undefined) return otherwise;
  if (!Number.isSafeInteger(value) || value < least)
    throw new CpmError("bad-option", `${name}: expected a whole number of at least ${least}, found ${shown(value)}`, {
      field: name,
    });
  return value;
}

const REPEATED =
  "This call was made before with the same arguments, and its result stands above. It was not made again: use that result, call something else, or answer.";

/** Runs the loop with servers that are connected. See runTools(). */
export async function agentLoop(
  model: ChatModel,
  messages: readonly ChatMessage[],
  servers: readonly ToolServer[],
  options: AgentOptions,
): Promise<AgentResult> {
  const { approve, approveAll = false, signal, onEvent = () => {}, generate = {} } = options;
  const maxSteps = whole("maxSteps", options.maxSteps, 8);
  const timeoutMs = whole("toolTimeoutMs", options.toolTimeoutMs, 60_000);
  const room = isLocal(model) ? Math.max(16, Math.floor(model.info.contextSize / 8)) : 2048;
  const budget = whole("maxResultTokens", options.maxResultTokens, Math.min(2048, room), 16);
  const disarm = disarmer(model);
  const count = counterOf(model);
  const format = formatOf(model, options.toolFormat);
  const toolbox = new Toolbox(options.tools ?? [], servers, {
    format,
    disarm,
    warn: (message) => onEvent({ type: "warning", message }),
  });
  const talk = new Conversation(model, messages, (text) => clip(text, 64, count));
  const seen = new Set<string>();
  const steps: AgentStep[] = [];
  let warned = false;

  /** Runs one call; never rejects but when the run is aborted. */
  const run = async (offer: Offer, call: PendingCall, end: AbortSignal): Promise<CallResult> => {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), timeoutMs);
    try {
      const output = await withSignals([end, limit.signal], (both) => {
        const work = Promise.resolve().then(() => offer.call(call.input, timeoutMs, both));
        // Servers have a time limit of their own, which their progress puts off.
        if (offer.server !== undefined) clearTimeout(timer);
        return untilAborted(work, both);
      });
      const { text, isError } = outputText(output);
      return resultOf(call, isError ? `The tool says that it failed:\n${text}` : text, isError);
    } catch (error) {
      if (end.aborted) throw end.reason;
      const failure = limit.signal.aborted
        ? new ToolError("timeout", offer.server, `${offer.tool}: no result within ${timeoutMs} ms`)
        : error instanceof ToolError
          ? error
          : new ToolError("tool", offer.server, `${offer.tool}: ${reasonOf(error)}`, { cause: error });
      return resultOf(call, `The call failed: ${failure.message}`, true, failure);
    } finally {
      clearTimeout(timer);
    }
  };

  const resultOf = (
    { id, name }: { readonly id: string; readonly name: string },
    text: string,
    isError: boolean,
    error?: ToolError,
  ): CallResult => {
    // Disarmed text may be longer: it is cut again where it does not fit any more.
    const short = clip(text, budget, count);
    const safe = disarm(short);
    const final = safe === short ? short : disarm(clip(safe, budget, count));
    return {
      id,
      name,
      text: final,
      isError,
      clipped: short !== text || (safe !== short && final !== safe),
      ...(error ? { error } : {}),
    };
  };

  const refused = (call: ToolCall, failure: ToolError["failure"], why: string, server?: string): CallResult =>
    resultOf(call, why, true, new ToolError(failure, server, why));

  /** All calls of an answer: asked for one after the other, then made side by side; results in the order of the calls. */
  const perform = async (calls: readonly ToolCall[], end: AbortSignal): Promise<{ results: CallResult[]; fresh: boolean }> => {
    const jobs: (CallResult | Promise<CallResult>)[] = [];
    const twins = new Map<string, number>();
    const started: (() => void)[] = [];
    let [fresh, wrote] = [false, false];
    for (const [i, call] of calls.entries()) {
      const offer = toolbox.find(call.name);
      if (!offer) {
        const names = toolbox.offers.map(({ name }) => name);
        jobs[i] = refused(
          call,
          "unknown",
          `There is no tool ${shown(call.name)}${didYouMean(call.name, names)}. There are: ${names.join(", ")}.`,
        );
        continue;
      }
      if (!isRecord(call.input)) {
        jobs[i] = refused(call, "unknown", `The arguments of ${offer.name} are no JSON object: ${shown(call.arguments)}`);
        continue;
      }
      const key = JSON.stringify([offer.name, sorted(call.input)]);
      const twin = twins.get(key);
      if (twin !== undefined) {
        jobs[i] = Promise.resolve().then(async () => ({ ...(await jobs[twin]!), id: call.id }));
        continue;
      }
      twins.set(key, i);
      if (seen.has(key)) {
        jobs[i] = refused(call, "denied", REPEATED, offer.server);
        continue;
      }
      fresh = true;
      const pending: PendingCall = {
        id: call.id,
        name: offer.name,
        tool: offer.tool,
        server: offer.server,
        input: call.input,
        readOnly: offer.readOnly,
      };
      onEvent({ type: "call", call: pending });
      const free = offer.readOnly && !approveAll;
      const allowed = free || (approve !== undefined && (await untilAborted(Promise.resolve(approve(pending)), end)) === true);
      if (!allowed) {
        jobs[i] = refused(
          call,
          "denied",
          `${offer.name} was not run: ${approve ? "the user did not allow it" : "nobody is there to allow it"}.`,
          offer.server,
        );
        seen.add(key);
        onEvent({ type: "result", call: pending, result: jobs[i] as CallResult });
        continue;
      }
      wrote ||= !offer.readOnly;
      jobs[i] = new Promise<CallResult>((resolve, reject) => {
        started.push(() => {
          run(offer, pending, end).then((result) => {
            onEvent({ type: "result", call: pending, result });
            resolve(result);
          }, reject);
        });
      });
    }
    for (const start of started) start();
    const results = await Promise.all(jobs);
    // What a tool has changed may change what others give; by itself it is no reason to do the same again.
    if (wrote) seen.clear();
    for (const key of twins.keys()) seen.add(key);
    return { results, fresh };
  };

  const finish = (answer: ChatAnswer, finishReason: AgentResult["finishReason"]): AgentResult => ({
    text: answer.text,
    messages: talk.added,
    steps,
    finishReason,
    usage: steps.reduce(
      (sum, { usage }) => ({
        promptTokens: sum.promptTokens + usage.promptTokens,
        cachedTokens: sum.cachedTokens + usage.cachedTokens,
        completionTokens: sum.completionTokens + usage.completionTokens,
      }),
      { promptTokens: 0, cachedTokens: 0, completionTokens: 0 },
    ),
  });

  return withSignals([signal], async (end) => {
    for (let step = 1; ; step++) {
      end.throwIfAborted();
      const news = toolbox.refresh();
      if (news) onEvent({ type: "tools", ...news });
      const last = step === maxSteps;
      const answer = await talk.answer(
        {
          maxTokens: 1024,
          ...generate,
          tools: toolbox.definitions,
          ...(toolbox.definitions.length === 0 ? {} : { toolChoice: last ? "none" : "auto" }),
          ...(options.toolFormat === undefined ? {} : { toolFormat: options.toolFormat }),
          signal: end,
        },
        (part) => onEvent(part),
      );
      const calls = last ? [] : (answer.toolCalls ?? []);
      onEvent({ type: "answer", step, text: answer.text, calls, usage: answer.usage });
      talk.said(answer, calls);
      if (calls.length === 0) {
        steps.push({ text: answer.text, calls, results: [], usage: answer.usage });
        const cut = answer.finishReason === "length" || answer.finishReason === "context" ? answer.finishReason : undefined;
        return finish(answer, cut ?? (last && maxSteps > 1 ? "steps" : "stop"));
      }
      const { results, fresh } = await perform(calls, end);
      steps.push({ text: answer.text, calls, results, usage: answer.usage });
      talk.results(results);
      if (!fresh && warned) return finish(answer, "repeated");
      warned = !fresh;
    }
  });
}

/** A value with the members of its objects in the order of their names. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}
