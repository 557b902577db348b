// Drafting for a drafter: the draft model's chain stays what it is, in fewer steps where that pays.
import { expect, test } from "vitest";
import { StepCosts } from "../../src/decode/draft/costs.ts";
import type { Drafter, DraftText } from "../../src/decode/draft/drafter.ts";
import { Front } from "../../src/decode/draft/front.ts";
import { checkDraft, type DraftInput, draftOptions, type SmallModelInput } from "../../src/door/draft.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import { filesOf, load, variants } from "../support/engine.ts";
import { writeSafetensors } from "../support/folder.ts";
import { headFile, headTensors, tinyHead, tinyMtp } from "../support/head.ts";
import { noise } from "../support/noise.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";
import { greedy, own, say, stories } from "./rig.ts";

type Tree = readonly [tokens: number[], chances: number[]];

const rig = (
  model: string | Uint8Array,
  small: SmallModelInput["model"],
  more: Partial<SmallModelInput>,
  options: Partial<EngineOptions> = {},
) => open(model, { model: small, ...more }, options);

async function open(
  model: string | Uint8Array,
  draft: Exclude<DraftInput, string | false>,
  options: Partial<EngineOptions> = {},
) {
  const trees: Tree[] = [];
  const full = await draftOptions({ adaptive: false, lookup: false, ...draft }, filesOf);
  const engine = await load(
    model,
    { draft: full.options, ...options },
    {
      watch: (tree) =>
        void trees.push([Array.from(tree.tokens).slice(0, tree.size), Array.from(tree.chance).slice(0, tree.size)]),
    },
    full.files,
    false,
    [],
    full.front,
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

test("a model in front of a model: one like it spares nearly every step, and the chain stays whatever it says", async () => {
  const shape = { vocab: 320 };
  const [target, small, other] = [
    tinyGguf(tinyModel(shape, 3)),
    tinyGguf(tinyModel({ ...shape, layers: 1 }, 4)),
    tinyGguf(tinyModel({ ...shape, layers: 1 }, 9)),
  ];
  const [files, like, unlike] = [small, small, other].map((bytes) => ({ "s.gguf": bytes })) as [object, object, object] as [
    SmallModelInput["model"],
    SmallModelInput["model"],
    SmallModelInput["model"],
  ];
  const prompt = Array.from({ length: 90 }, (_, i) => 3 + ((i * i) % 300));
  const steps: number[] = [];
  const alone = await rig(target, files, { tree }, { contextSize: 256 });
  for (const model of [like, unlike]) {
    const quick = await rig(target, files, { tree, front: { model } }, { contextSize: 256 });
    const session = await quick.engine.open();
    for (const sampling of [greedy, { ...greedy, temperature: 0.9, seed: 2 }]) {
      const request = { sampling, maxTokens: 50, stopTokens: [] };
      alone.trees.length = quick.trees.length = 0;
      const wanted = await say(alone.engine, prompt, request);
      const found = await say(quick.engine, prompt, request);
      expect(found.tokens).toEqual(wanted.tokens);
      expect(quick.trees).toEqual(alone.trees);
      const { front, drafted, drafter } = found.draft!;
      expect(drafter).toBe("model (model)");
      expect(front!.steps + front!.accepted).toBe(drafted);
      steps.push(front!.steps / drafted);
    }
    // A session that goes on, is cut and says something else.
    const first = await say(quick.engine, prompt, { maxTokens: 20, stopTokens: [] }, session);
    await quick.engine.truncate(session, 50);
    const longer = [...prompt.slice(0, 50), ...first.tokens];
    const again = await say(quick.engine, longer, { maxTokens: 20, stopTokens: [] }, session);
    expect(again.tokens).toEqual((await say(quick.engine, longer, { maxTokens: 20, stopTokens: [], draft: "off" })).tokens);
  }
  // A chain of 7 takes one step.
  expect(Math.max(steps[0]!, steps[1]!)).toBeLessThan(0.35);
});

const eagle = own("models/stories-eagle");
const chain = { depth: 6, width: 1, size: 7 };

for (const [variant, threads] of variants.flatMap((v) => [[v, 1] as const, [v, 2] as const]))
  test(`in front of an EAGLE head: the same text, in fewer steps of the head (${variant}, ${threads} threads)`, async () => {
    const alone = await open(stories, { eagle, tree: chain }, { variant, threads });
    const spared: Record<string, number> = {};
    const given = { lookup: "lookup", model: { model: stories } } as const;
    for (const [name, front] of Object.entries(given))
      for (const weights of ["float", "int8"] as const) {
        if ((weights === "int8") === (threads === 2)) continue;
        const quick = await open(stories, { eagle, tree: chain, front, weights }, { variant, threads });
        for (const sampling of [greedy, { ...greedy, temperature: 0.8, seed: 5 }]) {
          const wanted = await say(quick.engine, edited, { sampling, maxTokens: 80, draft: "off" });
          const found = await say(quick.engine, edited, { sampling, maxTokens: 80 });
          expect(found.tokens).toEqual(wanted.tokens);
          const { front: stats, drafted, drafter, rounds, accepted } = found.draft!;
          expect(drafter).toBe(`eagle-2 (${name})`);
          // The first token of a chain comes with the rows that are read along.
          expect(rounds + stats!.steps + stats!.accepted).toBe(drafted);
          // The same chains as far as guesses are judged as the head judges them: fewer steps, and about as many accepted.
          spared[name] = (spared[name] ?? 0) + stats!.accepted;
          const own = (await say(alone.engine, edited, { sampling, maxTokens: 80 })).draft!;
          expect(accepted).toBeGreaterThan(0.8 * own.accepted);
        }
      }
    expect(spared["lookup"]).toBeGreaterThan(10);
    expect(spared["model"]).toBeGreaterThan(100);
  });

test("in front of a head: sparse attention, texts side by side, sessions that are cut, by what pays", async () => {
  const sparse = {
    kernelSize: 32,
    kernelStride: 16,
    blockSize: 64,
    initBlocks: 1,
    windowSize: 128,
    topk: 2,
    denseLen: 100,
    exactLse: true,
  };
  const long = `${edited} ball. `.repeat(12);
  for (const options of [{ sparse, contextSize: 500 }, { parallel: 2, contextSize: 500 }, { kvType: "q8" }] as const)
    for (const more of [{}, { adaptive: true, lookup: true }]) {
      const { engine } = await open(stories, { eagle, tree: chain, front: "lookup", ...more }, options);
      const prompts = [long.slice(0, 600), edited];
      const request = { sampling: { ...greedy, temperature: 0.7, seed: 1 }, maxTokens: 40 };
      const plain = [];
      for (const prompt of prompts) plain.push((await say(engine, prompt, { ...request, draft: "off" })).tokens);
      const both = await Promise.all(prompts.map((prompt) => say(engine, prompt, request)));
      expect(both.map(({ tokens }) => tokens)).toEqual(plain);
      const session = await engine.open();
      await say(engine, prompts[0]!, request, session);
      await engine.truncate(session, 30);
      expect((await say(engine, edited, request, session)).tokens).toEqual(plain[1]);
    }
});

test("in front of an MTP layer and of an EAGLE-3 head, with chances that end a chain", async () => {
  const tiny = tinyModel({ vocab: 320, layers: 4 }, 3);
  const target = tinyGguf(tiny);
  const names = new Map([...tinyMtp(tiny.shape)].map(([name, tensor]) => [`model.layers.9.${name}.weight`, tensor]));
  const mtp = { "model.safetensors": writeSafetensors(headTensors(names)) };
  const heads: readonly (readonly [string, Exclude<DraftInput, string | false>])[] = [
    ["mtp", { mtp, tree: chain }],
    ["mtp", { mtp, tree: chain, states: { target: "pre", own: "pre" }, leastChance: 0.11 }],
    ["eagle-3", { eagle: { "model.safetensors": headFile(tinyHead(3, tiny.shape)) }, tree: chain, window: 20 }],
  ];
  const prompt = Array.from({ length: 60 }, (_, i) => (i % 12) * 7 + 3);
  const spared: number[] = [];
  for (const [name, draft] of heads)
    for (const front of ["lookup", { model: { "s.gguf": target } }] as const) {
      const { engine } = await open(target, { ...draft, front }, { contextSize: 256 });
      for (const sampling of [greedy, { ...greedy, temperature: 0.9, seed: 2 }]) {
        const request = { sampling, maxTokens: 100, stopTokens: [] };
        const found = await say(engine, prompt, request);
        expect(found.tokens).toEqual((await say(engine, prompt, { ...request, draft: "off" })).tokens);
        expect(found.draft!.drafter).toBe(`${name} (${front === "lookup" ? front : "model"})`);
        expect(found.draft!.front!.steps).toBeGreaterThan(0);
        spared.push(found.draft!.front!.accepted);
      }
    }
  expect(Math.max(...spared)).toBeGreaterThan(5);
});

test("where nothing is guessed, a head's chain is its own", async () => {
  for (const prompt of ["Once upon a time there", "Lily saw"]) {
    const first: Tree[] = [];
    for (const more of [{}, { front: "lookup" } as const]) {
      const { engine, trees } = await open(stories, { eagle, tree: chain, ...more });
      await say(engine, prompt, { maxTokens: 12 });
      first.push(trees[0]!);
    }
    expect(first[1]).toEqual(first[0]);
    expect(first[0]![0]).toHaveLength(7);
  }
});

test("a front's form is checked, and its chain is of 5 tokens unless the tree says otherwise", async () => {
  for (const front of ["magic", 1, {}, { model: undefined }, { model: "x", more: 1 }])
    expect(() => checkDraft({ eagle: "x", front } as unknown as DraftInput)).toThrow(
      /draft\.front: expected "lookup" or \{ model \}/,
    );
  const { options } = await draftOptions({ eagle, front: "lookup" }, filesOf);
  expect(options.eagle).toMatchObject({ depth: 5, width: 1, size: 6, front: "lookup" });
});

test("a model of another vocabulary does not draft for a head", async () => {
  const other = { "s.gguf": tinyGguf(tinyModel({ vocab: 320 }, 3)) };
  await expect(open(stories, { eagle, front: { model: other } })).rejects.toThrow(
    /draft\.front: .*must have the target's vocabulary/,
  );
});

test("where it cannot pay it is refused with the reason", () => {
  const refusals: readonly (readonly [object, string, RegExp])[] = [
    [
      { eagle: "x", front: "lookup", tree: { depth: 2, width: 1 } },
      "bad-option",
      /at least 3 tokens: in a shorter one no guess can spare/,
    ],
    [{ mtp: "x", front: "lookup", tree: { depth: 3, width: 2 } }, "bad-option", /draft\.front: expected a chain/],
    [{ model: "x", front: "lookup", tree: { depth: 1 } }, "bad-option", /at least 2 tokens/],
    [{ model: "x", front: "lookup", tree: { depth: 3, width: 2, size: 8 } }, "bad-option", /draft\.front: expected a chain/],
    [{ model: "x", front: "magic" }, "bad-option", /draft\.front: expected "lookup" or \{ model \}/],
  ];
  for (const [input, code, message] of refusals)
    expect(() => checkDraft(input as DraftInput), String(message)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) as string }),
    );
});
