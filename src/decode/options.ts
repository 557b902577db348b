// Sampling options as users write them -> checked and complete.

import { isRecord, kindOf } from "../brands.ts";
import { CpmError, didYouMean } from "../errors.ts";
import { shown } from "../shown.ts";
import { maxTop } from "../wasm/decide.ts";

export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 keeps all. */
  readonly topK: number;
  /** 1 keeps all. */
  readonly topP: number;
  /** 0 keeps all. */
  readonly minP: number;
  /** 1 is off; divides positive and multiplies negative logits of tokens in the window. */
  readonly repetitionPenalty: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  /** How many of the last tokens the penalties look at. */
  readonly penaltyWindow: number;
  /** [token, added to its logit]. */
  readonly logitBias: readonly (readonly [number, number])[];
  readonly seed: number;
  /** Report the n most likely tokens beside the chosen one; -1: no log-probabilities at all. */
  readonly logprobs: number;
}

/** Any of SamplingOptions; logitBias as pairs (a list, a Map, any iterable) or { token: added }, seed drawn at random when absent. */
export type SamplingInput = {
  readonly [K in Exclude<keyof SamplingOptions, "logitBias">]?: SamplingOptions[K] | undefined;
} & {
  readonly logitBias?: Iterable<readonly [number, number]> | Readonly<Record<number, number>> | undefined;
};

export const samplingDefaults = {
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyWindow: 64,
  logitBias: [],
  logprobs: -1,
} as const satisfies Omit<SamplingOptions, "seed">;

interface Range {
  readonly test: (value: number) => boolean;
  readonly expected: string;
}

const range = (expected: string, test: (value: number) => boolean): Range => ({ expected, test });
const whole = (least: number, most: number, expected: string): Range =>
  range(expected, (x) => Number.isSafeInteger(x) && x >= least && x <= most);
const finite = range("a finite number", Number.isFinite);

// 2^31 - 1: what the deciding module counts with.
const count = whole(0, 0x7fffffff, "an integer from 0 to 2147483647");

const ranges: Readonly<Record<Exclude<keyof SamplingOptions, "logitBias">, Range>> = {
  temperature: range("a finite number, at least 0", (x) => Number.isFinite(x) && x >= 0),
  topK: count,
  topP: range("a number above 0, at most 1", (x) => x > 0 && x <= 1),
  minP: range("a number from 0 to 1", (x) => x >= 0 && x <= 1),
  repetitionPenalty: range("a finite number above 0", (x) => Number.isFinite(x) && x > 0),
  frequencyPenalty: finite,
  presencePenalty: finite,
  penaltyWindow: count,
  seed: whole(0, Number.MAX_SAFE_INTEGER, "an integer from 0 to 2^53 - 1"),
  logprobs: whole(-1, maxTop, `an integer from -1 (off) to ${maxTop}`),
};

/** The names samplingOptions() takes, to pick them from a larger options object. */
export const samplingKeys = [...Object.keys(ranges), "logitBias"] as readonly (keyof SamplingOptions)[];

const shortly = (value: unknown): string =>
  (typeof value === "object" && value !== null) || value === undefined ? kindOf(value) : shown(value);

function badOption(field: string, expected: string, found: unknown, hint = ""): CpmError {
  return new CpmError("bad-option", `${field}: expected ${expected}, found ${shortly(found)}${hint}`, {
    field,
    expected,
    found: shortly(found),
  });
}

function randomSeed(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2)) as unknown as [number, number];
  return (high >>> 11) * 2 ** 32 + low;
}

function biasPairs(value: unknown, vocab: number): [number, number][] {
  if (value === undefined) return [];
  // A vector of numbers has no pairs, and a class of its own no entries: neither may be taken for "nothing".
  const listed = typeof value === "object" && value !== null && Symbol.iterator in value && !ArrayBuffer.isView(value);
  if (!listed && !isRecord(value))
    throw badOption("logitBias", "a record { token: added }, a Map, or pairs [token, added]", value);
  const entries: unknown[] = listed ? Array.from(value as Iterable<unknown>) : Object.entries(value);
  return entries.map((entry, i) => {
    if (!Array.isArray(entry) || entry.length !== 2) throw badOption(`logitBias[${i}]`, "a pair [token, bias]", entry);
    const token: unknown = listed ? entry[0] : Number(entry[0]);
    const bias: unknown = entry[1];
    if (typeof token !== "number" || !Number.isSafeInteger(token) || token < 0 || token >= vocab) {
      throw badOption(`logitBias[${i}]`, `a token from 0 to ${vocab - 1}`, entry[0]);
    }
    if (typeof bias !== "number" || Number.isNaN(bias) || bias === Infinity) {
      throw badOption(`logitBias[${i}]`, "a finite bias, or -Infinity to ban the token", bias);
    }
    return [token, bias];
  });
}

/**
 * Completes and checks sampling options. Defaults: temperature 0.8, topK 40, topP 0.95, minP 0, penalties off,
 * penaltyWindow 64, no logitBias, logprobs -1 (off), seed random. `vocab`: tokens of the model, for logitBias.
 * Throws "bad-option" for an unknown name or a value outside its range.
 */
export function samplingOptions(user: SamplingInput = {}, vocab = 0x7fffffff): SamplingOptions {
  if (!isRecord(user)) throw badOption("sampling", "an object", user);
  for (const key of Object.keys(user)) {
    if (!samplingKeys.includes(key as keyof SamplingOptions))
      throw badOption(key, `one of ${samplingKeys.join(", ")}`, "unknown option", didYouMean(key, samplingKeys));
  }
  const checked: Record<string, unknown> = { ...samplingDefaults, logitBias: biasPairs(user.logitBias, vocab) };
  for (const [key, { test, expected }] of Object.entries(ranges)) {
    const value: unknown = user[key as keyof typeof ranges];
    if (value === undefined) continue;
    if (typeof value !== "number" || !test(value)) throw badOption(key, expected, value);
    checked[key] = value;
  }
  checked["seed"] ??= randomSeed();
  return checked as unknown as SamplingOptions;
}
