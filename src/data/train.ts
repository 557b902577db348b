// Training a classifier as fastText's `supervised` does: with one thread and the same seed, its dictionary to the byte and its numbers.
import { viewOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { shown } from "../shown.ts";
import { open } from "./classifier.ts";
import { countWords, type Dictionary } from "./count.ts";
import { fastTextMagic, type Loss, lossNumber, type Vocabulary } from "./fasttext.ts";
import { DataInstance, MOST_BYTES } from "./module.ts";
import { buildTree } from "./tree.ts";

/** Names and defaults are fastText's (`fasttext supervised`). */
export interface TrainOptions {
  /** Default 0.1; falls to 0 over the training. */
  readonly lr?: number | undefined;
  /** Default 100. */
  readonly dim?: number | undefined;
  /** Longest n-grams of words. Default 1. */
  readonly wordNgrams?: number | undefined;
  /** Words that occur less often are left out. Default 1. */
  readonly minCount?: number | undefined;
  readonly minCountLabel?: number | undefined;
  /** Buckets of n-grams. Default 2,000,000; 0 without n-grams. */
  readonly bucket?: number | undefined;
  /** Shortest and longest n-grams of characters. Default 0 and 0: none. */
  readonly minn?: number | undefined;
  readonly maxn?: number | undefined;
  /** Default 5. */
  readonly epoch?: number | undefined;
  /** Default "softmax". */
  readonly loss?: Loss | undefined;
  /** Labels drawn against each example ("ns"). Default 5. */
  readonly neg?: number | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Tokens between two changes of the rate. Default 100. */
  readonly lrUpdateRate?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TrainProgress) => void) | undefined;
}

export interface TrainProgress {
  /** Tokens trained on, and how many there will be. */
  readonly tokens: number;
  readonly total: number;
  /** Mean loss of an example so far, in nats. */
  readonly loss: number;
}

/** A trained model: its file, in pieces, and facts. */
export interface Trained {
  readonly words: number;
  readonly labels: readonly string[];
  readonly loss: number;
  readonly bytes: number;
  /** The .bin that fastText loads, piece by piece. */
  pieces(): Generator<Uint8Array<ArrayBuffer>>;
}

type Settings = Omit<TrainOptions, "signal" | "onProgress">;
type Checked = { readonly [Key in keyof Settings]-?: NonNullable<Settings[Key]> };

const KEPT = 2;
const CHUNK = 1 << 18;
const MARGIN = 16;
/** Rows of one line, at most. */
const ROWS = 1 << 21;
/** Calls of the module between two looks at the clock of others. */
const BREATH = 200;
const NEGATIVES = 10_000_000;

export function checkTraining(options: TrainOptions): Checked {
  const whole = (field: keyof TrainOptions, value: unknown, least: number, most: number): number => {
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
    const expected = `a whole number from ${least} to ${most}`;
    throw new CpmError("bad-option", `${field}: expected ${expected}, found ${shown(value)}`, {
      field,
      expected,
      found: shown(value),
    });
  };
  const { lr = 0.1, loss = "softmax", wordNgrams = 1, maxn = 0 } = options;
  if (!(typeof lr === "number" && lr >= 0 && lr < 1e6))
    throw new CpmError("bad-option", `lr: expected a number from 0, found ${lr}`, { field: "lr" });
  if (!Object.hasOwn(lossNumber, loss))
    throw new CpmError("bad-option", `loss: expected ${Object.keys(lossNumber).join(", ")}, found ${loss}`, { field: "loss" });
  const hashes = wordNgrams > 1 || maxn > 0;
  return {
    // The original reads what it is given as float32, and has its default as float64.
    lr: options.lr === undefined ? lr : Math.fround(lr),
    loss,
    dim: whole("dim", options.dim ?? 100, 1, 65536),
    wordNgrams: whole("wordNgrams", wordNgrams, 0, 1024),
    minCount: whole("minCount", options.minCount ?? 1, 0, 2 ** 31 - 1),
    minCountLabel: whole("minCountLabel", options.minCountLabel ?? 0, 0, 2 ** 31 - 1),
    bucket: hashes ? whole("bucket", options.bucket ?? 2_000_000, 1, 2 ** 31 - 1) : 0,
    minn: whole("minn", options.minn ?? 0, 0, 1024),
    maxn: whole("maxn", maxn, 0, 1024),
    epoch: whole("epoch", options.epoch ?? 5, 0, 1e6),
    neg: whole("neg", options.neg ?? 5, 1, 1e6),
    seed: whole("seed", options.seed ?? 0, 0, 2 ** 31 - 2),
    lrUpdateRate: whole("lrUpdateRate", options.lrUpdateRate ?? 100, 1, 2 ** 31 - 1),
  };
}

/** Places of what is trained, in the module's memory. */
interface Places {
  readonly input: number;
  readonly output: number;
  readonly rows: number;
}

/**
 * Trains on a text of lines `__label__NAME words…`.
 * @throws CpmError "bad-option", "bad-input" (no labels, a line too long), "out-of-memory"; an abort rejects with its reason.
 */
export async function trainOn(module: WebAssembly.Module, source: Source, options: TrainOptions = {}): Promise<Trained> {
  const checked = checkTraining(options);
  const { signal } = options;
  const dictionary = await countWords(module, source, checked, signal);
  const data = await DataInstance.create(module);
  const places = prepare(data, dictionary, checked);
  const loss = await epochs(data, source, dictionary, checked, options);
  return finished(data, dictionary, checked, places, loss);
}

function prepare(data: DataInstance, dictionary: Dictionary, options: Checked): Places {
  const { dim, loss, bucket, wordNgrams, minn, maxn, seed, neg } = options;
  const { words, labels, entries, counts } = dictionary;
  const rows = words + bucket;
  if (4 * rows * dim > MOST_BYTES - (256 << 20) - entries.length * 4)
    throw new CpmError(
      "out-of-memory",
      `${rows} rows of ${dim} floats do not fit a 32-bit memory; use fewer buckets or dimensions`,
      {
        field: "bucket",
        found: String(4 * rows * dim),
      },
    );
  const vocabulary: Vocabulary = {
    words,
    labels,
    labelCounts: [...counts.subarray(words)],
    entries,
    pruned: undefined,
    wordNgrams,
    bucket,
    minn,
    maxn,
  };
  const kept = open(data, vocabulary, ROWS);
  const input = data.allocate(4 * rows * dim);
  const output = data.allocate(4 * labels.length * dim);
  data.u8(output, 4 * labels.length * dim).fill(0);
  const [hidden, grad, outputs] = [data.allocate(4 * dim), data.allocate(4 * dim), data.allocate(4 * labels.length)];
  const targets = data.allocate(4 * (labels.length + 1024));
  data.exports.line_labels(targets, labels.length + 1024);
  data.exports.rows_open(KEPT, 0, 0, 0);
  data.exports.sigmoid_open();
  data.exports.train_open(lossNumber[loss], dim, labels.length, input, output, kept, ROWS, targets, hidden, grad, outputs);
  // One thread of the original fills the first tenth and leaves the rest at zero.
  data.u8(input, 4 * rows * dim).fill(0);
  data.exports.train_seed(seed);
  data.exports.train_fill(input, Math.floor((rows * dim) / 10), Math.fround(1 / dim));
  if (loss === "ns") {
    const table = negatives(vocabulary.labelCounts);
    const at = data.allocate(table.byteLength);
    data.i32(at, table.length).set(table);
    data.exports.train_negatives(at, table.length, neg);
  }
  if (loss === "hs") {
    const parents = parentsOf(vocabulary.labelCounts);
    const at = data.allocate(parents.byteLength);
    data.i32(at, parents.length).set(parents);
    data.exports.train_tree(at);
  }
  return { input, output, rows };
}

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

async function epochs(
  data: DataInstance,
  source: Source,
  { tokens }: Dictionary,
  { epoch, lr, lrUpdateRate, seed }: Checked,
  { signal, onProgress }: TrainOptions,
): Promise<number> {
  const { exports } = data;
  const total = epoch * tokens;
  const text = data.allocate(2 * CHUNK + 2 * MARGIN) + MARGIN;
  const hashes = data.allocate(0);
  exports.train_seed(seed);
  let done = 0;
  let held = 0;
  let at = 0;
  let calls = 0;
  let words = 0;
  exports.train_restart();
  while (done < total) {
    const length = Math.min(CHUNK, source.size - at);
    const bytes = await source.read(at, length, signal);
    signal?.throwIfAborted();
    at += length;
    const last = at === source.size;
    if (held + length > 2 * CHUNK)
      throw new CpmError("bad-input", `${source.name}: a word of more than ${CHUNK} bytes`, { file: source.name, offset: at });
    data.u8(text + held, length).set(bytes);
    held += length;
    let from = 0;
    while (done < total) {
      data.reserve(hashes + 4 * (words + held + 2));
      const rate = Math.fround(lr * (1 - Math.fround(Math.fround(done) / Math.fround(total))));
      from += exports.train_take(text + from, text + held, last ? 1 : 0, hashes, rate, lrUpdateRate) >>> 0;
      const why = exports.train_why();
      if (why === 2)
        throw new CpmError("bad-input", `${source.name}: a line before byte ${at} has more than ${ROWS} n-grams; break it up`, {
          file: source.name,
          offset: at,
        });
      words = exports.line_words() >>> 0;
      if (why !== 1) break;
      done += exports.train_local();
      exports.train_told();
      if (++calls % BREATH !== 0) continue;
      onProgress?.({ tokens: done, total, loss: exports.train_loss() });
      await new Promise((resolve) => setTimeout(resolve, 0));
      signal?.throwIfAborted();
    }
    data.u8(text, held).copyWithin(0, from);
    held = last ? 0 : held - from;
    if (last) {
      at = 0;
      words = 0;
    }
  }
  onProgress?.({ tokens: done, total, loss: exports.train_loss() });
  return exports.train_loss();
}

function finished(data: DataInstance, dictionary: Dictionary, options: Checked, places: Places, loss: number): Trained {
  const { words, labels } = dictionary;
  const head = header(dictionary, options);
  const { dim } = options;
  const matrix = (rows: number) => {
    const bytes = new Uint8Array(17);
    viewOf(bytes).setBigInt64(1, BigInt(rows), true);
    viewOf(bytes).setBigInt64(9, BigInt(dim), true);
    return bytes;
  };
  const [inputBytes, outputBytes] = [4 * places.rows * dim, 4 * labels.length * dim];
  const PIECE = 1 << 22;
  return {
    words,
    labels,
    loss,
    bytes: head.length + 34 + inputBytes + outputBytes,
    *pieces() {
      yield head;
      yield matrix(places.rows);
      for (let at = 0; at < inputBytes; at += PIECE)
        yield data.u8(places.input + at, Math.min(PIECE, inputBytes - at)).slice() as Uint8Array<ArrayBuffer>;
      yield matrix(labels.length);
      yield data.u8(places.output, outputBytes).slice() as Uint8Array<ArrayBuffer>;
    },
  };
}

/** Magic, version, arguments and dictionary as fastText writes them. */
function header({ entries, words, labels, counts, tokens }: Dictionary, options: Checked): Uint8Array<ArrayBuffer> {
  const size = words + labels.length;
  const out = new Uint8Array(8 + 56 + 28 + entries.length + 9 * size);
  const view = viewOf(out);
  const { dim, epoch, minCount, neg, wordNgrams, loss, bucket, minn, maxn, lrUpdateRate } = options;
  const ws = 5;
  const supervised = 3;
  const ints = [fastTextMagic, 12, dim, ws, epoch, minCount, neg, wordNgrams, lossNumber[loss], supervised, bucket, minn, maxn];
  [...ints, lrUpdateRate].forEach((value, i) => {
    view.setInt32(4 * i, value, true);
  });
  view.setFloat64(56, 1e-4, true);
  view.setInt32(64, size, true);
  view.setInt32(68, words, true);
  view.setInt32(72, labels.length, true);
  view.setBigInt64(76, BigInt(tokens), true);
  view.setBigInt64(84, -1n, true);
  let at = 92;
  let from = 0;
  for (let i = 0; i < size; i++) {
    const end = entries.indexOf(0, from) + 1;
    out.set(entries.subarray(from, end), at);
    at += end - from;
    from = end;
    view.setBigInt64(at, BigInt(counts[i]!), true);
    view.setUint8(at + 8, i < words ? 0 : 1);
    at += 9;
  }
  return out;
}
