// Options as callers write them -> checked and complete.

import { isSignal } from "../brands.ts";
import { type SamplingInput, samplingKeys, samplingOptions } from "../decode/options.ts";
import type { EngineOptions, GenerateRequest, LoadProgress, LoraInfo } from "../engine/types.ts";
import type { NetworkOptions } from "../file/url.ts";
import type { RopeFactors } from "../model/longrope.ts";
import { SPARSE_NAMES, type SparseOption } from "../model/sparse.ts";
import { FORMS, type Form } from "../wasm/abi.ts";
import type { ConstraintChoice } from "./constraint.ts";
import { checkDraft, type DraftInput } from "./draft.ts";
import { bad, checkNames, choiceNames, given, type HeadersInput, headersOf } from "./given.ts";
import { type LoraChoice, type LoraInput, loraInputs, loraUses } from "./lora.ts";

export interface LoadOptions {
  /** Compute threads; "auto" (default) is the number of physical cores. One where the runtime has no threads. */
  readonly threads?: number | "auto" | undefined;
  /** Tokens that a session can hold. Default: the model's own, at most 4096. The KV cache of one session is allocated at load. */
  readonly contextSize?: number | undefined;
  /** How keys and values are stored: "f16" (default), "f32", or "q8" (8 bits and a scale for each vector: the least memory, the fastest in long contexts). */
  readonly kvType?: "f16" | "f32" | "q8" | undefined;
  /** Kernel build. "auto" (default) takes relaxed SIMD where it computes right, else "base". */
  readonly variant?: "auto" | "base" | "relaxed" | undefined;
  /**
   * How products of integers are spelled. All forms give the same bits. "auto" (default) takes the one that this machine's instructions
   * speak for, and for models of some size times the forms at load. Relaxed kernels have "dot16", "dot32" (x86 with AVX-VNNI) and
   * "dot32-lanes" (ARM), base kernels "dot16" and "extended" (ARM); "unsupported" for what a build lacks. `model.info.forms` tells.
   */
  readonly form?: "auto" | Form | undefined;
  /**
   * Node 24 and newer: let V8 fuse the kernels' 128-bit operations into 256-bit ones. An experimental compiler feature,
   * switched on for the whole process; its results are checked against the kernels' definitions before it is used, but a
   * fault of that compiler would end the process.
   * "unsupported" elsewhere, and where the check fails. Default false.
   */
  readonly turbo?: boolean | undefined;
  /**
   * 64-bit WebAssembly memory, for models beyond 4 GiB: "auto" (default) where the memory plan needs it, true always, false never.
   * "unsupported" where the runtime has none (it takes V8 as in Node 24, Deno 2.3 or Chromium 133, or newer) and with turbo.
   */
  readonly memory64?: boolean | "auto" | undefined;
  /** Prompt tokens per forward step, at most. Default 256. */
  readonly batchSize?: number | undefined;
  /** Refuse to load when the memory plan needs more bytes, and sessions beyond the plan that would need more. */
  readonly maxMemoryBytes?: number | undefined;
  /**
   * Sparse attention (InfLLM v2) for long sequences. Default: as the model file says, dense where it says nothing. true: its
   * configuration or the published one; false: dense; an object overrides single fields. See docs/sparse.md.
   */
  readonly sparse?: SparseOption | undefined;
  /**
   * LongRoPE factors in place of the model's own, for contexts longer than it was trained on: "minicpm4-128k" or
   * "minicpm4.1-128k" (published), or headDim / 2 numbers.
   */
  readonly ropeFactors?: RopeFactors | undefined;
  /**
   * What drafts tokens that the model then checks in one step: the same text, sooner. "lookup": what followed earlier in
   * the text; { eagle }: a draft head; { model }: a small model of the same vocabulary. Default: lookup in chats; false:
   * nothing. A draft is used only where it pays.
   */
  readonly draft?: DraftInput | undefined;
  /**
   * LoRA adapters to load beside the model, for its weights as they are, quantised or not. All are used at their scales unless a session
   * or a call chooses: { lora } there. See docs/lora.md.
   */
  readonly lora?: readonly LoraInput[] | undefined;
  /**
   * Generations that run at once, side by side in the same steps, 1 to 256; what drafts by computing rests while several run. When
   * given, that many KV caches are part of the memory plan, so that as many requests as that always fit. Default: 8, whose caches are
   * taken when they are needed, as small as each request allows; "out-of-memory" when one more does not fit.
   */
  readonly parallel?: number | undefined;
  /** Generations that wait beyond those; one more is refused at once with "busy". Default 64. */
  readonly queue?: number | undefined;
  /**
   * Bytes of finished texts that stay beyond the memory planned at load, so that a prompt goes on from the longest prefix it shares with
   * one. Default: as much as the KV caches of two sessions, at most 256 MiB (nothing beyond the planned memory on edge runtimes).
   * 0: none stays, and no prompt goes on from another's.
   */
  readonly cacheBytes?: number | undefined;
  /** Compute in a worker (default, where there are workers), so that the caller's event loop stays free. */
  readonly worker?: boolean | undefined;
  /** Sent with every request when the model is a URL: a record, Headers, or pairs. */
  readonly headers?: HeadersInput | undefined;
  /** How long a server may take, when the model is a URL. */
  readonly network?: NetworkOptions | undefined;
  /** What it throws, or rejects with, ends the load with that. */
  readonly onProgress?: ((progress: LoadProgress) => unknown) | undefined;
  /** Ends the load; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface GenerateOptions extends SamplingInput, ConstraintChoice {
  /** Tokens of reasoning, at most: then its end is written, and the answer follows. Default: no bound. */
  readonly maxReasoningTokens?: number | undefined;
  /**
   * Where a constraint leaves one text only: "draft" (default) guesses its tokens and lets the model verify them, so that the result is
   * what it is without; "write" writes them as the tokenizer does, many in one step, and asks the model again behind them. Sooner, the
   * text is valid likewise, but the model may have cut it into other tokens, and what follows may then differ. Written tokens have no
   * log-probabilities.
   */
  readonly forcedText?: "draft" | "write" | undefined;
  /** Default: until the model stops or the context is full. */
  readonly maxTokens?: number | undefined;
  /** A text, or texts, that end the generation; they are not part of the result, which says which one it was. May span tokens. */
  readonly stop?: string | readonly string[] | undefined;
  /** Token ids that end the generation, beside the model's own end tokens. */
  readonly stopTokens?: readonly number[] | Int32Array | undefined;
  /**
   * When the context is full: "stop" (default) with finishReason "context", or "slide": forget all but the first blocks and the
   * last window (sparse.initBlocks and sparse.windowSize) and go on. Prompts must fit either way.
   */
  readonly whenFull?: "stop" | "slide" | undefined;
  /** Write special tokens by name instead of leaving them out of the text. Default false. */
  readonly special?: boolean | undefined;
  /** Prompt tokens computed so far, of how many. What it throws, or rejects with, ends the generation with that. */
  readonly onPrefill?: ((done: number, total: number) => unknown) | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * LoRA adapters of those that were loaded, by name. Default: the session's own, or all at their scales. A session keeps what it was last
   * given; its cache belongs to its adapters, and is computed anew for others.
   */
  readonly lora?: LoraChoice | undefined;
  /** Whether what `load` was told to draft with is used here (default). The text is the same either way. */
  readonly draft?: boolean | undefined;
}

function whole(field: string, value: number | undefined, least: number, most: number): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least && value <= most))
    bad(field, `a whole number from ${least} to ${most}`, value);
}

export function oneOf<T extends string>(field: string, value: T | undefined, values: readonly T[], fallback: T): T {
  if (value === undefined) return fallback;
  if (!values.includes(value)) bad(field, values.map((v) => `"${v}"`).join(", "), value);
  return value;
}

export function flag(field: string, value: boolean | undefined): void {
  if (value !== undefined && typeof value !== "boolean") bad(field, "true or false", value);
}

function callback(field: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") bad(field, "a function", value);
}

/** Throws CpmError "bad-option" for what is no signal of any realm. */
export function checkSignal(value: unknown): void {
  if (value !== undefined && !isSignal(value)) bad("signal", "an AbortSignal", value);
}

const LOAD_NAMES = [
  "threads",
  "contextSize",
  "kvType",
  "variant",
  "form",
  "turbo",
  "memory64",
  "batchSize",
  "maxMemoryBytes",
  "sparse",
  "ropeFactors",
  "draft",
  "lora",
  "parallel",
  "queue",
  "cacheBytes",
  "worker",
  "headers",
  "network",
  "onProgress",
  "signal",
];
const MAX_CONTEXT = 1 << 24;

/** Throws CpmError "bad-option" for what is unknown or out of range. */
export function engineOptions(input: LoadOptions): EngineOptions {
  const options = given(input, LOAD_NAMES);
  const { threads = "auto", contextSize, batchSize, maxMemoryBytes } = options;
  if (threads !== "auto") whole("threads", threads, 1, 64);
  whole("contextSize", contextSize, 1, MAX_CONTEXT);
  whole("batchSize", batchSize, 1, 4096);
  whole("maxMemoryBytes", maxMemoryBytes, 1, Number.MAX_SAFE_INTEGER);
  whole("parallel", options.parallel, 1, 256);
  whole("queue", options.queue, 0, 1 << 20);
  whole("cacheBytes", options.cacheBytes, 0, Number.MAX_SAFE_INTEGER);
  flag("worker", options.worker);
  if (options.sparse !== undefined && typeof options.sparse !== "boolean")
    checkNames("sparse", options.sparse, Object.keys(SPARSE_NAMES));
  flag("turbo", options.turbo);
  if (options.memory64 !== "auto") flag("memory64", options.memory64);
  checkDraft(options.draft);
  callback("onProgress", options.onProgress);
  networkOptions(options);
  return {
    threads,
    contextSize,
    kvType: oneOf("kvType", options.kvType, ["f16", "f32", "q8"], "f16"),
    variant: oneOf("variant", options.variant, ["auto", "base", "relaxed"], "auto"),
    form: oneOf("form", options.form, ["auto", ...FORMS] as const, "auto"),
    turbo: options.turbo ?? false,
    memory64: options.memory64 ?? "auto",
    batchSize: batchSize ?? 256,
    maxMemoryBytes,
    sparse: options.sparse,
    ropeFactors: options.ropeFactors,
    parallel: options.parallel,
    queue: options.queue,
    cacheBytes: options.cacheBytes,
    lora: loraInputs(options.lora).map(({ name, scale }) => ({ name, scale })),
  };
}

const NETWORK_NAMES = ["idleMs", "leastBytesPerSecond", "attempts"];

/** What goes with requests for a URL, checked, and the signal. */
export function networkOptions(options: {
  readonly headers?: HeadersInput | undefined;
  readonly network?: NetworkOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}): { readonly headers: Readonly<Record<string, string>> | undefined; readonly network: NetworkOptions | undefined } {
  checkSignal(options.signal ?? undefined);
  const { network } = options;
  if (network) {
    const { idleMs, leastBytesPerSecond, attempts } = given(network, NETWORK_NAMES, "network");
    if (idleMs !== Number.POSITIVE_INFINITY) whole("network.idleMs", idleMs, 1, 2 ** 31 - 1);
    whole("network.leastBytesPerSecond", leastBytesPerSecond, 0, Number.MAX_SAFE_INTEGER);
    whole("network.attempts", attempts, 1, 100);
  }
  return { headers: headersOf(options.headers), network: network ?? undefined };
}

const GENERATE_NAMES = [
  "maxTokens",
  "stop",
  "stopTokens",
  "whenFull",
  "special",
  "draft",
  "lora",
  "onPrefill",
  "signal",
  "maxReasoningTokens",
  "forcedText",
  ...choiceNames,
  ...samplingKeys,
];

/** Everything of a request but its prompt and thinking mode. `extra`: further option names that the caller takes itself. */
export function generateRequest(
  input: GenerateOptions,
  vocab: number,
  call: "text" | "chat",
  extra: readonly string[] = [],
  loaded: readonly LoraInfo[] = [],
): Omit<GenerateRequest, "prompt" | "thinking"> {
  const options = given(input, [...GENERATE_NAMES, ...extra]);
  const { maxTokens = Number.MAX_SAFE_INTEGER, special = false } = options;
  const stop = typeof options.stop === "string" ? [options.stop] : (options.stop ?? []);
  const stopTokens = ArrayBuffer.isView(options.stopTokens) ? Array.from(options.stopTokens) : (options.stopTokens ?? []);
  if (maxTokens !== Number.POSITIVE_INFINITY) whole("maxTokens", maxTokens, 1, Number.MAX_SAFE_INTEGER);
  if (!Array.isArray(stop) || stop.some((s) => typeof s !== "string" || s === ""))
    bad("stop", "a text or a list of texts, none empty", stop);
  if (!Array.isArray(stopTokens) || stopTokens.some((t) => !Number.isSafeInteger(t) || t < 0 || t >= vocab))
    bad("stopTokens", `a list of token ids below ${vocab}`, stopTokens);
  whole("maxReasoningTokens", options.maxReasoningTokens, 0, Number.MAX_SAFE_INTEGER);
  flag("special", special);
  flag("draft", options.draft);
  callback("onPrefill", options.onPrefill);
  checkSignal(options.signal);
  const sampling = samplingOptions(Object.fromEntries(samplingKeys.map((key) => [key, options[key]])) as SamplingInput, vocab);
  return {
    maxTokens: Math.min(maxTokens, Number.MAX_SAFE_INTEGER),
    stop,
    stopTokens,
    special,
    sampling,
    maxReasoningTokens: options.maxReasoningTokens,
    forcedText: oneOf<"draft" | "write">("forcedText", options.forcedText, ["draft", "write"], "draft"),
    whenFull: oneOf<"stop" | "slide">("whenFull", options.whenFull, ["stop", "slide"], "stop"),
    draft: options.draft === false ? "off" : call,
    lora: loraUses(options.lora, loaded),
  };
}
