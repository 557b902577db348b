// Every kernel is held to its scalar definition bit for bit, at shapes around all tile edges, in every build.
import { expect, test } from "vitest";
import { FORMS, type Form, KINDS, type Kind } from "../../src/wasm/abi.ts";
import { type Bench, builds, workbench } from "../support/bench.ts";
import { noise } from "../support/noise.ts";

const shapes = [
  [1, 256, 1],
  [7, 256, 2],
  [8, 512, 3],
  [9, 256, 4],
  [40, 768, 5],
  [33, 512, 9],
  [264, 256, 37],
  // One token: 2, 3, 4, 5 and 13 panels in streams.
  [16, 512, 1],
  [23, 256, 1],
  [32, 768, 1],
  [35, 512, 1],
  [103, 512, 1],
  // Long streams, some of them whole pages apart.
  [2243, 512, 1],
  [2304, 1024, 1],
  // Ternary: four streams that are nearly whole pages apart and what is left; two, where four are half a page off.
  [1024, 1024, 1],
  [256, 4096, 1],
] as const;

/** Random codes and half scales; padding rows and columns as the packer leaves them. */
function fill(bench: Bench, kind: Kind, rows: number, cols: number, seed: number) {
  const random = noise(seed);
  const w = bench.tensor(kind, rows, cols);
  const bytes = new Uint8Array(bench.memory.buffer, w.data, w.bytes);
  const view = new DataView(bench.memory.buffer, w.data, w.bytes);
  // Half of them subnormal, or the first and last that are not, or 0.
  const EDGES = [0, 1, 0x3ff, 0x400, 0x7ff];
  const magnitude = () => {
    const part = random();
    return part < 0.25 ? EDGES[Math.floor(part * 20)]! : Math.floor(random() * (part < 0.5 ? 0x400 : 0x3c00));
  };
  const half = (at: number) => view.setUint16(at, magnitude() | (random() < 0.5 ? 0x8000 : 0), true);
  if (kind === "f32") for (let i = 0; i < w.bytes; i += 4) view.setFloat32(i, random() - 0.5, true);
  else if (kind === "bf16")
    for (let i = 0; i < w.bytes; i += 2)
      view.setUint16(i, Math.floor(0x3c00 + random() * 0x400) | (random() < 0.5 ? 0x8000 : 0), true);
  else if (kind === "f16") for (let i = 0; i < w.bytes; i += 2) half(i);
  else {
    for (let i = 0; i < w.bytes; i++)
      bytes[i] = kind === "ternary" ? [0, 1, 2, 0, 1, 2][Math.floor(random() * 6)]! * 0x15 : Math.floor(random() * 256);
    const heads = kind.endsWith("min") ? 32 : 16;
    const steps = { int4: 144, "int4-min": 160, int6: 16 + 8 * 208, int8: 272, "int8-min": 288, ternary: 16 + 8 * 64 };
    const step = steps[kind];
    for (let at = 0; at < w.bytes; at += step) for (let i = 0; i < heads; i += 2) half(at + i);
  }
  return w;
}

const bits = (memory: WebAssembly.Memory, at: number, n: number) => [...new Uint32Array(memory.buffer, at, n)];

/** Forms of a build: those of integer kinds, and one for what has no forms. */
const forms = (build: string, kind: Kind): readonly Form[] =>
  kind.endsWith("f32") || kind.endsWith("16")
    ? ["dot16"]
    : build.includes("relaxed")
      ? ["dot16", "dot32", "dot32-lanes"]
      : ["dot16", "extended"];

const cases = builds.flatMap((build) =>
  (["f32", "f16", "bf16", "int4", "int4-min", "int6", "int8", "int8-min", "ternary"] as const).flatMap((kind) =>
    forms(build, kind).map((form) => [kind, form, build] as const),
  ),
);

test.each(builds)("%s takes the forms it has and refuses the others", async (build) => {
  const { kernels } = await workbench(build);
  for (const kind of ["int4", "int4-min", "int6", "int8", "int8-min", "ternary"] as const)
    for (const [number, form] of FORMS.entries())
      expect(kernels.choose_form(KINDS.indexOf(kind), number) === 0, `${kind}, ${form}`).toBe(forms(build, kind).includes(form));
  expect(kernels.choose_form(-1, 0)).toBe(-1);
  // Behind the kinds: attention over a cache of 8 bits.
  for (const [number, form] of FORMS.entries())
    expect(kernels.choose_form(KINDS.length, number) === 0, `cache, ${form}`).toBe(forms(build, "int8").includes(form));
  expect(kernels.choose_form(KINDS.length + 1, 0)).toBe(-1);
  expect(kernels.choose_form(3, 4)).toBe(-1);
  expect(kernels.choose_form(3, -1)).toBe(-1);
  // x86 gives nans a sign, ARM does not; there bytes are signed or, in base builds, not asked about.
  if (process.arch === "arm64") expect(kernels.machine_traits()).toBe(build.includes("relaxed") ? 5 : 4);
  if (process.arch === "x64") expect(kernels.machine_traits() & 4).toBe(0);
});

for (const [kind, form, build] of cases)
  test(`${kind} GEMM of ${build} as ${form} equals its definition bit for bit at every shape`, async () => {
    const bench = await workbench(build);
    expect(bench.kernels.choose_form(KINDS.indexOf(kind), FORMS.indexOf(form))).toBe(0);
    for (const [rows, cols, tokens] of shapes) {
      const w = fill(bench, kind, rows, cols, rows * 31 + cols);
      const random = noise(tokens);
      const x = bench.floats(Array.from({ length: tokens * cols }, () => (random() - 0.5) * 10 ** Math.floor(random() * 4)));
      // Blocks whose codes are all largest, of one sign or of both; a block of zeros and one of extremes.
      for (let i = 32; i < Math.min(cols, 160); i++) x.values[i] = i < 96 ? 7 : i % 3 ? 7 : -7;
      if (tokens > 1) x.values.fill(-3, cols, cols + 256);
      x.values.fill(0, 0, 32);
      x.values.set([1e30, -1e30, 1e-30], cols - 32);
      const [q, scales] = [bench.take(tokens * cols), bench.take((tokens * cols) / 2)];
      const [got, want] = [bench.take(4 * tokens * rows), bench.take(4 * tokens * rows)];
      const block = kind === "ternary" ? 256 : 32;
      expect(bench.kernels.gemm_rows(w.at, x.at, q, scales, got, tokens, block, 1)).toBe(0);
      bench.kernels.gemm_rows_ref(w.at, x.at, q, scales, want, tokens, block);
      expect(bits(bench.memory, got, tokens * rows), `${rows} x ${cols}, ${tokens} tokens`).toEqual(
        bits(bench.memory, want, tokens * rows),
      );
    }
  });

for (const build of builds)
  test(`activations of ${build} are quantised as defined, zeros and extremes included`, async () => {
    const bench = await workbench(build);
    const random = noise(5);
    const cols = 1024;
    const x = bench.floats(Array.from({ length: cols }, () => (random() - 0.5) * 10 ** Math.floor(random() * 30 - 15)));
    x.values.fill(0, 0, 256);
    x.values.set([Number.NaN, 1], 256);
    x.values.set([Number.POSITIVE_INFINITY, 1], 512);
    for (const block of [32, 64, 128, 256]) {
      const [a, b] = [bench.bytes(cols), bench.bytes(cols)];
      const [s, t] = [bench.take(16 * (cols / block)), bench.take(16 * (cols / block))];
      bench.kernels.quantize_row(x.at, cols, block, a.at, s);
      bench.kernels.quantize_row_ref(x.at, cols, block, b.at, t);
      expect([...a.values]).toEqual([...b.values]);
      const blocks = cols / block;
      const sums = (at: number) => bits(bench.memory, at, 2 * blocks).filter((_, i) => i % 2);
      expect(sums(s)).toEqual(sums(t));
      const scale = (at: number) => [...new Float32Array(bench.memory.buffer, at, 2 * blocks)].filter((_, i) => i % 2 === 0);
      expect(scale(s)).toEqual(scale(t));
      const centres = (at: number) => bits(bench.memory, at + 8 * blocks, 2 * blocks);
      expect(centres(s)).toEqual(centres(t));
    }
  });
