import { expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { load } from "../support/engine.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { oracle } from "./oracle.ts";
import { greedy, say } from "./rig.ts";

// A vocabulary this small gives every token a fair number of draws; the byte pieces need 259.
const vocab = 264;
const model = tinyGguf(tinyModel({ vocab, layers: 1, hidden: 32, intermediate: 64, heads: 2, kvHeads: 1, headDim: 16 }));
const draws = 3000;

test("drafted tokens follow the law that plain sampling follows: chi-square of the second and third token", async () => {
  const drafter = oracle(12, 0.7, vocab, 9);
  const engine = await load(model, { draft: { ...checkDraft("lookup"), adaptive: false } }, { drafter });
  const keep = 8;
  const sampling = { ...greedy, temperature: 1.2, topK: keep };
  const prompt = [1, 70, 71];
  const session = await engine.open();
  // What is usual is drafted: the tree does not know the seed's draws.
  drafter.knows(prompt.length, (await say(engine, prompt, { maxTokens: 6, draft: "off", sampling: greedy }, session)).tokens);
  const counts = [new Map<string, [number, number]>(), new Map<string, [number, number]>()];
  let accepted = 0;
  for (let i = 0; i < draws; i++)
    for (const [which, draft] of (["off", "text"] as const).entries()) {
      // Different seeds for the two, or they would be equal by being the same.
      const result = await say(engine, prompt, { maxTokens: 4, draft, sampling: { ...sampling, seed: 2 * i + which } }, session);
      accepted += result.draft?.accepted ?? 0;
      for (const [j, place] of counts.entries()) {
        const key = result.tokens.slice(0, j + 2).join();
        const pair = place.get(key) ?? [0, 0];
        pair[which]! += 1;
        place.set(key, pair);
      }
    }
  expect(accepted).toBeGreaterThan(100);
  for (const place of counts) {
    // Rare texts together, so that every cell is large enough for the approximation.
    const cells: [number, number][] = [];
    const rare: [number, number] = [0, 0];
    for (const [a, b] of place.values())
      if (a + b >= 20) cells.push([a, b]);
      else [rare[0], rare[1]] = [rare[0] + a, rare[1] + b];
    if (rare[0] + rare[1] > 0) cells.push(rare);
    const square = cells.reduce((sum, [a, b]) => sum + (a - b) ** 2 / (a + b), 0);
    const freedom = cells.length - 1;
    expect(freedom).toBeGreaterThan(5);
    // Four standard deviations above the mean: one run in some ten thousand, and the seeds are fixed.
    expect(square).toBeLessThan(freedom + 4 * Math.sqrt(2 * freedom));
  }
}, 120_000);
