// GPTQ folders as GGUF: every value of every weight, whatever the zero points, the groups and the version of the layout.
import { expect, test } from "vitest";
import { type MemoryOutput, memoryOutput, toGguf } from "../../src/convert/index.ts";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { jsonBytes, type StoredTensor, writeSafetensors } from "../support/folder.ts";
import { divergence } from "../support/golden.ts";
import { gptqTensors } from "../support/gptq.ts";
import { noise } from "../support/noise.ts";
import {
  ggufName,
  halfBits,
  halfValue,
  interleaved,
  rotatedHeads,
  tinyConfig,
  tinyFolder,
  tinyModel,
  tinyStored,
} from "../support/tiny.ts";

type Folder = Record<string, Uint8Array>;

interface Kind {
  readonly group: number;
  readonly version: 1 | 2;
  /** Bits of a scale's fraction: with 5 its product with a zero point is a half. */
  readonly bits: number;
  readonly zero: (row: number) => number;
  /** The group of a column. */
  readonly groupOf: (column: number, groups: number) => number;
}

const runs = (group: number) => (column: number) => Math.floor(column / group);

/** A folder of random codes, and the values that they stand for. */
function packedFolder({ group, version, bits, zero, groupOf }: Kind): { folder: Folder; values: Map<string, Float32Array> } {
  const model = tinyModel({ layers: 1, hidden: 128, intermediate: 256, heads: 4, kvHeads: 2, headDim: 32 });
  const random = noise(3);
  const values = new Map<string, Float32Array>();
  const stored = tinyStored(model, "F16").flatMap((tensor): StoredTensor[] => {
    if (!/_proj/.test(tensor.name)) return [tensor];
    const [rows, cols] = tensor.shape as [number, number];
    const groups = cols / group;
    const codes = Uint8Array.from({ length: rows * cols }, () => 16 * random());
    const whole = 2 ** (bits - 1);
    const scales = Uint16Array.from({ length: rows * groups }, () =>
      halfBits((whole + Math.floor(whole * random())) / (whole * 2 ** 6)),
    );
    const index = Int32Array.from({ length: cols }, (_, k) => groupOf(k, groups));
    values.set(
      tensor.name,
      Float32Array.from(codes, (code, i) => {
        const [r, k] = [Math.floor(i / cols), i % cols];
        return (code - zero(r)) * halfValue(scales[r * groups + index[k]!]!);
      }),
    );
    const stem = tensor.name.replace(/weight$/, "");
    const parts = gptqTensors(stem, codes, scales, rows, cols, group, (r) => (zero(r) - (version === 1 ? 1 : 0)) & 15);
    return parts.map((part) => (part.name.endsWith("g_idx") ? { ...part, bytes: new Uint8Array(index.buffer) } : part));
  });
  const quantization_config = {
    quant_method: "gptq",
    bits: 4,
    group_size: group,
    checkpoint_format: version === 1 ? "gptq" : "gptq_v2",
  };
  const folder = {
    ...tinyFolder(model, "F16"),
    "config.json": jsonBytes({ ...tinyConfig(model.shape), quantization_config }),
    "model.safetensors": writeSafetensors(stored),
  };
  return { folder, values };
}

/** Blocks as ggml defines them. */
function valuesOf(type: string, bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type === "F32") return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  const header = type === "Q4_0" ? 2 : 4;
  const block = header + 16;
  return Float32Array.from({ length: (bytes.length / block) * 32 }, (_, i) => {
    const at = Math.floor(i / 32) * block;
    const k = i % 32;
    const code = (bytes[at + header + (k % 16)]! >> (k < 16 ? 0 : 4)) & 15;
    const d = halfValue(view.getUint16(at, true));
    return type === "Q4_0" ? d * (code - 8) : d * code + halfValue(view.getUint16(at + 2, true));
  });
}

const shuffled = (column: number, groups: number): number => (column * 7 + 3) % groups;

const cases: readonly (readonly [name: string, type: string, kind: Kind])[] = [
  ["symmetric, version 1", "Q4_0", { group: 128, version: 1, bits: 10, zero: () => 8, groupOf: runs(128) }],
  ["symmetric, version 2, groups of 32", "Q4_0", { group: 32, version: 2, bits: 10, zero: () => 8, groupOf: runs(32) }],
  ["zero points whose minima are halves", "Q4_1", { group: 64, version: 1, bits: 5, zero: (r) => r % 16, groupOf: runs(64) }],
  ["zero points whose minima are none", "F32", { group: 64, version: 2, bits: 10, zero: (r) => r % 16, groupOf: runs(64) }],
  ["groups in activation order", "F32", { group: 32, version: 1, bits: 10, zero: () => 8, groupOf: shuffled }],
];

for (const [name, type, kind] of cases)
  test(`${name}: ${type}, value by value`, async () => {
    const { folder, values } = packedFolder(kind);
    let output: MemoryOutput | undefined;
    const { notes, types } = await toGguf(memoryFiles("", folder), async () => (output = memoryOutput("x.gguf")));
    const file = output!.bytes();
    const { tensors } = await readGguf(bytesSource("x.gguf", file));
    for (const [key, wanted] of values) {
      const tensor = tensors.find((t) => t.name === ggufName(key))!;
      expect(tensor.type, key).toBe(type);
      const found = valuesOf(type, await tensor.source.read(tensor.offset, tensor.bytes));
      const { shape } = tinyModel({ layers: 1, hidden: 128, intermediate: 256, heads: 4, kvHeads: 2, headDim: 32 });
      const heads = rotatedHeads(key, shape);
      expect(firstDifference(found, heads ? interleaved(wanted, tensor.shape[0]!, heads) : wanted), key).toBe(-1);
    }
    expect(types[type as "F32"]).toBeGreaterThanOrEqual(values.size);
    expect(notes.join()).toContain(`${values.size} `);
    const tokens = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 320);
    const [a, b] = [await load(folder), await load(file)];
    const [x, y] = [await logitsOf(a, tokens), await logitsOf(b, tokens)];
    // The folder's kernels have a minimum for every block, which symmetric blocks of a GGUF have not: sums are rounded otherwise. Minima that
    // are no halves are rounded in the folder's.
    if (type === "Q4_1" || kind.groupOf === shuffled) expect(firstDifference(x, y)).toBe(-1);
    else expect(divergence(x.subarray(0, 320), y.subarray(0, 320))).toBeLessThan(1e-3);
  });
