// Whole runs in memory: ended anywhere they come to the same bytes; damage, other configurations and losses that are none are told.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { memoryOutput } from "../../src/file/write/output.ts";
import { CpmError } from "../../src/index.ts";
import { Checkpoint } from "../../src/train/checkpoint.ts";
import { readConfig, type TrainConfig } from "../../src/train/config.ts";
import { Feed } from "../../src/train/feed.ts";
import { type LogEntry, RunLog } from "../../src/train/log.ts";
import { Machine } from "../../src/train/machine.ts";
import { reportPage, smoothed, ticks } from "../../src/train/report.ts";
import { runTraining } from "../../src/train/run.ts";
import { checkpointsOf, type RunHooks, type RunResult } from "../../src/train/running.ts";
import { scratchModel, tokenizerParts } from "../../src/train/scratch.ts";
import { Shard, ShardWriter } from "../../src/train/shards.ts";
import { memoryStore, type RunStore } from "../../src/train/store.ts";
import { tinyFolder, tinyModel } from "../support/tiny.ts";
import { machineOf, random } from "./rig.ts";

const hash = new Uint8Array(32);
const made = tokenizerParts(memoryFiles("", tinyFolder(tinyModel(), "F32"))).then((parts) =>
  scratchModel(
    {
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 48,
      max_position_embeddings: 64,
      dim_model_base: 16,
      tie_word_embeddings: true,
    },
    parts,
    320,
  ),
);

/** A model of another width with the same vocabulary. */
const teacher = tokenizerParts(memoryFiles("", tinyFolder(tinyModel(), "F32"))).then((parts) =>
  scratchModel(
    {
      hidden_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      intermediate_size: 24,
      max_position_embeddings: 64,
      tie_word_embeddings: true,
    },
    parts,
    320,
  ),
);

/** Documents that are easy to foretell: each counts on from its first token. */
async function feedOf(config: TrainConfig, shard?: Shard): Promise<Feed> {
  const output = memoryOutput("x.tokens");
  const writer = new ShardWriter(output, 320, hash);
  const next = random(5);
  for (let d = 0; d < 40; d++) {
    const [first, length] = [Math.floor(next() * 200), 5 + Math.floor(next() * 30)];
    await writer.add({ tokens: Array.from({ length }, (_, i) => 3 + ((first + i) % 200)) });
  }
  await writer.finish();
  const { length, seed, packing, heldOut } = config;
  return new Feed([{ name: "a", shards: [shard ?? (await Shard.open(bytesSource("x.tokens", output.bytes()), hash))] }], {
    length,
    seed,
    packing,
    heldOut,
  });
}

const configOf = (changes: object = {}): TrainConfig =>
  readConfig({
    model: { config: {}, tokenizer: "x" },
    out: "run",
    data: [{ files: "x" }],
    length: 24,
    rows: 2,
    updates: 12,
    heldOut: 0.1,
    schedule: { peak: 1e-2, warmup: 2 },
    evaluate: { every: 4, rows: 4 },
    checkpoint: { every: 3, keep: 2 },
    seed: 7,
    ...changes,
  });

async function run(config: TrainConfig, store: RunStore, hooks: RunHooks = {}): Promise<RunResult> {
  const { model, parts } = await made;
  const teachers = new Map([["small", (await teacher).model]]);
  const result = await runTraining(
    { config, store, machine: () => machineOf(), model, parts, feed: await feedOf(config), dataKey: "d", teachers },
    hooks,
  );
  await result.trainer.close();
  return result;
}

/** The last checkpoint's bytes, and the log without its times. */
async function endOf(store: ReturnType<typeof memoryStore>) {
  const [last] = await checkpointsOf(store);
  const log = new TextDecoder()
    .decode(store.files.get("log.jsonl"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LogEntry & { seconds?: number; tokensPerSecond?: number });
  return { last, bytes: store.files.get(last!)!, log: log.map(({ seconds: _, tokensPerSecond: __, ...entry }) => entry) };
}

const kinds: Readonly<Record<string, object>> = {
  "next tokens": {},
  accumulated: { rows: 1, accumulate: 3 },
  whole: { packing: "whole" },
  muon: { optimiser: { kind: "muon" } },
  ternary: { objective: { kind: "ternary", group: 16 } },
  "ternary from a teacher": { objective: { kind: "ternary", group: 16, teacher: "small", share: 0.3 } },
  lora: { objective: { kind: "lora", rank: 2 } },
  eagle: { objective: { kind: "eagle", noise: 0.1, window: 8 } },
  mtp: { objective: { kind: "mtp" } },
  sparse: {
    sparse: { kernelSize: 2, kernelStride: 1, blockSize: 2, initBlocks: 1, windowSize: 4, topk: 3, denseLen: 8 },
  },
  stages: { stages: [{ updates: 5 }, { updates: 7, objective: { kind: "ternary", group: 0 }, schedule: { peak: 5e-3 } }] },
};
for (const [name, changes] of Object.entries(kinds))
  test(`${name}: a run that was ended anywhere comes to the bytes and the log of one that was not`, async () => {
    const config = configOf(changes);
    const whole = memoryStore();
    const result = await run(config, whole);
    expect(result.updates).toBe(12);
    const wanted = await endOf(whole);
    const losses = wanted.log.filter((entry) => entry.kind === "update").map((entry) => entry.loss);
    expect(losses).toHaveLength(12);
    expect(losses.at(-1)).not.toBe(losses[0]);
    const store = memoryStore();
    for (const after of [1, 5, 6, 11]) {
      const abort = new AbortController();
      const reason = new Error("stop");
      const ended = run(config, store, {
        signal: abort.signal,
        onProgress: ({ update }) => {
          if (update === after) abort.abort(reason);
        },
      });
      await expect(ended).rejects.toBe(reason);
      // What a killed run wrote after its checkpoint.
      await store.append("log.jsonl", JSON.stringify({ kind: "update", update: after + 1, loss: 99 }));
      await store.append("log.jsonl", '{"kind":"upd');
    }
    await run(config, store);
    const found = await endOf(store);
    expect(found.last).toBe(wanted.last);
    expect(found.log).toEqual(wanted.log);
    expect(Buffer.from(found.bytes).equals(wanted.bytes)).toBe(true);
    // At the end there is nothing to do any more.
    await run(config, store);
    expect(Buffer.from((await endOf(store)).bytes).equals(wanted.bytes)).toBe(true);
  });

test("a run that is killed while it writes a checkpoint goes on from the one before", async () => {
  const whole = memoryStore();
  await run(configOf(), whole);
  const wanted = await endOf(whole);
  for (const fatal of [2, 3]) {
    const store = memoryStore();
    let count = 0;
    const dying: RunStore = {
      ...store,
      async create(name, size) {
        const output = await store.create(name, size);
        if (!name.endsWith(".ckpt") || ++count !== fatal) return output;
        return {
          ...output,
          async commit() {
            throw new CpmError("io", `${name}: the disk is full`, { file: name });
          },
        };
      },
    };
    await expect(run(configOf(), dying)).rejects.toMatchObject({
      code: "io",
      message: expect.stringContaining("disk is full") as string,
    });
    expect(await checkpointsOf(store)).toHaveLength(fatal - 1);
    await run(configOf(), store);
    expect(Buffer.from((await endOf(store)).bytes).equals(wanted.bytes)).toBe(true);
  }
});

test("damage in every section of a checkpoint, and every cut, is refused with the file", async () => {
  const store = memoryStore();
  await run(configOf({ updates: 3 }), store);
  const { last, bytes } = await endOf(store);
  const checkpoint = await Checkpoint.open(bytesSource(last!, bytes));
  expect(checkpoint.names).toContain("model.layers.1.mlp.up_proj.weight#2");
  expect(checkpoint.state).toMatchObject({ stage: 0, step: 3, updates: 3 });
  const text = new TextDecoder("latin1").decode(bytes);
  const table = JSON.parse(text.slice(64, text.indexOf("]", 64) + 1)) as { name: string; offset: number; bytes: number }[];
  const first = Math.ceil((text.indexOf("]", 64) + 1) / 64) * 64;
  const places = [
    0,
    9,
    17,
    25,
    41,
    70,
    text.indexOf("]") - 1,
    ...table.flatMap(({ offset, bytes: n }) => [first + offset, first + offset + n - 1]),
  ];
  const damagedStore = (damaged: Uint8Array<ArrayBuffer>) => {
    const other = memoryStore();
    other.files.set(last!, damaged);
    return other;
  };
  for (const at of places) {
    const damaged = bytes.slice();
    damaged[at] = damaged[at]! ^ 4;
    await expect(run(configOf({ updates: 3 }), damagedStore(damaged)), `byte ${at}`).rejects.toMatchObject({
      code: "bad-model",
      detail: { file: last },
    });
  }
  for (const length of [0, 30, 63, 64, 500, bytes.length >> 1, bytes.length - 1])
    await expect(run(configOf({ updates: 3 }), damagedStore(bytes.slice(0, length)))).rejects.toMatchObject({
      code: "bad-model",
      detail: { file: last },
    });
});

test("another configuration, other data and other weights are refused; more updates go on", async () => {
  const store = memoryStore();
  await run(configOf({ updates: 3 }), store);
  await expect(run(configOf({ updates: 3, seed: 8 }), store)).rejects.toMatchObject({
    code: "bad-option",
    message: expect.stringContaining("--fresh") as string,
  });
  await expect(run(configOf({ updates: 3, optimiser: { clip: 2 } }), store)).rejects.toMatchObject({ code: "bad-option" });
  const { model, parts } = await made;
  const config = configOf({ updates: 3 });
  const other = runTraining({
    config,
    store,
    machine: () => machineOf(),
    model,
    parts,
    feed: await feedOf(config),
    dataKey: "other",
  });
  await expect(other).rejects.toMatchObject({ code: "bad-option" });
  // How often it is saved and evaluated, and what is written at its end, changes no number.
  expect(
    (await run(configOf({ updates: 3, checkpoint: { every: 1 }, evaluate: { every: 1 }, export: [{ to: "x.gguf" }] }), store))
      .updates,
  ).toBe(3);
});

test("a run goes on as it was rounded so far, or not at all", async () => {
  const { model, parts } = await made;
  const config = configOf({ updates: 6, schedule: { kind: "constant", peak: 1e-2 } });
  const begun = configOf({ updates: 3, schedule: { kind: "constant", peak: 1e-2 } });
  const constant = memoryStore();
  await run(begun, constant);
  const asked: unknown[] = [];
  const again = async (machine: (variant?: "base" | "relaxed") => Promise<Machine>) =>
    await runTraining({ config, store: constant, machine, model, parts, feed: await feedOf(config), dataKey: "d" });
  const module = await WebAssembly.compile(readFileSync(new URL("../../wasm/train.wasm", import.meta.url)));
  const other = again((variant) => {
    asked.push(variant);
    return Machine.create({ module, variant: "relaxed", shared: false, threads: 1 });
  });
  await expect(other).rejects.toMatchObject({ code: "bad-option", detail: { field: "variant", expected: "base" } });
  expect(asked).toEqual(["base"]);
  const lacking = again(() => Promise.reject(new CpmError("unsupported", "none here", { field: "variant" })));
  await expect(lacking).rejects.toMatchObject({
    code: "bad-option",
    message: expect.stringContaining("which this runtime has not"),
  });
  const { trainer, updates } = await again(() => machineOf());
  await trainer.close();
  expect(updates).toBe(6);
});

test("a run goes on for longer where its schedule says the same for what was done", async () => {
  const schedule = { kind: "exponential", peak: 1e-2, warmup: 2, stableEnd: 9, halfLife: 3 };
  const [whole, store] = [memoryStore(), memoryStore()];
  await run(configOf({ schedule }), whole);
  await run(configOf({ schedule, updates: 5 }), store);
  await run(configOf({ schedule }), store);
  const [wanted, found] = [await endOf(whole), await endOf(store)];
  expect(Buffer.from(found.bytes).equals(wanted.bytes)).toBe(true);
});

test("a loss that is no number stops with the update, its documents and advice, and keeps the last checkpoint", async () => {
  const store = memoryStore();
  const config = configOf({
    schedule: { kind: "constant", peak: 1e30, warmup: 0 },
    optimiser: { clip: 1e30 },
    checkpoint: { every: 1, keep: 9 },
    explode: 1e30,
  });
  const failure = await run(config, store).catch((error: unknown) => error as CpmError);
  expect(failure).toMatchObject({ code: "bad-input", detail: { field: "loss" } });
  expect((failure as CpmError).message).toMatch(/update \d+.*learning rate.*row 1: a document \d+/s);
  expect((await checkpointsOf(store)).length).toBeGreaterThan(0);
});

test("a loss that explodes stops before it is saved", async () => {
  const store = memoryStore();
  const config = configOf({
    updates: 60,
    explode: 0.5,
    schedule: { kind: "linear", peak: 20, warmup: 30, stableEnd: 60 },
    optimiser: { clip: 1e9 },
    checkpoint: { every: 1 },
  });
  await expect(run(config, store)).rejects.toMatchObject({
    code: "bad-input",
    message: expect.stringMatching(/explodes.*"explode".*row 1/s) as string,
  });
});

test("training learns what can be learnt, and the held-out loss tells", async () => {
  const { log } = await run(configOf({ updates: 80, evaluate: { every: 40 } }), memoryStore());
  const held = log.filter((entry) => entry.kind === "heldOut").map(({ loss }) => loss);
  expect(held).toHaveLength(2);
  expect(held[1]!).toBeLessThan(held[0]!);
  expect(held[1]!).toBeLessThan(3.5);
});

test("configurations: what is wrong is named with its place", () => {
  const good = { model: "m.gguf", out: "o", data: [{ files: "t" }], length: 8, updates: 10, schedule: { peak: 1 } };
  expect(readConfig(good).stages[0]!.optimiser.schedule).toEqual({
    kind: "1-sqrt",
    peak: 1,
    warmup: 1,
    stableEnd: 8,
    decaySteps: 2,
    floor: undefined,
  });
  const wrong: [object, string][] = [
    [{ lenght: 8 }, "lenght"],
    [{ data: [] }, "data"],
    [{ data: [{ files: "a", wieght: 1 }] }, "data[0].wieght"],
    [{ data: [{ files: "a" }, { files: "b", weight: 0 }] }, "data[1].weight"],
    [{ data: [{ files: [] }] }, "data[0].files"],
    [{ length: 1.5 }, "length"],
    [{ updates: "many" }, "updates"],
    [{ schedule: {} }, "schedule.peak"],
    [{ schedule: undefined }, "schedule"],
    [{ schedule: { peak: 1, kind: "steps" } }, "schedule.kind"],
    [{ optimiser: { betas: [0.9, 1] } }, "optimiser.betas"],
    [{ objective: { kind: "lora", group: 3 } }, "objective.group"],
    [{ objective: { kind: "lora", targets: ["q"] } }, "objective.targets"],
    [{ objective: { kind: "rl" } }, "objective.kind"],
    [{ stages: [{ objective: { kind: "lora" } }, {}] }, "stages"],
    [{ stages: [{ updates: 0 }] }, "stages[0].updates"],
    [{ export: [{ to: "folder", type: "TQ2_0" }] }, "export[0].type"],
    [{ model: { config: { a: 1 } } }, "model.tokenizer"],
    [{ heldOut: 2 }, "heldOut"],
    [{ threads: 0 }, "threads"],
    [{ evaluate: 3 }, "evaluate"],
  ];
  for (const [change, field] of wrong) {
    let found: unknown;
    try {
      readConfig({ ...good, ...change }, "c.json");
    } catch (error) {
      found = error;
    }
    expect(found, field).toMatchObject({ code: "bad-option", detail: { field, file: "c.json" } });
    expect((found as Error).message.startsWith(`c.json: ${field}: `)).toBe(true);
  }
  expect(() => readConfig([], "c.json")).toThrow(/c\.json: expected an object/);
});

test("the example's configuration is one", () => {
  const file = new URL("../../examples/train/stories.json", import.meta.url);
  const config = readConfig(JSON.parse(readFileSync(file, "utf8")), "stories.json");
  expect(config).toMatchObject({ start: { kind: "scratch" }, out: "run", stages: [{ updates: 300 }] });
});

test("the report has a curve for everything that was told, and what samples say is text", () => {
  const log: LogEntry[] = Array.from({ length: 2000 }, (_, i) => ({
    kind: "update",
    update: i + 1,
    stage: i < 1500 ? 0 : 1,
    loss: 5 - i / 1000,
    parts: [0, 0],
    norm: 1 + (i % 7),
    rate: 1e-3,
    tokens: 10 * i,
    tokensPerSecond: 1000,
    seconds: i,
  }));
  log.push({ kind: "heldOut", update: 1000, loss: 4.1 }, { kind: "heldOut", update: 2000, loss: 3.2 });
  log.push({ kind: "samples", update: 2000, samples: [{ prompt: "<b>", text: "<script>alert(1)</script> & more" }] });
  const page = reportPage(log, { title: "a & b", facts: { parameters: "1 < 2" } });
  expect(page.match(/<svg/g)).toHaveLength(4);
  expect(page.match(/<circle/g)).toHaveLength(2);
  expect(page).not.toContain("<script");
  expect(page).toContain("&#60;script&#62;alert(1)");
  expect(page).not.toMatch(/https?:|NaN|undefined|http-equiv/);
  expect(page.length).toBeLessThan(100_000);
  expect(reportPage([], { title: "nothing yet", facts: {}, reload: 5 })).toContain('http-equiv="refresh" content="5"');
  expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks(3.1, 4.2, 6)).toEqual([3.2, 3.4, 3.6, 3.8, 4, 4.2]);
  expect(
    smoothed(
      [
        [1, 2],
        [2, 4],
      ],
      1,
    ),
  ).toEqual([
    [1, 2],
    [2, 4],
  ]);
});

test("a log keeps what was before the checkpoint", async () => {
  const store = memoryStore();
  const log = await RunLog.open(store, 0);
  for (const update of [1, 2, 3]) await log.add({ kind: "heldOut", update, loss: update });
  expect((await RunLog.open(store, 2)).entries).toHaveLength(2);
  expect((await RunLog.open(store, 9)).entries).toHaveLength(2);
});
