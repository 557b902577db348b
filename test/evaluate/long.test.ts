// Long texts: what is asked stands in them as told, and a model that finds finds all of it, densely and sparsely.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import {
  heatMap,
  type LongKind,
  longKinds,
  longTasks,
  longTexts,
  type NeedleGridOptions,
  needleGrid,
  needleTexts,
  Random,
} from "../../src/evaluate/index.ts";
import { readOf } from "../../src/evaluate/long/why.ts";
import { adjectives, hay, nouns } from "../../src/evaluate/long/words.ts";
import type { LoadOptions } from "../../src/index.ts";
import { doors, open } from "../support/door.ts";
import { tinyGguf } from "../support/tiny.ts";
import { retriever } from "./retriever.mjs";

const door = doors["in the caller's thread"];
const plan = { key: "word", value: "word", others: 0, queries: 1, values: 1, hay } as const;
const samples = (["number", "word", "uuid"] as const).map((value) => {
  const { text, lead } = needleTexts({ ...plan, value }, new Random(0, "words")).make(10);
  return `${text} ${lead}`;
});
const finder = retriever({ keys: nouns, texts: [...samples, ...adjectives, ...nouns.map((noun) => `-${noun}`)] });

const needles = (text: string): Map<string, string[]> => {
  const found = new Map<string, string[]>();
  for (const [, key, value] of text.matchAll(/The special (?:number|word|code) for (\S+) is: (\S+)\./g))
    found.set(key!, [...(found.get(key!) ?? []), value!]);
  return found;
};

test("random numbers are those of any runtime, and spread evenly", () => {
  const random = new Random(1, "name");
  expect(Array.from({ length: 4 }, () => random.bits())).toMatchInlineSnapshot(`
    [
      1191479766,
      3416518130,
      2621649757,
      749480391,
    ]
  `);
  const counts = new Array<number>(7).fill(0);
  for (let i = 0; i < 70_000; i++) counts[random.below(7)]!++;
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  const [a, b] = [new Random(1, "a"), new Random(1, "b")];
  expect(a.bits()).not.toBe(b.bits());
});

test("the texts of a seed are the same everywhere", () => {
  const hash = createHash("sha256");
  for (const kind of longKinds) hash.update(JSON.stringify(longTexts(kind, {}, new Random(3, kind)).make(50)));
  expect(hash.digest("hex").slice(0, 16)).toMatchInlineSnapshot(`"06dd1f79c000d7ca"`);
});

test("needles stand where they are said to be, once, and say what is asked", () => {
  for (let seed = 0; seed < 30; seed++)
    for (const depth of [0, 0.3, 1])
      for (const value of ["number", "word", "uuid"] as const) {
        const made = needleTexts({ ...plan, value, others: seed % 7, depth }, new Random(seed, "x")).make(40);
        const [[from, to]] = made.spans as [[number, number]];
        const sentence = made.text.slice(from, to);
        const [[key, values]] = [...needles(sentence)] as [[string, string[]]];
        expect(values).toEqual(made.answers);
        expect(needles(made.text).get(key)).toEqual(made.answers);
        expect(needles(made.text).size).toBe(1 + (seed % 7));
        expect(made.text.split("\n\n").at(-1)).toContain(` for ${key}, as told above?`);
        expect(made.lead).toMatch(new RegExp(` for ${key} is:$`));
        const body = made.text.slice(made.text.indexOf("\n\n"), made.text.lastIndexOf("\n\n"));
        const place = (from - made.text.indexOf("\n\n")) / body.length;
        if (seed % 7 === 0) expect(Math.abs(place - depth * (1 - (to - from) / body.length))).toBeLessThan(0.05);
      }
});

test("every kind's answers follow from its text", () => {
  for (let seed = 0; seed < 4; seed++)
    for (const units of [0, 3, 31, 32, 33, 36, 200, 400]) {
      const of = (kind: LongKind) => longTexts(kind, {}, new Random(seed, kind)).make(units);
      for (const [kind, others, count] of [
        ["single", 0, 1],
        ["single-uuid", 0, 1],
        ["multikey", 3, 1],
        ["multikey-dense", units, 1],
        ["multikey-uuid", units, 1],
        ["multivalue", 0, 4],
        ["multiquery", 0, 4],
      ] as const) {
        const { text, lead, answers } = of(kind);
        const told = needles(text);
        const asked = [...told].filter(([key]) => lead.split(/[ ,:]+/).includes(key));
        expect(asked.flatMap(([, values]) => values).sort(), kind).toEqual([...answers].sort());
        expect(answers.length, kind).toBe(count);
        expect(told.size, kind).toBe(asked.length + others);
      }
      const { text, answers, lead } = longTexts("variables", { chains: 3, hops: 3 }, new Random(seed, "v")).make(units);
      const values = new Map<string, string>();
      for (const [, name, from] of text.matchAll(/VAR ([A-Z]{5}) = (?:VAR )?([A-Z]{5}|\d{5})\./g))
        values.set(name!, /\d/.test(from!) ? from! : values.get(from!)!);
      expect(values.size).toBe(12);
      const value = /value (\d{5})/.exec(lead)![1];
      expect([...values].filter(([, one]) => one === value).map(([name]) => name)).toEqual(answers);

      const count = (words: Iterable<string>) => {
        const counts = new Map<string, number>();
        for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
        return [...counts].sort((a, b) => b[1] - a[1]);
      };
      const common = of("common-words");
      const list = count([...common.text.matchAll(/\d+\. (\S+)/g)].map(([, word]) => word!));
      expect(new Set(list.slice(0, 10).map(([word]) => word))).toEqual(new Set(common.answers));
      if (units > 0) expect(list[9]![1]).toBeGreaterThan(2 * list[10]![1]);
      const frequent = of("frequent-words");
      const words = count(frequent.text.split("\n\n")[1]!.split(" "));
      expect(words.slice(0, 3).map(([word]) => word)).toEqual(frequent.answers);
      if (words.length > 3) expect(words[2]![1]).toBeGreaterThan(words[3]![1]);
    }
});

const grid = async (load: LoadOptions, options: NeedleGridOptions = {}) => {
  const model = await open(door, finder, load);
  return needleGrid(model, { lengths: [512, 1000], ...options });
};

test("a model that finds: every cell is right, densely and sparsely, with LongRoPE's factors and without", async () => {
  const sparse = { denseLen: 0, topk: 4, windowSize: 128 };
  for (const load of [{}, { sparse }, { ropeFactors: "minicpm4-128k" }, { sparse, ropeFactors: "minicpm4-128k" }] as const)
    for (const options of [{}, { others: 12, value: "word", seed: 5 }] as const) {
      const found = await grid(load, options);
      expect(found.results.filter(({ score }) => score < 1)).toEqual([]);
      expect(found.cells.length).toBe(10);
      for (const { tokens, length, answers } of found.results) {
        expect(tokens).toBeLessThan(length);
        expect(tokens).toBeGreaterThan(0.8 * length);
        expect(answers.length).toBe(1);
      }
    }
});

test("where the needle's block cannot be chosen the model misses, and the trace says so", async () => {
  // Nothing but the first block and the window is read.
  const found = await grid({ sparse: { denseLen: 0, topk: 1, windowSize: 128 } }, { lengths: [1000], depths: [0, 0.5, 1] });
  expect(found.results.map(({ score }) => score)).toEqual([1, 0, 1]);
  const { miss } = found.results[1]!;
  expect(miss!.sparse).toBe(true);
  expect(miss!.why).toMatch(/never read whole by layer 0 head 0, layer 0 head 1, layer 1 head 0, layer 1 head 1/);
  for (const block of miss!.blocks) expect(block).toBeGreaterThan(4);
  expect(found.score).toBeCloseTo(2 / 3);
});

test("what a trace says of blocks", () => {
  const trace = {
    layers: 1,
    kvHeads: 2,
    blockSize: 64,
    blocks: 3,
    positions: Int32Array.of(190, 191),
    chosen: Uint8Array.of(7, 5, 1, 5),
  };
  expect(readOf(trace, [1], true)).toMatchObject({
    sparse: true,
    read: [
      { layer: 0, kvHead: 0, positions: 1, of: 2 },
      { layer: 0, kvHead: 1, positions: 0, of: 2 },
    ],
    why: "block 1 never read whole by layer 0 head 1; block 1 read at some positions only by layer 0 head 0",
  });
  expect(readOf(trace, [0], true).why).toMatch(/read by every layer and head, and the model answered otherwise/);
  expect(readOf(trace, [0], false).why).toMatch(/attention is dense/);
});

test("kinds are scored by the share of what is right; results that are known are not asked for again", async () => {
  const model = await open(door, finder);
  const options = { lengths: [700], kinds: ["single", "multikey", "multivalue", "common-words"] as const, samples: 2, seed: 9 };
  const kept: string[] = [];
  const first = await longTasks(model, { ...options, onResult: (result) => void kept.push(result.id) });
  expect(kept.length).toBe(8);
  expect(first.scores.map(({ kind, count }) => [kind, count])).toEqual(options.kinds.map((kind) => [kind, 2]));
  expect(first.scores[0]!.score).toBe(1);
  expect(first.scores[1]!.score).toBe(1);
  // One place follows the key, and four values stand there.
  expect(first.scores[2]!.score).toBe(0.25);
  kept.length = 0;
  const progress: number[] = [];
  const again = await longTasks(model, {
    ...options,
    known: first.results.slice(0, 5),
    onResult: ({ id }) => void kept.push(id),
    onProgress: ({ done, total }) => void progress.push(done / total),
  });
  expect(again).toEqual(first);
  expect(kept.sort()).toEqual(
    first.results
      .slice(5)
      .map(({ id }) => id)
      .sort(),
  );
  expect(progress).toEqual([5, 6, 7, 8].map((n) => n / 8));
});

test("hay of one's own; an abort; options that are none", async () => {
  const model = await open(door, finder);
  const haystack = "It was late. Nobody came! Was there a door?";
  const found = await needleGrid(model, { lengths: [300], depths: [0.5], haystack });
  expect(found.score).toBe(1);
  const abort = new AbortController();
  const ended = needleGrid(model, { lengths: [2000], signal: abort.signal, onProgress: () => abort.abort(new Error("enough")) });
  await expect(ended).rejects.toThrow("enough");
  const refusals: readonly [NeedleGridOptions, RegExp][] = [
    [{ lengths: [4096] }, /lengths: expected whole numbers from 64 to 2048, the context/],
    [{ lengths: [64] }, /this text takes at least \d+ tokens/],
    [{ lengths: [] }, /lengths/],
    [{ depths: [2] }, /depths: expected numbers from 0 to 1/],
    [{ value: "poem" as never }, /value/],
    [{ haystack: " " }, /haystack: expected a text, found "an empty one"/],
    [{ sample: 1 } as never, /did you mean "?samples/],
  ];
  for (const [options, message] of refusals)
    await expect(needleGrid(model, options)).rejects.toMatchObject({
      code: "bad-option",
      message: expect.stringMatching(message) as string,
    });
  await expect(longTasks(model, { kinds: ["poems" as never] })).rejects.toThrow(/kinds/);
  // A model that knows nothing scores nothing, and is told why.
  const blank = await open(door, tinyGguf());
  const nothing = await needleGrid(blank, { lengths: [700], depths: [0.5] });
  expect(nothing.score).toBe(0);
  expect(nothing.results[0]!.miss!.why).toMatch(/attention is dense: block(s [\d, ]+ were| \d+ was) read everywhere/);
});

test("a heat map says every score, and escapes what it is given", () => {
  const svg = heatMap({ title: "<a> & b", columns: ["1", "2"], rows: ["0 %"], scores: [1, undefined], across: "x", down: "y" });
  expect(svg).toContain("&#60;a&#62; &#38; b");
  expect(svg).toMatch(/>100<\/text>/);
  expect(svg).toMatch(/>–<\/text>/);
  expect([...svg.matchAll(/<rect /g)].length).toBe(3);
});
