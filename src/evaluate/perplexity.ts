// Perplexity of a text, and divergence from a base, by the rules of llama-perplexity.
import { bytesOf, isBlob } from "../brands.ts";
import { now } from "../clock.ts";
import { bad, given } from "../door/given.ts";
import type { Model } from "../door/model.ts";
import { checkSignal } from "../door/options.ts";
import type { Session } from "../door/session.ts";
import { CpmError } from "../errors.ts";
import { type Bytes, blobSource, bytesSource } from "../file/bytes.ts";
import type { Source } from "../file/source.ts";
import { Breath } from "./breath.ts";
import { type KlBase, type KlRow, klHeader, klRow, openKlBase, scoredFrom } from "./klfile.ts";
import { compareRows, logSumOf } from "./softmax.ts";
import { type Compared, type Divergence, divergenceOf, type Estimate, meanOf, quantile } from "./statistics.ts";
import { encoded } from "./tokens.ts";

/** Where a base file's bytes are: bytes, a Blob, or anything that is read in ranges. */
export type KlInput = Bytes | Blob | Source;

export interface PerplexityProgress {
  /** Chunks done, and in all. */
  readonly done: number;
  readonly total: number;
  /** Of everything scored so far: what llama-perplexity prints as `[done]`. */
  readonly perplexity: number;
  readonly secondsLeft: number;
}

export interface PerplexityOptions {
  /** Tokens of a chunk (default 512, or the model's context where that is smaller; a base file says it itself). */
  readonly contextSize?: number | undefined;
  /** Chunks, at most (default: all whole ones). */
  readonly chunks?: number | undefined;
  /**
   * The first position of a chunk whose logits are scored (default: half of it). 0 scores everything, for perplexity by position; not
   * with `base` or `save`, whose file holds the second half.
   */
  readonly from?: number | undefined;
  /** Compare with the log-probabilities in this file; the text may be left out, since the file has its tokens. */
  readonly base?: KlInput | undefined;
  /** Is given such a file, piece by piece, in order. */
  readonly save?: ((bytes: Uint8Array) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PerplexityProgress) => void) | undefined;
}

/** One chunk's own perplexity, that of all up to it, and its divergence from the base. */
export interface ChunkPerplexity {
  readonly own: number;
  readonly running: number;
  readonly divergence?: number;
}

/** Perplexity of the tokens behind positions [from, to) of all chunks. */
export interface PositionPerplexity {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly perplexity: number;
}

export interface Perplexity {
  /** Tokens of a chunk, the first scored position in it, and whether BOS stood in place of each chunk's first token. */
  readonly contextSize: number;
  readonly from: number;
  readonly bos: boolean;
  /** Tokens of the text. */
  readonly tokens: number;
  /** Tokens scored. */
  readonly count: number;
  /** exp of the mean of −ln p, and its error: perplexity × the mean's standard error. */
  readonly perplexity: Estimate;
  readonly chunks: readonly ChunkPerplexity[];
  readonly positions: readonly PositionPerplexity[];
  readonly divergence?: Divergence;
  /** KL(base ‖ model) at 0, 1 … 100 %, for pictures. */
  readonly divergences?: readonly number[];
  readonly seconds: number;
  /** Tokens run through the model a second, scoring included. */
  readonly tokensPerSecond: number;
}

const OPTIONS = ["contextSize", "chunks", "from", "base", "save", "signal", "onProgress"] as const;
const DEFAULT_CONTEXT = 512;
/** Logits of one call, at most: 16 MiB. */
const PIECE = 1 << 22;
const BUCKETS = 32;

const whole = (field: string, value: number | undefined, least: number, most: number, fallback: number): number => {
  if (value === undefined) return fallback;
  if (!Number.isSafeInteger(value) || value < least || value > most) bad(field, `a whole number from ${least} to ${most}`, value);
  return value;
};

/**
 * Perplexity of `text` (or token ids) under `model`, as llama-perplexity computes it: the text is tokenised once, special tokens in it
 * not recognised, and cut into chunks of `contextSize` tokens; a last one that is not whole is left out. Each chunk is run from an empty
 * cache, BOS in place of its first token where the model asks for BOS, and the tokens of its second half are scored. With `base` also
 * the divergence from it. Sequences that attend sparsely do so from a call's whole length on: here, that of the half chunk.
 *
 * Throws CpmError "bad-option"; rejects with "bad-input" for a text of less than two chunks, a base of another vocabulary, text or
 * tokenizer; "bad-model" for logits that are no numbers; "io"; or the signal's reason. Source: llama.cpp, tools/perplexity.
 */
export async function perplexity(
  model: Model,
  text: string | ArrayLike<number> | undefined,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  const { signal, ...wanted } = given(options, OPTIONS);
  checkSignal(signal);
  signal?.throwIfAborted();
  const breath = new Breath(signal);
  const base = wanted.base === undefined ? undefined : await openKlBase(sourceOf(wanted.base), signal);
  const plan = planOf(model, wanted, base);
  const tokens = await tokensOf(model, text, base, breath);
  const length = plan.contextSize;
  const available = Math.floor(tokens.length / length);
  if (!base && tokens.length < 2 * length)
    throw new CpmError(
      "bad-input",
      `text: ${tokens.length} tokens are too few: at least ${2 * length} (two chunks of ${length}) are needed; give a longer text or a smaller contextSize`,
      { field: "text", expected: `${2 * length} tokens`, found: `${tokens.length} tokens` },
    );
  const run = new Run(model, plan, Math.min(available, plan.chunks), base, wanted.save);
  const session = await model.session({ contextSize: length });
  try {
    return await run.measure(session, tokens, breath, signal, wanted.onProgress);
  } finally {
    await session.dispose();
  }
}

function sourceOf(input: KlInput): Source {
  const bytes = bytesOf(input);
  if (bytes) return bytesSource("base", bytes);
  if (isBlob(input)) return blobSource((input as File).name || "base", input);
  if (typeof input !== "object" || input === null || typeof (input as Source).read !== "function")
    bad("base", "bytes, a Blob or a Source", input);
  return input as Source;
}

interface Plan {
  readonly contextSize: number;
  readonly from: number;
  readonly chunks: number;
}

function planOf(model: Model, wanted: PerplexityOptions, base: KlBase | undefined): Plan {
  const { contextSize: most, config } = model.info;
  if (base && base.vocab !== config.vocab)
    throw new CpmError(
      "bad-input",
      `base: its rows have ${base.vocab} tokens and this model's vocabulary ${config.vocab}; compare models of one vocabulary`,
      { field: "base", expected: String(config.vocab), found: String(base.vocab) },
    );
  if (most < 4) bad("contextSize", "at least 4 when the model is loaded", most);
  const contextSize = base
    ? base.contextSize
    : whole("contextSize", wanted.contextSize, 4, most, Math.min(DEFAULT_CONTEXT, most));
  if (base && wanted.contextSize !== undefined && wanted.contextSize !== base.contextSize)
    bad("contextSize", `${base.contextSize}, which the base file was made with`, wanted.contextSize);
  if (contextSize > most) bad("contextSize", `at least the base file's ${contextSize} when the model is loaded`, most);
  const half = scoredFrom(contextSize);
  const from = whole("from", wanted.from, 0, contextSize - 2, half);
  if (from !== half && (base || wanted.save))
    bad("from", `${half} with a file of log-probabilities, which holds the second half`, from);
  return { contextSize, from, chunks: whole("chunks", wanted.chunks, 1, 1 << 30, 1 << 30) };
}

async function tokensOf(
  model: Model,
  text: string | ArrayLike<number> | undefined,
  base: KlBase | undefined,
  breath: Breath,
): Promise<Int32Array> {
  if (text === undefined) {
    if (base) return base.tokens;
    throw new CpmError("bad-input", "text: expected a text or token ids, found none; only a base file may stand in for it", {
      field: "text",
    });
  }
  const tokens =
    typeof text === "string"
      ? Int32Array.from(await encoded(model.tokenizer, text, { special: false, eos: false }, breath))
      : Int32Array.from(text);
  const vocab = model.info.config.vocab;
  const stray = tokens.findIndex((token, i) => token < 0 || token >= vocab || (typeof text !== "string" && token !== text[i]));
  if (stray >= 0)
    throw new CpmError("bad-input", `text: expected token ids below ${vocab}, found ${(text as ArrayLike<number>)[stray]}`, {
      field: "text",
    });
  if (!base) return tokens;
  const differs = base.tokens.findIndex((token, i) => token !== tokens[i]);
  if (differs >= 0)
    throw new CpmError(
      "bad-input",
      `text: its token ${differs} is ${tokens[differs] ?? "missing"} and the base file's ${base.tokens[differs]}: the base was made from another text or with another tokenizer; leave the text out to take the file's tokens`,
      { field: "text" },
    );
  return base.tokens;
}

/** One measurement: what is collected, chunk by chunk. */
class Run {
  readonly #plan: Plan;
  readonly #chunks: number;
  readonly #base: KlBase | undefined;
  readonly #save: PerplexityOptions["save"];
  readonly #vocab: number;
  readonly #bos: number | undefined;
  readonly #nll: Float64Array;
  readonly #baseNll: Float64Array;
  readonly #divergence: Float64Array;
  readonly #own: ChunkPerplexity[] = [];
  #count = 0;
  #same = 0;
  #sum = 0;

  constructor(model: Model, plan: Plan, chunks: number, base: KlBase | undefined, save: PerplexityOptions["save"]) {
    const { addBos, bos } = model.info.tokenizer;
    const scored = chunks * (plan.contextSize - 1 - plan.from);
    this.#plan = plan;
    this.#chunks = chunks;
    this.#base = base;
    this.#save = save;
    this.#vocab = model.info.config.vocab;
    this.#bos = addBos ? bos : undefined;
    this.#nll = new Float64Array(scored);
    this.#baseNll = new Float64Array(base ? scored : 0);
    this.#divergence = new Float64Array(base ? scored : 0);
  }

  async measure(
    session: Session,
    tokens: Int32Array,
    breath: Breath,
    signal: AbortSignal | undefined,
    onProgress: PerplexityOptions["onProgress"],
  ): Promise<Perplexity> {
    const { contextSize } = this.#plan;
    const chunks = this.#chunks;
    const started = now();
    await this.#save?.(klHeader({ contextSize, vocab: this.#vocab, chunks }, tokens.subarray(0, chunks * contextSize)));
    for (let chunk = 0; chunk < chunks; chunk++) {
      await this.#chunk(session, tokens.slice(chunk * contextSize, (chunk + 1) * contextSize), chunk, breath, signal);
      const perplexity = this.#own.at(-1)!.running;
      const secondsLeft = (((now() - started) / (chunk + 1)) * (chunks - chunk - 1)) / 1000;
      onProgress?.({ done: chunk + 1, total: chunks, perplexity, secondsLeft });
    }
    return this.#result(tokens.length, (now() - started) / 1000);
  }

  async #chunk(
    session: Session,
    tokens: Int32Array,
    chunk: number,
    breath: Breath,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { contextSize, from } = this.#plan;
    if (this.#bos !== undefined) tokens[0] = this.#bos;
    await session.truncate(0);
    if (from > 0) await session.forward(tokens.subarray(0, from), { logits: "none", signal });
    const before = this.#count;
    const most = Math.max(1, Math.min(64, Math.floor(PIECE / this.#vocab)));
    const ends = Array.from({ length: Math.ceil((contextSize - 1 - from) / most) }, (_, i) => from + i * most);
    const run = (at: number) => {
      const end = Math.min(at + most, contextSize - 1);
      const logits = session.forward(tokens.subarray(at, end), { logits: "all", signal });
      // Whoever waits for it hears of its failure; until then nobody does.
      logits.catch(() => {});
      return { at, end, logits, base: this.#base?.rows(chunk, at - from, end - at, signal) };
    };
    let next = ends.length > 0 ? run(ends[0]!) : undefined;
    for (let i = 0; next !== undefined; i++) {
      const { at, end, logits, base } = next;
      const [rows, baseRows] = await Promise.all([logits, base]);
      // The model computes the next piece while this one is scored.
      next = i + 1 < ends.length ? run(ends[i + 1]!) : undefined;
      next?.base?.catch(() => {});
      for (let t = at; t < end; t++) {
        const row = rows.subarray((t - at) * this.#vocab, (t - at + 1) * this.#vocab);
        await this.#score(row, tokens[t + 1]!, baseRows?.[t - at]);
        await breath.take();
      }
    }
    const mean = this.#mean(this.#nll, before);
    this.#sum += mean * (this.#count - before);
    this.#own.push({
      own: Math.exp(mean),
      running: Math.exp(this.#sum / this.#count),
      ...(this.#base ? { divergence: this.#mean(this.#divergence, before) } : {}),
    });
  }

  #mean(values: Float64Array, before: number): number {
    return meanOf(values.subarray(before, this.#count)).value;
  }

  async #score(row: Float32Array, token: number, base: KlRow | undefined): Promise<void> {
    const at = this.#count++;
    if (base) {
      const found = compareRows(row, base.codes, base.scale, base.least, token);
      this.#nll[at] = found.nll;
      this.#baseNll[at] = found.baseNll;
      this.#divergence[at] = found.divergence;
      if (found.sameTop) this.#same++;
      if (!this.#save) return;
    }
    const sums = logSumOf(row);
    this.#nll[at] = sums.most + sums.rest - row[token]!;
    await this.#save?.(klRow(row, sums));
  }

  #result(tokens: number, seconds: number): Perplexity {
    const { contextSize, from } = this.#plan;
    const mean = meanOf(this.#nll);
    const value = Math.exp(mean.value);
    const compared: Compared = { nll: this.#nll, baseNll: this.#baseNll, divergence: this.#divergence, same: this.#same };
    const rising = this.#divergence.slice().sort();
    return {
      contextSize,
      from,
      bos: this.#bos !== undefined,
      tokens,
      count: this.#count,
      perplexity: { value, error: value * mean.error },
      chunks: this.#own,
      positions: byPosition(this.#nll, from, contextSize - 1),
      ...(this.#base
        ? {
            divergence: divergenceOf(compared),
            divergences: Array.from({ length: 101 }, (_, p) => quantile(rising, p / 100)),
          }
        : {}),
      seconds,
      tokensPerSecond: (this.#chunks * (contextSize - 1)) / Math.max(seconds, 1e-9),
    };
  }
}

/** Buckets of neighbouring positions; `nll` holds the scored tokens of one chunk after another. */
function byPosition(nll: Float64Array, from: number, to: number): PositionPerplexity[] {
  const width = to - from;
  const buckets = Math.min(BUCKETS, width);
  return Array.from({ length: buckets }, (_, b) => {
    const [first, end] = [Math.floor((b * width) / buckets), Math.floor(((b + 1) * width) / buckets)];
    let [sum, count] = [0, 0];
    for (let chunk = 0; chunk < nll.length; chunk += width)
      for (let i = chunk + first; i < chunk + end; i++, count++) sum += nll[i]!;
    return { from: from + first, to: from + end, count, perplexity: Math.exp(sum / count) };
  });
}
