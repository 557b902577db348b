// Small models of the target's vocabulary whose embedding is padded to another size, as models of one family are.
import { expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import { load } from "../support/engine.ts";
import { writeSentencePiece } from "../support/folder.ts";
import { pieces, tinyFolder, tinyModel } from "../support/tiny.ts";
import { greedy, say } from "./rig.ts";

/** 300 pieces, `[PAD300]` and so on up to `named`, and rows of the embedding up to `rows`. */
function model(rows: number, { seed = 5, layers = 2, named = 300, change = (names: string[]) => names } = {}) {
  const tokens = pieces(300);
  const names = change([...tokens.pieces, ...Array.from({ length: named - 300 }, (_, i) => `[PAD${300 + i}]`)]);
  const more = Array.from({ length: names.length - 300 }, () => 0);
  const scores = [...tokens.scores, ...more];
  const types = [...tokens.types, ...more.map(() => 5)];
  const files = tinyFolder(tinyModel({ vocab: rows, layers }, seed));
  return memoryFiles("", { ...files, "tokenizer.model": writeSentencePiece(names, scores, types) });
}

const draft = { ...checkDraft(false), model: { depth: 4, width: 3, size: 12 }, adaptive: false };
const chain = { ...draft, model: { depth: 5, width: 1, size: 6, front: "lookup" as const } };

test.each([
  ["smaller", 352, 320],
  ["larger", 320, 352],
])("a drafting model with a %s embedding changes no token, greedy or drawn", async (_, rows, small) => {
  for (const options of [draft, chain])
    for (const other of [model(small), model(small, { named: 310 }), model(small, { seed: 8, layers: 1 })]) {
      const engine = await load(model(rows), { draft: options }, {}, other);
      for (const sampling of [greedy, { ...greedy, temperature: 0.9, seed: 4 }]) {
        // A token of the padding in the prompt, which the smaller one has no row for.
        for (const prompt of [
          [1, 40, 60, 80],
          [1, 299, Math.max(rows, small) === rows ? 340 : 319, 7],
        ]) {
          const plain = await say(engine, prompt, { maxTokens: 40, sampling, draft: "off" });
          const quick = await say(engine, prompt, { maxTokens: 40, sampling });
          expect(quick.tokens).toEqual(plain.tokens);
          expect(quick.draft!.rounds).toBeGreaterThan(0);
        }
      }
    }
});

test("more tokens than the target has, or other ones, are refused", async () => {
  const refused = async (other: ReturnType<typeof model>, message: RegExp) =>
    expect(load(model(320), { draft }, {}, other)).rejects.toMatchObject({
      code: "bad-option",
      message: expect.stringMatching(message) as string,
    });
  const renamed = (at: number, to: string) => model(320, { change: (names) => names.map((name, i) => (i === at ? to : name)) });
  await refused(renamed(290, "zz"), /its token 290 means another text/);
  await refused(
    model(352, { named: 340, change: (names) => names.map((name, i) => (i === 330 ? "word" : name)) }),
    /it has 352 tokens, the target 320/,
  );
});
