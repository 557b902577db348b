// The choice between all lanes and one.
import { expect, test } from "vitest";
import { LaneChoice } from "../../src/engine/lanes.ts";

/** Lanes of `steps` steps that take `ms(lanes)` each. */
function chosen(steps: number, ms: (lanes: number, step: number) => number, all = 4): number[] {
  const choice = new LaneChoice(all);
  return Array.from({ length: steps }, (_, step) => {
    const lanes = choice.next(true);
    choice.took(lanes, ms(lanes, step));
    return lanes;
  });
}

const share = (lanes: readonly number[], of: number) => lanes.filter((n) => n === of).length / lanes.length;

test("all lanes are taken where they are faster, and one only to try", () => {
  expect(
    share(
      chosen(200, (lanes) => 8 / lanes),
      4,
    ),
  ).toBeGreaterThan(0.9);
});

test("one lane is taken where barriers cost more than the others bring", () => {
  expect(
    share(
      chosen(200, (lanes) => (lanes === 1 ? 1 : 2)),
      1,
    ),
  ).toBeGreaterThan(0.9);
});

test("the choice follows the machine when it becomes free again", () => {
  const lanes = chosen(1200, (n, step) => (n === 1 ? 4 : step < 300 ? 9 : 1));
  expect(share(lanes.slice(100, 300), 1)).toBeGreaterThan(0.9);
  expect(share(lanes.slice(1000), 4)).toBeGreaterThan(0.9);
});

test("steps that are not timed take the way that is best so far, and a single lane is no choice", () => {
  const choice = new LaneChoice(2);
  choice.took(2, 5);
  choice.took(1, 3);
  expect(choice.next(false)).toBe(1);
  expect(new Set(chosen(50, () => 1, 1))).toEqual(new Set([1]));
});

test("slow first steps, as of code that is still being compiled, do not decide for long", () => {
  // All lanes come first, and are slow at first.
  const lanes = chosen(200, (n, step) => (step < 8 ? 40 : 12) / n, 2);
  expect(share(lanes.slice(40), 2)).toBeGreaterThan(0.9);
});

test("one lane that is hardly faster is not taken", () => {
  expect(
    share(
      chosen(200, (n) => (n === 1 ? 9.6 : 10)),
      4,
    ),
  ).toBeGreaterThan(0.9);
});
