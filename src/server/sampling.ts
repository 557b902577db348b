// The parameters that say how to generate, shared by chat completions, completions and responses.
import type { GenerateOptions, LoraChoice } from "../index.ts";
import type { Job } from "./job.ts";
import { invalid, isObject, Params, unsupported } from "./params.ts";

/** Labels of the caller's own bookkeeping, and hints for services that meter or route: without effect on an answer here. */
const labels = ["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"] as const;

export interface Wish {
  /** What the package's generate() and chat() take, without signal. */
  readonly options: GenerateOptions;
  /** Answers to give. */
  readonly n: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Report this many alternatives a token; undefined: no log-probabilities. */
  readonly logprobs: number | undefined;
}

export interface Limits {
  /** Most answers of one request. */
  readonly maxChoices: number;
  /** Most tokens of one answer. */
  readonly maxTokens: number;
}

/** OpenAI's range; the package reports up to this many. */
export const MAX_TOP = 20;

/** "a", ["a", "b"] -> list; at most as many as OpenAI takes would be an arbitrary limit, so any number. */
function stops(params: Params): readonly string[] | undefined {
  const value = params.raw("stop");
  if (value === undefined) return undefined;
  const list: unknown = typeof value === "string" ? [value] : value;
  if (!Array.isArray(list) || list.some((s) => typeof s !== "string" || s === ""))
    throw invalid(params.name("stop"), "a text or a list of texts, none empty", value);
  return list as string[];
}

/** { "token": bias } or [[token, bias]], as OpenAI and llama.cpp write it. */
function bias(params: Params): [number, number][] | undefined {
  const value = params.raw("logit_bias");
  if (value === undefined) return undefined;
  const entries: unknown[] = Array.isArray(value) ? value : isObject(value) ? Object.entries(value) : [undefined];
  return entries.map((entry) => {
    const [token, added] = Array.isArray(entry) ? (entry as unknown[]) : [];
    const id = typeof token === "string" && /^\d+$/.test(token) ? Number(token) : token;
    const by = added === false ? -Infinity : added;
    const fits = Number.isSafeInteger(id) && typeof by === "number" && (by === -Infinity || (by >= -100 && by <= 100));
    if (!fits) throw invalid(params.name("logit_bias"), "token ids with a bias from -100 to 100 each", value);
    return [id as number, by as number];
  });
}

function seedOf(params: Params): number | undefined {
  // Clients send any integer, negative ones too; -1 is llama.cpp's way to say random.
  const seed = params.integer("seed", Number.MIN_SAFE_INTEGER);
  if (seed === undefined || seed === -1) return undefined;
  return seed >= 0 ? seed : seed + 2 ** 53;
}

/** LoRA adapters by name: ["formal", { "name": "legal", "scale": 0.5 }]; [] is the model alone. */
export function loraOf(params: Params): LoraChoice | undefined {
  return params.list("lora")?.map((one, i) => {
    if (typeof one === "string") return one;
    if (!isObject(one)) throw invalid(`lora[${i}]`, "an adapter's name, or { name, scale }", one);
    const own = new Params(one, `lora[${i}]`);
    const name = own.text("name") ?? "";
    const scale = own.number("scale");
    own.end();
    return scale === undefined ? name : { name, scale };
  });
}

/** Reads what both kinds of completion have in common. */
export function readWish(params: Params, limits: Limits, maxTokens: number | undefined, logprobs: number | undefined): Wish {
  params.ignore(...labels);
  params.only("service_tier", ["auto", "default"], "this server has one tier");
  params.only("store", [false], "nothing is stored here");
  const stream = params.flag("stream") ?? false;
  const streamOptions = params.object("stream_options");
  if (streamOptions && !stream) throw unsupported(params.name("stream_options"), "only with stream: true");
  const includeUsage = streamOptions?.flag("include_usage") ?? false;
  streamOptions?.only("include_obfuscation", [false, true], "true or false");
  streamOptions?.end();
  const n = params.integer("n", 1, limits.maxChoices) ?? 1;
  const [stop, logitBias, seed] = [stops(params), bias(params), seedOf(params)];
  const chosen = {
    temperature: params.number("temperature", { least: 0, most: 100 }),
    topP: params.number("top_p", { least: 0, most: 1 }),
    topK: params.integer("top_k", -1),
    minP: params.number("min_p", { least: 0, most: 1 }),
    repetitionPenalty:
      params.number("repetition_penalty", { least: 0.01, most: 100 }) ??
      params.number("repeat_penalty", { least: 0.01, most: 100 }),
    penaltyWindow: params.integer("repeat_last_n", 0, 0x7fffffff),
    frequencyPenalty: params.number("frequency_penalty", { least: -2, most: 2 }),
    presencePenalty: params.number("presence_penalty", { least: -2, most: 2 }),
    stop,
    logitBias,
    seed,
    logprobs,
    lora: loraOf(params),
  };
  const { topP, topK } = chosen;
  const options: Record<string, unknown> = {
    ...chosen,
    // What is least of OpenAI's top_p means one token; vLLM's clients write -1 for "all".
    topP: topP === 0 ? undefined : topP,
    topK: topP === 0 ? 1 : topK === -1 ? 0 : topK,
    maxTokens: Math.min(maxTokens ?? limits.maxTokens, limits.maxTokens),
  };
  for (const [name, value] of Object.entries(options)) if (value === undefined) delete options[name];
  return { options: options as GenerateOptions, n, stream, includeUsage, logprobs };
}

/** The options of the i-th answer: a seed of its own, so that answers differ but can be repeated; the model's adapters. */
export function optionsOf(wish: Wish, choice: number, { lora }: Pick<Job, "lora">): GenerateOptions {
  const options = lora === undefined ? wish.options : { lora, ...wish.options };
  const { seed } = options;
  return seed === undefined || choice === 0 ? options : { ...options, seed: (seed + choice) % 2 ** 53 };
}
