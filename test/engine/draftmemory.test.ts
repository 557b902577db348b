// What drafts is part of the memory plan: counted, taken as counted, and refused where it does not fit.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { checkDraft, type DraftInput, draftOptions } from "../../src/door/draft.ts";
import { inspectFiles } from "../../src/door/inspect.ts";
import { planEngine, readDraft } from "../../src/engine/draftplan.ts";
import type { EngineOptions } from "../../src/engine/types.ts";
import { readModel } from "../../src/model/read.ts";
import { pieceTable } from "../../src/text/pieces.ts";
import { chooseBuild } from "../../src/wasm/features.ts";
import { MAX_BYTES } from "../../src/wasm/memory.ts";
import { own, say, stories } from "../draft/rig.ts";
import { wasmPath } from "../support/bench.ts";
import { defaults, filesOf, host, load, variants } from "../support/engine.ts";
import { headFile, tinyHead } from "../support/head.ts";
import { tinyGguf, tinyModel } from "../support/tiny.ts";

const has64 = WebAssembly.validate(readFileSync(wasmPath("kernels64.relaxed.mt")));
const head = own("models/stories-eagle");
const freq = own("models/stories-eagle/freq-512.json");
const wide = { depth: 3, width: 8, size: 24 };

const drafts: Readonly<Record<string, DraftInput | undefined>> = {
  "lookup in chats": undefined,
  lookup: "lookup",
  "a head": { eagle: head },
  "a head in floats, all verified": { eagle: head, weights: "float", adaptive: false, tree: wide },
  "a head with FR-Spec and no lookup": { eagle: head, vocabulary: freq, lookup: false },
  "a small model": { model: stories },
  "a small model's tree": { model: stories, tree: wide, adaptive: false },
  "a small model with lookup in front": { model: stories, front: "lookup" },
  "a small model with a model in front, all verified": { model: stories, front: { model: stories }, adaptive: false },
  "a head with lookup in front": { eagle: head, front: "lookup" },
  "a head with a model in front": { eagle: head, front: { model: stories }, tree: { depth: 9, width: 1 } },
};
const settings: readonly Partial<EngineOptions>[] = [
  {},
  { threads: 2, kvType: "q8" },
  { contextSize: 40, batchSize: 8 },
  { contextSize: 200, kvType: "f32" },
];

async function planned(input: DraftInput | undefined, options: Partial<EngineOptions>, model: string | Uint8Array = stories) {
  const { options: draft, files, front } = await draftOptions(input, filesOf);
  const all = { ...defaults, ...options, draft };
  const threads = Number(all.threads);
  const [mine, theirs] = [await filesOf(model), files === undefined ? undefined : await filesOf(files)];
  const target = await readModel(mine);
  const fronts = front === undefined ? undefined : await filesOf(front);
  const file = await readDraft(theirs, draft, target.config, pieceTable(target.tokenizer), undefined, fronts);
  await fronts?.close();
  await mine.close();
  await theirs?.close();
  const plan = planEngine(await chooseBuild(host, "base", threads > 1), target, all, threads, file).plan;
  return { memory: plan.memory, draft, files, front };
}

for (const [name, input] of Object.entries(drafts))
  test(`${name}: the planned bytes are the memory's, and stay so while it drafts`, async () => {
    for (const option of settings) {
      const { memory, draft, files, front } = await planned(input, option);
      expect(memory.draft).toBeGreaterThan(0);
      const engine = await load(stories, { ...option, draft }, {}, files, false, [], front);
      expect(engine.info.memory, JSON.stringify(option)).toEqual(memory);
      const session = await engine.open();
      for (let round = 0; round < 2; round++)
        await say(engine, "Once upon a time there was", { maxTokens: 150, draft: "chat" }, session);
      expect(engine.memoryBytes, JSON.stringify(option)).toBe(memory.total);
      await engine.closeSession(session);
    }
  });

for (const version of [2, 3] as const)
  test(`an EAGLE-${version} head that is larger than its target, which takes a staging area beyond the cache`, async () => {
    const target = tinyModel({ layers: 4 });
    const [model, eagle] = [tinyGguf(target), headFile(tinyHead(version, target.shape, 8192))];
    for (const option of [{}, { contextSize: 130, batchSize: 4, threads: 2 }]) {
      const { memory, draft, files } = await planned({ eagle, adaptive: false }, option, model);
      const engine = await load(model, { ...option, draft }, {}, files);
      expect(engine.info.memory).toEqual(memory);
      const said = await say(engine, [1, 5, 9, 200], { maxTokens: 100 });
      expect(said.draft!.drafted).toBeGreaterThan(50);
      expect(engine.memoryBytes).toBe(memory.total);
    }
  });

test("int8 takes less than floats, by its bytes; gathered rows and a longer context take more, and nothing nothing", async () => {
  const bytes = async (input: DraftInput, options: Partial<EngineOptions> = {}) => (await planned(input, options)).memory.draft;
  const [float, int8] = [await bytes({ eagle: head, weights: "float" }), await bytes({ eagle: head })];
  // Linears of 256 x (512, q and o 256, k and v 64, three of 768): 4 bytes each, or one and a half for 32 of them.
  const linears = 256 * (512 + 2 * 256 + 2 * 64 + 3 * 768);
  expect(float - int8).toBe(linears * (4 - 34 / 32));
  expect(await bytes({ eagle: head, vocabulary: freq })).toBeGreaterThan(int8);
  expect(await bytes({ eagle: head }, { contextSize: 100 })).toBeLessThan(int8);
  expect(await bytes(false)).toBe(0);
});

test("maxMemoryBytes of exactly the plan loads; one byte less is refused, naming what drafting takes", async () => {
  const { memory, draft, files } = await planned({ eagle: head }, {});
  expect((await load(stories, { draft, maxMemoryBytes: memory.total }, {}, files)).info.memory.total).toBe(memory.total);
  await expect(load(stories, { draft, maxMemoryBytes: memory.total - 1 }, {}, files)).rejects.toMatchObject({
    name: "CpmError",
    code: "out-of-memory",
    detail: { field: "maxMemoryBytes" },
    message: expect.stringMatching(/weights .* activations .*, drafting [\d.]+ [KM]iB\), more than maxMemoryBytes/),
  });
  // The model alone would fit.
  await load(stories, { maxMemoryBytes: memory.total - 1 });
});

test("inspect() tells the plan of load() as it is by default", async () => {
  for (const threads of [1, 2]) {
    const engine = await load(stories, { threads, variant: variants.at(-1)!, draft: checkDraft(undefined) });
    expect((await inspectFiles(host, await filesOf(stories), { threads })).memory).toEqual(engine.info.memory);
  }
});

test("what drafts can be what does not fit 32 bits", async () => {
  const option = { contextSize: 8_310_000, kvType: "f32" as const };
  const model = tinyGguf();
  expect((await planned(false, option, model)).memory.total).toBeLessThanOrEqual(MAX_BYTES);
  const { memory, draft } = await planned("lookup", option, model);
  expect(memory.total).toBeGreaterThan(MAX_BYTES);
  await expect(load(model, { ...option, draft, memory64: false })).rejects.toMatchObject({ code: "out-of-memory" });
  if (has64) expect((await load(model, { ...option, draft, variant: "auto" })).info.memory64).toBe(true);
});
