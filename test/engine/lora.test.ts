// LoRA adapters beside a model: what they compute, held to merged weights; the same bits however it is computed; whose cache is whose.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { ANY_SESSION, type EngineOptions, type GenerateRequest } from "../../src/engine/types.ts";
import { wasmPath } from "../support/bench.ts";
import { randomBlocks } from "../support/blocks.ts";
import { firstDifference, greedy, load, logitsOf, variants } from "../support/engine.ts";
import { TYPE_IDS, writeGguf } from "../support/gguf.ts";
import { largestDifference } from "../support/golden.ts";
import { headFile, tinyHead } from "../support/head.ts";
import { loraFolder, loraGguf, loraParts, merged, tinyLora } from "../support/lora.ts";
import { noise } from "../support/noise.ts";
import { tinyFolder, tinyGguf, tinyModel, tinyParts } from "../support/tiny.ts";

// A tied head would only repeat the last token.
const model = tinyModel({ tied: false });
const base = tinyGguf(model);
const tokens = Array.from({ length: 70 }, (_, i) => (i * 37 + 5) % 320);
const one = tinyLora(model, 8);
const two = tinyLora(model, (name) => (/layers\.0/.test(name) ? 3 : 17), {
  alpha: 16,
  seed: 9,
  wanted: (n) => !/k_proj|up_proj/.test(n),
});
const files = { one: loraGguf(model, one), two: loraGguf(model, two, "F16") };
const has64 = WebAssembly.validate(readFileSync(wasmPath("kernels64.relaxed.mt")));
if (!has64)
  console.log(`lora: 64-bit memory is not tested on Node ${process.versions.node}, which has none; .ci/run tests it on Node 26`);
const exact: Partial<EngineOptions> = { kvType: "f32" };

const named = (...names: ("one" | "two")[]): Partial<EngineOptions> => ({ lora: names.map((name) => ({ name, scale: 1 })) });
const adapted = (input: Parameters<typeof load>[0], names: readonly ("one" | "two")[], options: Partial<EngineOptions> = {}) =>
  load(
    input,
    { ...named(...names), ...options },
    {},
    undefined,
    false,
    names.map((name) => files[name]),
  );

/** Largest difference of logits over the largest logit. */
async function apart(a: Engine, b: Engine): Promise<number> {
  const [x, y] = [await logitsOf(a, tokens), await logitsOf(b, tokens)];
  return largestDifference(x, y) / x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
}

async function logitsWith(
  engine: Engine,
  lora: GenerateRequest["lora"],
  list: readonly number[] = tokens,
): Promise<Float32Array> {
  const session = await engine.open(undefined, lora);
  const logits = await engine.forward(session, list, "all");
  await engine.closeSession(session);
  return logits;
}

test("an adapter computes what weights with it merged in do, in GGUF and as PEFT's folder, over GGUF and over a folder", async () => {
  const expected = await load(tinyGguf(merged(model, one)), exact);
  const gguf = await adapted(base, ["one"], exact);
  expect(gguf.info.lora).toEqual([{ name: "one", scale: 1, rank: 8, bytes: expect.any(Number), format: "GGUF" }]);
  expect(await apart(expected, gguf)).toBeLessThan(1e-5);
  expect(await apart(await load(base, exact), gguf)).toBeGreaterThan(0.05);
  const bits = await logitsOf(gguf, tokens);
  for (const input of [base, tinyFolder(model)])
    for (const lora of [files.one, loraFolder(one)]) {
      const other = await load(input, { ...exact, ...named("one") }, {}, undefined, false, [lora]);
      // A folder's residual scale is rounded elsewhere than a GGUF's.
      if (input === base) expect(firstDifference(await logitsOf(other, tokens), bits)).toBe(-1);
      else expect(await apart(expected, other)).toBeLessThan(1e-5);
    }
});

test("ranks that differ by layer, odd ones, half precision, linears left out, two adapters at scales of their own", async () => {
  const both = merged(merged(model, one, 0.5), two, -1.25);
  const expected = await load(tinyGguf(both), exact);
  const engine = await adapted(base, ["one", "two"], exact);
  const uses = [
    { index: 1, scale: -1.25 },
    { index: 0, scale: 0.5 },
  ];
  const found = await logitsWith(engine, uses);
  const wanted = await logitsOf(expected, tokens);
  const most = wanted.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  // Its halves are rounded.
  expect(largestDifference(wanted, found) / most).toBeLessThan(2e-3);
  const floats = { ...files, two: loraGguf(model, two) };
  const whole = await load(base, { ...exact, ...named("one", "two") }, {}, undefined, false, [floats.one, floats.two]);
  expect(largestDifference(wanted, await logitsWith(whole, uses)) / most).toBeLessThan(1e-5);
});

test("scale 0 and no adapters give the bits of a model without any", async () => {
  const plain = await logitsOf(await load(base), tokens);
  const engine = await adapted(base, ["one", "two"]);
  expect(firstDifference(await logitsWith(engine, []), plain)).toBe(-1);
  expect(firstDifference(await logitsWith(engine, [{ index: 1, scale: 0 }]), plain)).toBe(-1);
  expect(firstDifference(await logitsOf(engine, tokens), plain)).not.toBe(-1);
  expect(
    firstDifference(
      await logitsOf(engine, tokens),
      await logitsWith(
        engine,
        [0, 1].map((index) => ({ index, scale: 1 })),
      ),
    ),
  ).toBe(-1);
});

for (const type of ["F32", "F16", "BF16"] as const)
  test(`the same bits for any batch, threads and build (${type} weights and adapters)`, async () => {
    const input = tinyGguf(model, type);
    const lora = loraGguf(model, one, type);
    const open = (options: Partial<EngineOptions>) => load(input, { ...named("one"), ...options }, {}, undefined, false, [lora]);
    const expected = await logitsOf(await open({}), tokens);
    for (const variant of variants)
      for (const threads of [1, 2, 3])
        for (const batchSize of [1, 3, 40]) {
          const engine = await open({ variant, threads, batchSize });
          expect(firstDifference(await logitsOf(engine, tokens), expected), `${variant} ${threads} ${batchSize}`).toBe(-1);
        }
    if (!has64) return;
    const wide = await open({ variant: "auto", memory64: true, threads: 2 });
    expect([wide.info.memory64, firstDifference(await logitsOf(wide, tokens), expected)]).toEqual([true, -1]);
  });

test("texts side by side, each with its own adapters, are what they are alone", async () => {
  const prompt = tokens.slice(0, 20);
  const choices: GenerateRequest["lora"][] = [
    undefined,
    [],
    [{ index: 0, scale: 1 }],
    [{ index: 1, scale: 0.5 }],
    [{ index: 0, scale: -2 }],
  ];
  const alone: (readonly number[])[] = [];
  for (const lora of choices) {
    const engine = await adapted(base, ["one", "two"], { cacheBytes: 0 });
    alone.push((await engine.generate(ANY_SESSION, { ...greedy(prompt, 24), lora }, { onPart: () => {} })).tokens);
  }
  expect(new Set(alone.map((list) => list.join())).size).toBe(choices.length);
  for (const threads of [1, 2]) {
    const engine = await adapted(base, ["one", "two"], { parallel: 10, threads });
    const runs = [...choices, ...choices].map((lora) =>
      engine.generate(ANY_SESSION, { ...greedy(prompt, 24), lora }, { onPart: () => {} }),
    );
    expect((await Promise.all(runs)).map((result) => result.tokens)).toEqual([...alone, ...alone]);
  }
});

test("a prompt goes on from a text of the same adapters only", async () => {
  const engine = await adapted(base, ["one", "two"]);
  const run = async (lora: GenerateRequest["lora"], from = engine) => {
    const { usage, tokens: found } = await from.generate(ANY_SESSION, { ...greedy(tokens, 8), lora }, { onPart: () => {} });
    return { cached: usage.cachedTokens, tokens: found };
  };
  const half = [{ index: 0, scale: 0.5 }];
  const first = await run(half);
  expect(first.cached).toBe(0);
  expect(await run(undefined)).toMatchObject({ cached: 0 });
  expect(await run([])).toMatchObject({ cached: 0 });
  expect(await run([{ index: 0, scale: 0.25 }])).toMatchObject({ cached: 0 });
  expect(await run(half)).toEqual({ cached: tokens.length - 1, tokens: first.tokens });
  const fresh = await adapted(base, ["one", "two"], { cacheBytes: 0 });
  expect((await run(half, fresh)).tokens).toEqual(first.tokens);
});

test("a session's adapters can be changed between calls; a copy and a saved session keep them", async () => {
  const engine = await adapted(base, ["one", "two"], exact);
  const with0 = [{ index: 0, scale: 1 }];
  const session = await engine.open(undefined, with0);
  const run = async (lora?: GenerateRequest["lora"]) =>
    (await engine.generate(session, { ...greedy(tokens, 12), lora }, { onPart: () => {} })).tokens;
  const adaptedText = await run();
  const plain = await run([]);
  expect(plain).not.toEqual(adaptedText);
  expect(await run()).toEqual(plain);
  expect(await run(with0)).toEqual(adaptedText);
  const copy = await engine.copy(session);
  const saved = await engine.save(session);
  const restored = await engine.restore(saved);
  const expected = await engine.forward(session, [7], "last");
  for (const other of [copy, restored]) expect(firstDifference(await engine.forward(other, [7], "last"), expected)).toBe(-1);
  // Other numbers, the same adapters: they are told by what they hold.
  const swapped = await adapted(base, ["two", "one"], exact);
  expect(firstDifference(await swapped.forward(await swapped.restore(saved), [7], "last"), expected)).toBe(-1);
  await expect((await load(base, exact)).restore(saved)).rejects.toMatchObject({
    code: "bad-input",
    message: /adapters that are not loaded/,
  });
  await expect((await adapted(base, ["two"], exact)).restore(saved)).rejects.toMatchObject({ code: "bad-input" });
});

test("drafts change nothing but the time", async () => {
  const loop = [...tokens.slice(0, 12), ...tokens.slice(0, 12), ...tokens.slice(0, 12)];
  const lookup = { lookup: "on", model: undefined, eagle: undefined, adaptive: false, size: 17 } as const;
  const small = { ...lookup, lookup: "off", model: { depth: 4, width: 1, size: 5 } } as const;
  const expected = (await (await adapted(base, ["one"])).generate(ANY_SESSION, greedy(loop, 40), { onPart: () => {} })).tokens;
  const eagle = { depth: 3, width: 4, size: 12, vocabulary: undefined, window: 0 };
  const head = { "head.safetensors": headFile(tinyHead(2, model.shape)) };
  for (const [draft, input] of [
    [lookup, undefined],
    [small, base],
    [{ ...small, model: undefined, eagle, size: 64 }, head],
  ] as const) {
    const engine = await load(base, { ...named("one"), draft }, {}, input, false, [files.one]);
    const { tokens: found, draft: stats } = await engine.generate(ANY_SESSION, greedy(loop, 40), { onPart: () => {} });
    expect(found).toEqual(expected);
    expect(stats?.drafted).toBeGreaterThan(0);
    // The same session with other adapters, and back: what drafts goes along.
    const session = await engine.open();
    const texts: (readonly number[])[] = [];
    for (const lora of [undefined, [], [{ index: 0, scale: 1 }]])
      texts.push((await engine.generate(session, { ...greedy(loop, 40), lora }, { onPart: () => {} })).tokens);
    expect([texts[0], texts[2]]).toEqual([expected, expected]);
    expect(texts[1]).not.toEqual(expected);
  }
});

test("embeddings are those of the adapters asked for", async () => {
  const engine = await adapted(base, ["one"]);
  const merge = await load(tinyGguf(merged(model, one)));
  const embed = (from: Engine, lora?: GenerateRequest["lora"]) =>
    from.embed([tokens], { pooling: "mean", normalize: true, lora }, {});
  expect(largestDifference(await embed(engine), await embed(merge))).toBeLessThan(1e-4);
  expect(firstDifference(await embed(engine, []), await embed(await load(base)))).toBe(-1);
});

test("what adapters take is part of the memory plan", async () => {
  const [plain, with1] = [await load(base), await adapted(base, ["one"])];
  const bytes = with1.info.lora[0]!.bytes;
  expect(bytes).toBeGreaterThan(
    [...one.pairs.values()].reduce((sum, { a, b }) => sum + 4 * (a.values.length + b.values.length), 0),
  );
  expect(with1.info.memory.weights).toBe(plain.info.memory.weights + bytes);
  expect(with1.info.memory.activations).toBe(plain.info.memory.activations + 4 * 24 * 256);
  await expect(adapted(base, ["one"], { maxMemoryBytes: plain.info.memory.total })).rejects.toMatchObject({
    code: "out-of-memory",
  });
  // Sets of every scale come and go.
  for (let i = 1; i <= 2000; i++) await with1.closeSession(await with1.open(64, [{ index: 0, scale: i / 100 }]));
  expect(with1.memoryBytes).toBe(with1.info.memory.total);
});

test("adapters of quantised types are what their values say, over quantised weights too", async () => {
  const shape = { hidden: 64, intermediate: 128, heads: 2, kvHeads: 1, headDim: 32, layers: 2, vocab: 320, tied: false };
  const blocked = tinyModel(shape);
  const lora = tinyLora(blocked, 32, { seed: 21 });
  const random = noise(31);
  const whole = loraParts(blocked, lora);
  for (const type of ["Q8_0", "Q4_0"] as const) {
    const stored = whole.tensors.map((tensor) => {
      const count = tensor.shape.reduce<number>((a, b) => a * Number(b), 1);
      const { bytes, values } = randomBlocks(type, count, 0.15, random);
      return [
        { ...tensor, type: TYPE_IDS[type], bytes },
        { ...tensor, bytes: new Uint8Array(values.buffer, 0, values.byteLength) },
      ] as const;
    });
    const [quantised, floats] = [0, 1].map((i) => writeGguf({ ...whole, tensors: stored.map((pair) => pair[i]!) }));
    const model8 = tinyParts(blocked);
    const tensors = model8.tensors.map((tensor) =>
      /^blk.*(attn_[qkvo]|ffn_(gate|up|down))/.test(tensor.name) && !tensor.name.includes("norm")
        ? {
            ...tensor,
            type: TYPE_IDS.Q8_0,
            bytes: randomBlocks(
              "Q8_0",
              tensor.shape.reduce<number>((a, b) => a * Number(b), 1),
              0.1,
              random,
            ).bytes,
          }
        : tensor,
    );
    const packed = writeGguf({ ...model8, tensors });
    const logits: Float32Array[] = [];
    for (const file of [quantised!, floats!])
      for (const threads of [1, 2]) {
        const engine = await load(packed, { ...named("one"), threads }, {}, undefined, false, [file]);
        expect(engine.info.packed["int8"]).toBeGreaterThan(0);
        logits.push(await logitsOf(engine, tokens));
      }
    for (const other of logits.slice(1)) expect(firstDifference(other, logits[0]!), type).toBe(-1);
    expect(firstDifference(await logitsOf(await load(packed), tokens), logits[0]!)).not.toBe(-1);
  }
});
