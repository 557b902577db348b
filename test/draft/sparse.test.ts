// Drafting where attention is or becomes sparse, and where a full context slides: chains, bit for bit plain decoding.
import { expect, test } from "vitest";
import type { DraftTree } from "../../src/decode/draft/tree.ts";
import { checkDraft } from "../../src/door/draft.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions, GenerateRequest } from "../../src/engine/types.ts";
import { load, variants } from "../support/engine.ts";
import { noise } from "../support/noise.ts";
import { oracle } from "./oracle.ts";
import { greedy, own, stories } from "./rig.ts";

const sparse = {
  kernelSize: 32,
  kernelStride: 16,
  blockSize: 64,
  initBlocks: 1,
  windowSize: 128,
  topk: 2,
  denseLen: 400,
  exactLse: true,
};
const draft = { ...checkDraft("lookup"), adaptive: false };

/** Tokens, log-probabilities and the cached length of one generation. */
async function lines(engine: Engine, request: Partial<GenerateRequest>) {
  const parts: unknown[] = [];
  const session = await engine.open();
  const full = {
    prompt: "",
    maxTokens: 120,
    sampling: { ...greedy, temperature: 0.9, seed: 2, logprobs: 2 },
    stopTokens: [],
    stop: [],
    thinking: "none",
    special: false,
    ...request,
  } as GenerateRequest;
  const result = await engine.generate(session, full, { onPart: (part) => parts.push(...part.logprobs!) });
  const cached = await engine.tokens(session);
  await engine.closeSession(session);
  return { parts, cached, result };
}

const settings: readonly Partial<EngineOptions>[] = [
  ...variants.flatMap((variant) => [1, 2].map((threads) => ({ variant, threads }))),
  { variant: "base", kvType: "q8" },
  { variant: "base", sparse: { ...sparse, exactLse: false } },
];

// 300: dense at first, sparse in the middle of the text; 700: sparse from the start.
for (const options of settings)
  for (const promptLength of [300, 700])
    test(`chains behind ${promptLength} tokens, sparse from 400 (${JSON.stringify(options)})`, async () => {
      const drafter = oracle(12, 0.8, 500);
      const trees: number[] = [];
      let branches = 0;
      const watch = (tree: DraftTree) => {
        trees.push(tree.size);
        for (let i = 1; i < tree.size; i++) if (tree.depths[i] !== i) branches++;
      };
      const engine = await load(
        own("test/golden/sparse-f32.gguf"),
        { contextSize: 1200, sparse, draft, ...options },
        { drafter, watch },
      );
      const random = noise(promptLength);
      const prompt = Array.from({ length: promptLength }, () => 3 + Math.floor(random() * 500));
      const plain = await lines(engine, { prompt, maxTokens: 200, draft: "off" });
      drafter.knows(promptLength, plain.result.tokens);
      const quick = await lines(engine, { prompt, maxTokens: 200 });
      expect(quick.parts).toEqual(plain.parts);
      expect(quick.cached).toEqual(plain.cached);
      expect(quick.result.draft!.accepted).toBeGreaterThan(40);
      expect(Math.max(...trees)).toBeGreaterThan(3);
      expect(branches).toBe(0);
    });

test("a context that slides is drafted for until it does, and the text is plain decoding's", async () => {
  for (const input of ["lookup", "oracle"] as const) {
    const drafter = oracle(12, 0.8, 200);
    const engine = await load(stories, { contextSize: 128, draft }, input === "oracle" ? { drafter } : {});
    Object.assign(engine.info.tokenizer, { stop: [] });
    const prompt = Array.from({ length: 60 }, (_, i) => 300 + (((i % 20) * 37) % 400));
    const request = { prompt, maxTokens: 200, whenFull: "slide" } as const;
    const plain = await lines(engine, { ...request, draft: "off" });
    drafter.knows(60, plain.result.tokens);
    const quick = await lines(engine, request);
    expect(quick.parts).toEqual(plain.parts);
    expect(quick.cached).toEqual(plain.cached);
    expect(quick.result.tokens.length).toBe(200);
    if (input === "oracle") expect(quick.result.draft!.accepted).toBeGreaterThan(10);
    // The next text of this engine is drafted for again.
    const next = await lines(engine, { prompt: prompt.slice(0, 30), maxTokens: 40 });
    const same = await lines(engine, { prompt: prompt.slice(0, 30), maxTokens: 40, draft: "off" });
    expect(next.parts).toEqual(same.parts);
  }
});
