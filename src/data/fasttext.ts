// fastText's files, .bin and .ftz: arguments, dictionary, places of the matrices. Layout as fastText 0.9.2 writes it (version 12);
// version 11 is read as it reads it. Everything is untrusted: sizes are checked against the file before anything is allocated.
import { copyOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { type Matrix, readMatrix } from "./matrix.ts";
import { Reader } from "./reader.ts";

export const fastTextMagic = 793712314;

export const losses = { 1: "hs", 2: "ns", 3: "softmax", 4: "ova" } as const;
export type Loss = (typeof losses)[keyof typeof losses];
export const lossNumber: Readonly<Record<Loss, number>> = { hs: 1, ns: 2, softmax: 3, ova: 4 };

/** The arguments that decide how a text becomes rows, and those that only tell how a model was trained. */
export interface FastTextArguments {
  readonly dim: number;
  readonly ws: number;
  readonly epoch: number;
  readonly minCount: number;
  readonly neg: number;
  readonly wordNgrams: number;
  readonly loss: Loss;
  readonly bucket: number;
  readonly minn: number;
  readonly maxn: number;
  readonly lrUpdateRate: number;
  readonly t: number;
}

/** What turns a text into rows: in the file of a model and of a folded model alike. */
export interface Vocabulary {
  readonly words: number;
  readonly labels: readonly string[];
  /** How often each label occurred: the tree of hierarchical softmax is made from it. */
  readonly labelCounts: readonly number[];
  /** Bytes of words, then of labels, each ended by NUL. */
  readonly entries: Uint8Array;
  /** Pairs (n-gram, row behind the words); undefined where nothing was pruned. */
  readonly pruned: Int32Array | undefined;
  readonly wordNgrams: number;
  readonly bucket: number;
  readonly minn: number;
  readonly maxn: number;
}

export interface FastTextFile {
  readonly version: number;
  readonly arguments: FastTextArguments;
  readonly vocabulary: Vocabulary;
  readonly tokens: number;
  /** Rows for words, then for n-grams. */
  readonly input: Matrix;
  /** A row for each label (hierarchical: for each inner node). */
  readonly output: Matrix;
}

const MOST_NGRAM = 1024;

/** Reads everything but the matrices. @throws CpmError "bad-model", "unsupported" (a model of word vectors, another version). */
export async function readFastText(source: Source, signal?: AbortSignal): Promise<FastTextFile> {
  const reader = new Reader(source, signal);
  await reader.need(8 + 56, "header");
  const magic = reader.i32();
  if (magic !== fastTextMagic) throw reader.fail("magic", String(fastTextMagic), magic);
  const version = reader.i32();
  if (version !== 11 && version !== 12)
    throw new CpmError("unsupported", `${source.name}: fastText version: expected 11 or 12, found ${version}`, {
      file: source.name,
      offset: 4,
      field: "version",
      expected: "11 or 12",
      found: String(version),
    });
  const args = readArguments(reader, version);
  const { vocabulary, tokens } = await readDictionary(reader, args);
  const quantised = await readFlag(reader, "input matrix: quantised");
  const input = await readMatrix(reader, quantised, "input matrix");
  const quantisedOutput = await readFlag(reader, "output matrix: quantised");
  const output = await readMatrix(reader, quantised && quantisedOutput, "output matrix");
  checkShapes(reader, args, vocabulary, input, output);
  return { version, arguments: args, vocabulary, tokens, input, output };
}

async function readFlag(reader: Reader, field: string): Promise<boolean> {
  await reader.need(1, field);
  const flag = reader.u8();
  if (flag > 1) throw reader.fail(field, "0 or 1", flag);
  return flag === 1;
}

function readArguments(reader: Reader, version: number): FastTextArguments {
  const positive = (field: string, most: number, least = 1) => {
    const value = reader.i32();
    if (value < least || value > most) throw reader.fail(field, `${least} to ${most}`, value);
    return value;
  };
  const dim = positive("dim", 1 << 20);
  const [ws, epoch, minCount, neg] = [reader.i32(), reader.i32(), reader.i32(), reader.i32()];
  const wordNgrams = positive("wordNgrams", MOST_NGRAM, 0);
  const lossCode = reader.i32();
  const loss = losses[lossCode as keyof typeof losses];
  if (loss === undefined) throw reader.fail("loss", "1 to 4", lossCode);
  const model = reader.i32();
  if (model !== 3) {
    if (model !== 1 && model !== 2) throw reader.fail("model", "1 to 3", model);
    throw new CpmError(
      "unsupported",
      `${reader.source.name}: it holds word vectors (${model === 1 ? "cbow" : "skipgram"}), no classifier; use a model made by \`fasttext supervised\``,
      { file: reader.source.name, field: "model", expected: "3 (supervised)", found: String(model) },
    );
  }
  const bucket = positive("bucket", 2 ** 31 - 1, 0);
  const minn = positive("minn", MOST_NGRAM, 0);
  const storedMaxn = positive("maxn", MOST_NGRAM, 0);
  // Supervised models of version 11 were trained without character n-grams, whatever they say.
  const maxn = version === 11 ? 0 : storedMaxn;
  const lrUpdateRate = reader.i32();
  const t = reader.f64();
  return { dim, ws, epoch, minCount, neg, wordNgrams, loss, bucket, minn, maxn, lrUpdateRate, t };
}

/** NUL, count (8), type (1): an entry has one byte more at least. */
const LEAST_ENTRY = 10;

async function readDictionary(reader: Reader, args: FastTextArguments) {
  await reader.need(28, "dictionary");
  const [size, words, labels] = [reader.i32(), reader.i32(), reader.i32()];
  const [tokens, prunedSize] = [reader.i64(), reader.i64()];
  if (size < 0 || size > reader.left / LEAST_ENTRY)
    throw reader.fail("dictionary: size", `at most ${Math.floor(reader.left / LEAST_ENTRY)}`, size);
  if (words < 0 || labels < 0 || words + labels !== size)
    throw reader.fail("dictionary: words and labels", `${size} together`, `${words} and ${labels}`);
  if (labels === 0) throw reader.fail("dictionary: labels", "at least one", 0);
  if (prunedSize < -1 || prunedSize > reader.left / 8)
    throw reader.fail("dictionary: pruned n-grams", `at most ${Math.floor(reader.left / 8)}`, prunedSize);
  const entries = await readEntries(reader, size, words);
  const pruned = prunedSize < 0 ? undefined : await readPruned(reader, prunedSize);
  const { wordNgrams, bucket, minn, maxn } = args;
  const { bytes, names, counts } = entries;
  const vocabulary = { words, labels: names, labelCounts: counts, entries: bytes, pruned, wordNgrams, bucket, minn, maxn };
  return { vocabulary: vocabulary satisfies Vocabulary, tokens };
}

async function readEntries(reader: Reader, size: number, words: number) {
  let bytes = new Uint8Array(Math.min(1 << 16, reader.left));
  let used = 0;
  const names: string[] = [];
  const counts: number[] = [];
  for (let i = 0; i < size; i++) {
    let ready = reader.ready;
    let end = ready.indexOf(0);
    while (end < 0 || end + 10 > ready.length) {
      if (!(await reader.more("dictionary"))) throw reader.fail(`dictionary: entry ${i}`, "an entry", "the end of the file");
      ready = reader.ready;
      end = ready.indexOf(0);
    }
    if (used + end + 1 > bytes.length) {
      const larger = new Uint8Array(Math.min(2 * (used + end + 1), reader.source.size));
      larger.set(bytes.subarray(0, used));
      bytes = larger;
    }
    const word = ready.subarray(0, end + 1);
    bytes.set(word, used);
    used += end + 1;
    reader.skip(end + 1);
    const count = reader.i64();
    const type = reader.u8();
    const expected = i < words ? 0 : 1;
    if (type !== expected) throw reader.fail(`dictionary: type of entry ${i}`, expected ? "a label (1)" : "a word (0)", type);
    if (i < words) continue;
    names.push(new TextDecoder().decode(word.subarray(0, end)));
    counts.push(count);
  }
  return { bytes: copyOf(bytes.subarray(0, used)), names, counts };
}

async function readPruned(reader: Reader, count: number): Promise<Int32Array> {
  const bytes = await reader.bytes(8 * count, "dictionary: pruned n-grams");
  return new Int32Array(bytes.buffer, bytes.byteOffset, 2 * count);
}

function checkShapes(reader: Reader, args: FastTextArguments, vocabulary: Vocabulary, input: Matrix, output: Matrix): void {
  const fail = (field: string, expected: string, found: string | number): never => {
    throw reader.fail(field, expected, found);
  };
  if (input.columns !== args.dim) fail("input matrix: columns", String(args.dim), input.columns);
  if (output.columns !== args.dim) fail("output matrix: columns", String(args.dim), output.columns);
  if (output.rows !== vocabulary.labels.length) fail("output matrix: rows", `${vocabulary.labels.length} labels`, output.rows);
  if (vocabulary.pruned && input.kind === "dense") fail("input matrix", "quantised, as n-grams were pruned", "floats");
  checkRows(vocabulary, input.rows, fail);
}

/** Every row that a text can ask for is there. */
export function checkRows(
  { words, pruned, wordNgrams, bucket, maxn }: Vocabulary,
  rows: number,
  fail: (field: string, expected: string, found: string | number) => never,
): void {
  const hashes = wordNgrams > 1 || maxn > 0;
  if (pruned) {
    for (let i = 0; i < pruned.length; i += 2)
      if (pruned[i]! < 0 || pruned[i + 1]! < 0 || words + pruned[i + 1]! >= rows)
        fail("dictionary: pruned n-grams", `rows below ${rows - words}`, pruned[i + 1]!);
    if (hashes && bucket === 0 && pruned.length > 0) fail("bucket", "at least 1, as there are n-grams", 0);
    if (rows < words) fail("input matrix: rows", `at least ${words}`, rows);
    return;
  }
  if (hashes && bucket === 0 && maxn > 0) fail("bucket", "at least 1, as there are n-grams", 0);
  const needed = words + (hashes ? bucket : 0);
  if (rows < needed) fail("input matrix: rows", `at least ${needed}`, rows);
}
