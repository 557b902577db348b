import { describe, expect, test } from "vitest";
import { draftOptions } from "../../src/door/draft.ts";
import type { SamplingOptions } from "../../src/engine/types.ts";
import { load, variants } from "../support/engine.ts";
import { greedy, models, say } from "./rig.ts";

const samplings: Readonly<Record<string, SamplingOptions>> = {
  greedy,
  "temperature 0.7": { ...greedy, temperature: 0.7, seed: 11 },
  "penalties, bias, log-probabilities": { ...greedy, temperature: 0.9, topK: 30, topP: 0.9, minP: 0.02, repetitionPenalty: 1.1, frequencyPenalty: 0.1, presencePenalty: 0.1, logitBias: [[261, 1.5]], seed: 3, logprobs: 3 },
};

const prompt = (path: string): readonly number[] | string => (path.includes("golden") ? [1, 40, 41, 42, 43, 40, 41] : "Lily had a red ball. Tom had a red ball. Lily");

describe.each(models.map((m) => [m.split("/").at(-1)!, m] as const))("%s", (_, path) => {
  for (const variant of variants)
    for (const threads of [1, 2])
      test(`prompt lookup gives plain decoding's tokens, greedy and sampled (${variant}, ${threads} threads)`, async () => {
        // Everything that is proposed is verified, so that as many rows as can be take part.
        const engine = await load(path, { variant, threads, draft: { ...draftOptions("lookup"), adaptive: false } });
        let drafted = 0;
        for (const sampling of Object.values(samplings)) {
          const plain = await say(engine, prompt(path), { sampling, draft: "off", maxTokens: 90 });
          const quick = await say(engine, prompt(path), { sampling, maxTokens: 90 });
          expect(quick.tokens).toEqual(plain.tokens);
          expect(quick.text).toBe(plain.text);
          expect(quick.finishReason).toBe(plain.finishReason);
          expect(plain.draft).toBeUndefined();
          drafted += quick.draft!.drafted;
        }
        if (!path.includes("golden")) expect(drafted).toBeGreaterThan(20);
      });
});
