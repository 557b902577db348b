// Batches: rows of tokens, packed with documents, and what the kernels are told about them.
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import type { Machine } from "./machine.ts";
import type { TrainShape } from "./shape.ts";

/** What a policy's loss needs of every row, [rows x length]: of the token that the row predicts. */
export interface PolicyRows {
  /** Its log-probability under the policy that chose it. */
  readonly behaviour: Float64Array;
  /** Its log-probability under the reference. */
  readonly reference: Float64Array;
  /** The advantage of its trajectory. */
  readonly advantage: Float64Array;
}

/** `rows` rows of `length` tokens. Row t of a document predicts token t + 1. */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  readonly tokens: Int32Array;
  /** Number of the document within its row, -1: padding. Documents are sequences of their own. */
  readonly segments: Int32Array;
  /** The token to predict, -1: none. */
  readonly labels: Int32Array;
  /** How much a prediction counts, 0: not at all. */
  readonly weights: Float32Array;
  /** Of a policy's loss alone. */
  readonly policy?: PolicyRows | undefined;
}

/** The weight of all predictions of a batch. */
export const weightOf = (batch: Batch): number => batch.weights.reduce((a, b) => a + b, 0);

/** Rows [from, to) of a batch. */
export function rowsOf(batch: Batch, from: number, to: number): Batch {
  const cut = <A extends Int32Array | Float32Array>(a: A): A => a.subarray(from * batch.length, to * batch.length) as A;
  return {
    rows: to - from,
    length: batch.length,
    tokens: cut(batch.tokens),
    segments: cut(batch.segments),
    labels: cut(batch.labels),
    weights: cut(batch.weights),
  };
}

/** @throws CpmError "bad-input" for numbers outside the model, or arrays of other lengths. */
export function checkBatch(batch: Batch, vocab: number): void {
  const count = batch.rows * batch.length;
  const fail = (field: string, expected: string, found: unknown): never => {
    throw new CpmError("bad-input", `batch.${field}: expected ${expected}, found ${shown(found)}`, {
      field: `batch.${field}`,
      expected,
      found: shown(found),
    });
  };
  for (const field of ["tokens", "segments", "labels", "weights"] as const)
    if (batch[field].length !== count) fail(field, `${count} numbers`, batch[field].length);
  for (let i = 0; i < count; i++) {
    const [token, label, weight] = [batch.tokens[i]!, batch.labels[i]!, batch.weights[i]!];
    if (token < 0 || token >= vocab) fail("tokens", `ids below ${vocab}`, token);
    if (!(weight >= 0 && weight < 1e30)) fail("weights", "numbers from 0 on", weight);
    if (label >= vocab || (weight > 0 && label < 0)) fail("labels", `ids below ${vocab} where the weight is above 0`, label);
  }
}

/** A document of a batch: rows [begin, end) of all rows laid end to end. */
export interface Document {
  readonly begin: number;
  readonly end: number;
  readonly padding: boolean;
}

/** Runs of equal segments, padding included. */
export function documentsOf({ rows, length, segments }: Batch): Document[] {
  const out: Document[] = [];
  for (let row = 0; row < rows; row++)
    for (let begin = row * length; begin < (row + 1) * length; ) {
      let end = begin + 1;
      while (end < (row + 1) * length && segments[end] === segments[begin]) end++;
      out.push({ begin, end, padding: segments[begin]! < 0 });
      begin = end;
    }
  return out;
}

/** Queries or keys of a tile at most: kTileRows of cpp/train/program.h. */
const TILE = 48;

/** Tokens that follow the next ones, positions and weights. */
interface Ahead {
  readonly next: number;
  readonly positions: number;
  readonly weights: number;
}

/** Where a batch lies in the machine's memory: space for `count` rows in all. */
export class BatchSpace {
  readonly tokens: number;
  /** The token after each, 0 at the end of a row of the batch. */
  readonly next: number;
  /** Of a draft head's steps after the first: what stands one token further on, two, and so on. */
  readonly ahead: readonly Ahead[];
  readonly labels: number;
  readonly weights: number;
  readonly positions: number;
  readonly queryTiles: number;
  readonly keyTiles: number;
  /** Of every document the number of its first tile of keys, and one number more. */
  readonly firstTiles: number;
  readonly documents: number;
  /** int32: tiles of queries, tiles of keys, sparse documents, all documents. */
  readonly counts: number;
  /** Labels and weights of the second next token, for MTP. */
  readonly secondLabels: number;
  readonly secondWeights: number;
  /** float64: 1 / weight of the whole batch, the same for the second next token. */
  readonly inverse: number;
  /** Tokens that fit. */
  readonly count: number;
  readonly #machine: Machine;
  readonly #sparse: TrainShape["sparse"];

  /** `ahead`: steps after the first. */
  constructor(machine: Machine, count: number, sparse: TrainShape["sparse"], ahead = 0) {
    this.#machine = machine;
    this.#sparse = sparse;
    this.count = count;
    const ints = () => machine.take(4 * count);
    this.tokens = ints();
    this.next = ints();
    this.ahead = Array.from({ length: ahead }, () => ({ next: ints(), positions: ints(), weights: machine.takeReals(count) }));
    this.labels = ints();
    this.secondLabels = ints();
    this.positions = ints();
    this.weights = machine.takeReals(count);
    this.secondWeights = machine.takeReals(count);
    this.queryTiles = machine.take(20 * count);
    this.keyTiles = machine.take(20 * (count + 1));
    this.firstTiles = machine.take(4 * (count + 1));
    this.documents = machine.take(24 * (count + 1));
    this.counts = machine.take(16);
    this.inverse = machine.take(16);
  }

  /** Writes a batch; `whole`: weights of the batch that it is a part of. */
  write(batch: Batch, whole: { readonly first: number; readonly second: number }): void {
    const machine = this.#machine;
    const count = batch.rows * batch.length;
    if (count > this.count)
      throw new CpmError("bad-input", `a batch of ${count} tokens; this trainer was made for ${this.count}`, { field: "batch" });
    machine.ints(this.tokens, count).set(batch.tokens);
    machine.ints(this.labels, count).set(batch.labels);
    machine.reals(this.weights, count).set(batch.weights);
    const next = machine.ints(this.next, count);
    for (let i = 0; i < count; i++) next[i] = (i + 1) % batch.length === 0 ? 0 : batch.tokens[i + 1]!;
    for (const [j, to] of this.ahead.entries()) this.#writeAhead(batch, j + 1, to);
    const second = secondOf(batch);
    machine.ints(this.secondLabels, count).set(second.labels);
    machine.reals(this.secondWeights, count).set(second.weights);
    machine.doubles(this.inverse, 2).set([whole.first > 0 ? 1 / whole.first : 0, whole.second > 0 ? 1 / whole.second : 0]);
    this.#writeDocuments(documentsOf(batch), count);
  }

  /** Rows as they are `step` tokens further on; where the document has ended, they count nothing. */
  #writeAhead(batch: Batch, step: number, { next, positions, weights }: Ahead): void {
    const machine = this.#machine;
    const count = batch.rows * batch.length;
    const [ids, places, values] = [machine.ints(next, count), machine.ints(positions, count), machine.reals(weights, count)];
    for (const { begin, end } of documentsOf(batch))
      for (let i = begin; i < end; i++) {
        const within = i + step < end;
        ids[i] = within && (i + step + 1) % batch.length !== 0 ? batch.tokens[i + step + 1]! : 0;
        places[i] = within ? i + step - begin : 0;
        values[i] = within ? batch.weights[i + step]! : 0;
      }
  }

  #writeDocuments(documents: readonly Document[], count: number): void {
    const machine = this.#machine;
    const positions = machine.ints(this.positions, count);
    const [queries, keys, sparse, first]: [number[], number[], number[], number[]] = [[], [], [], []];
    let [fineAt, coarseAt] = [0, 0];
    for (const { begin, end, padding } of documents) {
      for (let i = begin; i < end; i++) positions[i] = i - begin;
      first.push(keys.length / 5);
      const s = this.#sparse;
      const isSparse = s !== undefined && !padding && end - begin >= s.denseLen;
      for (let at = begin; at < end; at += TILE) queries.push(begin, end, at, Math.min(end, at + TILE), isSparse ? 1 : 0);
      for (let at = begin; at < end; ) {
        const block = isSparse ? begin + (Math.floor((at - begin) / s.blockSize) + 1) * s.blockSize : end;
        const to = Math.min(end, at + TILE, block);
        keys.push(begin, end, at, to, isSparse ? 1 : 0);
        at = to;
      }
      if (!isSparse) continue;
      const windows = (size: number, stride: number) => (end - begin < size ? 0 : Math.floor((end - begin - size) / stride) + 1);
      const fine = windows(s.kernelSize, s.kernelStride);
      const coarse = windows(4 * s.kernelSize, 4 * s.kernelStride);
      sparse.push(begin, end, fine, coarse, fineAt, coarseAt);
      fineAt += fine;
      coarseAt += coarse;
    }
    machine.ints(this.queryTiles, queries.length).set(queries);
    machine.ints(this.keyTiles, keys.length).set(keys);
    machine.ints(this.firstTiles, first.length + 1).set([...first, keys.length / 5]);
    machine.ints(this.documents, sparse.length).set(sparse);
    machine.ints(this.counts, 4).set([queries.length / 5, keys.length / 5, sparse.length / 6, documents.length]);
  }
}

/** Labels and weights of the token after the next: those of row i + 1 where it is of the same document. */
export function secondOf({ rows, length, segments, labels, weights }: Batch): { labels: Int32Array; weights: Float32Array } {
  const out = { labels: new Int32Array(rows * length).fill(-1), weights: new Float32Array(rows * length) };
  for (let i = 0; i < rows * length; i++) {
    if ((i + 1) % length === 0) continue;
    out.labels[i] = labels[i + 1]!;
    if (segments[i + 1] === segments[i]) out.weights[i] = weights[i + 1]!;
  }
  return out;
}
