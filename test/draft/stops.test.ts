import { describe, expect, test } from "vitest";
import { checkDraft, type DraftInput, draftOptions } from "../../src/door/draft.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { GenerateRequest } from "../../src/engine/types.ts";
import { filesOf, load } from "../support/engine.ts";
import { oracle } from "./oracle.ts";
import { greedy, own, say, stories } from "./rig.ts";

const prompt = "Once upon a time, there was a little girl named Lily. She had a big red ball.";
const head: DraftInput = { eagle: own("models/stories-eagle"), tree: { depth: 4, width: 3, size: 16 }, adaptive: false };

/** An engine whose oracle is nearly always right, so that stops fall inside accepted paths; plain decoding's result beside it. */
async function knowing(right = 1, contextSize?: number) {
  const drafter = oracle(16, right, 200);
  const engine = await load(stories, { contextSize, draft: { ...checkDraft("lookup"), adaptive: false } }, { drafter });
  const plain = await say(engine, prompt, { draft: "off", maxTokens: 500 });
  drafter.knows(plain.usage.promptTokens, plain.tokens);
  return { engine, plain };
}

/** The same request with and without drafts: results and what is left in the cache are the same. */
async function same(engine: Engine, request: Partial<GenerateRequest>) {
  const [a, b] = [await engine.open(), await engine.open()];
  const plain = await say(engine, prompt, { ...request, draft: "off" }, a);
  const quick = await say(engine, prompt, request, b);
  expect(quick.text).toBe(plain.text);
  expect(quick.tokens).toEqual(plain.tokens);
  expect(quick.finishReason).toBe(plain.finishReason);
  expect(quick.usage).toEqual(plain.usage);
  expect(await engine.tokens(b)).toEqual(await engine.tokens(a));
  // The caches say the same from here on, to the bit.
  expect(await engine.forward(b, [300, 301], "all")).toEqual(await engine.forward(a, [300, 301], "all"));
  for (const id of [a, b]) await engine.closeSession(id);
  return quick;
}

describe("inside an accepted path", () => {
  test("a stop token ends the text there, and nothing beyond it is emitted or cached", async () => {
    const { engine, plain } = await knowing();
    for (const at of [3, 4, 5, 6, 7, 8]) {
      const stopTokens = [plain.tokens[at]!];
      const quick = await same(engine, { stopTokens, maxTokens: 40 });
      expect(quick.finishReason).toBe("stop");
      expect(quick.tokens.length).toBe(plain.tokens.indexOf(stopTokens[0]!));
    }
  });

  test("the model's own end token ends the text", async () => {
    const { engine, plain } = await knowing();
    Object.assign(engine.info.tokenizer, { stop: [plain.tokens[9]!] });
    expect((await same(engine, { maxTokens: 60 })).finishReason).toBe("stop");
  });

  test("a stop string that spans tokens ends the text", async () => {
    const { engine, plain } = await knowing();
    for (const [from, length] of [
      [8, 7],
      [20, 3],
      [31, 12],
    ] as const) {
      const quick = await same(engine, { stop: [plain.text.slice(from, from + length)], maxTokens: 80 });
      expect(quick.finishReason).toBe("stop-string");
    }
  });

  test("maxTokens ends the text at any number of tokens", async () => {
    const { engine } = await knowing();
    for (let maxTokens = 1; maxTokens <= 14; maxTokens++) {
      const quick = await same(engine, { maxTokens });
      expect(quick.finishReason).toBe("length");
      expect(quick.tokens.length).toBe(maxTokens);
    }
  });

  test("the context ends inside a tree", async () => {
    const promptTokens = (await knowing()).plain.usage.promptTokens;
    for (const room of [1, 2, 3, 5, 8, 13]) {
      const { engine } = await knowing(1, promptTokens + room);
      const [a, b] = [await engine.open(), await engine.open()];
      const plain = await say(engine, prompt, { draft: "off", maxTokens: 500 }, a);
      const quick = await say(engine, prompt, { maxTokens: 500 }, b);
      expect(quick.tokens).toEqual(plain.tokens);
      expect(quick.finishReason).toBe("context");
      expect(await engine.tokens(b)).toEqual(await engine.tokens(a));
      expect((await engine.tokens(b)).length).toBe(promptTokens + room);
    }
  });
});

describe.each<[string, DraftInput]>([
  ["a head", head],
  ["a small model", { model: stories, tree: { depth: 3, width: 2, size: 8 }, adaptive: false }],
  ["lookup", "lookup"],
])("%s", (_, input) => {
  async function drafting() {
    const { options, files } = await draftOptions(input, filesOf);
    return load(stories, { draft: { ...options, adaptive: false } }, {}, files);
  }

  test("an abort in the middle leaves a session that goes on as if nothing had been", async () => {
    const engine = await drafting();
    const session = await engine.open();
    for (const after of [1, 3, 6]) {
      const abort = new AbortController();
      let parts = 0;
      const request = {
        prompt,
        maxTokens: 200,
        sampling: greedy,
        stopTokens: [],
        stop: [],
        thinking: "none",
        special: false,
      } as const;
      const cut = engine.generate(session, request, { signal: abort.signal, onPart: () => ++parts === after && abort.abort() });
      await expect(cut).rejects.toMatchObject({ name: "AbortError" });
      const again = await say(engine, prompt, { maxTokens: 60 }, session);
      expect(again.tokens).toEqual((await say(engine, prompt, { maxTokens: 60, draft: "off" })).tokens);
    }
  });

  test("turns of a conversation, cuts, copies and restored sessions draft on, and say what plain decoding says", async () => {
    const engine = await drafting();
    const session = await engine.open();
    const first = await say(engine, prompt, { maxTokens: 30 }, session);
    const encoded = [...(await engine.tokens(session))];
    const longer = [...encoded, 376, 284, 261, 394, 457];
    const turn = async (id: number, text: readonly number[]) => {
      const quick = await say(engine, text, { maxTokens: 40 }, id);
      expect(quick.tokens).toEqual((await say(engine, text, { maxTokens: 40, draft: "off" })).tokens);
      return quick;
    };
    expect(first.tokens.length).toBe(30);
    await turn(session, longer);
    await engine.truncate(session, 20);
    await engine.forward(session, [405, 261, 394], "none");
    await turn(session, [...(await engine.tokens(session)), 457, 437]);
    await turn(session, longer);
    const copy = await engine.copy(session);
    await turn(copy, [...longer, 316]);
    const restored = await engine.restore(await engine.save(session));
    await turn(restored, [...longer, 316, 311]);
    await turn(session, [...longer, 320]);
    for (const id of [session, copy, restored]) await engine.closeSession(id);
  });
});
