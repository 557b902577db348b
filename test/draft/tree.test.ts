import { expect, test } from "vitest";
import { Budget } from "../../src/decode/draft/budget.ts";
import { best, growTree, type Ranking } from "../../src/decode/draft/grow.ts";
import { DraftTree, maxNodes } from "../../src/decode/draft/tree.ts";

const ranking = (tokens: number[], values: number[]): Ranking => ({
  tokens: Int32Array.from(tokens),
  values: Float64Array.from(values),
});
const part = (values: ArrayLike<number>, size: number) => Array.from(values).slice(0, size);

test("a tree of depth 3, width 2 and size 6 is grown and ranked as worked out by hand", async () => {
  const tree = new DraftTree();
  tree.reset(99);
  const levels = [ranking([10, 11, 20, 21], [-0.2, -1.8, -0.3, -1.5]), ranking([30, 31, 40, 41], [-0.1, -2.5, -0.4, -1.0])];
  const beams: number[][] = [];
  const run = async (level: number, rows: readonly { token: number; maskLow: number }[]) => {
    beams.push(rows.map((r) => r.token));
    return levels[level - 1]!;
  };
  await growTree(tree, ranking([1, 2], [-0.1, -2.4]), { depth: 3, width: 2, size: 6 }, run, () => false);
  expect(beams).toEqual([
    [1, 2],
    [10, 11],
  ]);
  expect(tree.size).toBe(6);
  expect(part(tree.tokens, 6)).toEqual([99, 1, 10, 30, 11, 40]);
  expect(part(tree.depths, 6)).toEqual([0, 1, 2, 3, 2, 3]);
  expect(part(tree.parents, 6)).toEqual([-1, 0, 1, 2, 1, 4]);
  expect(part(tree.maskLow, 6)).toEqual([0b1, 0b11, 0b111, 0b1111, 0b10011, 0b110011]);
});

test("the best of values are the largest, ties to the lower index", () => {
  expect(best(Float64Array.of(1, 3, 3, 2, 5, 3), 1, 6, 3)).toEqual([4, 1, 2]);
});

test("a tree takes at most 64 nodes, says a token once below a node, and knows its children", () => {
  const tree = new DraftTree();
  tree.reset(5);
  expect(tree.add(0, 7, 0.5)).toBe(1);
  expect(tree.add(0, 7, 0.9)).toBe(1);
  for (let i = 2; i < maxNodes; i++) expect(tree.add(i - 1, i, 0.5)).toBe(i);
  expect(tree.add(0, 1000, 0.5)).toBe(-1);
  expect([tree.child(0, 7), tree.child(0, 8), tree.child(1, 2)]).toEqual([1, -1, 2]);
  expect([tree.maskLow[63]! >>> 0, tree.maskHigh[63]! >>> 0]).toEqual([0xffffffff, 0xffffffff]);
});

const linear = (first: number, more: number) => [1, 2, 4, 8, 16].map((rows) => ({ rows, ms: first + more * (rows - 1) }));

function chain(chances: readonly number[]): DraftTree {
  const tree = new DraftTree();
  tree.reset(1);
  let node = 0;
  for (const [i, chance] of chances.entries()) node = tree.add(node, i, chance);
  return tree;
}

test("the budget takes as many nodes as pay: all where rows are free, none where they cost a step", () => {
  const keep = new Uint8Array(maxNodes);
  expect(new Budget(linear(10, 0.01), true).choose(chain([0.9, 0.9, 0.9, 0.9]), 64, keep)).toBe(5);
  expect(new Budget(linear(10, 10), true).choose(chain([0.9, 0.9, 0.9, 0.9]), 64, keep)).toBe(1);
  // 1 token in 10 ms; 1.8 in 15; 2.44 in 20; 2.95 in 25; 3.36 in 30.
  expect(new Budget(linear(10, 5), true).choose(chain([0.8, 0.8, 0.8, 0.8]), 64, keep)).toBe(3);
  expect(part(keep, 5)).toEqual([1, 1, 1, 0, 0]);
  expect(new Budget(linear(10, 10), false).choose(chain([0.1, 0.1]), 64, keep)).toBe(3);
  expect(new Budget(linear(10, 0.01), true).choose(chain([0.9, 0.9, 0.9]), 2, keep)).toBe(2);
});

test("guesses that do not come true lose their weight, and steps that cost more than measured too", () => {
  const keep = new Uint8Array(maxNodes);
  const budget = new Budget(linear(10, 4), true);
  expect(budget.choose(chain([0.8, 0.8]), 64, keep)).toBe(3);
  for (let i = 0; i < 40; i++) budget.sawGuess(0.8, 0, i % 4 === 0);
  expect(budget.chance(0.8, 0)).toBeLessThan(0.35);
  expect(budget.choose(chain([0.8, 0.8]), 64, keep)).toBe(1);
  expect(budget.chance(0.8, 1)).toBeCloseTo(0.8);
  const slow = new Budget(linear(10, 4), true);
  for (let i = 0; i < 30; i++) {
    slow.sawStep(1, 10);
    slow.sawStep(3, 28);
  }
  expect(slow.cost(3)).toBeGreaterThan(26);
  for (let i = 0; i < 30; i++) slow.sawStep(3, 60);
  // Three rows together cost no more than three steps.
  expect(slow.cost(3)).toBeCloseTo(30, 5);
  expect(slow.choose(chain([0.8, 0.8]), 64, keep)).toBeLessThan(3);
});

test("a drafter whose own time eats the gain rests, is tried again, and rests for longer each time", () => {
  const keep = new Uint8Array(maxNodes);
  const budget = new Budget(linear(10, 4), true);
  const asked: number[] = [];
  for (let round = 0; round < 4000; round++) {
    if (!budget.wantsDraft()) continue;
    asked.push(round);
    budget.sawRound(budget.choose(chain([0.8, 0.8]), 64, keep), 30);
  }
  expect(asked.length).toBeGreaterThan(20);
  expect(asked.length).toBeLessThan(100);
  const free = new Budget(linear(10, 4), true);
  let wanted = 0;
  for (let round = 0; round < 1000; round++)
    if (free.wantsDraft()) {
      wanted++;
      free.sawRound(free.choose(chain([0.8, 0.8]), 64, keep), 0.1);
    }
  expect(wanted).toBeGreaterThan(950);
});
