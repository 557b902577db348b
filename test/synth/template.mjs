// A model file with another chat template.
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";

/** A GGUF with a chat template and another context size; all else as it is. */
export function withTemplate(file, chatTemplate, context) {
  const bytes = readFileSync(file);
  let at = 24;
  const u32 = () => bytes.readUInt32LE((at += 4) - 4);
  const u64 = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = () => {
    const length = u64();
    return bytes.toString("utf8", at, (at += length));
  };
  const widths = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  const skip = (type) => {
    if (type === 8) text();
    else if (type === 9) {
      const inner = u32();
      for (let left = u64(); left > 0; left--) skip(inner);
    } else at += widths[type];
  };
  const [tensors, keys] = [Number(bytes.readBigUInt64LE(8)), Number(bytes.readBigUInt64LE(16))];
  let alignment = 32;
  for (let i = 0; i < keys; i++) {
    const [key, type] = [text(), u32()];
    if (key === "general.alignment") alignment = bytes.readUInt32LE(at);
    if (key.endsWith(".context_length")) bytes.writeUInt32LE(context, at);
    skip(type);
  }
  const list = at;
  for (let i = 0; i < tensors; i++) {
    text();
    const dimensions = u32();
    at += 8 * dimensions + 4 + 8;
  }
  const pad = (length) => Buffer.alloc((alignment - (length % alignment)) % alignment);
  const field = Buffer.from(chatTemplate);
  const name = Buffer.from("tokenizer.chat_template");
  const more = Buffer.alloc(8 + name.length + 4 + 8);
  more.writeBigUInt64LE(BigInt(name.length), 0);
  name.copy(more, 8);
  more.writeUInt32LE(8, 8 + name.length);
  more.writeBigUInt64LE(BigInt(field.length), 12 + name.length);
  bytes.writeBigUInt64LE(BigInt(keys + 1), 16);
  const head = Buffer.concat([bytes.subarray(0, list), more, field, bytes.subarray(list, at)]);
  return Buffer.concat([head, pad(head.length), bytes.subarray(at + pad(at).length)]);
}
