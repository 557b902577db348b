// Writes the files of a Hugging Face folder: safetensors, its index, and a SentencePiece tokenizer.model.
import { ByteWriter } from "./gguf.ts";

export interface StoredTensor {
  readonly name: string;
  readonly dtype: "F32" | "F16" | "BF16" | "I32" | "F64" | "U8" | "I64" | "BOOL";
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** One file; `header` replaces the JSON header's text. */
export function writeSafetensors(tensors: readonly StoredTensor[], header?: string): Uint8Array {
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => [
    name,
    { dtype, shape, data_offsets: [at, (at += bytes.length)] },
  ]);
  const json = header ?? JSON.stringify(Object.fromEntries([["__metadata__", { format: "pt" }], ...entries]));
  const text = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / 8) * 8));
  const w = new ByteWriter().u64(text.length).raw(text);
  for (const { bytes } of tensors) w.raw(bytes);
  return w.bytes();
}

/** The tensors dealt out to `count` files with an index. */
export function writeShards(tensors: readonly StoredTensor[], count: number): Record<string, Uint8Array> {
  const name = (i: number) => `model-${String(i + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.safetensors`;
  const files: Record<string, Uint8Array> = {};
  for (let i = 0; i < count; i++) files[name(i)] = writeSafetensors(tensors.filter((_, t) => t % count === i));
  const weight_map = Object.fromEntries(tensors.map((t, i) => [t.name, name(i % count)]));
  return { ...files, "model.safetensors.index.json": jsonBytes({ metadata: {}, weight_map }) };
}

export const jsonBytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** A protobuf message of one field, length-delimited. */
function message(tag: number, bytes: Uint8Array): Uint8Array {
  const w = new ByteWriter().u8(tag * 8 + 2);
  let length = bytes.length;
  for (; length > 127; length >>= 7) w.u8((length & 127) | 128);
  return w.u8(length).raw(bytes).bytes();
}

/** A SentencePiece model of type BPE without normalisation. */
export function writeSentencePiece(pieces: readonly string[], scores: ArrayLike<number>, types: ArrayLike<number>): Uint8Array {
  const w = new ByteWriter();
  for (const [i, piece] of pieces.entries()) {
    const body = new ByteWriter()
      .raw(message(1, new TextEncoder().encode(piece)))
      .u8(2 * 8 + 5)
      .f32(scores[i]!)
      .u8(3 * 8, types[i]!);
    w.raw(message(1, body.bytes()));
  }
  return w
    .raw(message(2, Uint8Array.of(3 * 8, 2)))
    .raw(message(3, Uint8Array.of(4 * 8, 0)))
    .bytes();
}
