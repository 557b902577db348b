// Layers with a window keep a ring of slots, and texts may outgrow their rotation: neither shows in what is computed.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { checkDraft } from "../../src/door/draft.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { ANY_SESSION } from "../../src/engine/types.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { oracle } from "../draft/oracle.ts";
import { say } from "../draft/rig.ts";
import { firstDifference, greedy, load, variants } from "../support/engine.ts";
import { familyFolder } from "../support/families.ts";

const golden = (name: string) => fileURLToPath(new URL(`../golden/families/${name}`, import.meta.url));
/** Windows in all layers, in some, and in those that turn alone; in front of full layers with another rotation, or none. */
const models: Readonly<Record<string, ModelInput>> = {
  "gemma3-linear.gguf": golden("gemma3-linear.gguf"),
  "olmo3.gguf": golden("olmo3.gguf"),
  "gemma2-caps.gguf": golden("gemma2-caps.gguf"),
  "mistral-window": familyFolder("mistral-window"),
  "qwen2-window": familyFolder("qwen2-window"),
  "smollm3-odd": familyFolder("smollm3-odd"),
  "exaone4-window": familyFolder("exaone4-window"),
  "phi4-mini, a window of 24": familyFolder("phi4-mini", "config.json", {
    sliding_window: 24,
    rope_parameters: { rope_type: "default", rope_theta: 10000, partial_rotary_factor: 0.75 },
  }),
};
const text = (vocab: number, length: number) => Array.from({ length }, (_, i) => 3 + ((i * 7919 + 5) % (vocab - 3)));

async function last(engine: Engine, tokens: readonly number[], chunk = tokens.length): Promise<Float32Array> {
  const session = await engine.open();
  let logits: Float32Array = new Float32Array(0);
  for (let at = 0; at < tokens.length; at += chunk) logits = await engine.forward(session, tokens.slice(at, at + chunk), "last");
  await engine.closeSession(session);
  return logits;
}

for (const [name, input] of Object.entries(models)) {
  test(`${name}: a ring gives the bits of a whole cache, and takes the memory that was planned`, async () => {
    // With batches of 2048 a ring would be larger than the context: layers with a window then keep everything.
    const whole = await load(input, { contextSize: 1024, batchSize: 2048 });
    const ring = await load(input, { contextSize: 1024, batchSize: 8 });
    const { layers, kvHeads, headDim, traits } = ring.info.config;
    const windows = traits!.layerKinds!.filter((kind) => kind.window).length;
    const slots = Math.ceil((traits!.window! + 64) / 32) * 32;
    const bytes = (kept: number) => kept * kvHeads * 2 * headDim * 2;
    expect(whole.info.memory.kvCache).toBe(Math.ceil(bytes(layers * 1024) / 64) * 64);
    expect(ring.info.memory.kvCache).toBe(Math.ceil(bytes((layers - windows) * 1024 + windows * slots) / 64) * 64);
    const tokens = text(ring.info.config.vocab, 700);
    const expected = await last(whole, tokens);
    for (const chunk of [700, 300, 7])
      expect(firstDifference(await last(ring, tokens, chunk), expected), `chunks of ${chunk}`).toBe(-1);
    for (const variant of variants)
      expect(
        firstDifference(
          await last(await load(input, { contextSize: 1024, batchSize: 32, threads: 2, variant }), tokens, 90),
          expected,
        ),
      ).toBe(-1);
  });

  test(`${name}: a session that is cut, saved, copied or slid goes on as one computed anew`, async () => {
    const engine = await load(input, { contextSize: 512, batchSize: 8, kvType: "f32" });
    const other = await load(input, { contextSize: 512, batchSize: 64, kvType: "f32" });
    const tokens = text(engine.info.config.vocab, 400);
    const next = async (session: number, from = engine) => from.forward(session, [9], "last");
    const anew = async (length: number) => last(engine, [...tokens.slice(0, length), 9]);
    for (const length of [395, 350, 64, 5]) {
      const session = await engine.open();
      await engine.forward(session, tokens, "none");
      await engine.truncate(session, length);
      const bytes = await engine.save(session);
      const copy = await engine.copy(session);
      const expected = await anew(length);
      expect(firstDifference(await next(session), expected), `cut to ${length}`).toBe(-1);
      expect(firstDifference(await next(copy), expected), `copied at ${length}`).toBe(-1);
      expect(firstDifference(await next(await other.restore(bytes), other), expected), `saved at ${length}`).toBe(-1);
      await engine.closeSession(session);
      await engine.closeSession(copy);
    }
    const session = await engine.open(64);
    const request = { ...greedy(tokens.slice(0, 60), 20), whenFull: "slide" as const };
    await engine.generate(session, request, { onPart() {} });
    const kept = [...(await engine.tokens(session))];
    const expected = await last(engine, [...kept.slice(0, -1), kept.at(-1)!, 9]);
    expect(kept.length).toBeLessThan(64);
    expect(firstDifference(await next(session), expected), "slid").toBe(-1);
  });

  test(`${name}: requests share prefixes that windows still hold, and no others`, async () => {
    const engine = await load(input, { contextSize: 512, batchSize: 8, cacheBytes: 1 << 24 });
    const tokens = text(engine.info.config.vocab, 300);
    const ask = (prompt: readonly number[]) => engine.generate(ANY_SESSION, greedy(prompt, 12), { onPart() {} });
    const fresh = async (prompt: readonly number[]) => say(engine, prompt, { maxTokens: 12 });
    for (const prompt of [tokens, [...tokens, 7, 8], tokens.slice(0, 200), [...tokens.slice(0, 290), 4], tokens.slice(0, 40)])
      expect((await ask(prompt)).tokens).toEqual((await fresh(prompt)).tokens);
  });

  test(`${name}: drafts change nothing behind a window, and neither does a small model that has one`, async () => {
    const drafter = oracle(24, 0.85, 200);
    const engine = await load(
      input,
      { contextSize: 512, batchSize: 24, draft: { ...checkDraft("lookup"), adaptive: false } },
      { drafter },
    );
    const prompt = text(engine.info.config.vocab, 150);
    const plain = await say(engine, prompt, { draft: "off", maxTokens: 150 });
    drafter.knows(plain.usage.promptTokens, plain.tokens);
    const quick = await say(engine, prompt, { maxTokens: 150 });
    expect(quick.tokens).toEqual(plain.tokens);
    expect(quick.draft!.acceptedPerRound).toBeGreaterThan(2);
    const draft = checkDraft({ model: input, adaptive: false, lookup: false, tree: { depth: 4, width: 2, size: 12 } });
    const both = await load(input, { contextSize: 512, batchSize: 24, draft }, {}, input);
    const third = await say(both, prompt, { maxTokens: 150 });
    expect(third.tokens).toEqual(plain.tokens);
    expect(third.draft!.acceptedPerRound).toBeGreaterThan(3);
  });
}

interface Sequence {
  readonly tokens: readonly number[];
  readonly greedy: readonly number[];
}

test("a text that outgrows LongRoPE's original context goes on as if it had been long from its start, drafted or not", async () => {
  const { sequences } = JSON.parse(readFileSync(golden("phi4-mini.json"), "utf8")) as { sequences: Sequence[] };
  const { tokens, greedy: expected } = sequences[2]!;
  // End tokens are text here.
  const request = (prompt: readonly number[]) => ({ ...greedy(prompt, 24), special: true });
  const drafter = oracle(24, 0.85, 200);
  const draft = { ...checkDraft("lookup"), adaptive: false };
  const engine = await load(
    golden("phi4-mini.gguf"),
    { contextSize: 512, kvType: "f32", draft, cacheBytes: 1 << 24 },
    { drafter },
  );
  drafter.knows(tokens.length, expected);
  for (const how of ["off", "text"] as const) {
    const session = await engine.open();
    const { tokens: found } = await engine.generate(session, { ...request(tokens), draft: how }, { onPart() {} });
    expect(found, how).toEqual(expected);
    // And back below: the short factors again.
    await engine.truncate(session, 200);
    const again = await engine.forward(session, tokens.slice(200), "last");
    expect(firstDifference(again, await last(engine, tokens))).toBe(-1);
  }
  // Kept texts of one rotation are not gone on from in the other.
  const any = async (prompt: readonly number[]) => (await engine.generate(ANY_SESSION, request(prompt), { onPart() {} })).tokens;
  expect(await any(tokens)).toEqual(expected);
  expect(await any(tokens)).toEqual(expected);
});
