// What a GGUF header says is what the reader gives.
import { expect, test } from "vitest";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import type { Source } from "../../src/file/source.ts";
import { f32, flag, i32, list, text, u32, u64, type Value, writeGguf, writeHeader } from "../support/gguf.ts";

const value = (type: number, write: Value["write"]): Value => ({ type, write });
const read = (metadata: readonly (readonly [string, Value])[]) =>
  readGguf(bytesSource("x.gguf", writeGguf({ metadata, tensors: [] })));

test("every value type is read, negative, large and empty ones too", async () => {
  const { metadata } = await read([
    ["u8", value(0, (w) => w.u8(255))],
    ["i8", value(1, (w) => w.u8(254))],
    ["u16", value(2, (w) => w.u8(1, 255))],
    ["i16", value(3, (w) => w.u8(254, 255))],
    ["u32", u32(4294967295)],
    ["i32", i32(-7)],
    ["f32", f32(0.5)],
    ["bool", flag(true)],
    ["text", text("né\u4e2d\u{1f600}")],
    ["empty", text("")],
    ["u64", u64(2n ** 64n - 1n)],
    ["small u64", u64(9)],
    ["i64", value(11, (w) => w.u64(-5n))],
    ["f64", value(12, (w) => w.u64(0x3fb999999999999an))],
    ["texts", list(8, ["a", "", "\ufeffb"].map(text))],
    ["floats", list(6, [f32(1), f32(-2)])],
    ["bools", list(7, [flag(true), flag(false)])],
    ["u8s", list(0, [value(0, (w) => w.u8(200))])],
    ["i8s", list(1, [value(1, (w) => w.u8(200))])],
    ["u64s", list(10, [u64(1), u64(2n ** 60n)])],
    ["nested", list(9, [list(4, [u32(1), u32(2)]), list(8, [text("x")]), list(4, [])])],
    ["none", list(8, [])],
  ]);
  expect(Object.fromEntries(metadata)).toEqual({
    u8: 255,
    i8: -2,
    u16: 65281,
    i16: -2,
    u32: 4294967295,
    i32: -7,
    f32: 0.5,
    bool: true,
    text: "né\u4e2d\u{1f600}",
    empty: "",
    u64: 2n ** 64n - 1n,
    "small u64": 9,
    i64: -5,
    f64: 0.1,
    texts: ["a", "", "\ufeffb"],
    floats: new Float32Array([1, -2]),
    bools: [true, false],
    u8s: new Uint8Array([200]),
    i8s: new Int8Array([-56]),
    u64s: [1, 2n ** 60n],
    nested: [new Uint32Array([1, 2]), ["x"], new Uint32Array(0)],
    none: [],
  });
});

test("version 2 is read as version 3 is", async () => {
  const gguf = await readGguf(bytesSource("x.gguf", writeGguf({ metadata: [["a", u32(1)]], tensors: [], version: 2 })));
  expect(gguf).toMatchObject({ version: 2, tensors: [] });
});

test("tensors have their shape outermost first, and lie where the alignment puts them", async () => {
  const tensors = [
    { name: "a", type: 0, shape: [3, 2], bytes: new Uint8Array(24) },
    { name: "b", type: 2, shape: [2, 64], bytes: new Uint8Array(72) },
    { name: "c", type: 35, shape: [1, 2, 256], bytes: new Uint8Array(132) },
  ];
  for (const alignment of [32, 64, 4096]) {
    const parts = { metadata: [["general.alignment", u32(alignment)] as const], tensors, alignment };
    const start = writeHeader(parts).length;
    const { tensors: found } = await readGguf(bytesSource("x.gguf", writeGguf(parts)));
    expect(found.map(({ source: _, ...tensor }) => tensor)).toEqual([
      { name: "a", type: "F32", shape: [3, 2], offset: start, bytes: 24 },
      { name: "b", type: "Q4_0", shape: [2, 64], offset: start + Math.ceil(24 / alignment) * alignment, bytes: 72 },
      {
        name: "c",
        type: "TQ2_0",
        shape: [1, 2, 256],
        offset: start + (Math.ceil(24 / alignment) + Math.ceil(72 / alignment)) * alignment,
        bytes: 132,
      },
    ]);
  }
});

/** A source of `size` bytes that begins with `head`; the rest is zeros that take no memory. It counts what is read. */
function hollow(head: Uint8Array, size: number): { source: Source; read: () => number } {
  let total = 0;
  const source: Source = {
    name: "hollow.gguf",
    size,
    async read(offset, length) {
      total += length;
      const out = new Uint8Array(length);
      if (offset < head.length) out.set(head.subarray(offset, offset + length));
      return out;
    },
    async close() {},
  };
  return { source, read: () => total };
}

test("arrays that a huge file could hold, but no header has, are refused before they are read", async () => {
  for (const type of [0, 4, 7, 8, 10, 9]) {
    const { source, read } = hollow(
      writeHeader({ metadata: [["big", list(type, [], 2 ** 36)]], tensors: [] }).slice(0, 60),
      2 ** 42,
    );
    await expect(readGguf(source)).rejects.toMatchObject({
      code: "bad-model",
      detail: { field: "big", offset: expect.any(Number) },
    });
    expect(read()).toBeLessThan(1 << 21);
  }
});

test("a header of a large vocabulary is read in windows, not as a whole and not string by string", async () => {
  const bytes = writeGguf({
    metadata: [
      [
        "tokens",
        list(
          8,
          Array.from({ length: 150_000 }, (_, i) => text(`piece ${i}`)),
        ),
      ],
    ],
    tensors: [],
  });
  let reads = 0;
  const inner = bytesSource("x.gguf", bytes);
  const read = (offset: number, length: number) => {
    reads++;
    return inner.read(offset, length);
  };
  const { metadata } = await readGguf({ ...inner, read });
  expect((metadata.get("tokens") as string[]).at(-1)).toBe("piece 149999");
  expect(reads).toBeLessThanOrEqual(Math.ceil(bytes.length / (1 << 20)) + 2);
});
