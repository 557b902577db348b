// 64-bit memory: the same bits as in 32-bit memory, at addresses beyond 4 GiB, and typed errors where there is none.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { draftOptions } from "../../src/door/draft.ts";
import type { Engine, EngineHooks } from "../../src/engine/engine.ts";
import type { EngineOptions, SamplingOptions } from "../../src/engine/types.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { wasmPath } from "../support/bench.ts";
import { filesOf, firstDifference, greedy, load, logitsOf } from "../support/engine.ts";
import { present, shared } from "../support/golden.ts";
import { hollowModel, tinyGguf, tinyModel } from "../support/tiny.ts";
import { none } from "../support/where.ts";

const own = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const stories = own("models/stories-q4_0.gguf");
const GiB = 2 ** 30;
const has64 = WebAssembly.validate(readFileSync(wasmPath("kernels64.relaxed.mt")));
if (!has64)
  console.log(`memory64: not tested on Node ${process.versions.node}, which has no 64-bit memory; .ci/run tests it on Node 26`);
/** Either kind of machine has tests of its own, none of them skipped. */
const [on64, on32] = has64 ? [test, none] : [none, test];

const models: Readonly<Record<string, ModelInput>> = {
  "float16, untied": tinyGguf(tinyModel({ tied: false, layers: 2 }), "F16"),
  "int4 stories": stories,
  ...Object.fromEntries(
    present([shared("models/stories-f16.gguf"), shared("models/stories-ternary-tq2_0.gguf")]).map((path) => [
      path.split("/").at(-1)!,
      path,
    ]),
  ),
};

async function pair(input: ModelInput, options: Partial<EngineOptions> = {}, hooks: EngineHooks = {}, draft?: ModelInput) {
  const narrow = await load(input, { variant: "auto", ...options, memory64: false }, {}, draft);
  const wide = await load(input, { variant: "auto", ...options, memory64: true }, hooks, draft);
  expect([narrow.info.memory64, wide.info.memory64]).toEqual([false, true]);
  return { narrow, wide };
}

const sampled: SamplingOptions = {
  ...greedy("", 1).sampling,
  temperature: 0.8,
  topP: 0.9,
  repetitionPenalty: 1.1,
  penaltyWindow: 64,
  logitBias: [[261, 1]],
  seed: 5,
  logprobs: 3,
};

/** Everything that a generation tells but its times. */
async function say(engine: Engine, sampling: SamplingOptions, maxTokens = 80) {
  const session = await engine.open();
  const parts: unknown[] = [];
  const request = { ...greedy("Once upon a time", maxTokens), sampling, draft: "chat" as const };
  const { tokens, text, draft } = await engine.generate(session, request, { onPart: (part) => parts.push(part) });
  await engine.closeSession(session);
  return { said: { tokens, text, logprobs: parts.flatMap((part) => (part as { logprobs?: unknown[] }).logprobs ?? []) }, draft };
}

const prompt = [1, 5, 9, 200, 17, 42, 43, 44, 100, 7];

for (const [name, input] of Object.entries(models))
  for (const threads of [1, 2])
    on64(`${name}: logits of 64-bit memory beyond 4 GiB are those of 32-bit memory (${threads} threads)`, async () => {
      const { narrow, wide } = await pair(input, { threads, contextSize: 128 }, { below: 4.5 * GiB });
      expect(wide.memoryBytes).toBeGreaterThan(4.5 * GiB);
      expect(firstDifference(await logitsOf(wide, prompt), await logitsOf(narrow, prompt))).toBe(-1);
    });

on64("prefills of many rows, sessions, copies and saved sessions beyond 4 GiB", async () => {
  const { narrow, wide } = await pair(stories, { threads: 2, contextSize: 256, kvType: "q8" }, { below: 5 * GiB });
  const long = Array.from({ length: 150 }, (_, i) => 300 + ((i * 37) % 500));
  const saved = await narrow.open();
  await narrow.forward(saved, long, "none");
  const bytes = await narrow.save(saved);
  const session = await wide.restore(bytes);
  expect(Buffer.compare(await wide.save(session), bytes)).toBe(0);
  const copy = await wide.copy(session);
  const want = await narrow.forward(saved, [301, 302], "all");
  for (const one of [session, copy]) expect(firstDifference(await wide.forward(one, [301, 302], "all"), want)).toBe(-1);
  const anew = await wide.open();
  await wide.forward(anew, long, "none");
  expect(firstDifference(await wide.forward(anew, [301, 302], "all"), want)).toBe(-1);
});

const tree = { depth: 4, width: 4, size: 16 };
const drafts = {
  nothing: [undefined, undefined],
  lookup: ["lookup", undefined],
  "an EAGLE-2 head with FR-Spec": [
    {
      eagle: own("models/stories-eagle"),
      tree,
      vocabulary: own("models/stories-eagle/freq-512.json"),
      lookup: false,
      adaptive: false,
    },
    own("models/stories-eagle"),
  ],
  "a small model": [{ model: stories, tree: { depth: 3, width: 3, size: 12 }, lookup: false, adaptive: false }, stories],
} as const;
for (const [name, [draft, files]] of Object.entries(drafts))
  for (const sampling of [greedy("", 1).sampling, sampled])
    on64(`what is said beyond 4 GiB with ${name} drafting, temperature ${sampling.temperature}`, async () => {
      const options = draft === undefined ? {} : { draft: (await draftOptions(draft, filesOf)).options };
      const { narrow, wide } = await pair(stories, { threads: 2, contextSize: 256, ...options }, { below: 4.2 * GiB }, files);
      const [want, got] = [await say(narrow, sampling), await say(wide, sampling)];
      expect(got.said).toEqual(want.said);
      if (files) expect(got.draft?.rounds).toBeGreaterThan(0);
    });

on64("sparse attention beyond 4 GiB", async () => {
  const sparse = {
    kernelSize: 32,
    kernelStride: 16,
    blockSize: 64,
    initBlocks: 1,
    windowSize: 128,
    topk: 4,
    denseLen: 512,
    exactLse: true,
  };
  const options = { contextSize: 1200, sparse, threads: 2 };
  const { narrow, wide } = await pair(own("test/golden/sparse-f32.gguf"), options, { below: 4.5 * GiB });
  const long = Array.from({ length: 900 }, (_, i) => 3 + ((i * i * 31 + i) % 500));
  const run = async (engine: Engine) => {
    const session = await engine.open();
    await engine.forward(session, long, "none");
    return engine.forward(session, [5, 6, 7], "all");
  };
  expect(firstDifference(await run(wide), await run(narrow))).toBe(-1);
});

// 256 bytes a token: nothing of the cache is touched.
const huge = { contextSize: 2 ** 24, kvType: "f32" as const, threads: 1, variant: "auto" as const };

on64("a plan beyond 4 GiB takes 64-bit memory by itself, and only where it may", async () => {
  const engine = await load(tinyGguf(), { ...huge, contextSize: 10_000_000 });
  expect(engine.info).toMatchObject({ memory64: true, variant: "relaxed" });
  expect(engine.info.memory.total).toBeGreaterThan(4 * GiB);
  const small = await load(tinyGguf(), { kvType: "f32" });
  expect(firstDifference(await logitsOf(engine, prompt), await logitsOf(small, prompt))).toBe(-1);
  await expect(load(tinyGguf(), { ...huge, memory64: false })).rejects.toMatchObject({ code: "out-of-memory" });
  await expect(load(tinyGguf(), { ...huge, variant: "base" })).rejects.toMatchObject({
    code: "out-of-memory",
    message: expect.stringMatching(/needs .* GiB .*64-bit build uses relaxed SIMD; use variant "auto"/),
  });
  await expect(
    load(hollowModel({ layers: 64, heads: 1024, kvHeads: 1024, headDim: 512, hidden: 4 }), {
      variant: "auto",
      contextSize: 256,
    }),
  ).rejects.toMatchObject({
    code: "out-of-memory",
    message: expect.stringMatching(/needs .* GiB of memory in all, more than 64-bit WebAssembly can have \(16 GiB\)/),
  });
});

on64("64-bit memory with turbo or the base build is refused", async () => {
  for (const options of [{ variant: "auto", turbo: true }, { variant: "base" }] as const)
    await expect(load(stories, { ...options, memory64: true })).rejects.toMatchObject({ code: "unsupported" });
});

on32("64-bit memory is not here (Node 24 and later have it): asking for it and needing it are refused", async () => {
  await expect(load(stories, { variant: "auto", memory64: true })).rejects.toMatchObject({
    code: "unsupported",
    detail: { field: "memory64" },
    message: expect.stringMatching(/has no 64-bit WebAssembly memory; use a newer one/),
  });
  await expect(load(tinyGguf(), huge)).rejects.toMatchObject({
    code: "out-of-memory",
    message: expect.stringMatching(/needs .* GiB .*4 GiB.*no 64-bit WebAssembly memory.*use a smaller contextSize/),
  });
});
