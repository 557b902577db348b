// Models trained on stories, against the greedy continuations of the exact evaluation.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { greedy, load, variants } from "../support/engine.ts";
import { shared } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";

interface Continuation {
  readonly prompt: string;
  readonly ids: readonly number[];
  readonly tokens: readonly number[];
  readonly text: string;
}

const expectedFile = shared("models/expected.json");
const stories: readonly Continuation[] = expectedFile
  ? (JSON.parse(readFileSync(expectedFile, "utf8")) as { greedy: Continuation[] }).greedy
  : [];
const float = shared("models/stories-f16.gguf");
const embedded = fileURLToPath(new URL("../../models/stories-q4_0.gguf", import.meta.url));
const ternary = shared("models/stories-ternary-tq2_0.gguf");
const llama = shared("data/stories260k.gguf");

for (const variant of variants)
  for (const { prompt, ids, tokens, text } of float ? stories : [])
    test(`"${prompt}" goes on as expected, greedily, in the ${variant} build`, async () => {
      const engine = await load(float!, { variant });
      expect(new Tokenizer(engine.info.tokenizer).encode(prompt)).toEqual(ids);
      const parts: string[] = [];
      const result = await engine.generate(await engine.open(), greedy(prompt, tokens.length), {
        onPart: (part) => parts.push(part.text),
      });
      expect(result.tokens).toEqual(tokens);
      expect(result.text).toBe(text);
      expect(parts.join("")).toBe(result.text);
      expect(result).toMatchObject({
        finishReason: "length",
        usage: { promptTokens: ids.length, cachedTokens: 0, completionTokens: tokens.length },
      });
    });

/** Share of English function words: a model whose weights were misread writes none. */
const english = (text: string): number =>
  (text.match(/\b(the|a|and|to|was|she|he|it|they|her|his|in|with|of)\b/gi)?.length ?? 0) / Math.max(1, text.split(/\s+/).length);

for (const [name, path] of [
  ["int4", embedded],
  ["ternary", ternary],
] as const)
  test.runIf(path)(`the ${name} story model writes English and stays near the float one`, async () => {
    const engine = await load(path!);
    const session = await engine.open();
    const { text, tokens } = await engine.generate(session, greedy("Once upon a time", 100), { onPart: () => {} });
    expect(tokens.length).toBeGreaterThan(20);
    expect(english(text)).toBeGreaterThan(0.2);
    expect(text).toMatch(/^, there was a little (girl|boy) named [A-Z]/);
  });

whereFile(llama, "data/stories260k.gguf")("a llama with float32 weights and a head of its own writes its story", async () => {
  const engine = await load(llama!);
  expect(engine.info.config).toMatchObject({ architecture: "llama", embeddingScale: 1, residualScale: 1, logitScale: 1 });
  const { text, finishReason } = await engine.generate(await engine.open(), greedy("Once upon a time", 200), {
    onPart: () => {},
  });
  expect(text).toMatch(/^, there was a little girl named Lily/);
  expect(english(text)).toBeGreaterThan(0.2);
  expect(["length", "stop"]).toContain(finishReason);
});
