// Shards -> batches: documents in a seeded order, packed into rows, sources mixed by weight; some documents held out.
import { isRecord } from "../brands.ts";
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import type { Batch } from "./batch.ts";
import { mix } from "./checksum.ts";
import { uniform } from "./scratch.ts";
import type { Shard } from "./shards.ts";

export interface FeedSource {
  readonly name: string;
  readonly shards: readonly Shard[];
  /** Its share of the rows, beside those of the others. Default: its tokens. */
  readonly weight?: number | undefined;
}

export interface FeedOptions {
  /** Tokens of a row. */
  readonly length: number;
  readonly seed: number;
  /**
   * "stream" (default): documents follow each other and are cut at the ends of rows; "whole": a document that fits a row is never cut,
   * and rows end in padding.
   */
  readonly packing?: "stream" | "whole" | undefined;
  /** Share of the documents that is held out, at least one where it is above 0. Equal documents go the same way. Default 0. */
  readonly heldOut?: number | undefined;
}

/** A document from a token on. */
type Item = readonly [document: number, offset: number];

/** Where a feed is: plain data. */
export interface FeedState {
  readonly sources: readonly {
    readonly epoch: number;
    readonly next: number;
    readonly rows: number;
    readonly waiting: readonly Item[];
  }[];
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** Whether this has a state's form; what it says may still be beyond the documents. */
export function isFeedState(value: unknown): value is FeedState {
  if (!isRecord(value) || !Array.isArray(value["sources"])) return false;
  return value["sources"].every((source: unknown) => {
    if (!isRecord(source)) return false;
    const { epoch, next, rows, waiting } = source;
    const item = (pair: unknown) => Array.isArray(pair) && pair.length === 2 && pair.every(isCount);
    return [epoch, next, rows].every(isCount) && Array.isArray(waiting) && waiting.every(item);
  });
}

/** A batch, and what its rows are made of: "NAME document 12 from token 100". */
export interface Fed {
  readonly batch: Batch;
  readonly places: readonly (readonly string[])[];
}

/** Documents that wait for a row with room for them. */
const WAITING = 32;

class Stream {
  readonly source: FeedSource;
  readonly share: number;
  /** Documents by their numbers over all shards. */
  readonly trained: Uint32Array;
  readonly heldOut: Uint32Array;
  readonly #firsts: number[] = [];
  readonly #seed: number;
  #order: Uint32Array | undefined;
  epoch = 0;
  next = 0;
  rows = 0;
  waiting: Item[] = [];

  constructor(source: FeedSource, seed: number, heldOut: number) {
    this.source = source;
    this.#seed = seed;
    const tokens = source.shards.reduce((sum, shard) => sum + shard.tokens, 0);
    this.share = source.weight ?? tokens;
    let documents = 0;
    for (const shard of source.shards) {
      this.#firsts.push(documents);
      documents += shard.documents;
    }
    const ranks = new Uint32Array(documents);
    for (const [s, shard] of source.shards.entries())
      for (let d = 0; d < shard.documents; d++) ranks[this.#firsts[s]! + d] = mix(shard.hashes[d]! ^ mix(seed));
    const count = heldOut > 0 && documents > 1 ? Math.max(1, Math.round(heldOut * documents)) : 0;
    const limit = count > 0 ? ranks.slice().sort()[count - 1]! : -1;
    const all = Array.from(ranks.keys()).filter((d) => this.lengthOf(d) > 1);
    this.heldOut = Uint32Array.from(all.filter((d) => ranks[d]! <= limit));
    this.trained = Uint32Array.from(all.filter((d) => ranks[d]! > limit));
    if (this.trained.length === 0)
      throw new CpmError(
        "bad-input",
        `${source.name}: ${documents === 0 ? "no document" : "no document is left to train on"}; give more texts, or hold out fewer`,
        { field: source.name, expected: "documents of two tokens or more", found: `${documents} documents` },
      );
  }

  #place(document: number): [Shard, number] {
    let s = this.#firsts.length - 1;
    while (this.#firsts[s]! > document) s--;
    return [this.source.shards[s]!, document - this.#firsts[s]!];
  }

  /** Tokens of a document; 0 for one that there is not. */
  lengthOf(document: number): number {
    const [shard, d] = this.#place(document);
    if (!shard || d >= shard.documents) return 0;
    return shard.ends[d]! - (d === 0 ? 0 : shard.ends[d - 1]!);
  }

  async read(document: number, from: number, count: number, signal?: AbortSignal) {
    const [shard, d] = this.#place(document);
    return await shard.read((d === 0 ? 0 : shard.ends[d - 1]!) + from, count, signal);
  }

  /** The next document of this epoch, or of the next one. */
  draw(): number {
    this.#order ??= shuffled(this.trained, mix(this.#seed ^ mix(this.epoch + 1)));
    const found = this.#order[this.next++]!;
    if (this.next === this.#order.length) {
      this.epoch++;
      this.next = 0;
      this.#order = undefined;
    }
    return found;
  }

  restore(state: FeedState["sources"][number]): void {
    ({ epoch: this.epoch, next: this.next, rows: this.rows } = state);
    this.waiting = [...state.waiting];
    this.#order = undefined;
  }
}

/** A list in the order of a seed (Fisher and Yates). */
export function shuffled(list: Uint32Array, seed: number): Uint32Array {
  const out = list.slice();
  const next = uniform(seed);
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

/** A row that is being filled. */
class Row {
  readonly tokens: Int32Array;
  readonly segments: Int32Array;
  readonly labels: Int32Array;
  readonly weights: Float32Array;
  readonly places: string[] = [];
  filled = 0;
  #segment = 0;

  constructor(batch: Batch, row: number) {
    const cut = <A extends Int32Array | Float32Array>(a: A): A => a.subarray(row * batch.length, (row + 1) * batch.length) as A;
    [this.tokens, this.segments, this.labels] = [cut(batch.tokens), cut(batch.segments), cut(batch.labels)];
    this.weights = cut(batch.weights);
  }

  get room(): number {
    return this.tokens.length - this.filled;
  }

  get trained(): boolean {
    return this.weights.some((w) => w > 0);
  }

  clear(): void {
    this.tokens.fill(0);
    this.segments.fill(-1);
    this.labels.fill(-1);
    this.weights.fill(0);
    [this.places.length, this.filled, this.#segment] = [0, 0, 0];
  }

  /** Puts `count` tokens of a document in, each with the next one to predict. */
  async put(stream: Stream, [document, offset]: Item, count: number, signal?: AbortSignal): Promise<void> {
    const { tokens, mask } = await stream.read(document, offset, count + 1, signal);
    for (let i = 0; i < count; i++) {
      const at = this.filled + i;
      this.tokens[at] = tokens[i]!;
      this.segments[at] = this.#segment;
      this.labels[at] = tokens[i + 1]!;
      this.weights[at] = mask[i + 1]!;
    }
    this.filled += count;
    this.#segment++;
    this.places.push(`${stream.source.name} document ${document}${offset > 0 ? ` from token ${offset}` : ""}`);
  }
}

export const emptyBatch = (rows: number, length: number): Batch => ({
  rows,
  length,
  tokens: new Int32Array(rows * length),
  segments: new Int32Array(rows * length).fill(-1),
  labels: new Int32Array(rows * length).fill(-1),
  weights: new Float32Array(rows * length),
});

/** Rows in a row without a token that is trained: then there is none at all, or hardly any. */
const MOST_EMPTY = 10_000;

/**
 * Batches for training. What comes next depends on the shards, the options and the state alone.
 * @throws CpmError "bad-input" for sources without documents, "bad-option" for weights and shares that are none.
 */
export class Feed {
  readonly options: FeedOptions;
  readonly #streams: readonly Stream[];

  constructor(sources: readonly FeedSource[], options: FeedOptions) {
    this.options = options;
    const { heldOut = 0 } = options;
    for (const [i, { weight = 1 }] of sources.entries())
      if (!(weight > 0 && Number.isFinite(weight)))
        throw new CpmError("bad-option", `data[${i}].weight: expected a number above 0, found ${shown(weight)}`, {
          field: `data[${i}].weight`,
        });
    if (sources.length === 0) throw new CpmError("bad-option", "data: expected at least one source", { field: "data" });
    if (!(heldOut >= 0 && heldOut < 1))
      throw new CpmError("bad-option", `heldOut: expected a share below 1, found ${shown(heldOut)}`, { field: "heldOut" });
    this.#streams = sources.map((source, i) => new Stream(source, mix(options.seed + i * 0x9e3779b9), heldOut));
  }

  /** Documents that are trained, and held out. */
  get documents(): { readonly trained: number; readonly heldOut: number } {
    const count = (of: "trained" | "heldOut") => this.#streams.reduce((sum, stream) => sum + stream[of].length, 0);
    return { trained: count("trained"), heldOut: count("heldOut") };
  }

  /** Tokens that one pass over everything predicts. */
  get epochTokens(): number {
    let tokens = 0;
    for (const stream of this.#streams) for (const document of stream.trained) tokens += stream.lengthOf(document) - 1;
    return tokens;
  }

  state(): FeedState {
    return {
      sources: this.#streams.map(({ epoch, next, rows, waiting }) => ({ epoch, next, rows, waiting: [...waiting] })),
    };
  }

  /** Goes on from a state. @throws CpmError "bad-model" for one of other data. */
  restore(state: FeedState): void {
    const fits =
      state.sources.length === this.#streams.length &&
      state.sources.every((s, i) => {
        const stream = this.#streams[i]!;
        const known = s.waiting.every(([document, offset]) => offset < stream.lengthOf(document) - 1);
        return known && s.next < stream.trained.length;
      });
    if (!fits)
      throw new CpmError("bad-model", "the checkpoint's place in the data is beyond these documents: the data is another", {
        field: "data",
      });
    for (const [i, stream] of this.#streams.entries()) stream.restore(state.sources[i]!);
  }

  /** The next rows. Rejects with CpmError "bad-input" where nothing is trained, "io", or the signal's reason. */
  async next(rows: number, signal?: AbortSignal): Promise<Fed> {
    const batch = emptyBatch(rows, this.options.length);
    const places: string[][] = [];
    for (let row = 0; row < rows; row++) {
      const into = new Row(batch, row);
      const stream = this.#choose();
      stream.rows++;
      for (let tries = 0; ; tries++) {
        await this.#fill(into, stream, signal);
        if (into.trained) break;
        if (tries === MOST_EMPTY)
          throw new CpmError("bad-input", `${stream.source.name}: no token of ${MOST_EMPTY} rows is trained; look at its masks`, {
            field: stream.source.name,
          });
        into.clear();
      }
      places.push(into.places);
    }
    return { batch, places };
  }

  /** The source that is furthest behind its share. */
  #choose(): Stream {
    const total = this.#streams.reduce((sum, { rows }) => sum + rows, 0) + 1;
    const shares = this.#streams.reduce((sum, { share }) => sum + share, 0);
    let best = this.#streams[0]!;
    let most = Number.NEGATIVE_INFINITY;
    for (const stream of this.#streams) {
      const behind = (stream.share / shares) * total - stream.rows;
      if (behind > most) [best, most] = [stream, behind];
    }
    return best;
  }

  async #fill(row: Row, stream: Stream, signal?: AbortSignal): Promise<void> {
    const whole = this.options.packing === "whole";
    const room = whole ? WAITING : 1;
    while (row.room > 0) {
      while (stream.waiting.length < room) stream.waiting.push([stream.draw(), 0]);
      const left = ([document, offset]: Item) => stream.lengthOf(document) - 1 - offset;
      // The one that waits longest begins a row, so that none waits for ever.
      const at = whole && row.filled > 0 ? stream.waiting.findIndex((item) => left(item) <= row.room) : 0;
      if (at < 0) return;
      const item = stream.waiting[at]!;
      const count = Math.min(left(item), row.room);
      await row.put(stream, item, count, signal);
      if (left(item) > count) stream.waiting[at] = [item[0], item[1] + count];
      else stream.waiting.splice(at, 1);
    }
  }

  /** Held-out documents as batches of `rows` rows, in their order, at most `most` rows; the last is filled up with padding. */
  async heldOut(rows: number, most = Number.POSITIVE_INFINITY, signal?: AbortSignal): Promise<Batch[]> {
    const batches: Batch[] = [];
    let into: Row | undefined;
    let made = 0;
    const next = (): Row | undefined => {
      if (made >= most) return undefined;
      if (made % rows === 0) batches.push(emptyBatch(rows, this.options.length));
      return new Row(batches.at(-1)!, made++ % rows);
    };
    for (const stream of this.#streams)
      for (const document of stream.heldOut)
        for (let offset = 0, left = stream.lengthOf(document) - 1; left > 0; ) {
          if (!into || into.room === 0) into = next();
          if (!into) return batches.filter((batch) => batch.weights.some((w) => w > 0));
          const count = Math.min(left, into.room);
          await into.put(stream, [document, offset], count, signal);
          [offset, left] = [offset + count, left - count];
        }
    return batches.filter((batch) => batch.weights.some((w) => w > 0));
  }
}
