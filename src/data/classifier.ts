// A classifier in the data module's memory: texts to labels and probabilities.

import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { type Loss, lossNumber, type Vocabulary } from "./fasttext.ts";
import type { FoldedModel } from "./fold.ts";
import { type DataExports, type DataInstance, slotsFor } from "./module.ts";
import { TokenScorer, type TokenTexts } from "./tokens.ts";
import { buildTree } from "./tree.ts";

/** Labels and what the original prints for them, best first; both empty where nothing of the text is known to the model. */
export interface Prediction {
  readonly labels: readonly string[];
  readonly probabilities: readonly number[];
}

export interface ScoreOptions {
  /** How many labels, at most. Default 1; Infinity: all. */
  readonly k?: number | undefined;
  /** Labels less probable than this are left out. Default 0. */
  readonly threshold?: number | undefined;
}

/** Matrices of a model that is not folded. */
export interface DenseModel {
  readonly loss: Loss;
  readonly vocabulary: Vocabulary;
  readonly dim: number;
  readonly rows: number;
  /** (labels, dim), and a norm for each row where the matrix is quantised with norms. */
  readonly output: Float32Array;
  readonly outputNorms: Float32Array | undefined;
  /** Writes the (rows, dim) floats of the input matrix from address `at` on. */
  fill(at: number): Promise<void>;
}

const FOLDED = 0;
const DENSE = 1;
const ROWS = 1 << 14;
const CHUNK = 1 << 18;
/** Bytes before and behind the text that the module may write to. */
const MARGIN = 16;
/** A chain of branches this long would not fit the engine's stack. */
const DEEPEST = 5000;
/** A word longer than this is refused. */
const LONGEST_WORD = 1 << 26;

const utf8 = new TextEncoder();

/**
 * Scores texts as fastText's `predict-prob` does. Not folded, the arithmetic is the original's: float32, in its order.
 * One instance serves one caller at a time; its methods do not wait.
 */
export class Classifier {
  readonly labels: readonly string[];
  readonly loss: Loss;
  readonly folded: boolean;
  readonly #data: DataInstance;
  readonly #heap: number;
  /** It has n-grams of characters. */
  readonly #spells: boolean;
  #text: number;
  #room = CHUNK;
  #hashes: number;
  #closed = false;

  private constructor(data: DataInstance, loss: Loss, vocabulary: Vocabulary, folded: boolean, heap: number) {
    this.#data = data;
    this.loss = loss;
    this.labels = vocabulary.labels;
    this.folded = folded;
    this.#heap = heap;
    this.#spells = vocabulary.bucket > 0 && vocabulary.maxn > 0;
    this.#text = data.allocate(CHUNK + 2 * MARGIN) + MARGIN;
    this.#hashes = data.allocate(0);
  }

  /** Over a folded model, whose table is copied. */
  static ofFolded(data: DataInstance, { loss, vocabulary, values, table }: FoldedModel): Classifier {
    open(data, vocabulary);
    const at = data.allocate(table.byteLength);
    data.f32(at, table.length).set(table);
    return Classifier.#over(data, loss, vocabulary, { kind: FOLDED, at, width: values, output: 0, norms: 0 });
  }

  /** Over matrices as they are in the file. */
  static async ofDense(data: DataInstance, model: DenseModel): Promise<Classifier> {
    const { loss, vocabulary, dim, rows, output, outputNorms } = model;
    open(data, vocabulary);
    const at = data.allocate(4 * rows * dim);
    await model.fill(at);
    const outputAt = data.allocate(output.byteLength);
    data.f32(outputAt, output.length).set(output);
    const norms = outputNorms ? data.allocate(outputNorms.byteLength) : 0;
    if (outputNorms) data.f32(norms, outputNorms.length).set(outputNorms);
    return Classifier.#over(data, loss, vocabulary, { kind: DENSE, at, width: dim, output: outputAt, norms });
  }

  static #over(
    data: DataInstance,
    loss: Loss,
    vocabulary: Vocabulary,
    { kind, at, width, output, norms }: { kind: number; at: number; width: number; output: number; norms: number },
  ): Classifier {
    const count = vocabulary.labels.length;
    const sums = data.allocate(8 * width);
    const outputs = data.allocate(4 * count);
    const heap = data.allocate(8 * (count + 1));
    let tree = 0;
    if (loss === "hs") {
      const { children, depth } = buildTree(vocabulary.labelCounts);
      if (depth > DEEPEST)
        throw new CpmError("unsupported", `the tree of labels has ${depth} levels; at most ${DEEPEST} are supported`, {
          field: "labels",
          expected: `${DEEPEST} levels`,
          found: String(depth),
        });
      tree = data.allocate(children.byteLength);
      data.i32(tree, children.length).set(children);
    }
    data.exports.rows_open(kind, at, width, sums);
    data.exports.score_open(lossNumber[loss], count, kind, width, sums, output, norms, outputs, heap, tree);
    return new Classifier(data, loss, vocabulary, kind === FOLDED, heap);
  }

  /** Bytes of the module's memory. */
  get memoryBytes(): number {
    return this.#data.memory.buffer.byteLength;
  }

  /**
   * Labels and probabilities of a text, taken as one line: a newline is added at its end. A literal `</s>` ends the line early, as in
   * the original. Strings are scored by their UTF-8 bytes.
   * @throws CpmError "bad-input" for a text with a newline inside; "bad-option"; "closed".
   */
  score(text: string | Uint8Array, options?: ScoreOptions): Prediction;
  score(texts: readonly (string | Uint8Array)[], options?: ScoreOptions): Prediction[];
  score(input: string | Uint8Array | readonly (string | Uint8Array)[], options?: ScoreOptions): Prediction | Prediction[] {
    if (typeof input === "string" || input instanceof Uint8Array) return this.#one(input, options);
    if (!Array.isArray(input)) throw badText(input);
    return input.map((text: string | Uint8Array) => this.#one(text, options));
  }

  #one(text: string | Uint8Array, options: ScoreOptions = {}): Prediction {
    if (typeof text !== "string" && !(text instanceof Uint8Array)) throw badText(text);
    const bytes = typeof text === "string" ? utf8.encode(text) : text;
    const newline = bytes.indexOf(10);
    if (newline >= 0 && newline < bytes.length - 1)
      throw new CpmError(
        "bad-input",
        `text: a newline at byte ${newline}; a text is scored as one line: replace newlines, or use lines()`,
        { field: "text", expected: "one line", found: "a newline", offset: newline },
      );
    const lines = this.lines(options);
    const { labels, probabilities } = lines.take(bytes)[0] ?? lines.take(NEWLINE)[0]!;
    return { labels, probabilities };
  }

  /**
   * What scores lines of tokens as the text made of them would be; undefined for a model with n-grams of characters, which reads texts.
   * @throws CpmError "closed"
   */
  tokens(texts: TokenTexts): TokenScorer | undefined {
    this.#check();
    if (this.#spells) return undefined;
    const data = this.#data;
    return new TokenScorer(
      {
        data,
        text: (room) => {
          this.#check();
          while (room > this.#room) this.#grow(0);
          return this.#text;
        },
        take: (bytes) => {
          // No line is under way that had hashes there.
          const at = Math.ceil(this.#hashes / 16) * 16;
          data.reserve((this.#hashes = at + bytes));
          return at;
        },
        begin: () => this.#begin(),
        reserve: (words) => data.reserve(this.#hashes + 4 * ((data.exports.line_words() >>> 0) + words)),
        best: () => this.#best(1, 0),
      },
      texts,
    );
  }

  #check(): void {
    if (this.#closed) throw new CpmError("closed", "the classifier was closed; load it again");
  }

  /** Scores a stream of lines, each as long as it likes. One at a time. @throws CpmError "bad-option", "closed" */
  lines(options: ScoreOptions = {}): LineScorer {
    this.#check();
    const { k, threshold } = checked(options, this.labels.length);
    this.#begin();
    /** Bytes of the text area that wait for more. */
    let held = 0;
    let fresh = true;
    /** Newlines before this place. */
    let line = 1;
    const feed = (bytes: Uint8Array, last: boolean): LinePrediction[] => {
      const out: LinePrediction[] = [];
      let at = 0;
      do {
        if (held === this.#room) this.#grow(held);
        const part = bytes.subarray(at, at + this.#room - held);
        this.#data.u8(this.#text + held, part.length).set(part);
        at += part.length;
        held += part.length;
        if (part.length > 0) fresh = false;
        const ends = last && at === bytes.length;
        const used = this.#drain(held, ends, (end) => {
          out.push({ line, ...this.#best(k, threshold) });
          this.#begin();
          if (this.#data.u8(this.#text + end - 1, 1)[0] === 10) line++;
          fresh = end === held;
        });
        this.#data.u8(this.#text, held).copyWithin(0, used);
        held -= used;
      } while (at < bytes.length);
      if (last && !fresh) {
        out.push({ line, ...this.#best(k, threshold) });
        fresh = true;
      }
      return out;
    };
    return { take: (bytes) => feed(bytes, false), end: () => feed(NOTHING, true) };
  }

  /** Takes words until fewer bytes than a word are left; calls `ended` after each line, with where it ended. */
  #drain(held: number, last: boolean, ended: (end: number) => void): number {
    const { exports } = this.#data;
    for (let at = 0; ; ) {
      this.#data.reserve(this.#hashes + 4 * ((exports.line_words() >>> 0) + (held - at) + 2));
      at += exports.line_take(this.#text + at, this.#text + held, last ? 1 : 0) >>> 0;
      if (!exports.line_ended()) return at;
      ended(at);
    }
  }

  #begin(): void {
    this.#data.exports.rows_begin();
    this.#data.exports.line_begin(this.#hashes);
  }

  /** A word fills the text area: twice as much of it. Hashes behind it move up. */
  #grow(held: number): void {
    if (2 * this.#room > LONGEST_WORD)
      throw new CpmError("bad-input", `text: a word of more than ${LONGEST_WORD} bytes; is this a text?`, { field: "text" });
    const old = this.#text;
    const hashes = 4 * (this.#data.exports.line_words() >>> 0);
    const moved = this.#hashes + 2 * this.#room + 2 * MARGIN;
    this.#data.reserve(moved + hashes);
    this.#data.u8(0, moved + hashes).copyWithin(moved, this.#hashes, this.#hashes + hashes);
    this.#text = this.#hashes + MARGIN;
    this.#data.u8(0, this.#text + held).copyWithin(this.#text, old, old + held);
    this.#room *= 2;
    this.#hashes = moved;
    this.#data.exports.line_move(moved);
  }

  #best(k: number, threshold: number): Prediction {
    const { exports } = this.#data;
    exports.line_finish();
    const count = exports.score_best(k, threshold);
    const probabilities = new Array<number>(count);
    const labels = new Array<string>(count);
    const floats = this.#data.f32(this.#heap, 2 * count);
    const ids = this.#data.i32(this.#heap, 2 * count);
    for (let i = 0; i < count; i++) {
      probabilities[i] = floats[2 * i]!;
      labels[i] = this.labels[ids[2 * i + 1]!]!;
    }
    return { labels, probabilities };
  }

  /** Ends the classifier's use; its memory goes with it. */
  close(): void {
    this.#closed = true;
  }
}

/** A prediction, and the line of the input that it is about, from 1; a line with the word `</s>` inside gives several. */
export interface LinePrediction extends Prediction {
  readonly line: number;
}

/** Scores lines as their bytes arrive. A line ends at a newline or at the word `</s>`; the last one may lack its end. */
export interface LineScorer {
  /** Predictions of the lines that end in these bytes, in order. */
  take(bytes: Uint8Array): LinePrediction[];
  /** The prediction of what follows the last newline, if anything does. */
  end(): LinePrediction[];
}

const NOTHING = new Uint8Array(0);
const NEWLINE = new Uint8Array([10]);

const badText = (found: unknown): CpmError =>
  new CpmError("bad-input", `text: expected a string or bytes, found ${found === null ? "null" : typeof found}`, {
    field: "text",
    expected: "a string or bytes",
    found: typeof found,
  });

function checked({ k = 1, threshold = 0 }: ScoreOptions, labels: number): { k: number; threshold: number } {
  const bad = (field: string, expected: string, found: unknown) =>
    new CpmError("bad-option", `${field}: expected ${expected}, found ${shown(found)}`, {
      field,
      expected,
      found: shown(found),
    });
  if (k !== Number.POSITIVE_INFINITY && (!Number.isSafeInteger(k) || k < 1))
    throw bad("k", "a whole number from 1, or Infinity", k);
  if (typeof threshold !== "number" || Number.isNaN(threshold)) throw bad("threshold", "a number", threshold);
  return { k: Math.min(k, labels), threshold };
}

/** Lays the dictionary into memory; gives where a line's rows gather, `room` of them at a time. */
export function open(data: DataInstance, vocabulary: Vocabulary, room = ROWS): number {
  const { pruned } = vocabulary;
  fillDictionary(data, vocabulary);
  const rows = data.allocate(4 * room);
  openLines(data.exports, vocabulary, rows, room);
  if (!pruned) return rows;
  const pairs = data.allocate(pruned.byteLength);
  data.i32(pairs, pruned.length).set(pruned);
  const pruneSlots = slotsFor(pruned.length / 2);
  data.exports.line_prune(data.allocate(8 * pruneSlots), pruneSlots, pairs, pruned.length / 2);
  return rows;
}

/** Enters words and labels into a new dictionary; gives its place and slots. */
export function fillDictionary(data: DataInstance, { words, labels, entries }: Vocabulary): { table: number; slots: number } {
  const slots = slotsFor(words + labels.length);
  const table = data.allocate(16 * slots);
  const text = data.allocate(entries.length + 8);
  data.u8(text, entries.length).set(entries);
  data.exports.dictionary_open(table, slots);
  data.exports.dictionary_clear();
  data.exports.dictionary_fill(text, words + labels.length);
  return { table, slots };
}

/** How lines become rows, which gather at `rows`. */
export function openLines(
  exports: DataExports,
  { words, wordNgrams, bucket, minn, maxn }: Pick<Vocabulary, "words" | "wordNgrams" | "bucket" | "minn" | "maxn">,
  rows: number,
  room: number,
): void {
  // Without buckets there is nothing for an n-gram to be.
  exports.line_open(rows, room, words, bucket, bucket === 0 ? 1 : wordNgrams, minn, bucket === 0 ? 0 : maxn);
}
