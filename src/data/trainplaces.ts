// Where what is trained lies in the module's memory, and what each thread has of its own.
import { CpmError } from "../errors.ts";
import { fillDictionary, openLines } from "./classifier.ts";
import type { Dictionary } from "./count.ts";
import { lossNumber, type Vocabulary } from "./fasttext.ts";
import { type DataExports, type DataInstance, MOST_BYTES } from "./module.ts";
import type { Checked } from "./train.ts";
import { buildTree } from "./tree.ts";

const KEPT = 2;
/** Rows of one line, at most. */
export const ROWS = 1 << 21;
const MOST_LABELS = 1024;
const NEGATIVES = 10_000_000;

/** What all threads share: numbers only, so that it can be sent. */
export interface Layout {
  readonly table: number;
  readonly slots: number;
  readonly vocabulary: Pick<Vocabulary, "words" | "wordNgrams" | "bucket" | "minn" | "maxn">;
  readonly loss: number;
  readonly dim: number;
  readonly labels: number;
  /** The matrices, and rows of the first. */
  readonly input: number;
  readonly output: number;
  readonly rows: number;
  readonly negatives: { readonly at: number; readonly count: number; readonly neg: number } | undefined;
  readonly parents: number | undefined;
}

/** What a thread has of its own. */
export interface Own {
  readonly kept: number;
  readonly targets: number;
  readonly hidden: number;
  readonly grad: number;
  readonly outputs: number;
}

/** Lays out dictionary and matrices, for so many threads. @throws CpmError "out-of-memory", "bad-input" */
export function layOut(data: DataInstance, dictionary: Dictionary, options: Checked): Layout {
  const { dim, loss, bucket, wordNgrams, minn, maxn, seed, neg, threads } = options;
  const { words, labels, entries, counts } = dictionary;
  const rows = words + bucket;
  if (4 * rows * dim > MOST_BYTES - (256 << 20) - threads * (32 << 20) - entries.length * 4)
    throw new CpmError(
      "out-of-memory",
      `${rows} rows of ${dim} floats do not fit a 32-bit memory; use fewer buckets or dimensions`,
      {
        field: "bucket",
        found: String(4 * rows * dim),
      },
    );
  const labelCounts = [...counts.subarray(words)];
  const vocabulary = { words, labels, labelCounts, entries, pruned: undefined, wordNgrams, bucket, minn, maxn };
  const { table, slots } = fillDictionary(data, vocabulary);
  const input = data.allocate(4 * rows * dim);
  const output = data.allocate(4 * labels.length * dim);
  data.u8(output, 4 * labels.length * dim).fill(0);
  // Each thread of the original fills a tenth, and the rest stays zero.
  data.u8(input, 4 * rows * dim).fill(0);
  const part = Math.floor((rows * dim) / 10);
  for (let i = 0; i < Math.min(threads, 11); i++) {
    data.exports.train_seed(seed + i);
    const count = Math.min(part, rows * dim - i * part);
    data.exports.train_fill(input + 4 * i * part, count, Math.fround(1 / dim));
  }
  const placed = (list: Int32Array): number => {
    const at = data.allocate(list.byteLength);
    data.i32(at, list.length).set(list);
    return at;
  };
  const drawn = loss === "ns" ? negatives(labelCounts) : undefined;
  return {
    table,
    slots,
    vocabulary: { words, wordNgrams, bucket, minn, maxn },
    loss: lossNumber[loss],
    dim,
    labels: labels.length,
    input,
    output,
    rows,
    negatives: drawn && { at: placed(drawn), count: drawn.length, neg },
    parents: loss === "hs" ? placed(parentsOf(labelCounts)) : undefined,
  };
}

/** Room for a thread. */
export function ownPlaces(data: DataInstance, { dim, labels }: Layout): Own {
  const kept = data.allocate(4 * ROWS);
  const [hidden, grad, outputs] = [data.allocate(4 * dim), data.allocate(4 * dim), data.allocate(4 * labels)];
  return { kept, hidden, grad, outputs, targets: data.allocate(4 * (labels + MOST_LABELS)) };
}

/** Makes an instance of the module a thread that trains. */
export function enter(exports: DataExports, layout: Layout, own: Own, seed: number): void {
  const { table, slots, vocabulary, loss, dim, labels, input, output, negatives: drawn, parents } = layout;
  const { kept, targets, hidden, grad, outputs } = own;
  exports.dictionary_open(table, slots);
  openLines(exports, vocabulary, kept, ROWS);
  exports.line_labels(targets, labels + MOST_LABELS);
  exports.rows_open(KEPT, 0, 0, 0);
  exports.sigmoid_open();
  exports.train_open(loss, dim, labels, input, output, kept, ROWS, targets, hidden, grad, outputs);
  if (drawn) exports.train_negatives(drawn.at, drawn.count, drawn.neg);
  if (parents !== undefined) exports.train_tree(parents);
  exports.train_seed(seed);
  exports.train_restart();
}

/** The error for a word that is too long. */
export const wordTooLong = (name: string, at: number): CpmError =>
  new CpmError("bad-input", `${name}: a word of more than 256 KiB before byte ${at}`, { file: name, offset: at });

/** The error for a line that is too long. */
export const lineTooLong = (name: string, at: number): CpmError =>
  new CpmError("bad-input", `${name}: a line before byte ${at} has more than ${ROWS} n-grams; break it up`, {
    file: name,
    offset: at,
  });

/** Labels as often as the root of their count says, ten million in all. */
function negatives(counts: readonly number[]): Int32Array {
  if (counts.length < 2)
    throw new CpmError("bad-input", "one label alone: negative sampling has nothing to draw against it", { field: "loss" });
  const roots = counts.map((count) => Math.sqrt(count));
  const z = roots.reduce((sum, root) => Math.fround(sum + root), 0);
  const table: number[] = [];
  roots.forEach((root, label) => {
    const c = Math.fround(root);
    for (let j = 0; j < Math.fround(Math.fround(c * NEGATIVES) / z); j++) table.push(label);
  });
  return Int32Array.from(table);
}

/** Parent of each node of the tree; bit 31 marks right children. */
function parentsOf(counts: readonly number[]): Int32Array {
  const { children } = buildTree(counts);
  const parents = new Int32Array(2 * counts.length);
  for (let i = 0; i < children.length; i += 2) {
    const parent = counts.length + i / 2;
    parents[children[i]!] = parent;
    parents[children[i + 1]!] = parent | (1 << 31);
  }
  return parents;
}
