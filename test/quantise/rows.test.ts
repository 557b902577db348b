// Which rows enter a Hessian where not all do: some of every sequence, evenly spread, the same for a seed; and what whole runs make of them.
import { expect, test } from "vitest";
import { chooseRows, chosenWithin } from "../../src/quantise/rows.ts";

const cases = [
  { lengths: [512, 512, 512, 512], skip: 0, count: 256 },
  { lengths: [2048, 9, 100, 4, 3, 700], skip: 4, count: 300 },
  { lengths: [8, 8, 8], skip: 1, count: 3 },
  { lengths: [50, 40], skip: 0, count: 89 },
  { lengths: Array.from({ length: 128 }, (_, i) => 8 + 37 * (i % 11)), skip: 2, count: 1000 },
];

test("so many rows are chosen, some of every sequence, spread over all of it, none that is skipped or twice", () => {
  for (const { lengths, skip, count } of cases)
    for (const seed of [0, 1, 77]) {
      const chosen = chooseRows(lengths, skip, count, seed)!;
      expect(chosen.reduce((sum, { length }) => sum + length, 0)).toBe(count);
      const all = lengths.reduce((sum, length) => sum + Math.max(0, length - skip), 0);
      for (const [s, positions] of chosen.entries()) {
        const own = Math.max(0, lengths[s]! - skip);
        if (own === 0) {
          expect(positions).toHaveLength(0);
          continue;
        }
        expect(positions.length).toBeGreaterThan(0);
        // Its share of all, within the row that every sequence has and the rounding.
        expect(Math.abs(positions.length - (count * own) / all)).toBeLessThanOrEqual(2);
        for (const [i, at] of positions.entries()) {
          expect(at).toBeGreaterThanOrEqual(skip + Math.floor((i * own) / positions.length));
          expect(at).toBeLessThan(skip + Math.floor(((i + 1) * own) / positions.length));
        }
      }
      expect(chooseRows(lengths, skip, count, seed)).toEqual(chosen);
    }
  const [a, b] = [1, 2].map((seed) => chooseRows([512, 512], 0, 100, seed));
  expect(a).not.toEqual(b);
});

test("more rows than there are mean all of them; fewer than sequences are refused", () => {
  expect(chooseRows([10, 10], 2, 16, 0)).toBeUndefined();
  expect(chooseRows([10, 10], 2, 1e9, 0)).toBeUndefined();
  expect(chooseRows([10, 10], 2, 15, 0)!.map(({ length }) => length)).toEqual([7, 8]);
  expect(() => chooseRows([10, 10, 10], 2, 2, 0)).toThrow(/hessianRows: 2 rows are fewer than the 3 calibration sequences/);
});

test("pieces of a sequence find their own", () => {
  const positions = Int32Array.of(3, 127, 128, 200, 255);
  expect([...chosenWithin(positions, 0, 128)]).toEqual([3, 127]);
  expect([...chosenWithin(positions, 128, 128)]).toEqual([0, 72, 127]);
  expect([...chosenWithin(positions, 256, 128)]).toEqual([]);
  expect([...chosenWithin(positions, 4, 20)]).toEqual([]);
});
