// A matrix of a fastText file: dense float32, or product-quantised (Jegou et al. 2011) with an optional norm per row.
import type { Reader } from "./reader.ts";

export interface DenseMatrix {
  readonly kind: "dense";
  readonly rows: number;
  readonly columns: number;
  /** Of the first float in the file. */
  readonly offset: number;
}

export interface QuantMatrix {
  readonly kind: "quantised";
  readonly rows: number;
  readonly columns: number;
  /** Of the first code in the file: `parts` bytes a row. */
  readonly offset: number;
  readonly parts: number;
  readonly book: CodeBook;
  /** A norm for each row. */
  readonly norms: Float32Array | undefined;
}

export type Matrix = DenseMatrix | QuantMatrix;

/** 256 centroids for each part of a vector; the last part may be shorter. */
interface CodeBook {
  readonly dim: number;
  readonly parts: number;
  readonly width: number;
  readonly lastWidth: number;
  readonly centroids: Float32Array;
}

const CENTROIDS = 256;

/** Reads a matrix's header and leaves the reader behind the matrix. */
export async function readMatrix(reader: Reader, quantised: boolean, what: string): Promise<Matrix> {
  return quantised ? await readQuantised(reader, what) : await readDense(reader, what);
}

async function readDense(reader: Reader, what: string): Promise<DenseMatrix> {
  await reader.need(16, what);
  const [rows, columns] = [size(reader, `${what}: rows`), size(reader, `${what}: columns`)];
  const offset = reader.offset;
  if (4 * rows * columns > reader.left)
    throw reader.fail(what, `${rows} x ${columns} floats`, `${reader.left} bytes to the end of the file`);
  reader.seek(offset + 4 * rows * columns);
  return { kind: "dense", rows, columns, offset };
}

function size(reader: Reader, field: string): number {
  const value = reader.i64();
  if (!(value >= 0 && value < 2 ** 40)) throw reader.fail(field, "a size", value);
  return value;
}

async function readQuantised(reader: Reader, what: string): Promise<QuantMatrix> {
  await reader.need(21, what);
  const hasNorms = reader.u8() !== 0;
  const [rows, columns] = [size(reader, `${what}: rows`), size(reader, `${what}: columns`)];
  const codes = reader.i32();
  if (codes < 0 || codes > reader.left) throw reader.fail(`${what}: codes`, `at most ${reader.left}`, codes);
  const offset = reader.offset;
  reader.seek(offset + codes);
  const book = await readBook(reader, `${what}: quantiser`);
  if (book.dim !== columns) throw reader.fail(`${what}: quantiser`, `${columns} dimensions`, book.dim);
  if (rows * book.parts !== codes) throw reader.fail(`${what}: codes`, `${rows} x ${book.parts}`, codes);
  if (!hasNorms) return { kind: "quantised", rows, columns, offset, parts: book.parts, book, norms: undefined };
  if (rows > reader.left) throw reader.fail(`${what}: norms`, `${rows} codes`, `${reader.left} bytes`);
  const normCodes = await reader.bytes(rows, `${what}: norms`);
  const { centroids, dim } = await readBook(reader, `${what}: norms`);
  if (dim !== 1) throw reader.fail(`${what}: norms`, "1 dimension", dim);
  const norms = Float32Array.from(normCodes, (code) => centroids[code]!);
  return { kind: "quantised", rows, columns, offset, parts: book.parts, book, norms };
}

async function readBook(reader: Reader, what: string): Promise<CodeBook> {
  await reader.need(16, what);
  const [dim, parts, width, lastWidth] = [reader.i32(), reader.i32(), reader.i32(), reader.i32()];
  const whole = width > 0 && lastWidth > 0 && lastWidth <= width && parts > 0 && (parts - 1) * width + lastWidth === dim;
  if (!whole) throw reader.fail(what, "parts that make up a vector", `${dim} = ${parts} x ${width}, the last ${lastWidth}`);
  if (4 * dim * CENTROIDS > reader.left) throw reader.fail(what, `${dim} x 256 floats`, `${reader.left} bytes`);
  return { dim, parts, width, lastWidth, centroids: await reader.floats(dim * CENTROIDS, what) };
}

const centroidAt = ({ parts, width, lastWidth }: CodeBook, part: number, code: number): number =>
  part * CENTROIDS * width + code * (part === parts - 1 ? lastWidth : width);

/** Rows of codes to rows of floats: each centroid times the row's norm, unless `plain`. `first`: index of the first row. */
export function dequantise(matrix: QuantMatrix, codes: Uint8Array, first: number, to: Float32Array, plain = false): void {
  const { book, norms, parts, columns } = matrix;
  for (let row = 0; row * parts < codes.length; row++) {
    const norm = plain ? 1 : (norms?.[first + row] ?? 1);
    for (let part = 0; part < parts; part++) {
      const from = centroidAt(book, part, codes[row * parts + part]!);
      const place = row * columns + part * book.width;
      const count = part === parts - 1 ? book.lastWidth : book.width;
      for (let i = 0; i < count; i++) to[place + i] = Math.fround(norm * book.centroids[from + i]!);
    }
  }
}

/** Folds rows of codes: a table of centroids' products with each vector is made once. vectors: (values, columns). */
export function quantisedFolder(matrix: QuantMatrix, vectors: Float64Array, values: number) {
  const { book, norms, parts, columns } = matrix;
  const products = new Float64Array(parts * CENTROIDS * values);
  for (let part = 0; part < parts; part++)
    for (let code = 0; code < CENTROIDS; code++) {
      const from = centroidAt(book, part, code);
      const count = part === parts - 1 ? book.lastWidth : book.width;
      for (let v = 0; v < values; v++) {
        let sum = 0;
        for (let i = 0; i < count; i++) sum += book.centroids[from + i]! * vectors[v * columns + part * book.width + i]!;
        products[(part * CENTROIDS + code) * values + v] = sum;
      }
    }
  return (codes: Uint8Array, first: number, to: Float32Array): void => {
    for (let row = 0; row * parts < codes.length; row++)
      for (let v = 0; v < values; v++) {
        let sum = 0;
        for (let part = 0; part < parts; part++) sum += products[(part * CENTROIDS + codes[row * parts + part]!) * values + v]!;
        to[row * values + v] = sum * (norms?.[first + row] ?? 1);
      }
  };
}
