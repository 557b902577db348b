// One row of logits in linear memory -> one token. The order of the steps is documented in assembly/sample.ts.
import { CpmError } from "../errors.ts";
import { type Decide, decideStatus, maxTop, type ParamWord, paramWords } from "../wasm/decide.ts";
import type { DeciderMemory } from "./decidermemory.ts";
import type { SamplingOptions } from "./options.ts";

export interface TokenLogprob {
  readonly token: number;
  readonly text: string;
  readonly logprob: number;
}

/** Byte addresses in linear memory: logits (vocab) f32; the other regions as samplerBytes() says, aligned to 8. */
export interface SamplerPlace {
  readonly logits: number;
  readonly scratch: number;
  readonly history: number;
  readonly params: number;
  readonly vocab: number;
  readonly historyCapacity: number;
}

/** Bytes of each region. The scratch holds no state between calls; samplers used in turn may share all regions. */
export interface SamplerBytes {
  readonly logits: number;
  readonly scratch: number;
  readonly history: number;
  readonly params: number;
}

// As in assembly/: tokens summed as one block, and buckets of the top-p histogram.
const block = 512;
const buckets = 87 * 32 + 1;

/** What a Sampler needs; historyCapacity is the longest penaltyWindow it can serve (the context size serves all). */
export function samplerBytes(vocab: number, historyCapacity: number): SamplerBytes {
  return {
    logits: 4 * vocab,
    scratch: 8 * (Math.max(vocab, buckets) + Math.ceil(vocab / block)),
    history: 4 * historyCapacity,
    params: 8 * paramWords.length + 4 * maxTop,
  };
}

type Scored = Omit<TokenLogprob, "text">;

export interface SampledToken {
  readonly token: number;
  /** Natural logarithms of the model's own probabilities: before bias, penalties, temperature and truncation. */
  readonly logprob?: Scored & { readonly top: readonly Scored[] };
}

interface RawStats {
  readonly logprobOf: (token: number) => number;
  readonly top: readonly Scored[];
}

const word = Object.fromEntries(paramWords.map((name, i) => [name, i])) as Record<ParamWord, number>;

/** Draws tokens from the logits at `place.logits`, which it changes. */
export class Sampler {
  readonly #decide: Decide;
  readonly #memory: { readonly buffer: ArrayBufferLike };
  readonly #place: SamplerPlace;
  readonly #deciding: Pick<DeciderMemory, "memory" | "logits">;
  /** Where the logits lie for the deciding module, during a call. */
  #logits = 0;

  /** All regions but the logits lie in `deciding.memory`. */
  constructor(
    decide: Decide,
    deciding: Pick<DeciderMemory, "logits"> & { readonly memory: { readonly buffer: ArrayBufferLike } },
    place: SamplerPlace,
  ) {
    this.#decide = decide;
    this.#deciding = deciding as Pick<DeciderMemory, "memory" | "logits">;
    this.#memory = deciding.memory;
    this.#place = place;
  }

  /** A sampler of the logits at another address, with the same regions otherwise. */
  at(logits: number): Sampler {
    return logits === this.#place.logits ? this : new Sampler(this.#decide, this.#deciding, { ...this.#place, logits });
  }

  /**
   * Draws the token for `position` (its index in the sequence: the same seed and position always draw the same number).
   * `historyTokens`: tokens before it, at least the last `penaltyWindow` of them. Throws "bad-option" for a window beyond
   * the history region or a bias that leaves no token, "bad-input" for a token outside the vocabulary, "bad-model" when
   * the logits are all NaN or -Infinity.
   * `mask`: the tokens that may be drawn at all, a bit each; it holds before bias and penalties, and log-probabilities do not know it.
   */
  sample(options: SamplingOptions, position: number, historyTokens: Int32Array, mask?: Uint32Array): SampledToken {
    const { vocab, params, scratch } = this.#place;
    this.#logits = this.#deciding.logits(this.#place.logits, vocab);
    this.#writeParams(options, position);
    const raw = options.logprobs >= 0 ? this.#stats(options, historyTokens) : undefined;
    if (mask) this.#mask(mask);
    this.#addBias(options.logitBias);
    this.#penalize(options, historyTokens);
    const token = this.#decide.sample(this.#logits, vocab, params, scratch);
    if (token < 0) throw mask ? masked(options) : noToken(options);
    return raw === undefined ? { token } : { token, logprob: { token, logprob: raw.logprobOf(token), top: raw.top } };
  }

  /** The scratch is at least 8 bytes a token, and free between calls. */
  #mask(mask: Uint32Array): void {
    const { vocab, scratch } = this.#place;
    new Uint32Array(this.#memory.buffer, scratch, mask.length).set(mask);
    this.#decide.logit_mask(this.#logits, vocab, scratch);
  }

  #words(): Float64Array {
    return new Float64Array(this.#memory.buffer, this.#place.params, paramWords.length);
  }

  #writeParams(options: SamplingOptions, position: number): void {
    const words = this.#words();
    for (const name of [
      "temperature",
      "topK",
      "topP",
      "minP",
      "repetitionPenalty",
      "frequencyPenalty",
      "presencePenalty",
      "seed",
    ] as const) {
      words[word[name]] = options[name];
    }
    words[word.position] = position;
    words[word.top] = Math.max(options.logprobs, 0);
  }

  // Bias and penalties overwrite the raw logits of the tokens they touch, so those are remembered.
  #stats(options: SamplingOptions, historyTokens: Int32Array): RawStats {
    const { vocab, params, scratch } = this.#place;
    const logits = this.#logits;
    if (this.#decide.logit_stats(logits, vocab, params, scratch) < 0) throw noToken(options, true);
    const words = this.#words();
    const offset = words[word.max]!;
    const logSum = words[word.logSum]!;
    const row = new Float32Array(this.#memory.buffer, logits, vocab);
    const touched = new Map<number, number>();
    for (const [token] of options.logitBias) touched.set(token, row[token]!);
    for (const token of windowOf(options, historyTokens)) touched.set(token, row[token]!);
    const logprobOf = (token: number) => (touched.get(token) ?? row[token]!) - offset - logSum;
    const tokens = new Int32Array(this.#memory.buffer, params + 8 * paramWords.length, Math.min(options.logprobs, vocab));
    const top = Array.from(tokens, (token) => ({ token, logprob: logprobOf(token) })).filter((one) => one.logprob > -Infinity);
    return { logprobOf, top };
  }

  // In parts that fit the scratch.
  #addBias(pairs: SamplingOptions["logitBias"]): void {
    const { vocab, scratch } = this.#place;
    const words = new Float64Array(this.#memory.buffer, scratch, 2 * Math.floor(Math.max(vocab, buckets) / 2));
    for (let begin = 0; begin < pairs.length; begin += words.length / 2) {
      const part = pairs.slice(begin, begin + words.length / 2);
      words.set(part.flat());
      if (this.#decide.logit_bias(this.#logits, vocab, scratch, part.length) === decideStatus.badToken) {
        throw new CpmError("bad-option", `logitBias: a token outside the vocabulary of ${vocab}`, { field: "logitBias" });
      }
    }
  }

  #penalize(options: SamplingOptions, historyTokens: Int32Array): void {
    const { vocab, history, params, scratch, historyCapacity } = this.#place;
    const window = windowOf(options, historyTokens);
    if (window.length > historyCapacity) {
      const detail = { field: "penaltyWindow", expected: `at most ${historyCapacity}`, found: String(window.length) };
      throw new CpmError("bad-option", `penaltyWindow: at most ${historyCapacity} tokens fit, found ${window.length}`, detail);
    }
    if (window.length === 0) return;
    new Int32Array(this.#memory.buffer, history, window.length).set(window);
    if (this.#decide.logit_penalties(this.#logits, vocab, history, window.length, params, scratch) === decideStatus.badToken) {
      throw new CpmError("bad-input", `a token of the text is outside the vocabulary of ${vocab} (use this model's tokenizer)`);
    }
  }
}

const none = new Int32Array(0);

function windowOf(options: SamplingOptions, historyTokens: Int32Array): Int32Array {
  const off = options.repetitionPenalty === 1 && options.frequencyPenalty === 0 && options.presencePenalty === 0;
  return off || options.penaltyWindow === 0 ? none : historyTokens.subarray(-options.penaltyWindow);
}

function masked(options: SamplingOptions): CpmError {
  const banned = options.logitBias.some(([, bias]) => bias === -Infinity);
  const todo = banned
    ? "ban fewer tokens"
    : "the vocabulary cannot write what the constraint asks for here, or the logits are damaged";
  return new CpmError("bad-option", `the constraint and logitBias leave no token to choose (${todo})`, { field: "constraint" });
}

function noToken(options: SamplingOptions, raw = false): CpmError {
  if (!raw && options.logitBias.some(([, bias]) => bias === -Infinity)) {
    return new CpmError("bad-option", "logitBias leaves no token to choose (ban fewer tokens)", { field: "logitBias" });
  }
  return new CpmError("bad-model", "every logit is NaN or -Infinity (the weights are damaged, or a bias is far too large)");
}
