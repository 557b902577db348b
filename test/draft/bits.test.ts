import { expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { load, variants } from "../support/engine.ts";
import { oracle } from "./oracle.ts";
import { greedy, models, say, stories } from "./rig.ts";

const prompt = "Once upon a time, there was a little girl named Lily. She had a big red ball.";

for (const path of models.filter((m) => !m.includes("golden")))
  for (const [variant, threads, kvType] of [
    ...variants.map((v) => [v, 1, "f16"] as const),
    ["base", 2, "q8"] as const,
    ["base", 1, "f32"] as const,
  ])
    test(`${path.split("/").at(-1)}: log-probabilities are plain decoding's to the last bit, wherever in a tree a token lies (${variant}, ${threads} threads, ${kvType})`, async () => {
      const drafter = oracle(24, 0.85, 200);
      const engine = await load(
        path,
        { variant, threads, kvType, draft: { ...checkDraft("lookup"), adaptive: false } },
        { drafter },
      );
      const sampling = { ...greedy, temperature: 0.8, seed: 5, logprobs: 2 };
      const lines = async (draft: "off" | "text") => {
        const parts: unknown[] = [];
        const session = await engine.open();
        const request = {
          prompt,
          maxTokens: 150,
          sampling,
          stopTokens: [],
          stop: [],
          thinking: "none",
          special: false,
          draft,
        } as const;
        const result = await engine.generate(session, request, { onPart: (part) => parts.push(...part.logprobs!) });
        const cached = (await engine.tokens(session)).length;
        await engine.closeSession(session);
        return { parts, result, cached };
      };
      const plain = await lines("off");
      drafter.knows(plain.result.usage.promptTokens, plain.result.tokens);
      const quick = await lines("text");
      expect(quick.parts).toEqual(plain.parts);
      expect(quick.cached).toBe(plain.cached);
      expect(quick.result.draft!.acceptedPerRound).toBeGreaterThan(2);
    });

test("a tree that never guesses right changes nothing but the time", async () => {
  const drafter = oracle(64, 0, 200);
  const engine = await load(stories, { draft: { ...checkDraft("lookup"), adaptive: false } }, { drafter });
  const plain = await say(engine, prompt, { draft: "off" });
  const quick = await say(engine, prompt);
  expect(quick.tokens).toEqual(plain.tokens);
  expect(quick.draft).toMatchObject({ accepted: 0, acceptedPerRound: 1 });
});
