// The weights of a draft head: floats as they are, or requantised to int8; GPTQ.
import { expect, test } from "vitest";
import { checkDraft, type EagleInput } from "../../src/door/draft.ts";
import type { ModelInput } from "../../src/engine/host.ts";
import type { GenerateResult } from "../../src/engine/types.ts";
import { load, variants } from "../support/engine.ts";
import { models, own, say, stories } from "./rig.ts";

const head = own("models/stories-eagle");
const prompts = ["Once upon a time there was a boy named John. John was", "Lily and her dog went to the park. The dog"];
const tree = { depth: 3, width: 4, size: 12 };

interface Grown {
  readonly tokens: readonly number[];
  readonly chances: readonly number[];
}

/** The trees that a head grew, its acceptance, and the text. */
async function grown(model: ModelInput, eagle: ModelInput, weights: EagleInput["weights"], threads = 1) {
  const trees: Grown[] = [];
  const draft = checkDraft({ eagle, tree, adaptive: false, lookup: false, weights });
  const hooks: NonNullable<Parameters<typeof load>[2]> = {
    watch: (t) => {
      trees.push({ tokens: [...t.tokens].slice(0, t.size), chances: [...t.chance].slice(0, t.size) });
    },
  };
  const engine = await load(model, { draft, threads, variant: variants.at(-1)! }, hooks, eagle);
  const said: GenerateResult[] = [];
  for (const prompt of prompts) said.push(await say(engine, prompt, { maxTokens: 60 }));
  const sum = (key: "rounds" | "accepted") => said.reduce((total, { draft }) => total + draft![key], 0);
  return { trees, text: said.map((s) => s.text), accepted: 1 + sum("accepted") / sum("rounds") };
}

test("a head in int8 grows nearly the trees of its floats, gives the same text, and is the default beside integers", async () => {
  const float = await grown(stories, head, "float");
  const int8 = await grown(stories, head, "int8");
  expect(int8.text).toEqual(float.text);
  expect(int8.trees).not.toEqual(float.trees);
  for (const [i, chance] of int8.trees[0]!.chances.entries()) expect(chance).toBeCloseTo(float.trees[0]!.chances[i]!, 1);
  expect(int8.accepted).toBeGreaterThan(0.95 * float.accepted);
  expect(await grown(stories, head, undefined)).toEqual(int8);
  expect(await grown(stories, head, "int8", 2)).toEqual(int8);
});

const floats = models.find((path) => path.endsWith("stories-f16.gguf"));
test.skipIf(!floats)("beside float weights a head keeps its floats unless asked", async () => {
  const float = await grown(floats!, head, "float");
  expect(await grown(floats!, head, "auto")).toEqual(float);
  expect((await grown(floats!, head, "int8")).trees).not.toEqual(float.trees);
});

test("weights of another name, and int8 of columns that are no multiple of 32, are refused", async () => {
  for (const weights of ["int4", 8, null] as unknown as EagleInput["weights"][])
    expect(() => checkDraft({ eagle: head, weights })).toThrow(/draft.weights: expected "auto", "float" or "int8", found/);
  expect(() => checkDraft({ model: stories, weights: "int8" } as never)).toThrow(/draft.weights: expected one of model/);
});
