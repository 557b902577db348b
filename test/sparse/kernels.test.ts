// The kernels of sparse attention against their definition, over random configurations, cache types and draft trees.
import { expect, test } from "vitest";
import type { SparseConfig } from "../../src/model/sparse.ts";
import { builds } from "../support/bench.ts";
import { noise } from "../support/noise.ts";
import { attend, blockScores, codingBound, compress, selectBlocks } from "./definition.ts";
import { causal, Rig, type Shape, type TestRow } from "./rig.ts";

const toy: SparseConfig = {
  kernelSize: 32,
  kernelStride: 16,
  blockSize: 64,
  initBlocks: 1,
  windowSize: 64,
  topk: 2,
  denseLen: 0,
  exactLse: false,
};

const pick = <T>(random: () => number, values: readonly T[]): T => values[Math.floor(random() * values.length)]!;

function randomShape(random: () => number): Shape {
  const kernelStride = pick(random, [4, 8, 16]);
  const kernelSize = kernelStride * pick(random, [1, 2, 2, 3, 4]);
  const blockSize = pick(
    random,
    [8, 16, 32, 64, 64, 96, 128].filter((b) => b % kernelStride === 0),
  );
  const windowSize = blockSize * pick(random, [1, 2, 3, 5]);
  const initBlocks = pick(random, [0, 1, 1, 2]);
  const sparse: SparseConfig = {
    kernelSize,
    kernelStride,
    blockSize,
    initBlocks,
    windowSize,
    topk: pick(random, [0, 1, 2, 4, 7, 1000]),
    denseLen: 0,
    exactLse: random() < 0.5,
  };
  const kvHeads = pick(random, [1, 2, 3]);
  const headDim = pick(random, [16, 20, 32, 64, 128]);
  return {
    heads: kvHeads * pick(random, [1, 2, 3, 4, 8, 16]),
    kvHeads,
    headDim,
    kvType: pick(random, ["f32", "f16", "q8"] as const),
    sparse,
    capacity: 64 * pick(random, [5, 8, 12]),
    rows: 16,
  };
}

/** Rows of a step: causal ones that end at `n`, or a draft tree hung below `n`. */
function randomRows(random: () => number, n: number, tree: boolean): TestRow[] {
  const count = 1 + Math.floor(random() * 9);
  if (!tree) return Array.from({ length: Math.min(count, n) }, (_, i) => causal(n - Math.min(count, n) + i, n));
  const masks: bigint[] = [];
  const depths: number[] = [];
  return Array.from({ length: count }, (_, i) => {
    const parent = Math.floor(random() * (i + 1)) - 1;
    masks.push((1n << BigInt(i)) | (parent < 0 ? 0n : masks[parent]!));
    depths.push(parent < 0 ? 0 : depths[parent]! + 1);
    return { position: n + depths[i]!, slot: n + i, base: n, mask: masks[i]!, total: n + count };
  });
}

/** Blocks chosen otherwise than defined must have scores that rounding cannot tell apart. */
function expectSameChoice(
  chosen: readonly number[],
  expected: readonly number[],
  scores: readonly number[],
  tolerance: number,
): void {
  const [extra, missing] = [chosen.filter((b) => !expected.includes(b)), expected.filter((b) => !chosen.includes(b))];
  expect(extra.length).toBe(missing.length);
  for (const [i, b] of extra.entries()) expect(Math.abs(scores[b]! / scores[missing[i]!]! - 1)).toBeLessThan(tolerance);
  expect([...chosen].sort((a, b) => a - b)).toEqual(chosen);
}

for (const build of builds)
  test(`random configurations of ${build} choose and attend as defined, draft trees included`, async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = noise(seed * 7919);
      const shape = randomShape(random);
      const { sparse: c, heads, kvHeads, headDim } = shape;
      const tree = seed % 4 === 0;
      const n = 1 + Math.floor(random() * (shape.capacity - 16));
      const rig = await Rig.open(build, shape);
      rig.fill(seed, 0, n + (tree ? 16 : 0));
      const rows = randomRows(random, n, tree);
      const q = Float32Array.from({ length: rows.length * heads * headDim }, () => ((random() - 0.5) * 6) / Math.sqrt(headDim));
      const out = rig.attend(rows, q);
      const what = `seed ${seed}: ${JSON.stringify(shape)}, ${n} tokens`;
      for (let head = 0; head < kvHeads; head++) {
        const cache = Array.from({ length: n + (tree ? 16 : 0) }, (_, slot) => rig.stored(head, slot));
        const [k, v] = [cache.map((x) => x.key), cache.map((x) => x.value)];
        const committed = k.slice(0, n);
        const [fine, coarse] = [
          compress(committed, c.kernelSize, c.kernelStride),
          compress(committed, 4 * c.kernelSize, 4 * c.kernelStride),
        ];
        for (const [t, row] of rows.entries()) {
          const queries = Array.from({ length: heads / kvHeads }, (_, g) =>
            q.subarray((t * heads + head * (heads / kvHeads) + g) * headDim).subarray(0, headDim),
          );
          const scores = blockScores(queries, fine, coarse, row.position, row.position + 1, c);
          const chosen = rig.chosen(t, head);
          expectSameChoice(chosen, selectBlocks(scores, row.position, c), scores, shape.kvType === "f32" ? 1e-4 : 1e-2);
          const sees = (slot: number) =>
            slot < row.base
              ? chosen.includes(Math.floor(slot / c.blockSize))
              : ((row.mask >> BigInt(slot - row.base)) & 1n) === 1n;
          for (const [g, query] of queries.entries()) {
            const want = attend(query, k, v, sees);
            const got = out.subarray((t * heads + head * queries.length + g) * headDim).subarray(0, headDim);
            // A cache of 8 bits is read by queries of 14 bits and weights of 7: what that gives bit for bit is test/kernels/cache8.test.ts.
            const bound = shape.kvType === "q8" ? codingBound(query, k, v, sees) : want.map(() => 0);
            const over = Math.max(...want.map((x, d) => Math.abs(x - got[d]!) - bound[d]!));
            expect(over, `${what}, row ${t}, KV head ${head}, query ${g}`).toBeLessThan(3e-6);
          }
        }
      }
    }
  });

for (const build of builds)
  test(`compressed keys of ${build} are means in slot order, fine and coarse, wherever the step ends`, async () => {
    const sparse: SparseConfig = {
      kernelSize: 32,
      kernelStride: 16,
      blockSize: 64,
      initBlocks: 1,
      windowSize: 64,
      topk: 2,
      denseLen: 0,
      exactLse: false,
    };
    for (const kvType of ["f32", "f16", "q8"] as const) {
      const rig = await Rig.open(build, { heads: 4, kvHeads: 2, headDim: 32, kvType, sparse, capacity: 512, rows: 8 });
      rig.fill(3, 0, 500);
      const q = new Float32Array(8 * 4 * 32);
      rig.attend([causal(499, 500)], q);
      const counts = { fine: (512 - 32) / 16 + 1, coarse: (512 - 128) / 64 + 1 };
      for (let head = 0; head < 2; head++)
        for (const [level, size, stride] of [
          [0, 32, 16],
          [1, 128, 64],
        ] as const)
          for (let window = 0; window * stride + size <= 500; window++) {
            const [got, want] = [rig.bench.floats(32), rig.bench.floats(32)];
            const scratch = rig.bench.take(4 * 32 * 32);
            rig.bench.kernels.compress_row(rig.model, rig.sequence, 0, head, level, window * stride, got.at, scratch);
            rig.bench.kernels.compress_row_ref(rig.model, rig.sequence, 0, head, level, window * stride, want.at, scratch);
            const largest = Math.max(...want.values.map(Math.abs));
            for (const [d, x] of got.values.entries()) expect(Math.abs(x - want.values[d]!)).toBeLessThan(1e-6 * (1 + largest));
            const tolerance = kvType === "f32" ? 0 : 2 ** -11;
            for (const [d, x] of rig.storedWindow(head, level, window, counts).entries())
              expect(Math.abs(x - got.values[d]!)).toBeLessThanOrEqual(
                tolerance * Math.abs(got.values[d]!) + 1e-7 * Number(tolerance > 0),
              );
          }
    }
  });

for (const build of builds)
  test(`a choice that covers all blocks in ${build} gives the bits of dense attention`, async () => {
    const sparse: SparseConfig = {
      kernelSize: 32,
      kernelStride: 16,
      blockSize: 64,
      initBlocks: 1,
      windowSize: 128,
      topk: 1000,
      denseLen: 1,
      exactLse: true,
    };
    const rig = await Rig.open(build, { heads: 16, kvHeads: 2, headDim: 32, kvType: "f16", sparse, capacity: 4096, rows: 8 });
    rig.fill(9, 0, 4000);
    const random = noise(4);
    const q = Float32Array.from({ length: 5 * 16 * 32 }, () => random() - 0.5);
    const rows = [3995, 3996, 3997, 3998, 3999].map((slot) => causal(slot, 4000));
    const dense = rows.map((row) => ({ ...row, total: 0 }));
    for (const [a, b] of [
      [rows, dense],
      [rows.slice(4), dense.slice(4)],
    ] as const) {
      const got = rig.attend(a, q);
      expect(new Uint32Array(got.buffer)).toEqual(new Uint32Array(rig.attend(b, q).buffer));
    }
  });

for (const build of builds)
  test(`${build} breaks ties towards the lower block: of equal keys, the first blocks are chosen`, async () => {
    const sparse: SparseConfig = { ...toy, initBlocks: 1, windowSize: 128, topk: 4 };
    for (const exactLse of [true, false]) {
      const shape = {
        heads: 8,
        kvHeads: 1,
        headDim: 32,
        kvType: "f16",
        sparse: { ...sparse, exactLse },
        capacity: 4096,
        rows: 2,
      } as const;
      const rig = await Rig.open(build, shape);
      const key = Array.from({ length: 32 }, (_, d) => 0.25 * (d % 5));
      for (let slot = 0; slot < 4000; slot++) rig.store(0, slot, key, key);
      rig.attend([causal(3500, 4000), causal(3999, 4000)], new Float32Array(2 * 8 * 32).fill(0.5));
      expect(rig.chosen(0, 0)).toEqual([0, 1, 2, 3, 53, 54]);
      expect(rig.chosen(1, 0)).toEqual([0, 1, 2, 3, 61, 62]);
    }
  });
