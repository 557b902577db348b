// The public model, over an engine in this thread and over one behind a port: many calls at once, prefixes, embeddings.
import { describe, expect, onTestFinished, test } from "vitest";
import { forms } from "../../src/door/forms.ts";
import { Model } from "../../src/door/model.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import { EngineClient, type EngineWorker } from "../../src/port/client.ts";
import type { Port } from "../../src/port/messages.ts";
import { serveEngine } from "../../src/port/server.ts";
import { stories } from "../draft/rig.ts";
import { defaults, filesOf, host, load } from "../support/engine.ts";

/** An engine behind two queues. */
async function behindPort(options: Partial<EngineOptions>): Promise<Model> {
  const handlers: { worker(message: unknown): void; client(message: unknown): void } = { worker() {}, client() {} };
  const later =
    (to: keyof typeof handlers) =>
    (message: unknown, transfer: readonly ArrayBuffer[] = []) => {
      const copy: unknown = structuredClone(message, { transfer: [...transfer] });
      setImmediate(() => handlers[to](copy));
    };
  const inside: Port = { post: later("client"), listen: (handler) => void (handlers.worker = handler) };
  const worker: EngineWorker = {
    post: later("worker"),
    listen: (handler) => void (handlers.client = handler),
    onDeath() {},
    lane() {
      throw new Error("no lanes here");
    },
    terminate() {},
  };
  const { startLanes: _, ...single } = host;
  serveEngine(inside, { ...single, threadsNote: "one is enough" }, () => filesOf(stories));
  const client = await EngineClient.load(worker, { kind: "path", path: "" }, undefined, { ...defaults, ...options }, {});
  return new Model(client, forms);
}

const places = {
  "in this thread": async (options: Partial<EngineOptions>) => new Model(await load(stories, options), forms),
  "behind a port": behindPort,
};
const prompts = ["Once upon a time", "The cat sat on", "Lily had a red ball. Tom had", "One day a dog"];
const options = (i: number) => ({ maxTokens: 40, seed: i, temperature: i % 2 ? 0.8 : 0 });

describe.each(Object.entries(places))("%s", (_, open) => {
  const model = async (options: Partial<EngineOptions> = {}) => {
    const model = await open(options);
    onTestFinished(() => model.dispose());
    return model;
  };

  test("generations, chats and sessions at once say what each says alone", async () => {
    const own = await model();
    const all = prompts.flatMap((prompt, i) => [
      () => own.generate(prompt, options(i)),
      () => own.chat([{ role: "user", content: prompt }], options(i)),
    ]);
    const alone: unknown[] = [];
    for (const one of all) alone.push((await one()).tokens);
    const session = await own.session();
    const together = await Promise.all([...all.map((one) => one()), session.generate(prompts[0]!, options(0))]);
    expect(together.map(({ tokens }) => tokens)).toEqual([...alone, alone[0]]);
    await session.dispose();
  });

  test("a dozen texts under one signal make Node warn of no leak", async () => {
    const own = await model();
    const warnings: string[] = [];
    const hear = (warning: Error) => void warnings.push(warning.message);
    process.on("warning", hear);
    onTestFinished(() => void process.off("warning", hear));
    const { signal } = new AbortController();
    const all = Array.from({ length: 12 }, (_, i) => own.generate(prompts[i % 4]!, { ...options(i), maxTokens: 6, signal }));
    for (const { tokens } of await Promise.all(all)) expect(tokens).toHaveLength(6);
    // Warnings come a little later.
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings.filter((message) => /listeners/.test(message))).toEqual([]);
  });

  test("a dozen calls of one session wait for each other, and end with it, and make Node warn of no leak", async () => {
    const own = await model();
    const warnings: string[] = [];
    const hear = (warning: Error) => void warnings.push(warning.message);
    process.on("warning", hear);
    onTestFinished(() => void process.off("warning", hear));
    const [session, other] = [await own.session(), await own.session()];
    const expected = await other.forward([5, 6, 7]);
    await Promise.all(Array.from({ length: 12 }, (_, i) => session.forward([5 + i])));
    expect([...(await session.tokens())]).toEqual(Array.from({ length: 12 }, (_, i) => 5 + i));
    // One is being computed when the session ends, and eleven wait.
    const long = { ...options(0), maxTokens: 150 };
    let ended: Promise<void> | undefined;
    const begun = session.generate(prompts[0]!, { ...long, onPrefill: () => void (ended ??= session.dispose()) });
    const calls = Array.from({ length: 11 }, (_, i) => (i % 2 ? session.forward([5 + i]) : session.generate(prompts[1]!, long)));
    const outcomes = await Promise.allSettled([begun, ...calls].map(async (call) => void (await call)));
    expect([outcomes[0], outcomes.at(-1)]).toMatchObject(
      Array(2).fill({ status: "rejected", reason: { name: "CpmError", code: "closed" } }),
    );
    for (const outcome of outcomes)
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ name: "CpmError", code: "closed" });
    await ended;
    // Of one that ends before it has begun anything, all.
    const brief = await own.session();
    const none = Array.from({ length: 12 }, (_, i) => (i % 2 ? brief.forward([5]) : brief.generate(prompts[2]!, long)));
    const gone = brief.dispose();
    for (const outcome of await Promise.allSettled(none.map(async (call) => void (await call))))
      expect(outcome).toMatchObject({ status: "rejected", reason: { name: "CpmError", code: "closed" } });
    await gone;
    await expect(session.forward([5])).rejects.toMatchObject({ code: "closed" });
    await other.truncate(0);
    expect(await other.forward([5, 6, 7])).toEqual(expected);
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings.filter((message) => /listeners/.test(message))).toEqual([]);
  });

  test("a prompt goes on from what another call computed, unless that was switched off", async () => {
    const story = `${prompts.join(" ")}. `.repeat(3);
    for (const [cacheBytes, shared] of [
      [undefined, true],
      [0, false],
    ] as const) {
      const own = await model({ cacheBytes });
      const first = await own.generate(story, options(0));
      const second = await own.generate(`${story}And`, options(0));
      expect(first.usage.cachedTokens).toBe(0);
      if (shared) expect(second.usage.cachedTokens).toBeGreaterThan(first.usage.promptTokens - 3);
      else expect(second.usage.cachedTokens).toBe(0);
    }
  });

  test("leaving one stream ends that one", async () => {
    const own = await model();
    const expected = await own.generate(prompts[1]!, options(1));
    const left = async () => {
      for await (const _ of own.generate(prompts[0]!, { ...options(0), maxTokens: 200 })) break;
    };
    const [, kept] = await Promise.all([left(), own.generate(prompts[1]!, options(1))]);
    expect(kept.tokens).toEqual(expected.tokens);
  });

  test("one more than run and wait is busy", async () => {
    const own = await model({ parallel: 1, queue: 1 });
    const outcomes = await Promise.allSettled(prompts.map((prompt, i) => own.generate(prompt, options(i))));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "rejected"]);
    expect(outcomes[3]).toMatchObject({ reason: { name: "CpmError", code: "busy", detail: { field: "queue" } } });
  });

  test("embeddings: vectors in order, of length 1 unless asked otherwise, and what they counted", async () => {
    const own = await model();
    const { embeddings, usage } = await own.embed(prompts);
    expect(embeddings).toHaveLength(4);
    for (const vector of embeddings) {
      expect(vector).toBeInstanceOf(Float32Array);
      expect(vector).toHaveLength(own.info.config.hidden);
      expect(Math.abs(vector.reduce((sum, x) => sum + x * x, 0) - 1)).toBeLessThan(1e-5);
    }
    const ids = prompts.map((prompt) => own.tokenizer.encode(prompt));
    expect(usage.promptTokens).toBe(ids.reduce((sum, { length }) => sum + length, 0));
    expect((await own.embed(ids)).embeddings).toEqual(embeddings);
    expect((await own.embed(prompts[2]!)).embeddings).toEqual([embeddings[2]]);
    const last = await own.embed(prompts, { pooling: "last", normalize: false });
    expect(last.embeddings[0]).not.toEqual(embeddings[0]);
    expect((await own.embed([])).embeddings).toEqual([]);
    for (const [texts, options, code] of [
      [[1], {}, "bad-input"],
      [[null], {}, "bad-input"],
      [{}, {}, "bad-option"],
      ["a", { pooling: "max" }, "bad-option"],
      ["a", { normalise: true }, "bad-option"],
      ["a", { normalize: 1 }, "bad-option"],
      [["a", []], {}, "bad-input"],
      ["word ".repeat(3000), {}, "context-overflow"],
    ] as const)
      await expect(own.embed(texts as never, options as never)).rejects.toMatchObject({ name: "CpmError", code });
    await expect(own.embed("a", { signal: AbortSignal.abort("never") })).rejects.toBe("never");
  });

  test("a model that is disposed ends what runs and what waits", async () => {
    const own = await open({ parallel: 1 });
    // Texts without an end.
    const endless = {
      maxTokens: Number.POSITIVE_INFINITY,
      whenFull: "slide",
      logitBias: { 2: Number.NEGATIVE_INFINITY },
    } as const;
    const all = prompts.map((prompt, i) => own.generate(prompt, { ...options(i), ...endless }));
    const outcomes = Promise.allSettled(all);
    await new Promise((resolve) => setTimeout(resolve, 10));
    const waiting = own.embed(prompts);
    waiting.catch(() => {});
    await own.dispose();
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: "rejected", reason: { code: "closed" } });
    await expect(waiting).rejects.toMatchObject({ code: "closed" });
    await expect(own.embed("a")).rejects.toMatchObject({ code: "closed" });
  });
});
