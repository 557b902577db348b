// SentencePiece model files (protobuf ModelProto) read into the vocabulary shape that GGUF files have.
import { CpmError, modelError } from "../errors.ts";
import type { PieceVocabulary } from "./vocabulary.ts";

const maxPieces = 1 << 21;
const maxPieceBytes = 4096;
const modelTypes = ["(none)", "unigram", "bpe", "word", "char"];
const userDefined = 4;

interface Field {
  readonly tag: number;
  /** Protobuf wire type: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
  readonly wire: number;
  /** The varint's value, or the first payload byte. */
  readonly value: number;
  /** Half-open payload range. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Reads a SentencePiece `tokenizer.model` of type BPE.
 *
 * Pieces and scores keep their order; user-defined symbols become `atoms` of type 1, so that type 4 means an added token
 * as in GGUF. `addSpacePrefix` is always true: the published Llama-type tokenizers prepend the dummy space themselves,
 * whatever `add_dummy_prefix` in the file says (MiniCPM4's says no, and its ids have it); a folder's
 * `add_prefix_space: false` overrides it.
 *
 * Source: sentencepiece_model.proto. @throws CpmError "bad-model" with the byte offset; "unsupported" for other model types
 * and for normalisation rules other than identity.
 */
export function readSentencePiece(bytes: Uint8Array, file: string): PieceVocabulary {
  const reader = new Reader(bytes, file);
  const pieces: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  const atoms: number[] = [];
  let trainer: Field | undefined;
  let normalizer: Field | undefined;
  for (const field of reader.fields(0, bytes.length)) {
    if (field.tag === 2 || field.tag === 3) {
      reader.expectWire(field, 2);
      if (field.tag === 2) trainer = field;
      else normalizer = field;
    }
    if (field.tag !== 1) continue;
    reader.expectWire(field, 2);
    if (pieces.length === maxPieces) throw reader.error(field.begin, "piece count", `at most ${maxPieces}`, "more");
    const { text, score, type } = reader.piece(field);
    if (type === userDefined) atoms.push(pieces.length);
    pieces.push(text);
    scores.push(score);
    types.push(type === userDefined ? 1 : type);
  }
  if (pieces.length === 0) throw reader.error(0, "pieces", "at least one", "none");
  checkTrainer(reader, trainer, file);
  checkNormalizer(reader, normalizer, file);
  return {
    kind: "pieces",
    model: "spm",
    pieces,
    scores: Float32Array.from(scores),
    types: Int32Array.from(types),
    atoms: Int32Array.from(atoms),
    addSpacePrefix: true,
  };
}

function checkTrainer(reader: Reader, spec: Field | undefined, file: string): void {
  let modelType = 1;
  let suffix = 0;
  for (const { tag, wire, value } of spec ? reader.fields(spec.begin, spec.end) : []) {
    if (tag === 3 && wire === 0) modelType = value;
    if (tag === 24 && wire === 0) suffix = value;
  }
  if (modelType !== 2) throw unsupported(file, "trainer_spec.model_type", "bpe", modelTypes[modelType] ?? String(modelType));
  if (suffix !== 0) throw unsupported(file, "trainer_spec.treat_whitespace_as_suffix", "false", "true");
}

function checkNormalizer(reader: Reader, spec: Field | undefined, file: string): void {
  let charsmap = 0;
  // Defaults of the format: both true.
  let squeeze = 1;
  let escaped = 1;
  for (const { tag, wire, value, begin, end } of spec ? reader.fields(spec.begin, spec.end) : []) {
    if (tag === 2 && wire === 2) charsmap = end - begin;
    if (tag === 4 && wire === 0) squeeze = value;
    if (tag === 5 && wire === 0) escaped = value;
  }
  if (charsmap > 0) throw unsupported(file, "normalizer_spec.precompiled_charsmap", "none (identity)", `${charsmap} bytes`);
  if (squeeze !== 0) throw unsupported(file, "normalizer_spec.remove_extra_whitespaces", "false", "true");
  if (escaped === 0) throw unsupported(file, "normalizer_spec.escape_whitespaces", "true", "false");
}

function unsupported(file: string, field: string, expected: string, found: string): CpmError {
  const message = `${file}: ${field}: expected ${expected}, found ${found} (this tokenizer type is not supported; use a GGUF or tokenizer.json of the model)`;
  return new CpmError("unsupported", message, { file, field, expected, found });
}

/** Bounds-checked protobuf reading: every read names its offset when it fails. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #at = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  error(offset: number, field: string, expected: string, found: string): CpmError {
    return modelError({ file: this.#file, offset, field, expected, found }, "not a SentencePiece model");
  }

  expectWire({ tag, wire, begin }: Field, expected: number): void {
    if (wire !== expected) throw this.error(begin, `field ${tag}`, `wire type ${expected}`, `${wire}`);
  }

  /** The fields of the message in [begin, end). Iterations may nest: each keeps its own position. */
  *fields(begin: number, end: number): Generator<Field> {
    let at = begin;
    while (at < end) {
      this.#at = at;
      const key = this.#varint(end);
      const tag = Math.floor(key / 8);
      const wire = key % 8;
      if (tag === 0) throw this.error(at, "field number", "1 or more", "0");
      let payload = this.#at;
      let value = 0;
      let length: number;
      if (wire === 0) {
        value = this.#varint(end);
        length = this.#at - payload;
      } else if (wire === 1) length = 8;
      else if (wire === 5) length = 4;
      else if (wire === 2) {
        length = this.#varint(end);
        payload = this.#at;
      } else throw this.error(at, `field ${tag}`, "wire type 0, 1, 2 or 5", `${wire}`);
      if (length > end - payload) throw this.error(at, `field ${tag}`, `${end - payload} bytes at most`, `length ${length}`);
      at = payload + length;
      yield { tag, wire, value, begin: payload, end: at };
    }
  }

  piece(field: Field): { text: string; score: number; type: number } {
    let text = "";
    let score = 0;
    let type = 1;
    for (const inner of this.fields(field.begin, field.end)) {
      if (inner.tag === 1) {
        this.expectWire(inner, 2);
        text = this.#text(inner);
      } else if (inner.tag === 2) {
        this.expectWire(inner, 5);
        score = this.#view.getFloat32(inner.begin, true);
        if (Number.isNaN(score)) throw this.error(inner.begin, "piece score", "a number", "NaN");
      } else if (inner.tag === 3) {
        this.expectWire(inner, 0);
        type = inner.value;
        if (type < 1 || type > 6) throw this.error(inner.begin, "piece type", "1 to 6", `${type}`);
      }
    }
    return { text, score, type };
  }

  #text({ begin, end }: Field): string {
    if (end - begin > maxPieceBytes) throw this.error(begin, "piece", `at most ${maxPieceBytes} bytes`, `${end - begin}`);
    try {
      return this.#utf8.decode(this.#bytes.subarray(begin, end));
    } catch {
      throw this.error(begin, "piece", "UTF-8", "invalid bytes");
    }
  }

  /** Values above 2^53 lose their low bits, which only ever makes a length too large, and that is refused. */
  #varint(end: number): number {
    const start = this.#at;
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (this.#at >= end) throw this.error(start, "varint", "an end inside its message", "the end of the message");
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw this.error(start, "varint", "at most 10 bytes", "more");
  }
}
