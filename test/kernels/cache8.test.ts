// Attention over a cache of 8 bits is held to its definition bit for bit, in every build and form, alone, in batches, in draft trees and
// sparsely.
import { expect, test } from "vitest";
import type { SparseConfig } from "../../src/model/sparse.ts";
import { FORMS, type Form, KINDS } from "../../src/wasm/abi.ts";
import { causal, Rig, type TestRow } from "../sparse/rig.ts";
import { builds } from "../support/bench.ts";
import { noise } from "../support/noise.ts";
import { attention8, type Slot } from "./cache8.ts";

const formsOf = (build: string): readonly Form[] =>
  build.includes("relaxed") ? ["dot16", "dot32", "dot32-lanes"] : ["dot16", "extended"];
const takeForm = (rig: Rig, form: Form) => rig.bench.kernels.choose_form(KINDS.length, FORMS.indexOf(form));

/** No row is as long. */
const dense: SparseConfig = {
  kernelSize: 32,
  kernelStride: 16,
  initBlocks: 1,
  blockSize: 64,
  windowSize: 64,
  topk: 1,
  denseLen: 1 << 20,
  exactLse: true,
};

const bits = (values: ArrayLike<number>) => new Int32Array(Float32Array.from(values).buffer);

/** Where two results differ in a bit, and how; "" where they do not. */
function difference(got: ArrayLike<number>, want: ArrayLike<number>): string {
  const [a, b] = [bits(got), bits(want)];
  const i = a.findIndex((x, at) => x !== b[at]);
  return a.length !== b.length ? `lengths ${a.length} and ${b.length}` : i < 0 ? "" : `at ${i}: ${got[i]} for ${want[i]}`;
}

/** Keys and values of every size, among them zeros, what is too small to be coded, and outliers. */
function fill(rig: Rig, seed: number, count: number): void {
  const random = noise(seed);
  const { kvHeads, headDim } = rig.shape;
  const vector = () => {
    const size = [0, 1e-38, 1e-3, 1, 1, 1, 4, 30][Math.floor(random() * 8)]!;
    return Array.from({ length: headDim }, () => (random() - 0.5) * size * (random() < 0.02 ? 20 : 1));
  };
  for (let slot = 0; slot < count; slot++) for (let head = 0; head < kvHeads; head++) rig.store(head, slot, vector(), vector());
}

const queries = (seed: number, count: number, size = 3): number[] => {
  const random = noise(seed);
  return Array.from({ length: count }, () => Math.fround((random() - 0.5) * size));
};

const sees = ({ base, mask }: TestRow, slot: number) =>
  slot < base || (slot - base < 64 && slot >= base && ((mask >> BigInt(slot - base)) & 1n) === 1n);

/** What the rows are to give. */
function defined(rig: Rig, rows: readonly TestRow[], q: readonly number[]): number[] {
  const { heads, kvHeads, headDim } = rig.shape;
  return rows.flatMap((row, t) =>
    Array.from({ length: heads }, (_, h) => {
      const at = (t * heads + h) * headDim;
      const reach = row.mask === 0n ? row.base : row.base + row.mask.toString(2).length;
      const slots = Array.from(
        { length: reach },
        (_, slot): Slot => ({ ...rig.codes(Math.floor(h / (heads / kvHeads)), slot), seen: sees(row, slot) }),
      );
      return attention8(q.slice(at, at + headDim), slots);
    }).flat(),
  );
}

const shapes = [
  { heads: 1, kvHeads: 1, headDim: 2, slots: [1, 31, 33] },
  { heads: 3, kvHeads: 1, headDim: 6, slots: [5, 64] },
  { heads: 2, kvHeads: 2, headDim: 12, slots: [32, 70] },
  { heads: 16, kvHeads: 2, headDim: 64, slots: [1, 97, 200] },
  { heads: 5, kvHeads: 1, headDim: 98, slots: [47] },
  { heads: 2, kvHeads: 1, headDim: 32, slots: [1024, 1090] },
] as const;

for (const build of builds)
  for (const form of formsOf(build)) {
    test(`${build}, ${form}: rows alone give what is defined`, { timeout: 120_000 }, async () => {
      for (const [i, { slots, ...shape }] of shapes.entries()) {
        const rig = await Rig.open(build, { ...shape, kvType: "q8", sparse: dense, capacity: 1152, rows: 8 });
        expect(takeForm(rig, form)).toBe(0);
        fill(rig, 100 + i, 1152);
        for (const length of slots)
          for (const size of [3, 0, 1e-37, 300]) {
            const row = causal(length - 1, length);
            const q = queries(length + i, shape.heads * shape.headDim, size);
            const told = `${JSON.stringify(shape)}, ${length} slots, ${size}`;
            expect(difference(rig.attend([row], q), defined(rig, [row], q)), told).toBe("");
          }
      }
    });

    test(`${build}, ${form}: rows of a batch give what is defined`, { timeout: 120_000 }, async () => {
      for (const shape of [
        { heads: 6, kvHeads: 2, headDim: 24 },
        { heads: 8, kvHeads: 1, headDim: 64 },
      ]) {
        const rig = await Rig.open(build, { ...shape, kvType: "q8", sparse: dense, capacity: 256, rows: 8 });
        takeForm(rig, form);
        fill(rig, 7, 256);
        const rows = Array.from({ length: 7 }, (_, i) => causal(60 + i, 67));
        const q = queries(9, rows.length * shape.heads * shape.headDim);
        expect(difference(rig.attend(rows, q), defined(rig, rows, q))).toBe("");
      }
    });
  }

/** A tree of drafts over 1050 slots that crosses a tile: two branches from a common stem. */
const tree: readonly TestRow[] = [0b1n, 0b11n, 0b101n, 0b1011n, 0b10101n].map((mask, i) => ({
  position: 1050 + mask.toString(2).replaceAll("0", "").length - 1,
  slot: 1050 + i,
  base: 1050,
  mask,
  total: 1055,
}));

test("a branch of a draft tree gives what its tokens give once they are accepted, in every build and form", {
  timeout: 120_000,
}, async () => {
  const shape = { heads: 8, kvHeads: 2, headDim: 20, kvType: "q8", sparse: dense, capacity: 1152, rows: 8 } as const;
  const width = shape.heads * shape.headDim;
  for (const build of builds)
    for (const form of formsOf(build)) {
      const rig = await Rig.open(build, shape);
      takeForm(rig, form);
      fill(rig, 3, 1152);
      const q = queries(4, tree.length * width);
      const got = rig.attend(tree, q);
      for (const [t, row] of tree.entries()) {
        // Ancestors, in order, behind the slots that all see.
        const own = [0, 1, 2, 3, 4].filter((i) => (row.mask >> BigInt(i)) & 1n).map((i) => 1050 + i);
        const order = [...Array.from({ length: 1050 }, (_, i) => i), ...own];
        for (const h of [0, shape.heads - 1]) {
          const at = t * width + h * shape.headDim;
          const slots = order.map((slot): Slot => ({ ...rig.codes(h < 4 ? 0 : 1, slot), seen: true }));
          const want = attention8(q.slice(at, at + shape.headDim), slots);
          expect(difference(got.slice(at, at + shape.headDim), want), `${build}, ${form}, branch ${t}`).toBe("");
        }
      }
    }
});

test("sparse rows, alone and many, give the same bits in every build and form", { timeout: 120_000 }, async () => {
  const sparse = { ...dense, denseLen: 64, topk: 3 };
  let first: Float32Array | undefined;
  for (const build of builds)
    for (const form of formsOf(build)) {
      const rig = await Rig.open(build, { heads: 8, kvHeads: 2, headDim: 32, kvType: "q8", sparse, capacity: 2048, rows: 8 });
      takeForm(rig, form);
      fill(rig, 11, 1500);
      const rows = Array.from({ length: 5 }, (_, i) => causal(1490 + i, 1495));
      const q = queries(12, rows.length * 256);
      const many = rig.attend(rows, q);
      const alone = rows.flatMap((row, t) => [...rig.attend([row], q.slice(t * 256, (t + 1) * 256))]);
      expect(difference(alone, many), `${build}, ${form}`).toBe("");
      first ??= many;
      expect(difference(many, first), `${build}, ${form}`).toBe("");
    }
});

/** Bytes of a tile of 32 slots of 16 dimensions. */
const TILE = 16 * 32 + 128;

test("a stale slot that holds no numbers changes nothing", async () => {
  for (const build of builds)
    for (const form of formsOf(build)) {
      const rig = await Rig.open(build, {
        heads: 4,
        kvHeads: 1,
        headDim: 16,
        kvType: "q8",
        sparse: dense,
        capacity: 128,
        rows: 8,
      });
      takeForm(rig, form);
      fill(rig, 5, 40);
      const q = queries(6, 64);
      const before = rig.attend([causal(39, 40)], q);
      for (let slot = 40; slot < 64; slot++)
        rig.store(0, slot, new Float32Array(16).fill(Number.NaN), new Float32Array(16).fill(Number.NaN));
      expect(difference(rig.attend([causal(39, 40)], q), before), `${build}, ${form}`).toBe("");
      // What nobody wrote may be anything: scales of any bits, and the code that no value has.
      const tile = new DataView(rig.bench.memory.buffer).getUint32(rig.sequence, true) + (4 + 1) * TILE;
      for (const scale of [0xffffffff, 0xffc00000, 0x7fc00000, 0x7f800000, 0xff800000, 0xbf800000, 0x00000001]) {
        const view = new DataView(rig.bench.memory.buffer, tile, TILE);
        for (let j = 8; j < 32; j++) {
          view.setUint32(16 * 32 + 4 * j, scale, true);
          for (let d = 0; d < 16; d++) view.setInt8((Math.floor(j / 4) * 16 + d) * 4 + (j % 4), -128);
        }
        expect(rig.codes(0, 63).value.codes).toEqual(Array(16).fill(-128));
        expect(difference(rig.attend([causal(39, 40)], q), before), `${build}, ${form}, ${scale.toString(16)}`).toBe("");
      }
    }
});
