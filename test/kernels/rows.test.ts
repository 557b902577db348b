// Row-wise kernels against double precision, and file blocks against packed rows.
import { expect, test } from "vitest";
import { TENSOR_TYPES } from "../../src/file/tensor.ts";
import { FILE_TYPES, KINDS } from "../../src/wasm/abi.ts";
import { builds, workbench } from "../support/bench.ts";
import { noise } from "../support/noise.ts";
import { floatBytes } from "../support/tiny.ts";

/** The nearest whole number, of two the even one. */
const even = (x: number): number => {
  const down = Math.floor(x);
  return x - down === 0.5 ? down + (down & 1) : Math.round(x);
};

/** The nearest number of `bits` significant bits that is a multiple of 2^least: a half for (-24, 11). */
const nearest = (x: number, least: number, bits: number): number => {
  const unit = 2 ** Math.max(least, Math.floor(Math.log2(x)) - bits + 1);
  return x > 0 ? even(x / unit) * unit : 0;
};

for (const build of builds) {
  test(`RMSNorm of ${build} is within two roundings of its definition`, async () => {
    const { kernels, floats, memory, take } = await workbench(build);
    for (const cols of [4, 6, 64, 1024, 4096]) {
      const random = noise(cols);
      const x = floats(Array.from({ length: cols }, () => (random() - 0.5) * 100));
      const w = floats(Array.from({ length: cols }, () => random() + 0.5));
      const [got, want] = [take(4 * cols), take(4 * cols)];
      kernels.norm_row(x.at, w.at, got, cols, 1e-5, 0.25);
      kernels.norm_row_ref(x.at, w.at, want, cols, 1e-5, 0.25);
      const expected = new Float32Array(memory.buffer, want, cols);
      // factor, product and product: three roundings of 2^-24 each against one.
      new Float32Array(memory.buffer, got, cols).forEach((y, i) => {
        expect(Math.abs(y - expected[i]!)).toBeLessThanOrEqual(4 * 2 ** -24 * Math.abs(expected[i]!));
      });
    }
  });

  test(`SiLU of ${build} is within 1e-6 of its definition, at any size of gate`, async () => {
    const { kernels, floats } = await workbench(build);
    const gates = [
      0,
      -0,
      1e-30,
      1,
      -1,
      20,
      -20,
      87,
      -87,
      88.5,
      -88.5,
      1000,
      -1000,
      1e30,
      -1e30,
      ...Array.from({ length: 241 }, (_, i) => (i - 120) / 4),
    ];
    const [a, b] = [floats(gates), floats(gates)];
    const up = floats(gates.map((_, i) => 1 + i / 7));
    kernels.silu_row(a.at, up.at, gates.length);
    kernels.silu_row_ref(b.at, up.at, gates.length);
    a.values.forEach((y, i) => {
      expect(Math.abs(y - b.values[i]!), `gate ${gates[i]}`).toBeLessThanOrEqual(1e-6 * Math.abs(b.values[i]!) + 1e-35);
    });
  });

  test(`GELU of ${build} is within 2e-6 of its definition, at any size of gate`, async () => {
    const { kernels, floats } = await workbench(build);
    const gates = [0, -0, 1e-30, -1e-30, 4, -4, 8, -8, 12, -12, 88, -88, 1e4, -1e4, 1e13, -1e13, 1e30, -1e30];
    for (let i = -200; i <= 200; i++) gates.push(i / 25);
    while (gates.length % 4) gates.push(1);
    const [a, b] = [floats(gates), floats(gates)];
    const up = floats(gates.map((_, i) => 1 + i / 7));
    kernels.gelu_row(a.at, up.at, gates.length);
    kernels.gelu_row_ref(b.at, up.at, gates.length);
    // Far below zero the gate is e^-2u, and the rounding of u counts |2u| times.
    a.values.forEach((y, i) => {
      const most = (1e-6 + 2e-7 * Math.abs(2 * gates[i]!)) * Math.abs(b.values[i]!);
      expect(Math.abs(y - b.values[i]!), `gate ${gates[i]}`).toBeLessThanOrEqual(most + 1e-30);
    });
  });

  test(`soft caps of ${build} are within 3e-7 of their definition, and a nan stays one`, async () => {
    const { kernels, floats } = await workbench(build);
    const values = [0, -0, 1e-30, 1000, -1000, 1e-3, -1e-3];
    for (let i = -300; i <= 301; i++) values.push(i / 3);
    for (const cap of [0.5, 4, 30, 50])
      for (const count of [values.length, values.length - 1, values.length - 2, 3]) {
        const [a, b] = [floats(values), floats(values)];
        kernels.cap_row(a.at, count, cap);
        kernels.cap_row_ref(b.at, count, cap);
        a.values.forEach((y, i) => {
          const expected = i < count ? b.values[i]! : values[i]!;
          expect(Object.is(y, expected) || Math.abs(y - expected) <= 3e-7 * Math.abs(expected), `${values[i]} to ${cap}`).toBe(
            true,
          );
        });
      }
    const broken = floats([Number.NaN, 1, 2, 3, Number.NaN]);
    kernels.cap_row(broken.at, 5, 30);
    expect([...broken.values].map(Number.isNaN)).toEqual([true, false, false, false, true]);
    const far = floats([1e30, -1e30, Infinity, -Infinity]);
    kernels.cap_row(far.at, 4, 30);
    expect([...far.values]).toEqual([30, -30, 30, -30]);
  });

  test(`RoPE angles of ${build} equal Math.cos and Math.sin to float precision up to position 131072`, async () => {
    const { kernels, floats, memory, take } = await workbench(build);
    const dim = 64;
    const frequency = take(8 * (dim / 2));
    const factors = floats(Array.from({ length: dim / 2 }, (_, i) => 1 + i / 3));
    kernels.rope_frequencies(frequency, dim, 10000, factors.at);
    const table = take(4 * dim);
    for (const position of [0, 1, 5, 1000, 131071]) {
      kernels.rope_row(frequency, position, 1.5, table, dim);
      const got = new Float32Array(memory.buffer, table, dim);
      for (let i = 0; i < dim / 2; i++) {
        const angle = (position * 10000 ** ((-2 * i) / dim)) / factors.values[i]!;
        expect(Math.abs(got[i]! - 1.5 * Math.cos(angle))).toBeLessThan(3e-7);
        expect(Math.abs(got[dim / 2 + i]! - 1.5 * Math.sin(angle))).toBeLessThan(3e-7);
      }
    }
  });

  // Largest error of a packed weight against its file block, in units of the block's largest value.
  const loss: Record<string, number> = {
    F32: 0,
    F16: 0,
    BF16: 0,
    Q4_0: 0,
    Q8_0: 0,
    Q5_0: 0,
    TQ1_0: 0,
    TQ2_0: 0,
    Q4_1: 1e-6,
    Q5_1: 1e-6,
    Q4_K: 2e-3,
    Q5_K: 2e-3,
    Q6_K: 0,
    Q3_K: 5e-3,
    Q2_K: 5e-3,
  };
  for (const [type, id] of Object.entries(FILE_TYPES))
    test(`${type} packed by ${build} keeps the values of its file blocks to ${loss[type]} of the largest, in rope order too`, async () => {
      const { kernels, bytes, memory, take, tensor } = await workbench(build);
      const [rows, cols] = [24, 512];
      const { block, bytes: blockBytes } = TENSOR_TYPES[type as keyof typeof FILE_TYPES];
      const rowBytes = (cols / block) * blockBytes;
      const random = noise(id + 1);
      const file = bytes(rows * rowBytes);
      for (let i = 0; i < file.values.length; i++) file.values[i] = Math.floor(random() * 256);
      const view = new DataView(memory.buffer, file.at, rows * rowBytes);
      // Scales (and float weights) must be ordinary numbers; everything else may be any bits.
      const halves: Record<string, number[]> = {
        Q4_0: [0],
        Q4_1: [0, 2],
        Q5_0: [0],
        Q5_1: [0, 2],
        Q8_0: [0],
        Q2_K: [80, 82],
        Q3_K: [108],
        Q4_K: [0, 2],
        Q5_K: [0, 2],
        Q6_K: [208],
        TQ1_0: [52],
        TQ2_0: [64],
        F16: [0],
      };
      for (let at = 0; at < rows * rowBytes; at += blockBytes) {
        for (const h of halves[type] ?? []) view.setUint16(at + h, 0x2000 + Math.floor(random() * 0x800), true);
        if (type === "F32") view.setFloat32(at, random() - 0.5, true);
        if (type === "BF16") view.setUint16(at, 0x3c00 + Math.floor(random() * 0x300), true);
        if (type === "TQ2_0")
          for (let i = 0; i < 64; i++)
            view.setUint8(
              at + i,
              [0, 1, 2].map((s) => (Math.floor(random() * 3) as number) << (2 * s)).reduce((a, b) => a | b) |
                (Math.floor(random() * 3) << 6),
            );
      }
      for (const heads of [0, 3]) {
        const w = tensor(KINDS[kernels.packed_kind(id)]!, rows, cols);
        expect(kernels.pack_rows(w.at, id, file.at, 0, 10, heads)).toBe(0);
        expect(kernels.pack_rows(w.at, id, file.at + 10 * rowBytes, 10, rows - 10, heads)).toBe(0);
        const [want, got] = [take(4 * cols), take(4 * cols)];
        for (let row = 0; row < rows; row++) {
          const dim = rows / Math.max(heads, 1);
          const r = row % dim;
          kernels.dequantize(id, file.at + row * rowBytes, cols / block, want);
          kernels.tensor_row(w.at, heads ? row - r + (r % 2) * (dim / 2) + Math.floor(r / 2) : row, got);
          const expected = new Float32Array(memory.buffer, want, cols);
          const most = Math.max(...expected.map(Math.abs));
          expect(most).toBeGreaterThan(0);
          new Float32Array(memory.buffer, got, cols).forEach((y, i) => {
            expect(Math.abs(y - expected[i]!)).toBeLessThanOrEqual(loss[type]! * most);
          });
        }
      }
    });

  test(`rows gathered by ${build} keep their values, whatever the kind`, async () => {
    const { kernels, bytes, floats, memory, tensor } = await workbench(build);
    const [rows, cols] = [24, 512];
    const ids = bytes([...new Uint8Array(Int32Array.of(19, 0, 7, 12, 5, 23, 1, 8, 9, 2, 19).buffer)]);
    for (const [type, id] of Object.entries(FILE_TYPES)) {
      const random = noise(id + 7);
      const { block, bytes: blockBytes } = TENSOR_TYPES[type as keyof typeof FILE_TYPES];
      const file = bytes(Array.from({ length: rows * (cols / block) * blockBytes }, () => Math.floor(random() * 0x3c)));
      const kind = KINDS[kernels.packed_kind(id)]!;
      const [from, to] = [tensor(kind, rows, cols), tensor(kind, 11, cols)];
      expect(kernels.pack_rows(from.at, id, file.at, 0, rows, 0)).toBe(0);
      expect(kernels.gather_rows(from.at, ids.at, 11, to.at)).toBe(0);
      const [want, got] = [floats(cols), floats(cols)];
      for (const [i, row] of new Int32Array(memory.buffer, ids.at, 11).entries()) {
        kernels.tensor_row(from.at, row, want.at);
        kernels.tensor_row(to.at, i, got.at);
        expect(got.values, `${type}, row ${row}`).toEqual(want.values);
      }
      expect(want.values.some((v) => v !== 0)).toBe(true);
    }
  });
  for (const type of ["F32", "F16", "BF16"] as const)
    test(`${type} requantised to int8 by ${build} is its definition, in rope order too`, async () => {
      const { kernels, bytes, floats, memory, take, tensor } = await workbench(build);
      const [rows, cols, heads] = [24, 96, 3];
      const random = noise(29);
      // Blocks of ordinary size, of subnormal scales, of scales that are zero, of zeros, and of one value alone.
      const sizes = [1, 30, 1e-3, 1e-6, 0];
      const values = Float32Array.from({ length: rows * cols }, (_, i) => (random() - 0.5) * sizes[(i >> 5) % sizes.length]!);
      values.fill(0, 32, 64)[40] = 0.25;
      const file = bytes(floatBytes(values, type));
      const exact = floats(rows * cols);
      kernels.dequantize(FILE_TYPES[type], file.at, rows * cols, exact.at);
      const w = tensor("int8", rows, cols);
      const rowBytes = file.values.length / rows;
      expect(kernels.pack_rows(w.at, FILE_TYPES[type], file.at, 0, 10, heads)).toBe(0);
      expect(kernels.pack_rows(w.at, FILE_TYPES[type], file.at + 10 * rowBytes, 10, rows - 10, heads)).toBe(0);
      const out = take(4 * cols);
      const dim = rows / heads;
      for (let row = 0; row < rows; row++) {
        const r = row % dim;
        kernels.tensor_row(w.at, row - r + (r % 2) * (dim / 2) + Math.floor(r / 2), out);
        const got = new Float32Array(memory.buffer, out, cols);
        for (let begin = 0; begin < cols; begin += 32) {
          const block = exact.values.subarray(row * cols + begin, row * cols + begin + 32);
          const scale = nearest(Math.fround(Math.max(...block.map(Math.abs)) / Math.fround(127)), -24, 11);
          const want = Array.from(block, (x) => {
            const code = scale > 0 ? even(Math.fround(x / scale)) : 0;
            return Math.fround(scale * Math.max(-127, Math.min(127, code))) + 0;
          });
          expect(Array.from(got.subarray(begin, begin + 32), (v) => v + 0)).toEqual(want);
        }
      }
      expect(kernels.pack_rows(tensor("int8", 8, 40).at, FILE_TYPES[type], file.at, 0, 1, 0)).toBe(-1);
    });

  test(`${build} refuses rows outside the tensor`, async () => {
    const { kernels, tensor, take } = await workbench(build);
    const w = tensor("int4", 8, 64);
    const from = take(4096);
    expect(kernels.pack_rows(w.at, FILE_TYPES.Q4_0, from, 4, 5, 0)).toBe(-1);
    expect(kernels.pack_rows(w.at, FILE_TYPES.Q4_0, from, -1, 2, 0)).toBe(-1);
    expect(kernels.pack_words(w.at, from, 0, 12, from, 0, 32, 1)).toBe(-1);
  });

  test(`GPTQ words packed by ${build} are scale * (code - zero), in both checkpoint formats`, async () => {
    const { kernels, bytes, memory, take, tensor } = await workbench(build);
    const [rows, cols, group] = [16, 256, 128];
    const random = noise(3);
    const words = bytes(Array.from({ length: (cols / 8) * rows * 4 }, () => Math.floor(random() * 256)));
    const zeros = bytes(Array.from({ length: (cols / group) * (rows / 8) * 4 }, () => Math.floor(random() * 256)));
    const scales = take((cols / group) * rows * 2);
    const half = new Uint16Array(memory.buffer, scales, (cols / group) * rows).map(() => 0x2000 + Math.floor(random() * 0x800));
    new Uint16Array(memory.buffer, scales, half.length).set(half);
    const asFloat = (h: number) => 2 ** ((h >> 10) - 15) * (1 + (h & 0x3ff) / 1024);
    const nibble = (b: Uint8Array, i: number) => (b[i >> 1]! >> (4 * (i & 1))) & 15;
    for (const [withZeros, plusOne] of [
      [false, 1],
      [true, 1],
      [true, 0],
    ] as const) {
      const w = tensor(withZeros ? "int4-min" : "int4", rows, cols);
      expect(kernels.pack_words(w.at, words.at, 0, 12, scales, withZeros ? zeros.at : 0, group, plusOne)).toBe(0);
      expect(
        kernels.pack_words(w.at, words.at + 12 * rows * 4, 12, cols / 8 - 12, scales, withZeros ? zeros.at : 0, group, plusOne),
      ).toBe(0);
      const out = take(4 * cols);
      for (let n = 0; n < rows; n++) {
        kernels.tensor_row(w.at, n, out);
        const got = new Float32Array(memory.buffer, out, cols);
        for (let k = 0; k < cols; k++) {
          const g = Math.floor(k / group);
          const zero = withZeros ? (nibble(zeros.values, g * rows + n) + plusOne) & 15 : 8;
          const q = nibble(words.values, ((k >> 3) * rows + n) * 8 + (k & 7));
          const want = asFloat(half[g * rows + n]!) * (q - zero);
          expect(Math.abs(got[k]! - want), `row ${n}, input ${k}`).toBeLessThanOrEqual(
            withZeros ? 16 * 2 ** -11 * asFloat(half[g * rows + n]!) : 0,
          );
        }
      }
    }
  });
}
