// A tokenizer.model from a GGUF's pieces: the protobuf ModelProto of a BPE with byte fallback.
// Source: sentencepiece_model.proto.
import { ByteWriter } from "../file/write/bytes.ts";
import type { PieceVocabulary } from "../text/vocabulary.ts";

function varint(w: ByteWriter, value: number): ByteWriter {
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return w.u8(rest);
    w.u8((rest % 128) + 128);
  }
}
const number = (w: ByteWriter, tag: number, value: number): ByteWriter => varint(varint(w, 8 * tag), value);
const message = (w: ByteWriter, tag: number, bytes: Uint8Array): ByteWriter =>
  varint(varint(w, 8 * tag + 2), bytes.length).raw(bytes);
const utf8 = new TextEncoder();

/** The first `count` pieces, without what is added behind them. */
export function sentencePieceFile(vocabulary: PieceVocabulary, count: number, ids: { bos: number; eos: number; unk: number }) {
  const w = new ByteWriter();
  for (let id = 0; id < count; id++) {
    const piece = new ByteWriter();
    message(piece, 1, utf8.encode(vocabulary.pieces[id]!));
    varint(piece, 8 * 2 + 5).f32(vocabulary.scores![id]!);
    if (vocabulary.types[id] !== 1) number(piece, 3, vocabulary.types[id]!);
    message(w, 1, piece.bytes());
  }
  const trainer = number(number(new ByteWriter(), 3, 2), 4, count);
  // Names of fields: model_type BPE, vocab_size, byte_fallback, unk_id, bos_id, eos_id (−1 takes ten bytes).
  const fallback = vocabulary.types.includes(6) ? 1 : 0;
  number(trainer, 35, fallback);
  for (const [tag, id] of [
    [40, ids.unk],
    [41, ids.bos],
    [42, ids.eos],
  ] as const)
    if (id >= 0 && id < count) number(trainer, tag, id);
    else varint(trainer, 8 * tag).raw(new Uint8Array([...new Array<number>(9).fill(255), 1]));
  message(w, 2, trainer.bytes());
  const normalizer = message(new ByteWriter(), 1, utf8.encode("identity"));
  // add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces.
  number(number(number(normalizer, 3, vocabulary.addSpacePrefix ? 1 : 0), 4, 0), 5, 1);
  return message(w, 3, normalizer.bytes()).bytes();
}
