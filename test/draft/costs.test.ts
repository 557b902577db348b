// What steps cost by their rows, and how many texts side by side give the most tokens a millisecond.
import { expect, test } from "vitest";
import { StepCosts } from "../../src/decode/draft/costs.ts";

/** Steps as measured of int4 weights on two lanes: four rows are the optimum; and of ones that only memory holds up. */
const plain = [1, 1.4, 1.9, 2.4, 3.8, 5.7].map((ms, i) => ({ rows: [1, 2, 3, 4, 6, 8][i]!, ms }));
const flat = [1, 1.02, 1.1, 1.3].map((ms, i) => ({ rows: [1, 4, 8, 16][i]!, ms }));

test("as many rows as give the most a millisecond, and never more than asked for", () => {
  const costs = new StepCosts(plain);
  expect([1, 2, 3, 4, 8, 14].map((most) => costs.bestRows(most))).toEqual([1, 2, 3, 4, 4, 4]);
  expect(new StepCosts(flat).bestRows(14)).toBe(14);
  // Where rows together were measured to cost what they cost one by one, a few lose nothing, and the measurement may be wrong.
  expect(new StepCosts([1, 2, 3, 4].map((rows) => ({ rows, ms: rows }))).bestRows(8)).toBe(4);
  expect(new StepCosts([1, 2, 4].map((rows) => ({ rows, ms: 1 + 99 * (rows - 1) }))).bestRows(8)).toBe(4);
});

test("what steps really take moves the choice", () => {
  const costs = new StepCosts(flat);
  for (let i = 0; i < 60; i++) {
    costs.sawStep(4, 1.1);
    for (const rows of [5, 6, 8, 12, 14]) costs.sawStep(rows, rows);
  }
  expect(costs.bestRows(14)).toBe(4);
});

test("a step of more rows than were ever measured costs as much a row", () => {
  const costs = new StepCosts(flat);
  expect(costs.cost(128)).toBeCloseTo(2 * costs.cost(64), 10);
  const before = costs.cost(64);
  costs.sawStep(200, 1000);
  expect(costs.cost(64)).toBe(before);
});
