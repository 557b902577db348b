// Folding: a supervised model is linear up to its loss, so what a row adds to each label's score is one number, the dot product of
// the row with the label's output row. A table of those replaces the input matrix: 2 GB become 8 MB for two labels.
// Softmax needs differences only: to the first label, so that k labels take k - 1 values a row.

import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import type { FastTextFile, Loss, Vocabulary } from "./fasttext.ts";
import { dequantise, type Matrix, quantisedFolder } from "./matrix.ts";
import { type DataInstance, StreamHash } from "./module.ts";

/** A folded model, in memory. */
export interface FoldedModel {
  readonly loss: Loss;
  readonly vocabulary: Vocabulary;
  /** (rows, values). */
  readonly rows: number;
  readonly values: number;
  readonly table: Float32Array;
  readonly source: SourceFacts;
}

/** Which file a model was folded from: XXH64 of all its bytes, and their number. */
export interface SourceFacts {
  readonly xxh64: string;
  readonly bytes: number;
}

export interface FoldOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the file read so far, and its size. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Floats that a row folds to. */
export const foldedValues = (loss: Loss, labels: number): number =>
  loss === "softmax" ? Math.max(labels - 1, 1) : loss === "hs" ? Math.max(labels - 1, 1) : labels;

const PIECE = 1 << 22;

/** Rows of an output matrix as floats. `plain`: without norms, which then scale the products. */
export async function outputRows(source: Source, matrix: Matrix, signal?: AbortSignal, plain = false): Promise<Float32Array> {
  const all = new Float32Array(matrix.rows * matrix.columns);
  const perRow = matrix.kind === "dense" ? 4 * matrix.columns : matrix.parts;
  const step = Math.max(1, Math.floor(PIECE / perRow));
  for (let row = 0; row < matrix.rows; row += step) {
    const count = Math.min(step, matrix.rows - row);
    const bytes = await source.read(matrix.offset + row * perRow, count * perRow, signal);
    const to = all.subarray(row * matrix.columns, (row + count) * matrix.columns);
    if (matrix.kind === "dense") new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(bytes);
    else dequantise(matrix, bytes, row, to, plain);
  }
  return all;
}

/** Vectors that rows are multiplied with: (values, dim). */
function vectorsOf(output: Float32Array, dim: number, loss: Loss, labels: number): Float64Array {
  const values = foldedValues(loss, labels);
  const vectors = new Float64Array(values * dim);
  const skipped = loss === "softmax" ? 1 : 0;
  for (let v = 0; v < values; v++)
    for (let i = 0; i < dim; i++) {
      const from = output[(v + skipped) * dim + i];
      // One label alone: softmax has nothing to tell apart, hierarchical softmax no inner node.
      vectors[v * dim + i] = from === undefined || labels === 1 ? 0 : loss === "softmax" ? from - output[i]! : from;
    }
  if (labels === 1 && loss !== "softmax" && loss !== "hs") vectors.set(output.subarray(0, dim));
  return vectors;
}

/** Bytes of a table that folding would make. */
export const foldedBytes = (file: FastTextFile): number =>
  4 * file.input.rows * foldedValues(file.arguments.loss, file.vocabulary.labels.length);

/**
 * Folds a model from its file, read once from front to back (and its output matrix before): memory beside the table is a few MiB.
 * @throws CpmError "bad-model" for numbers that are not finite, "out-of-memory" for a table that is too large.
 */
export async function foldFile(
  data: DataInstance,
  source: Source,
  file: FastTextFile,
  { signal, onProgress }: FoldOptions = {},
): Promise<FoldedModel> {
  const { input, output, vocabulary, arguments: args } = file;
  const labels = vocabulary.labels.length;
  const values = foldedValues(args.loss, labels);
  if (foldedBytes(file) > MOST_TABLE)
    throw new CpmError(
      "out-of-memory",
      `${source.name}: ${input.rows} rows of ${values} values are more than 2 GiB; models of many labels gain nothing by folding`,
      { file: source.name, field: "fold", found: String(foldedBytes(file)) },
    );
  const vectors = vectorsOf(await outputRows(source, output, signal), args.dim, args.loss, labels);
  const table = new Float32Array(input.rows * values);
  const mark = data.end;
  const hash = new StreamHash(data);
  const take = input.kind === "dense" ? denseTaker(data, args.dim, vectors, values) : undefined;
  const folder = input.kind === "quantised" ? quantisedFolder(input, vectors, values) : undefined;
  const perRow = input.kind === "dense" ? 4 * args.dim : input.parts;
  const step = Math.max(1, Math.floor(PIECE / perRow));
  /** Reads the next bytes, which all go into the hash. */
  let at = 0;
  const read = async (length: number): Promise<Uint8Array> => {
    const bytes = await source.read(at, length, signal);
    signal?.throwIfAborted();
    hash.add(bytes);
    at += length;
    onProgress?.(at, source.size);
    return bytes;
  };
  try {
    while (at < input.offset) await read(Math.min(PIECE, input.offset - at));
    for (let row = 0; row < input.rows; row += step) {
      const count = Math.min(step, input.rows - row);
      const bytes = await read(count * perRow);
      const to = table.subarray(row * values, (row + count) * values);
      if (take) take(bytes, count, to);
      else folder!(bytes, row, to);
    }
    while (at < source.size) await read(Math.min(PIECE, source.size - at));
  } finally {
    data.release(mark);
  }
  checkFinite(table, source.name);
  return { loss: args.loss, vocabulary, rows: input.rows, values, table, source: { xxh64: hash.end(), bytes: source.size } };
}

const MOST_TABLE = 2 ** 31;

function denseTaker(data: DataInstance, dim: number, vectors: Float64Array, values: number) {
  const step = Math.max(1, Math.floor(PIECE / (4 * dim)));
  const vectorsAt = data.allocate(8 * vectors.length);
  const from = data.allocate(4 * step * dim);
  const to = data.allocate(4 * step * values);
  data.f64(vectorsAt, vectors.length).set(vectors);
  return (bytes: Uint8Array, count: number, target: Float32Array): void => {
    data.u8(from, bytes.length).set(bytes);
    data.exports.fold_rows(from, count, dim, vectorsAt, values, to);
    target.set(data.f32(to, count * values));
  };
}

/** @throws CpmError "bad-model" */
export function checkFinite(numbers: Float32Array, file: string): void {
  for (let i = 0; i < numbers.length; i++)
    if (!Number.isFinite(numbers[i]!))
      throw new CpmError("bad-model", `${file}: a weight is ${numbers[i]}: the file is damaged, or its training diverged`, {
        file,
        field: "weights",
        expected: "finite numbers",
        found: String(numbers[i]),
      });
}
