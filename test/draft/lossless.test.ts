import { describe, expect, test } from "vitest";
import { type DraftInput, draftOptions } from "../../src/door/draft.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions, SamplingOptions } from "../../src/engine/types.ts";
import { filesOf, load, variants } from "../support/engine.ts";
import { shared } from "../support/golden.ts";
import { greedy, models, own, say, stories } from "./rig.ts";

const samplings: Readonly<Record<string, SamplingOptions>> = {
  greedy,
  "temperature 0.7": { ...greedy, temperature: 0.7, seed: 11 },
  "penalties, bias, log-probabilities": {
    ...greedy,
    temperature: 0.9,
    topK: 30,
    topP: 0.9,
    minP: 0.02,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.1,
    presencePenalty: 0.1,
    penaltyWindow: 64,
    logitBias: [[261, 1.5]],
    seed: 3,
    logprobs: 3,
  },
};

const head = own("models/stories-eagle");
const freq = own("models/stories-eagle/freq-512.json");
const tree = { depth: 4, width: 4, size: 24 };

const storyDrafts: Readonly<Record<string, DraftInput>> = {
  lookup: "lookup",
  "an EAGLE-2 head": { eagle: head, tree },
  "an EAGLE-2 head with FR-Spec and a window": { eagle: head, tree, vocabulary: freq, window: 24, lookup: false },
  "a head and lookup, by what pays": { eagle: head, tree: { depth: 3, width: 4, size: 16 }, adaptive: true },
  "a small model's chain": { model: stories, lookup: false },
  "a small model's tree and lookup": { model: stories, tree: { depth: 3, width: 3, size: 12 }, lookup: true },
};

async function loadDraft(path: string, draft: DraftInput, options: Partial<EngineOptions>): Promise<Engine> {
  // Unless a draft says otherwise everything proposed is verified, so that as many rows as can be take part.
  const given = typeof draft === "object" ? { adaptive: false, ...draft } : draft;
  const { options: full, files } = await draftOptions(given, filesOf);
  return load(path, { ...options, draft: draft === "lookup" ? { ...full, adaptive: false } : full }, {}, files);
}

async function compare(engine: Engine, prompt: string | readonly number[], maxTokens: number): Promise<number> {
  let drafted = 0;
  for (const [name, sampling] of Object.entries(samplings)) {
    const plain = await say(engine, prompt, { sampling, draft: "off", maxTokens });
    const quick = await say(engine, prompt, { sampling, maxTokens });
    expect(quick.tokens, name).toEqual(plain.tokens);
    expect(quick.text, name).toBe(plain.text);
    expect(quick.finishReason, name).toBe(plain.finishReason);
    expect(plain.draft).toBeUndefined();
    drafted += quick.draft!.drafted;
  }
  return drafted;
}

const settings = variants.flatMap((variant) => [1, 2].map((threads) => [variant, threads] as const));

describe.each(models.map((m) => [m.split("/").at(-1)!, m] as const))("%s", (name, path) => {
  for (const [variant, threads] of settings)
    test(`prompt lookup gives plain decoding's tokens, greedy and sampled (${variant}, ${threads} threads)`, async () => {
      const prompt = name.startsWith("target") ? [1, 40, 41, 42, 43, 40, 41] : "Lily had a red ball. Tom had a red ball. Lily";
      const drafted = await compare(await loadDraft(path, "lookup", { variant, threads }), prompt, 90);
      if (!name.startsWith("target")) expect(drafted).toBeGreaterThan(20);
    });

  if (name.startsWith("stories-"))
    for (const [draft, input] of Object.entries(storyDrafts))
      for (const [variant, threads] of settings)
        test(`${draft} gives plain decoding's tokens, greedy and sampled (${variant}, ${threads} threads)`, async () => {
          const drafted = await compare(
            await loadDraft(path, input, { variant, threads }),
            "Once upon a time there was a boy named John. John was",
            70,
          );
          // What pays depends on the machine's mood.
          if (typeof input !== "object" || !("adaptive" in input)) expect(drafted).toBeGreaterThan(30);
        });
});

const target = shared("golden/target-f32.gguf");
test.skipIf(!target)("the golden head gives the golden target's plain tokens, sampled", async () => {
  const engine = await loadDraft(
    target!,
    { eagle: shared("golden/eagle-head.safetensors")!, tree: { depth: 3, width: 4, size: 12 } },
    {},
  );
  expect(await compare(engine, [1, 501, 500, 505, 196, 90, 472, 56], 100)).toBeGreaterThan(50);
});
