// The budget on a virtual clock: whatever steps cost and however often guesses are right, it finds about the best size.
import { expect, test } from "vitest";
import { Budget, type CostPoint } from "../../src/decode/draft/budget.ts";
import type { Drafter } from "../../src/decode/draft/drafter.ts";
import { DraftTree } from "../../src/decode/draft/tree.ts";
import type { Sequence } from "../../src/engine/sequences.ts";
import { Speculation } from "../../src/engine/speculate.ts";
import { noise } from "../support/noise.ts";

/** Milliseconds of a step by its rows, relative to one row: straight lines between these points. */
type Curve = readonly (readonly [rows: number, ms: number])[];
const curves: Readonly<Record<string, Curve>> = {
  "bound by arithmetic": [
    [1, 1],
    [2, 1.5],
    [3, 2.1],
    [4, 2.8],
    [8, 5.6],
    [32, 22],
  ],
  "bound by memory": [
    [1, 1],
    [4, 1.1],
    [8, 1.4],
    [16, 2.4],
    [32, 4.8],
  ],
  "in between, in steps of four": [
    [1, 1],
    [2, 1.2],
    [4, 1.6],
    [5, 2.4],
    [8, 2.9],
    [9, 3.8],
    [12, 4.3],
    [32, 12],
  ],
};

function at(curve: Curve, rows: number): number {
  const above = curve.findIndex(([r]) => r >= rows);
  const [[r0, m0], [r1, m1]] = above <= 0 ? [curve[0]!, curve[1]!] : [curve[above - 1]!, curve[above]!];
  return m0 + ((m1 - m0) * (rows - r0)) / (r1 - r0);
}

interface World {
  readonly curve: Curve;
  /** Chance that a guess is right; of a second one, where `second`, half of the rest. */
  p: number;
  readonly second: boolean;
  /** Milliseconds of drafting a round. */
  readonly draftMs: number;
  /** Spread of times: 0.1 is up to a tenth more or less. */
  readonly spread: number;
  slow: number;
}

/** Tokens a millisecond over `rounds` rounds, with the budget's sizes or always `size` nodes. */
class Simulation {
  readonly world: World;
  readonly speculation: Speculation;
  readonly budget: Budget;
  readonly #random: () => number;
  readonly #sequence = { tokens: [0], contextSize: 1 << 20 } as unknown as Sequence;
  #clock = 0;

  constructor(world: World, size: number | "adaptive", measured: readonly CostPoint[], seed = 7) {
    this.world = world;
    this.#random = noise(seed);
    this.budget = new Budget(measured, size === "adaptive");
    const now = () => this.#clock;
    const drafter = this.#drafter(size === "adaptive" ? 16 : size);
    const common = { chatsOnly: false, watch: undefined };
    this.speculation = new Speculation({ drafter, budget: this.budget, limit: 32, now, ...common }, undefined);
  }

  /** The token that the target says at a place of the text. */
  #truth(place: number): number {
    return 10 + ((place * 7919) % 1000);
  }

  #drafter(size: number): Drafter<Sequence> {
    return {
      name: "oracle",
      readsHidden: false,
      computes: false,
      begin: (_, cached) => cached,
      propose: async (text: Sequence, tree: DraftTree) => {
        const { p, second, draftMs } = this.world;
        this.#clock += draftMs;
        let right = true;
        for (let node = 0, place = text.tokens.length + 1; tree.size < size; place++) {
          const truth = this.#truth(place);
          const first = this.#random() < p;
          const other = !first && this.#random() < 0.5;
          const a = tree.add(node, right && first ? truth : 1, p);
          if (second && tree.size < size) tree.add(node, right && other ? truth : 2, (1 - p) / 2);
          // It goes on below its first guess, since it does not know which one is right.
          node = a;
          right &&= first;
        }
      },
      observe: async () => {},
      cut() {},
      close() {},
    };
  }

  /** Tokens a millisecond. */
  async run(rounds: number): Promise<number> {
    const { world, speculation } = this;
    const { tokens } = this.#sequence as unknown as { tokens: number[] };
    const [started, had] = [this.#clock, tokens.length];
    for (let round = 0; round < rounds; round++) {
      const root = this.#truth(tokens.length);
      const tree = await speculation.propose(this.#sequence, root, 64);
      this.#clock += at(world.curve, tree.size) * world.slow * (1 + world.spread * (2 * this.#random() - 1));
      const path = [0];
      for (let node = 0, place = tokens.length + 1; ; place++) {
        const token = this.#truth(place);
        speculation.drew(token);
        node = tree.child(node, token);
        if (node < 0) break;
        path.push(node);
      }
      for (const node of path) tokens.push(tree.tokens[node]!);
      await speculation.settle(this.#sequence, path);
    }
    return (tokens.length - had) / (this.#clock - started);
  }
}

const points = (curve: Curve, wrong = (_: number) => 1): CostPoint[] =>
  [1, 2, 3, 4, 6, 8, 12, 16].map((rows) => ({ rows, ms: at(curve, rows) * wrong(rows) }));

/** The best of all fixed sizes, by expectation: nodes are the first ones of the proposal. */
function bestFixed({ curve, p, second, slow }: World): { rate: number; size: number } {
  let best = { rate: 0, size: 0 };
  let tokens = 0;
  for (let size = 1; size <= 17; size++) {
    // Node after node: the root, then the first guess of each level, and a second one where there are such.
    const level = second ? size >> 1 : size - 1;
    tokens += second && size > 1 && size % 2 ? (p ** (level - 1) * (1 - p)) / 2 : p ** level;
    const rate = tokens / (at(curve, size) * slow);
    if (rate > best.rate) best = { rate, size };
  }
  return best;
}

for (const [name, curve] of Object.entries(curves))
  for (const second of [false, true])
    for (const p of [0.05, 0.3, 0.6, 0.8, 0.9])
      test(`steps ${name}, ${second ? "tree" : "chain"}, right with ${p}: within 3 % of the best size`, async () => {
        const world: World = { curve, p, second, draftMs: 0, spread: 0.1, slow: 1 };
        const best = bestFixed(world);
        // What was measured at load is off by up to a fifth.
        const own = new Simulation(
          world,
          "adaptive",
          points(curve, (rows) => 1 + 0.2 * Math.sin(rows * 3)),
        );
        await own.run(300);
        const rate = await own.run(6000);
        expect(rate / best.rate, `best is ${best.size} nodes`).toBeGreaterThan(0.97);
      });

const flat = curves["bound by memory"]!;

test("a drafter that becomes better, and steps that become dearer, are followed", async () => {
  const world: World = { curve: flat, p: 0.3, second: false, draftMs: 0, spread: 0.1, slow: 1 };
  const own = new Simulation(world, "adaptive", points(flat));
  await own.run(1000);
  world.p = 0.9;
  world.slow = 2.5;
  await own.run(600);
  const best = bestFixed(world);
  expect((await own.run(6000)) / best.rate, `best is ${best.size} nodes`).toBeGreaterThan(0.97);
});

test("a drafter that is never right, free or not, costs at most 3 % of plain decoding", async () => {
  for (const [name, curve] of Object.entries(curves))
    for (const draftMs of [0, 0.05, 0.5, 2]) {
      const world: World = { curve, p: 0.001, second: false, draftMs, spread: 0.1, slow: 1 };
      const plain = 1 / at(curve, 1);
      const own = new Simulation(world, "adaptive", points(curve));
      await own.run(300);
      expect((await own.run(6000)) / plain, `${name}, ${draftMs} ms`).toBeGreaterThan(0.97);
    }
});

test("what was measured far off at load is found out", async () => {
  const curve = curves["bound by arithmetic"]!;
  const world: World = { curve, p: 0.8, second: false, draftMs: 0, spread: 0.1, slow: 1 };
  const best = bestFixed(world);
  for (const wrong of [(rows: number) => (rows > 1 ? 0.5 : 1), (rows: number) => (rows > 1 ? 1.25 : 1)]) {
    const own = new Simulation(world, "adaptive", points(curve, wrong));
    await own.run(400);
    expect((await own.run(6000)) / best.rate).toBeGreaterThan(0.97);
  }
});

/** A chain of `length` nodes below a root, each right with `chance`. */
function chainOf(length: number, chance: number): DraftTree {
  const tree = new DraftTree();
  tree.reset(1);
  for (let node = 0; node < length; ) node = tree.add(node, 100 + node, chance);
  return tree;
}

/** Nodes kept of each tree. */
function shared(
  budget: Budget,
  trees: readonly DraftTree[],
  others: number,
  limit: number,
  limits = trees.map(() => 64),
): number[] {
  const keeps = trees.map(() => new Uint8Array(64));
  budget.share(trees, limits, others, limit, keeps);
  for (const [t, tree] of trees.entries()) {
    expect(keeps[t]![0]).toBe(1);
    for (let node = 1; node < tree.size; node++) if (keeps[t]![node]) expect(keeps[t]![tree.parents[node]!]).toBe(1);
  }
  return keeps.map((keep) => keep.reduce((sum, one) => sum + one, 0));
}

test("texts that share a step share its rows: a guess is verified only where it is worth more than it costs", () => {
  const flat = new Budget(points(curves["bound by memory"]!), true);
  const steep = new Budget(points(curves["bound by arithmetic"]!), true);
  const trees = () => [chainOf(8, 0.95), chainOf(8, 0.4), chainOf(8, 0.95)];
  const [a, b, c] = shared(flat, trees(), 0, 32) as [number, number, number];
  expect(a).toBeGreaterThan(b);
  expect(c).toBeGreaterThan(b);
  // Where rows cost as much as tokens bring, nobody drafts.
  expect(
    shared(
      steep,
      [0.9, 0.9, 0.9, 0.9].map((p) => chainOf(8, p)),
      0,
      32,
    ),
  ).toEqual([1, 1, 1, 1]);
  // Likelier guesses go first when there are few rows, and each text has a limit of its own.
  expect(shared(flat, [chainOf(3, 0.99), chainOf(3, 0.9)], 0, 4)).toEqual([3, 1]);
  expect(shared(flat, [chainOf(8, 0.99), chainOf(8, 0.98)], 0, 32, [2, 3])).toEqual([2, 3]);
  // What is not to be weighed is verified as far as there are rows.
  const all = new Budget([], false);
  expect(shared(all, [chainOf(5, 0.1), chainOf(5, 0.1)], 10, 32)).toEqual([6, 6]);
  expect(shared(all, [chainOf(5, 0.1), chainOf(5, 0.1)], 10, 2)).toEqual([1, 1]);
});
