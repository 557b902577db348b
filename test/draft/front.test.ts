// Drafting for a drafter: the draft model's chain stays what it is, in fewer steps where that pays.
import { expect, test } from "vitest";
import { StepCosts } from "../../src/decode/draft/costs.ts";
import type { Drafter, DraftText } from "../../src/decode/draft/drafter.ts";
import { Front } from "../../src/decode/draft/front.ts";
import { checkDraft, type DraftInput, draftOptions, type SmallModelInput } from "../../src/door/draft.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import { filesOf, load, variants } from "../support/engine.ts";
import { noise } from "../support/noise.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { greedy, say, stories } from "./rig.ts";

type Tree = readonly [tokens: number[], chances: number[]];

async function rig(
  model: string | Uint8Array,
  small: SmallModelInput["model"],
  more: Partial<SmallModelInput>,
  options: Partial<EngineOptions> = {},
) {
  const trees: Tree[] = [];
  const full = await draftOptions({ model: small, adaptive: false, lookup: false, ...more }, filesOf);
  const engine = await load(
    model,
    { draft: full.options, ...options },
    {
      watch: (tree) =>
        void trees.push([Array.from(tree.tokens).slice(0, tree.size), Array.from(tree.chance).slice(0, tree.size)]),
    },
    full.files,
  );
  return { engine, trees };
}

const tree = { depth: 7, width: 1, size: 8 };
const edited = "Tom had a red ball. Lily had a red hat. Tom had a red ball. Lily had a red";

for (const [variant, threads] of variants.flatMap((v) => [[v, 1] as const, [v, 2] as const]))
  test(`the same chains and the same text, in fewer steps of the draft model (${variant}, ${threads} threads)`, async () => {
    const [plain, quick] = [
      await rig(stories, stories, { tree }, { variant, threads }),
      await rig(stories, stories, { tree, front: "lookup" }, { variant, threads }),
    ];
    for (const prompt of [edited, "Once upon a time"])
      for (const sampling of [greedy, { ...greedy, temperature: 0.8, seed: 5 }]) {
        const wanted = await say(plain.engine, prompt, { sampling, maxTokens: 60 });
        const found = await say(quick.engine, prompt, { sampling, maxTokens: 60 });
        const alone = await say(quick.engine, prompt, { sampling, maxTokens: 60, draft: "off" });
        expect(found.tokens).toEqual(wanted.tokens);
        expect(found.tokens).toEqual(alone.tokens);
        expect(quick.trees).toEqual(plain.trees);
        const { front, drafted, drafter } = found.draft!;
        expect(drafter).toBe("model (lookup)");
        // A step gives a token of the chain, and one more for each guess that was right.
        expect(front!.steps + front!.accepted).toBe(drafted);
        expect(front!.drafted).toBeGreaterThanOrEqual(front!.accepted);
        expect(wanted.draft!.front).toBeUndefined();
      }
    // Models of random weights soon say the same again and again.
    const tiny = tinyGguf(tinyModel({}, 6));
    const { engine } = await rig(tiny, { "s.gguf": tiny }, { tree, front: "lookup" }, { variant, threads });
    const repeated = await say(engine, [1, 20, 30], { maxTokens: 200, stopTokens: [] });
    const { steps, accepted } = repeated.draft!.front!;
    expect(steps).toBeLessThan(0.6 * repeated.draft!.drafted);
    expect(accepted).toBeGreaterThan(0.4 * repeated.draft!.drafted);
  });

test("beside lookup of its own, by what pays, over cut and copied sessions, and another model than the target", async () => {
  const shape = { vocab: 320 };
  const [target, small] = [tinyGguf(tinyModel(shape, 3)), tinyGguf(tinyModel({ ...shape, layers: 1 }, 4))];
  for (const more of [{ adaptive: true }, { adaptive: true, lookup: true }, { lookup: true }]) {
    const { engine } = await rig(target, { "s.gguf": small }, { tree, front: "lookup", ...more }, { contextSize: 256 });
    const prompt = Array.from({ length: 60 }, (_, i) => (i % 12) * 7 + 3);
    const plain = async (tokens: readonly number[]) => (await say(engine, tokens, { maxTokens: 40, draft: "off" })).tokens;
    const session = await engine.open();
    const first = await say(engine, prompt, { maxTokens: 40 }, session);
    expect(first.tokens).toEqual(await plain(prompt));
    const longer = [...prompt, ...first.tokens.slice(0, 11), 9];
    expect((await say(engine, longer, { maxTokens: 40 }, session)).tokens).toEqual(await plain(longer));
    await engine.truncate(session, 20);
    const other = [...prompt.slice(0, 20), 5, 6, 7];
    const copy = await engine.copy(session);
    expect((await say(engine, other, { maxTokens: 40 }, session)).tokens).toEqual(await plain(other));
    expect((await say(engine, longer, { maxTokens: 40 }, copy)).tokens).toEqual(await plain(longer));
    expect(engine.info.memory.draft).toBeGreaterThan(0);
  }
});

/** Says what is coming, each token right with the same chance. */
function knowing(truth: readonly number[], right: number): Drafter<DraftText> {
  const random = noise(3);
  return {
    name: "oracle",
    readsHidden: false,
    computes: false,
    begin: (_, cached) => cached,
    async propose(text, tree, { depth }) {
      let node = 0;
      for (let i = 0; i < depth && node >= 0; i++) {
        const token = truth[text.tokens.length + 1 + i]!;
        node = tree.add(node, random() < right ? token : token + 1, right);
      }
    },
    observe: async () => {},
    cut() {},
    close() {},
  };
}

/** What a chain of `length` tokens costs with an oracle in front, by steps of so many milliseconds; and without one. */
async function simulate(cost: (rows: number) => number, right: number): Promise<{ ratio: number; guesses: number }> {
  const truth = Array.from({ length: 5000 }, (_, i) => (i * 31) % 997);
  const costs = new StepCosts([1, 2, 3, 4, 6, 8, 16].map((rows) => ({ rows, ms: cost(rows) })));
  const front = new Front(knowing(truth, right), costs, true, () => 0);
  const text = { tokens: truth.slice(0, 1), contextSize: truth.length };
  let [ms, at] = [0, 1];
  front.begin(text, truth.slice(0, at), truth.length);
  while (at < 3000) {
    const guesses = await front.guess(text, truth[at]!, 8, undefined);
    const rows = 1 + guesses.tokens.length;
    ms += cost(rows);
    let hits = 0;
    while (hits < guesses.tokens.length && guesses.tokens[hits] === truth[at + 1 + hits]) hits++;
    for (let i = 0; i <= hits; i++) front.push(text, truth[at + i]!);
    front.saw(guesses, hits, rows, cost(rows));
    at += hits + 1;
  }
  return { ratio: ((at - 1) * cost(1)) / ms, guesses: front.stats.drafted };
}

test("an oracle in front: it pays as far as steps of several rows are cheap, and is left alone where they are not", async () => {
  // Steps bound by reading weights: rows are nearly free.
  const cheap = await simulate((rows) => 10 + 0.2 * rows, 0.9);
  expect(cheap.ratio).toBeGreaterThan(3);
  const some = await simulate((rows) => 10 + 3 * rows, 0.8);
  expect(some.ratio).toBeGreaterThan(1.3);
  // Rows that cost what they cost one after another can only lose, and a wrong front as well.
  const dear = await simulate((rows) => 10 * rows, 0.9);
  expect(dear.ratio).toBeGreaterThan(0.97);
  expect(dear.guesses).toBeLessThan(300);
  const wrong = await simulate((rows) => 10 + 3 * rows, 0.05);
  expect(wrong.ratio).toBeGreaterThan(0.95);
});

test("where it cannot pay it is refused with the reason", () => {
  const refusals: readonly (readonly [object, string, RegExp])[] = [
    [{ eagle: "x", front: "lookup" }, "unsupported", /draft\.front: a head's steps feed on each other's states/],
    [{ mtp: "x", front: "lookup" }, "unsupported", /cannot pay/],
    [{ model: "x", front: "lookup", tree: { depth: 3, width: 2, size: 8 } }, "bad-option", /draft\.front: expected a chain/],
    [{ model: "x", front: "magic" }, "bad-option", /draft\.front: expected "lookup"/],
  ];
  for (const [input, code, message] of refusals)
    expect(() => checkDraft(input as DraftInput), String(message)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) as string }),
    );
});
