// Texts side by side: each is bit for bit what it is alone, and what happens to one happens to it alone.
import { describe, expect, test } from "vitest";
import { type DraftInput, draftOptions } from "../../src/door/draft.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions, GenerateRequest, SamplingOptions } from "../../src/engine/types.ts";
import { own, stories } from "../draft/rig.ts";
import { filesOf, greedy, load, variants } from "../support/engine.ts";
import { present, shared } from "../support/golden.ts";
import { noise } from "../support/noise.ts";
import { tinyGguf } from "../support/tiny.ts";

const sampling: SamplingOptions = { ...greedy([], 0).sampling, logitBias: [[2, -Infinity]] };
const penalised: SamplingOptions = {
  ...sampling,
  temperature: 0.9,
  topK: 30,
  topP: 0.9,
  minP: 0.02,
  repetitionPenalty: 1.1,
  frequencyPenalty: 0.1,
  presencePenalty: 0.1,
  penaltyWindow: 64,
  logprobs: 3,
};

/** All that a generation says: tokens, texts and log-probabilities. */
async function said(engine: Engine, request: GenerateRequest, contextSize?: number): Promise<unknown> {
  const session = await engine.open(contextSize);
  const parts: unknown[] = [];
  const { tokens, text, finishReason } = await engine.generate(session, request, { onPart: (part) => parts.push(part) });
  const held = [...(await engine.tokens(session))];
  await engine.closeSession(session);
  return { tokens, text, finishReason, held, logprobs: parts.map((part) => JSON.stringify(part)) };
}

/** Each request alone, one after another; then all at once, some a few steps later. */
async function compare(engine: Engine, requests: readonly GenerateRequest[], sizes: readonly number[] = []): Promise<void> {
  const alone: unknown[] = [];
  for (const [i, request] of requests.entries()) alone.push(await said(engine, request, sizes[i]));
  const together = await Promise.all(
    requests.map(async (request, i) => {
      for (let turn = 0; turn < 3 * i; turn++) await new Promise((resolve) => setImmediate(resolve));
      return said(engine, request, sizes[i]);
    }),
  );
  for (const [i, one] of together.entries()) expect(one, `text ${i}`).toEqual(alone[i]);
}

/** Prompts of a few lengths, greedy and sampled. */
function requests(vocab: number, lengths: readonly number[], maxTokens = 60): GenerateRequest[] {
  const random = noise(5);
  return lengths.map((length, i) => ({
    ...greedy(
      Array.from({ length }, () => 3 + Math.floor(random() * (vocab - 3))),
      maxTokens + 7 * i,
    ),
    sampling: i % 2 ? { ...penalised, seed: i } : sampling,
  }));
}

const models = present([
  stories,
  shared("models/stories-f16.gguf"),
  shared("models/stories-ternary-tq2_0.gguf"),
  shared("golden/target-f32.gguf"),
]);
const settings = variants.flatMap((variant) => [1, 2].map((threads) => ({ variant, threads })));

describe.each(models.map((m) => [m.split("/").at(-1)!, m] as const))("%s", (_, model) => {
  for (const options of settings)
    test(`four and seven at once say what each says alone (${JSON.stringify(options)})`, async () => {
      const engine = await load(model, options);
      const { vocab } = engine.info.config;
      await compare(engine, requests(vocab, [5, 90, 17, 60]));
      await compare(engine, requests(vocab, [40, 3, 1, 100, 64, 65, 33], 20));
    });
});

for (const options of [{ batchSize: 1 }, { batchSize: 3 }, { kvType: "q8" }, { kvType: "f32", batchSize: 7 }] as const)
  test(`so they do with ${JSON.stringify(options)}`, async () => {
    const engine = await load(stories, options);
    await compare(engine, requests(engine.info.config.vocab, [5, 90, 17, 60], 20));
  });

const head = own("models/stories-eagle");
const tree = { depth: 4, width: 4, size: 24 };
const drafts: Readonly<Record<string, DraftInput>> = {
  lookup: "lookup",
  "a head and lookup": { eagle: head, tree },
  "a head with a window and no lookup": { eagle: head, tree, window: 24, lookup: false },
  "a small model's tree": { model: stories, tree: { depth: 3, width: 3, size: 12 } },
};

for (const [name, input] of Object.entries(drafts))
  for (const adaptive of [false, true])
    test(`drafting with ${name} (${adaptive ? "what pays" : "all that is proposed"}) changes nothing`, async () => {
      const { options, files } = await draftOptions(input, filesOf);
      const engine = await load(stories, { draft: { ...options, adaptive } }, {}, files);
      const prompts = [
        "Lily had a red ball. Tom had a red ball. Lily",
        "Once upon a time there was a boy named John. John was",
        "The cat sat. The cat sat. The dog ran. The cat",
        "One day",
      ];
      const all = prompts.map(
        (prompt, i): GenerateRequest => ({
          ...greedy(prompt, 50 + 9 * i),
          sampling: i % 2 ? { ...penalised, seed: 9 + i } : sampling,
          // One of them without a draft, among others with.
          draft: i === 3 ? "off" : "text",
        }),
      );
      const plain: unknown[] = [];
      for (const request of all) plain.push(await said(engine, { ...request, draft: "off" }));
      const sessions = await Promise.all(all.map(() => engine.open()));
      const results = await Promise.all(all.map((request, i) => engine.generate(sessions[i]!, request, { onPart() {} })));
      for (const [i, { tokens, text }] of results.entries()) expect(plain[i]).toMatchObject({ tokens, text });
      if (!adaptive) {
        const sum = (of: "drafted" | "accepted") => results.slice(0, 3).reduce((all, { draft }) => all + draft![of], 0);
        expect(sum("drafted")).toBeGreaterThan(30);
        expect(sum("accepted")).toBeGreaterThan(3);
      }
      await compare(engine, all);
    });

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
for (const options of [
  {},
  { threads: 2 },
  { kvType: "q8" },
  { sparse: { ...sparse, exactLse: false } },
] as Partial<EngineOptions>[])
  test(`dense texts, texts that become sparse and texts that are, side by side (${JSON.stringify(options)})`, async () => {
    const draft = { ...(await draftOptions("lookup", filesOf)).options, adaptive: false };
    for (const own of [{}, { draft }]) {
      const engine = await load(sparseModel, { contextSize: 1200, sparse, ...own, ...options });
      await compare(engine, requests(engine.info.config.vocab, [60, 380, 700, 450], 50));
    }
  });

const sparseModel = own("test/golden/sparse-f32.gguf");

test("a text whose context slides, beside others", async () => {
  const engine = await load(stories, { contextSize: 128 });
  const all = requests(engine.info.config.vocab, [60, 20, 40, 10], 60);
  await compare(
    engine,
    all.map((request, i) => (i === 0 ? { ...request, maxTokens: 200, whenFull: "slide" } : request)),
    [96, 128, 128, 128],
  );
});

test("an abort, a failing callback and a bias that leaves no token end their own text alone", async () => {
  const engine = await load(stories);
  const [a, b, c, d, e] = requests(engine.info.config.vocab, [20, 30, 40, 5, 200], 80);
  const alone = [await said(engine, a!), await said(engine, e!)];
  const abort = new AbortController();
  let parts = 0;
  const failing = async (request: GenerateRequest, onPart: () => void, signal?: AbortSignal) => {
    const session = await engine.open();
    return engine.generate(session, request, { onPart, signal });
  };
  const none: SamplingOptions = {
    ...sampling,
    logitBias: Array.from({ length: engine.info.config.vocab }, (_, i) => [i, -Infinity]),
  };
  const outcomes = await Promise.allSettled([
    said(engine, a!),
    failing(b!, () => ++parts === 5 && abort.abort("enough"), abort.signal),
    failing(c!, () => {
      throw new Error("a reader's own");
    }),
    failing({ ...d!, sampling: none }, () => {}),
    said(engine, e!),
  ]);
  expect(outcomes[0]).toEqual({ status: "fulfilled", value: alone[0] });
  expect(outcomes[1]).toEqual({ status: "rejected", reason: "enough" });
  expect(outcomes[2]).toMatchObject({ status: "rejected", reason: { message: "a reader's own" } });
  expect(outcomes[3]).toMatchObject({ status: "rejected", reason: { code: "bad-option", detail: { field: "logitBias" } } });
  expect(outcomes[4]).toEqual({ status: "fulfilled", value: alone[1] });
});

test("a session closed while others generate takes nothing from them; one that generates is closed when it has ended", async () => {
  const engine = await load(stories);
  const [a, b] = requests(engine.info.config.vocab, [20, 30], 60);
  const alone = [await said(engine, a!), await said(engine, b!)];
  const idle = await engine.open();
  await engine.forward(idle, [5, 6, 7], "none");
  const session = await engine.open();
  const results = [engine.generate(session, a!, { onPart() {} }), said(engine, b!)] as const;
  await engine.closeSession(idle);
  await engine.closeSession(session);
  await expect(engine.tokens(session)).rejects.toMatchObject({ code: "closed" });
  expect(alone[0]).toMatchObject({ tokens: (await results[0]).tokens });
  expect(await results[1]).toEqual(alone[1]);
});

test("calls of a session take turns, those of others go on meanwhile", async () => {
  const engine = await load(stories);
  const [a] = requests(engine.info.config.vocab, [20], 200);
  const [one, other] = [await engine.open(), await engine.open()];
  const order: string[] = [];
  await Promise.all([
    engine.generate(one, a!, { onPart() {} }).then(() => order.push("text")),
    engine.tokens(one).then((tokens) => order.push(`its ${tokens.length} tokens`)),
    engine
      .forward(
        other,
        Array.from({ length: 100 }, (_, i) => 3 + i),
        "last",
      )
      .then(() => order.push("another's logits")),
  ]);
  expect(order).toEqual(["another's logits", "text", "its 219 tokens"]);
});

test("more than run and wait is refused at once, one that waits can be aborted, and the next finds a place", async () => {
  const engine = await load(stories, { parallel: 2, queue: 1 });
  const request = requests(engine.info.config.vocab, [20], 100)[0]!;
  const sessions = await Promise.all(Array.from({ length: 5 }, () => engine.open()));
  const start = (i: number, signal?: AbortSignal) => engine.generate(sessions[i]!, request, { onPart() {}, signal });
  const running = [start(0), start(1)];
  const abort = new AbortController();
  const waiting = start(2, abort.signal);
  await expect(start(3)).rejects.toMatchObject({ name: "CpmError", code: "busy", detail: { field: "queue" } });
  abort.abort("no longer");
  await expect(waiting).rejects.toBe("no longer");
  await new Promise((resolve) => setImmediate(resolve));
  const last = start(4);
  const [a, b, c] = await Promise.all([...running, last]);
  expect(a!.tokens).toEqual(b!.tokens);
  expect(c!.tokens).toEqual(a!.tokens);
  // What waits for its own session counts as well, until it is aborted.
  for (let i = 0; i < 4; i++) {
    const [head, control] = [start(0), new AbortController()];
    const behind = [start(0, control.signal), start(0, control.signal)];
    control.abort(i);
    for (const one of behind) await expect(one).rejects.toBe(i);
    expect((await head).tokens).toEqual(a!.tokens);
  }
  const queued = [start(0), start(0), start(0)];
  await expect(start(0)).rejects.toMatchObject({ code: "busy" });
  for (const one of queued) expect((await one).tokens).toEqual(a!.tokens);
});

test("where work belongs to requests each text computes its own steps, by turns", async () => {
  const { Engine } = await import("../../src/engine/engine.ts");
  const { defaults, host } = await import("../support/engine.ts");
  const engine = await Engine.load({ ...host, requestBound: true }, await filesOf(tinyGguf()), defaults);
  try {
    const all = requests(engine.info.config.vocab, [5, 90, 17, 60], 20);
    await compare(engine, all);
    const ends: number[] = [];
    await Promise.all(
      [...all].reverse().map(async (request, i) => {
        await said(engine, { ...request, maxTokens: i === 3 ? 5 : 60 });
        ends.push(i);
      }),
    );
    expect(ends[0]).toBe(3);
  } finally {
    await engine.close();
  }
});
