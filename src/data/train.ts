// Training a classifier as fastText's `supervised` does: with one thread and the same seed, its dictionary to the byte and its numbers.
import { viewOf } from "../brands.ts";
import { CpmError } from "../errors.ts";
import type { Source } from "../file/source.ts";
import { shown } from "../shown.ts";
import { countWords, type Dictionary } from "./count.ts";
import { fastTextMagic, type Loss, lossNumber } from "./fasttext.ts";
import { DataInstance } from "./module.ts";
import { enter, type Layout, layOut, lineTooLong, ownPlaces, wordTooLong } from "./trainplaces.ts";

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
  /**
   * Threads that train on one shared memory without locks (hogwild), up to 64; Node, Deno, Bun, and pages that are cross-origin isolated:
   * elsewhere one trains, and the result's `threadsNote` says why. Default 1, which gives the same numbers every time; more do not, as the
   * original's.
   */
  readonly threads?: number | undefined;
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
  /** How many trained. */
  readonly threads: number;
  /** Why it was one, where more were asked for. */
  readonly threadsNote: string | undefined;
  /** The .bin that fastText loads, piece by piece. */
  pieces(): Generator<Uint8Array<ArrayBuffer>>;
}

type Settings = Omit<TrainOptions, "signal" | "onProgress">;
export type Checked = { readonly [Key in keyof Settings]-?: NonNullable<Settings[Key]> };

const CHUNK = 1 << 18;
const MARGIN = 16;
/** Calls of the module between two looks at the clock of others. */
const BREATH = 200;

/** What training leaves in a memory. */
export interface TrainedPlaces {
  readonly data: DataInstance;
  readonly layout: Layout;
  readonly loss: number;
}

/** Training on several threads, where a runtime has them; see hogwild.ts. */
export interface TrainThreads {
  /** Why there are none now. */
  note?(): string | undefined;
  train(source: Source, dictionary: Dictionary, checked: Checked, options: TrainOptions): Promise<TrainedPlaces>;
}

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
    threads: whole("threads", options.threads ?? 1, 1, 64),
  };
}

/**
 * Trains on a text of lines `__label__NAME words…`. `platform`: threads, where there are any.
 * @throws CpmError "bad-option", "bad-input" (no labels, a line too long), "out-of-memory";
 * an abort rejects with its reason.
 */
export async function trainOn(
  module: WebAssembly.Module,
  source: Source,
  options: TrainOptions = {},
  platform?: TrainThreads,
): Promise<Trained> {
  const asked = checkTraining(options);
  const threadsNote =
    asked.threads === 1 ? undefined : platform ? platform.note?.() : "this runtime has no threads to train with";
  const threads = threadsNote === undefined ? asked.threads : 1;
  const checked = { ...asked, threads };
  const dictionary = await countWords(module, source, checked, options.signal);
  const { data, layout, loss } =
    threads > 1
      ? await platform!.train(source, dictionary, checked, options)
      : await alone(module, source, dictionary, checked, options);
  return { ...finished(data, dictionary, checked, layout, loss), threads, threadsNote };
}

async function alone(
  module: WebAssembly.Module,
  source: Source,
  dictionary: Dictionary,
  checked: Checked,
  options: TrainOptions,
): Promise<TrainedPlaces> {
  const data = await DataInstance.create(module);
  const layout = layOut(data, dictionary, checked);
  enter(data.exports, layout, ownPlaces(data, layout), checked.seed);
  return { data, layout, loss: await epochs(data, source, dictionary, checked, options) };
}

async function epochs(
  data: DataInstance,
  source: Source,
  { tokens }: Dictionary,
  { epoch, lr, lrUpdateRate }: Checked,
  { signal, onProgress }: TrainOptions,
): Promise<number> {
  const { exports } = data;
  const total = epoch * tokens;
  const text = data.allocate(2 * CHUNK + 2 * MARGIN) + MARGIN;
  const hashes = data.allocate(0);
  let done = 0;
  let held = 0;
  let at = 0;
  let calls = 0;
  let words = 0;
  while (done < total) {
    const length = Math.min(CHUNK, source.size - at);
    const bytes = await source.read(at, length, signal);
    signal?.throwIfAborted();
    at += length;
    const last = at === source.size;
    if (held + length > 2 * CHUNK) throw wordTooLong(source.name, at);
    data.u8(text + held, length).set(bytes);
    held += length;
    let from = 0;
    while (done < total) {
      data.reserve(hashes + 4 * (words + held + 2));
      const rate = Math.fround(lr * (1 - Math.fround(Math.fround(done) / Math.fround(total))));
      from += exports.train_take(text + from, text + held, last ? 1 : 0, hashes, rate, lrUpdateRate) >>> 0;
      const why = exports.train_why();
      if (why === 2) throw lineTooLong(source.name, at);
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

type Finished = Omit<Trained, "threads" | "threadsNote">;

function finished(data: DataInstance, dictionary: Dictionary, options: Checked, places: Layout, loss: number): Finished {
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
