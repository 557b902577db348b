// @vitest-environment jsdom
// A test's DOM replaces globals by classes of its own: what the package gives and takes must not depend on whose they are.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { defaultModel, load } from "../../dist/host/node.js";

const greedy = { temperature: 0, maxTokens: 6 } as const;
const bytes = readFileSync(new URL("../../models/stories-q4_0.gguf", `file://${import.meta.dirname}/`));

test("this is a DOM of its own", () => {
  expect(typeof document).toBe("object");
  expect(navigator.userAgent).toContain("jsdom");
});

describe.each([true, false])("worker: %s", (worker) => {
  test("results are arrays", async () => {
    const model = await load(defaultModel.href, { threads: 1, worker });
    try {
      const session = await model.session();
      const logits = await session.forward([1, 430, 442]);
      expect([Object.prototype.toString.call(logits), logits.length]).toEqual(["[object Float32Array]", model.info.config.vocab]);
      expect(Number.isFinite(logits[0])).toBe(true);
      expect(Array.from(await session.tokens())).toEqual([1, 430, 442]);
      const saved = await session.save();
      const restored = await model.restore(saved);
      expect(Array.from(await restored.tokens())).toEqual([1, 430, 442]);
      expect(Array.from(await restored.forward([5]))).toEqual(Array.from(await session.forward([5])));
    } finally {
      await model.dispose();
    }
  });

  test("the DOM's Blobs, URLs, Files and signals are taken, bytes of any realm too", async () => {
    const expected = await (async () => {
      const model = await load(bytes, { threads: 1, worker });
      const { text } = await model.generate("Once upon a time", greedy);
      await model.dispose();
      return text;
    })();
    const path = new URL(defaultModel.href);
    const inputs: Record<string, Parameters<typeof load>[0]> = {
      url: path,
      bytes: new Uint8Array(bytes),
      file: new File([bytes], "m.gguf"),
      blob: new Blob([bytes]),
    };
    for (const [kind, input] of Object.entries(inputs)) {
      const abort = new AbortController();
      const model = await load(input, { threads: 1, worker, signal: abort.signal });
      expect((await model.generate("Once upon a time", greedy)).text, kind).toBe(expected);
      const running = model.generate("Once", {
        temperature: 0,
        whenFull: "slide",
        maxTokens: 1e9,
        logitBias: { 2: -1e9 },
        signal: abort.signal,
      });
      let parts = 0;
      const loop = (async () => {
        for await (const _ of running) if (++parts === 3) abort.abort(new Error("enough"));
      })();
      await expect(loop).rejects.toThrow("enough");
      await model.dispose();
    }
  });
});
