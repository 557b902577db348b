// What the writers write is what the readers read.
import { expect, test } from "vitest";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { readSafetensors } from "../../src/file/safetensors.ts";
import { TENSOR_TYPES, type TensorType } from "../../src/file/tensor.ts";
import { copiedMetadata, type GgufTensorPlan, layoutGguf, type TypedValue, writeGguf } from "../../src/file/write/gguf.ts";
import { memoryOutput, written } from "../../src/file/write/output.ts";
import { layoutSafetensors, safetensorsIndex, writeSafetensors } from "../../src/file/write/safetensors.ts";

const METADATA: readonly (readonly [string, TypedValue])[] = [
  ["general.architecture", { kind: "string", value: "minicpm" }],
  ["u8", { kind: "u8", value: 255 }],
  ["i8", { kind: "i8", value: -2 }],
  ["u16", { kind: "u16", value: 65281 }],
  ["i16", { kind: "i16", value: -2 }],
  ["u32", { kind: "u32", value: 4294967295 }],
  ["i32", { kind: "i32", value: -7 }],
  ["f32", { kind: "f32", value: 0.1 }],
  ["bool", { kind: "bool", value: true }],
  ["text", { kind: "string", value: "né\u4e2d\u{1f600}\ufeff" }],
  ["u64", { kind: "u64", value: 2n ** 64n - 1n }],
  ["i64", { kind: "i64", value: -5 }],
  ["f64", { kind: "f64", value: 0.1 }],
  ["texts", { array: "string", value: ["a", "", "b"] }],
  ["floats", { array: "f32", value: new Float32Array([1, -2]) }],
  ["bools", { array: "bool", value: [true, false] }],
  ["u64s", { array: "u64", value: [1, 2n ** 60n] }],
  ["none", { array: "string", value: [] }],
];
const noise = (length: number, seed: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 37 + seed * 101) & 255);
const types = Object.keys(TENSOR_TYPES) as TensorType[];
const TENSORS: readonly GgufTensorPlan[] = types.flatMap((type, i) => [
  { name: `${type}.weight`, type, shape: [i + 1, TENSOR_TYPES[type].block] },
  { name: `${type}.row`, type, shape: [TENSOR_TYPES[type].block] },
]);

for (const alignment of [undefined, 8, 4096])
  test(`GGUF with every type of metadata and tensor, ${alignment ?? "the usual"} alignment, out of order and in pieces`, async () => {
    const metadata = new Map<string, TypedValue>(METADATA);
    if (alignment) metadata.set("general.alignment", { kind: "u32", value: alignment });
    const output = memoryOutput("x.gguf");
    const writer = await writeGguf(output, metadata, TENSORS);
    for (const [i, { name }] of [...TENSORS.entries()].toReversed()) {
      const { bytes } = writer.layout.tensors.get(name)!;
      const cut = Math.floor(bytes / 3);
      await writer.write(name, noise(bytes, i).subarray(cut), cut);
      await writer.write(name, noise(bytes, i).subarray(0, cut));
    }
    await writer.finish();
    const source = bytesSource("x.gguf", output.bytes());
    expect(source.size).toBe(writer.layout.size);
    const gguf = await readGguf(source);
    expect(gguf.tensors.map(({ name, type, shape }) => ({ name, type, shape }))).toEqual(TENSORS);
    for (const [i, tensor] of gguf.tensors.entries()) {
      expect(tensor.offset % (alignment ?? 32)).toBe(0);
      expect(await source.read(tensor.offset, tensor.bytes)).toEqual(noise(tensor.bytes, i));
    }
    expect(gguf.metadata.get("f32")).toBe(Math.fround(0.1));
    expect(gguf.metadata.get("u64")).toBe(2n ** 64n - 1n);
    expect(gguf.metadata.get("text")).toBe("né\u4e2d\u{1f600}\ufeff");
    // Copied into another file, no byte of the header changes.
    const copied = await copiedMetadata(source, gguf);
    expect(layoutGguf(copied, TENSORS).header).toEqual(writer.layout.header);
  });

test("what does not fit is refused before anything is written", async () => {
  const one = (value: TypedValue) => () => layoutGguf(new Map([["key", value]]), []);
  expect(one({ kind: "u8", value: 256 })).toThrow(/key: expected a value of type u8/);
  expect(one({ kind: "i32", value: 0.5 })).toThrow(/i32/);
  expect(one({ kind: "u64", value: -1 })).toThrow(/u64/);
  expect(one({ kind: "bool", value: 1 })).toThrow(/bool/);
  expect(one({ array: "string", value: ["a", 1] })).toThrow(/string/);
  const tensor = (plan: Partial<GgufTensorPlan>) => () =>
    layoutGguf(new Map(), [{ name: "a", type: "F32", shape: [1], ...plan }]);
  expect(tensor({ type: "Q4_K", shape: [2, 128] })).toThrow(/rows a multiple of 256|does not exist/);
  expect(tensor({ shape: [] })).toThrow(/does not exist/);
  expect(tensor({ shape: [1, 0] })).toThrow(/does not exist/);
  expect(tensor({ name: "n".repeat(64) })).toThrow(/at most 63 bytes/);
  expect(() => layoutGguf(new Map(), Array(2).fill({ name: "a", type: "F32", shape: [1] }))).toThrow(/unique/);
  expect(() => layoutGguf(new Map([["general.alignment", { kind: "u32", value: 33 }]]), [])).toThrow(/power of two/);
});

test("a file with bytes missing, or too many of them, does not come about", async () => {
  const output = memoryOutput("x.gguf");
  const writer = await writeGguf(output, new Map(), [{ name: "a", type: "F32", shape: [4] }]);
  await writer.write("a", new Float32Array(3));
  await expect(writer.finish()).rejects.toMatchObject({ code: "bad-input", message: /a: 4 bytes were not written/ });
  await expect(writer.write("a", new Float32Array(2), 12)).rejects.toThrow(/at most 16 bytes/);
  await expect(writer.write("a", new Float32Array(2), 0)).rejects.toThrow(/each byte once/);
  await expect(writer.write("b", new Float32Array(1))).rejects.toThrow(/none of this name/);
  expect(() => output.bytes()).toThrow(/not finished/);
  await expect(written(output, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(() => output.bytes()).toThrow(/not finished/);
});

test("an output of an earlier run is gone on with", async () => {
  const output = memoryOutput("x.gguf");
  const plans = ["a", "b"].map((name): GgufTensorPlan => ({ name, type: "F32", shape: [3] }));
  const first = await writeGguf(output, new Map(), plans);
  await first.write("a", new Float32Array([1, 2, 3]));
  const second = await writeGguf(output, new Map(), plans, ["a"]);
  await second.write("b", new Float32Array([4, 5, 6]));
  await second.finish();
  const source = bytesSource("x.gguf", output.bytes());
  const { tensors } = await readGguf(source);
  const values = await Promise.all(tensors.map(async (t) => new Float32Array((await source.read(t.offset, t.bytes)).buffer)));
  expect(values).toEqual([new Float32Array([1, 2, 3]), new Float32Array([4, 5, 6])]);
});

test("safetensors", async () => {
  const output = memoryOutput("x.safetensors");
  const plans = [
    { name: "model.norm.weight", type: "BF16", shape: [3] },
    { name: "q\u4e2d", type: "I32", shape: [2, 5] },
    { name: "7", type: "F32", shape: [] },
    { name: "empty", type: "F16", shape: [0, 4] },
  ] as const;
  const writer = await writeSafetensors(output, plans, { format: "pt" });
  for (const [i, { name }] of plans.entries()) await writer.write(name, noise(writer.layout.tensors.get(name)!.bytes, i));
  await writer.finish();
  const source = bytesSource("x.safetensors", output.bytes());
  const { tensors } = await readSafetensors(source);
  for (const plan of plans) expect(tensors.get(plan.name)).toMatchObject(plan);
  expect(tensors.size).toBe(plans.length);
  for (const [i, { name }] of plans.entries()) {
    const { offset, bytes } = tensors.get(name)!;
    expect(await source.read(offset, bytes)).toEqual(noise(bytes, i));
  }
  expect(writer.layout.header.length % 8).toBe(0);
  expect(() => layoutSafetensors([plans[0], plans[0]])).toThrow(/unique/);
  expect(
    JSON.parse(
      safetensorsIndex(
        new Map([
          ["b", "2"],
          ["a", "1"],
        ]),
        8,
      ),
    ),
  ).toEqual({
    metadata: { total_size: 8 },
    weight_map: { a: "1", b: "2" },
  });
});
