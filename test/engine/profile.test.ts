// Session profiles: what they tell, and that they leave the session as it is.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { firstDifference, load, logitsOf, variants } from "../support/engine.ts";

const story = fileURLToPath(new URL("../../models/stories-q4_0.gguf", import.meta.url));
const names = ["embedding", "norm", "q, k, v", "attention", "output", "gate, up, SiLU", "down", "head", "sampling", "dispatch"];

for (const variant of variants)
  for (const threads of [1, 2])
    test(`a profile names every kind of operation and changes nothing (${variant}, ${threads} threads)`, async () => {
      const engine = await load(story, { variant, threads, contextSize: 64 });
      const [profiled, plain] = [await engine.open(), await engine.open()];
      const prompt = [1, 430, 442, 261, 400];
      for (const session of [profiled, plain]) await engine.forward(session, prompt, "none");
      const profile = await engine.profile(profiled, 3);
      expect(profile.entries.map((entry) => entry.name)).toEqual(names);
      expect(profile).toMatchObject({ steps: 3, context: 5, threads });
      expect(profile.readGBs).toBeGreaterThan(0);
      expect(profile.dotGOPs).toBeGreaterThan(0);
      expect(profile.stepMs).toBeGreaterThan(0);
      const { config, packed } = engine.info;
      const products = profile.entries.filter((entry) => entry.kind !== undefined);
      expect(products.map((entry) => entry.name)).toEqual(["q, k, v", "output", "gate, up, SiLU", "down", "head"]);
      // All weights once; the tied embedding is the head.
      expect(products.reduce((sum, entry) => sum + entry.bytes!, 0)).toBe(Object.values(packed).reduce((a, b) => a + b, 0));
      const attention = profile.entries.find((entry) => entry.name === "attention")!;
      expect(attention.bytes).toBe(2 * 2 * 5 * config.layers * config.kvHeads * config.headDim);
      expect(await engine.tokens(profiled)).toEqual(Int32Array.from(prompt));
      const next = (session: number) => engine.forward(session, [261], "last");
      expect(firstDifference(await next(profiled), await next(plain))).toBe(-1);
    });

test("a number of steps out of range, a full session and an abort are refused", async () => {
  const engine = await load(story, { threads: 1, contextSize: 64 });
  const session = await engine.open();
  for (const steps of [0, -1, 1.5, 10001, Number.NaN])
    await expect(engine.profile(session, steps)).rejects.toMatchObject({ code: "bad-option", detail: { field: "steps" } });
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(engine.profile(session, 1, signal)).rejects.toThrow("enough");
  await engine.forward(
    session,
    Array.from({ length: 64 }, (_, i) => 300 + i),
    "none",
  );
  await expect(engine.profile(session, 1)).rejects.toMatchObject({ code: "context-overflow" });
  expect((await logitsOf(engine, [1, 430])).length).toBe(2 * engine.info.config.vocab);
});
