// A model file with float weights, made from a quantised one.
import { readFileSync } from "node:fs";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { blockValues } from "./blocks.ts";
import { ByteWriter } from "./gguf.ts";
import { floatBytes } from "./tiny.ts";

/** A GGUF file with its weights as float32: what the definition computes with, where this runtime would round activations to 8 bits. */
export async function widened(path: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(readFileSync(path));
  const { tensors } = await readGguf(bytesSource(path, bytes));
  const first = new ByteWriter().text(tensors[0]!.name).bytes();
  const w = new ByteWriter().raw(bytes.subarray(0, Buffer.from(bytes).indexOf(first)));
  let next = 0;
  const data = tensors.map(({ name, type, shape, offset, bytes: size }) => {
    const raw = bytes.slice(offset, offset + size);
    const values = type === "F32" ? raw : floatBytes(blockValues(type, raw), "F32");
    w.text(name)
      .u32(shape.length)
      .u64(...[...shape].reverse())
      .u32(0)
      .u64(next);
    next += Math.ceil(values.length / 32) * 32;
    return values;
  });
  w.pad(32);
  for (const values of data) w.raw(values).pad(32);
  return w.bytes();
}
