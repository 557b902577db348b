// The weights of a draft head: floats as they are, or requantised to int8; GPTQ.
import { expect, test } from "vitest";
import { checkDraft, type EagleInput } from "../../src/door/draft.ts";
import type { GenerateResult } from "../../src/engine/types.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { load, variants } from "../support/engine.ts";
import { jsonBytes, type StoredTensor, writeSafetensors } from "../support/folder.ts";
import { gptqTensors } from "../support/gptq.ts";
import { headFile, offsets, tinyHead } from "../support/head.ts";
import { noise } from "../support/noise.ts";
import { floatBytes, halfBits, halfValue, tinyGguf, tinyModel } from "../support/tiny.ts";
import { widened } from "../support/widened.ts";
import { own, say, stories } from "./rig.ts";

const head = own("models/stories-eagle");
const prompts = ["Once upon a time there was a boy named John. John was", "Lily and her dog went to the park. The dog"];
const tree = { depth: 3, width: 4, size: 12 };

interface Grown {
  readonly tokens: readonly number[];
  readonly chances: readonly number[];
}

/** The trees that a head grew, its acceptance, and the text. */
async function grown(
  model: ModelInput,
  eagle: ModelInput,
  weights: EagleInput["weights"],
  threads = 1,
  texts: readonly (string | readonly number[])[] = prompts,
) {
  const trees: Grown[] = [];
  const draft = checkDraft({ eagle, tree, adaptive: false, lookup: false, weights });
  const hooks: NonNullable<Parameters<typeof load>[2]> = {
    watch: (t) => {
      trees.push({ tokens: [...t.tokens].slice(0, t.size), chances: [...t.chance].slice(0, t.size) });
    },
  };
  const engine = await load(model, { draft, threads, variant: variants.at(-1)! }, hooks, eagle);
  const said: GenerateResult[] = [];
  for (const prompt of texts) said.push(await say(engine, prompt, { maxTokens: 60 }));
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

test("beside float weights a head keeps its floats unless asked", async () => {
  const floats = await widened(stories);
  const float = await grown(floats, head, "float");
  expect(await grown(floats, head, "auto")).toEqual(float);
  expect((await grown(floats, head, "int8")).trees).not.toEqual(float.trees);
});

test("weights of another name, and int8 of columns that are no multiple of 32, are refused", async () => {
  for (const weights of ["int4", 8, null] as unknown as EagleInput["weights"][])
    expect(() => checkDraft({ eagle: head, weights })).toThrow(/draft.weights: expected "auto", "float" or "int8", found/);
  expect(() => checkDraft({ model: stories, weights: "int8" } as never)).toThrow(/draft.weights: expected one of model/);
  // The shape of the stories.
  const shape = { layers: 4, hidden: 256, intermediate: 768, heads: 8, kvHeads: 2, headDim: 32, vocab: 2048, tied: true };
  const odd = { "model.safetensors": headFile(tinyHead(2, shape, 100)) };
  await expect(grown(stories, odd, "int8")).rejects.toMatchObject({
    code: "bad-option",
    detail: { field: "draft.weights", found: "layers.0.mlp.down_proj.weight" },
    message: expect.stringMatching(/has 100 columns, and int8 takes multiples of 32; use "auto" or "float"/),
  });
  // By itself it takes what it can: the others.
  const [auto, float] = [await grown(stories, odd, "auto"), await grown(stories, odd, "float")];
  expect(auto.text).toEqual(float.text);
  expect(auto.trees).not.toEqual(float.trees);
});

// A head of int4 linears, as GPTQ writes them, and the float head that its codes mean.
const target = tinyModel({ layers: 4, hidden: 256, intermediate: 384, heads: 4, kvHeads: 2, headDim: 64 });
const tokens = [[1, 50, 99, 148, 7, 260]];
const group = 128;

function quantizedHead(version: 2 | 3, zero: (row: number) => number, stored: ((zero: number) => number) | undefined) {
  const random = noise(41);
  const twin = new Map(tinyHead(version, target.shape));
  const tensors = [...twin].flatMap(([name, { shape, values }]): StoredTensor[] => {
    // Some heads keep fc in floats; the rows of an EAGLE-3 head always are.
    if (!/_proj/.test(name) && !(version === 2 && name === "fc.weight"))
      return [{ name, dtype: "F32", shape, bytes: floatBytes(values, "F32") }];
    const [rows, cols] = shape as [number, number];
    const codes = Uint8Array.from({ length: rows * cols }, () => 16 * random());
    // Five bits, so that a scale times a zero point is a half as well.
    const scales = Uint16Array.from({ length: (rows * cols) / group }, () =>
      halfBits((16 + Math.floor(16 * random())) / 2 ** 11),
    );
    twin.set(name, {
      shape,
      values: Float32Array.from(codes, (code, i) => {
        const row = Math.floor(i / cols);
        return halfValue(scales[row * (cols / group) + Math.floor((i % cols) / group)]!) * (code - zero(row));
      }),
    });
    const linear = name.replace(/weight$/, "");
    return gptqTensors(linear, codes, scales, rows, cols, group, stored && ((row) => stored(zero(row))));
  });
  return { twin: { "model.safetensors": headFile(twin) }, tensors: [...tensors, ...offsets(twin)] };
}

const gptqFolder = (tensors: readonly StoredTensor[], config: object) => ({
  "config.json": jsonBytes({
    quantization_config: { quant_method: "gptq", bits: 4, group_size: group, desc_act: false, ...config },
  }),
  "model.safetensors": writeSafetensors(tensors),
});

/** How far apart the chances of the first tokens that each proposed are; one that only one of them proposed is as likely to the other as its last. */
function apart(a: readonly Grown[], b: readonly Grown[]): number {
  const first = ({ tokens, chances }: Grown) => new Map(tokens.slice(1, 1 + tree.width).map((t, i) => [t, chances[i + 1]!]));
  const [x, y] = [first(a[0]!), first(b[0]!)];
  const far = (from: typeof x, to: typeof x) =>
    [...from].map(([token, chance]) => Math.abs(chance - (to.get(token) ?? Math.min(...to.values()))));
  return Math.max(...far(x, y), ...far(y, x));
}

const heads: readonly [string, (row: number) => number, ((zero: number) => number) | undefined, object][] = [
  ["v1, symmetric", () => 8, (zero) => zero - 1, { sym: true }],
  ["v2, asymmetric", (row) => 5 + (row % 7), (zero) => zero, { sym: false, checkpoint_format: "gptq_v2" }],
  ["without zero points", () => 8, undefined, { sym: true }],
];

for (const version of [2, 3] as const)
  for (const [what, zero, stored, config] of heads)
    test(`a GPTQ EAGLE-${version} head, ${what}, grows the tree of the floats that its codes mean`, async () => {
      const { twin, tensors } = quantizedHead(version, zero, stored);
      const model = tinyGguf(target);
      const got = await grown(model, gptqFolder(tensors, config), "float", 1, tokens);
      const want = await grown(model, twin, "float", 1, tokens);
      expect(got.text).toEqual(want.text);
      expect(apart(got.trees, want.trees)).toBeLessThan(0.005);
      expect((await grown(model, gptqFolder(tensors, config), "float", 2, tokens)).trees).toEqual(got.trees);
      if (what !== "v1, symmetric") return;
      const wrong = gptqFolder(tensors, { ...config, checkpoint_format: "gptq_v2" });
      expect(apart((await grown(model, wrong, "float", 1, tokens)).trees, want.trees)).toBeGreaterThan(0.01);
    });

test("a GPTQ head whose groups do not fit is refused, naming the field", async () => {
  const { tensors } = quantizedHead(2, () => 8, undefined);
  await expect(grown(tinyGguf(target), gptqFolder(tensors, { group_size: 48 }), "auto", 1, tokens)).rejects.toMatchObject({
    code: expect.stringMatching(/bad-model|unsupported/),
    detail: { field: expect.stringMatching(/group_size|proj|fc/) },
  });
});
