// The deciding module's boundary: what wasm/decide.wasm and wasm/decide.mt.wasm export (sources in assembly/).
import { CpmError } from "../errors.ts";

export const decideAbiVersion = 3;

/** Pointers are byte addresses in the shared memory. Functions that return a status give 0 or a negative `decideStatus`. */
export interface Decide {
  decide_abi_version(): number;
  /** How many f64 words a parameter block has: `paramWords.length`. */
  param_words(): number;
  sample_scratch_bytes(vocab: number): number;
  /** Uniform in [0, 1) from (seed, position) alone; both integers in [0, 2^53). */
  random_uniform(seed: number, position: number): number;
  /** Of the raw logits: words max and logSum, and the `top` most likely tokens behind the words. Status. */
  logit_stats(logits: number, vocab: number, params: number, scratch: number): number;
  /** mask: a bit a token, in words of 32; a token whose bit is 0 is taken out. */
  logit_mask(logits: number, vocab: number, mask: number): void;
  /** pairs (count, 2) f64: token, what is added to its logit. Status. */
  logit_bias(logits: number, vocab: number, pairs: number, count: number): number;
  /** history (count) i32. Status. */
  logit_penalties(logits: number, vocab: number, history: number, count: number, params: number, scratch: number): number;
  /** The token drawn, or a negative status. */
  sample(logits: number, vocab: number, params: number, scratch: number): number;
  /** Bytes of an index of `capacity` tokens: assembly/lookup.ts. */
  lookup_bytes(capacity: number): number;
  /** Empties the index at `state`. */
  lookup_open(state: number, capacity: number): void;
  /** Adds a token; how many there are then (unchanged when the index is full). */
  lookup_push(state: number, token: number): number;
  /** Drops all tokens from `count` on. */
  lookup_truncate(state: number, count: number): void;
  /** How many tokens agree at the best earlier place, 0 for none; `other` >= 0: where another token than that followed. */
  lookup_find(state: number, other: number): number;
  /** Index of the token that followed the place found. */
  lookup_at(state: number): number;
}

/** Parameters of every export: a wasm function's `length`. */
export const decideArity: Readonly<Record<keyof Decide, number>> = {
  decide_abi_version: 0,
  param_words: 0,
  sample_scratch_bytes: 1,
  random_uniform: 2,
  logit_stats: 4,
  logit_mask: 3,
  logit_bias: 4,
  logit_penalties: 6,
  sample: 4,
  lookup_bytes: 1,
  lookup_open: 2,
  lookup_push: 2,
  lookup_truncate: 2,
  lookup_find: 2,
  lookup_at: 1,
};

/** The f64 words of a parameter block, in order (assembly/params.ts); up to `maxTop` tokens (i32) follow. */
export const paramWords = [
  "temperature",
  "topK",
  "topP",
  "minP",
  "repetitionPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "seed",
  "position",
  "top",
  "max",
  "logSum",
  "kept",
] as const;

export type ParamWord = (typeof paramWords)[number];

export const maxTop = 64;

export const decideStatus = { noToken: -1, badToken: -2 } as const;

/**
 * Instantiates the deciding module over the engine's memory ("decide" for a plain, "decide.mt" for a shared one).
 * Throws "engine-failed" when the module was built for another ABI.
 */
export async function instantiateDecide(module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<Decide> {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const decide = exports as unknown as Decide;
  const found = decide.decide_abi_version?.();
  if (found === decideAbiVersion) return decide;
  throw new CpmError(
    "engine-failed",
    `decide.wasm has ABI ${found}, this package needs ${decideAbiVersion} (reinstall cpm-wasm)`,
    {
      field: "decide_abi_version",
      expected: String(decideAbiVersion),
      found: String(found),
    },
  );
}
