// A GGUF's header is read in time and memory that grow as it does: bytes read and elements made are counted at n, 2n and 4n.
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { MAX } from "../../src/file/metadata.ts";
import type { Source } from "../../src/file/source.ts";
import { ByteWriter } from "../support/gguf.ts";

/** A header with one array: `element` writes each of its `count` elements of type `type`. */
function header(type: number, count: number, element: (w: ByteWriter) => void, arrays = 1): Uint8Array {
  const w = new ByteWriter();
  w.raw(new TextEncoder().encode("GGUF"));
  w.u32(3);
  w.u64(0);
  w.u64(arrays);
  for (let i = 0; i < arrays; i++) {
    w.text(`key${i}`);
    w.u32(9);
    w.u32(type);
    w.u64(count);
    for (let j = 0; j < count; j++) element(w);
  }
  return w.bytes();
}

function counted(bytes: Uint8Array): { readonly source: Source; read: () => number } {
  const inner = bytesSource("model.gguf", bytes);
  let total = 0;
  const read: Source["read"] = (offset, length, signal) => {
    total += length;
    return inner.read(offset, length, signal);
  };
  return { source: { ...inner, read }, read: () => total };
}

const empty = (w: ByteWriter) => {
  w.u32(0);
  w.u64(0);
};

test("reads grow as the header does, whatever its arrays hold", async () => {
  const kinds: [string, number, (w: ByteWriter) => void][] = [
    ["texts", 8, (w) => w.text("ab")],
    ["flags", 7, (w) => w.u8(1)],
    ["64-bit integers", 10, (w) => w.u64(7)],
    ["floats", 6, (w) => w.f32(1)],
  ];
  for (const [what, type, element] of kinds) {
    for (const count of [100_000, 200_000, 400_000]) {
      const bytes = header(type, count, element);
      const { source, read } = counted(bytes);
      const { metadata } = await readGguf(source);
      expect((metadata.get("key0") as ArrayLike<unknown>).length, what).toBe(count);
      // Windows of a mebibyte: what was not used up at the end of one is read again.
      expect(read(), what).toBeLessThan(1.1 * bytes.length + (1 << 20));
    }
  }
});

test("arrays within arrays are few, in all of a file; the refusal costs one window", async () => {
  expect((await readGguf(bytesSource("m", header(9, MAX.arrays, empty)))).metadata.size).toBe(1);
  for (const count of [MAX.arrays + 1, 2 * MAX.arrays, 400_000]) {
    const { source, read } = counted(header(9, count, empty));
    const error = await readGguf(source).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CpmError);
    expect((error as CpmError).message).toMatch(/key0: arrays inside arrays: expected at most 4096 in a file, found \d+/);
    // And the first bytes, which tell a pointer of Git LFS from a file.
    expect(read()).toBeLessThanOrEqual((1 << 20) + 64);
  }
  await expect(readGguf(bytesSource("m", header(9, 100, empty, 50)))).rejects.toThrow(/key40: arrays inside arrays/);
});

test("elements that become JavaScript values are counted over all arrays of a file", async () => {
  const one = header(7, 1, (w) => w.u8(1));
  const count = MAX.items / 2 + 1;
  // Two arrays of flags, each below the limit, together above it.
  const bytes = new Uint8Array(2 * (one.length - 24 + count) + 24);
  const pair = one.subarray(24, one.length - 1);
  bytes.set(one.subarray(0, 24));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(16, 2n, true);
  for (const [i, at] of [24, 24 + pair.length + count].entries()) {
    bytes.set(pair, at);
    bytes[at + 8 + 3] = 0x30 + i;
    view.setBigUint64(at + pair.length - 8, BigInt(count), true);
  }
  const error = await readGguf(bytesSource("m", bytes)).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(CpmError);
  expect((error as CpmError).message).toMatch(/key1: array length: expected at most 16777216/);
});

test("an alignment that is no number is told in a few words, however long it is", async () => {
  for (const count of [1, 1000, 1_000_000]) {
    const w = new ByteWriter();
    w.raw(new TextEncoder().encode("GGUF"));
    w.u32(3);
    w.u64(0);
    w.u64(1);
    w.text("general.alignment");
    w.u32(9);
    w.u32(4);
    w.u64(count);
    w.raw(new Uint8Array(4 * count));
    const error = (await readGguf(bytesSource("m", w.bytes())).catch((e: unknown) => e)) as CpmError;
    expect(error).toBeInstanceOf(CpmError);
    expect(error.message.length).toBeLessThan(300);
  }
});
