import { expect, test } from "vitest";
import { readConfig } from "../../src/train/config.ts";
import { Trainer } from "../../src/train/trainer.ts";
import { bodyParameters, widthShape } from "../../src/tunnel/coordinates.ts";
import { fitPower, type PowerPoint } from "../../src/tunnel/fits.ts";
import { bootstrap } from "../../src/tunnel/intervals.ts";
import { coordinatePicture, fitPicture, transferPicture } from "../../src/tunnel/pictures.ts";
import {
  bestOf,
  meanOfSeeds,
  parametersOfPoint,
  readSweep,
  type SweepResult,
  trainingOf,
  transferOf,
} from "../../src/tunnel/sweep.ts";
import { machineOf } from "../train/rig.ts";

const given = {
  out: "sweep",
  tokenizer: "tokenizer.json",
  headDim: 16,
  train: { data: [{ files: ["a.jsonl"] }], length: 32, schedule: { warmup: 2 }, seed: 3 },
  grid: { width: [32, 64], depth: 2, rate: [0.01, 0.02], rows: 4, tokens: [1000] },
};

test("a grid is all its combinations; each is a training's configuration that reads", () => {
  const config = readSweep(given);
  expect(config.points.map(({ key }) => key)).toEqual([
    "w32-d2-r0.01-b4-t1000",
    "w32-d2-r0.02-b4-t1000",
    "w64-d2-r0.01-b4-t1000",
    "w64-d2-r0.02-b4-t1000",
  ]);
  const { train, updates, batchTokens } = trainingOf(config, config.points[3]!);
  expect([updates, batchTokens]).toEqual([8, 128]);
  const read = readConfig(train);
  expect(read).toMatchObject({
    rows: 4,
    length: 32,
    seed: 3,
    heldOut: 0.02,
    stages: [{ updates: 8, optimiser: { mup: true, schedule: { peak: 0.02, warmup: 2 } } }],
  });
  expect(read.start).toMatchObject({
    kind: "scratch",
    config: { hidden_size: 64, num_attention_heads: 4, dim_model_base: 32, intermediate_size: 128 },
  });
});

test("tokens by parameters; parameters are those that the trainer has", async () => {
  const { grid, ...rest } = given;
  const { tokens: _, ...without } = grid;
  const config = readSweep({ ...rest, grid: without, tokensPerParameter: 2 });
  const [point] = config.points;
  const parameters = parametersOfPoint(config, point!);
  const shape = { ...widthShape(32, 2, 16, 32), intermediate: 64 };
  const trainer = await Trainer.create(await machineOf(), { shape, objective: { kind: "lm" }, rows: 1, length: 8 });
  expect(parameters).toBe(bodyParameters(trainer));
  expect(trainingOf(config, point!).updates).toBe(Math.ceil((2 * parameters) / 128));
});

test("seeds repeat a run; the mean of its losses counts", () => {
  const config = readSweep({
    ...given,
    train: { ...given.train, seed: null },
    grid: { ...given.grid, width: 32, rate: 0.01, seed: [4, 9] },
  });
  expect(config.points.map(({ key }) => key)).toEqual(["w32-d2-r0.01-b4-t1000-s4", "w32-d2-r0.01-b4-t1000-s9"]);
  expect(trainingOf(config, config.points[1]!).train["seed"]).toBe(9);
  expect(trainingOf(readSweep(given), readSweep(given).points[0]!).train["seed"]).toBe(3);
  const runs = [
    { ...result(64, 0.01, 3), seed: 1 },
    { ...result(64, 0.01, 2), seed: 2 },
    // The least of single runs, not of means.
    { ...result(64, 0.02, 1.9), seed: 1 },
    { ...result(64, 0.02, 3.5), seed: 2 },
    result(128, 0.01, 2.2),
    result(128, 0.01, 2.1),
  ];
  expect(meanOfSeeds(runs).map(({ loss }) => loss)).toEqual([2.5, 2.7, 2.2, 2.1]);
  expect(bestOf(runs).map(({ rate, loss }) => [rate, loss])).toEqual([
    [0.01, 2.5],
    [0.01, 2.1],
  ]);
  expect(transferOf(runs)[0]).toMatchObject({ width: 64, best: 0.01 });
});

test("what is wrong in a grid is named", () => {
  for (const [change, message] of [
    [{ grid: { ...given.grid, width: [30] } }, /grid\.width: expected multiples of headDim/],
    [{ grid: { ...given.grid, rate: [] } }, /grid\.rate/],
    [{ grid: { ...given.grid, rate: [0.1, 0.1] } }, /grid\.rate: expected numbers, each once/],
    [{ grid: { ...given.grid, rows: 1.5 } }, /grid\.rows: expected whole numbers/],
    [{ grid: { ...given.grid, seed: [1, 1] } }, /grid\.seed: expected numbers, each once/],
    [{ grid: { ...given.grid, seed: 0.5 } }, /grid\.seed: expected whole numbers/],
    [{ grid: { ...given.grid, seed: [1, 2] } }, /train\.seed: expected nothing beside grid\.seed/],
    [{ tokensPerParameter: 20 }, /grid\.tokens: expected nothing beside/],
    [{ grids: {} }, /grids: expected one of/],
  ] as const)
    expect(() => readSweep({ ...given, ...change }), JSON.stringify(change)).toThrow(message);
  for (const [more, place] of [
    [{ train: { ...given.train, rows: 3 } }, "train.rows"],
    [{ train: { ...given.train, schedule: { peak: 0.1 } } }, "train.schedule.peak"],
    [{ train: { ...given.train, export: [{ to: "a.gguf" }] } }, "train.export"],
    [{ model: { num_key_value_heads: 1 } }, "model.num_key_value_heads"],
  ] as const)
    expect(() => readSweep({ ...given, ...more }), place).toThrow(`${place}: expected nothing: a sweep sees to it`);
  // Not after the last update of the first run.
  expect(() => readSweep({ ...given, train: { ...given.train, heldOut: 0 } })).toThrow(
    /train\.heldOut: expected a share above 0/,
  );
  // Null is what is not given.
  const absent = { ...given.train, rows: null, heldOut: null, schedule: { warmup: 2, peak: null } };
  const read = readSweep({ ...given, train: absent });
  expect(trainingOf(read, read.points[0]!)).toEqual(trainingOf(readSweep(given), readSweep(given).points[0]!));
  expect(() => trainingOf(readSweep({ ...given, train: {} }), readSweep(given).points[0]!)).toThrow(/train\.length/);
});

const result = (width: number, rate: number, loss: number): SweepResult => ({
  key: "",
  width,
  depth: 2,
  rate,
  rows: 4,
  tokens: 1000,
  parameters: width * 100,
  loss,
  batchTokens: 128,
  updates: 8,
});

test("transfer: the best rate of each width, and how far it lies from the narrowest's; the best run of each size", () => {
  const runs = [
    result(64, 0.01, 3),
    result(64, 0.02, 2.8),
    result(64, 0.04, 2.9),
    result(256, 0.01, 2.5),
    result(256, 0.02, 2.45),
    result(256, 0.04, 2.4),
  ];
  expect(transferOf(runs).map(({ width, best, steps }) => [width, best, steps])).toEqual([
    [64, 0.02, 0],
    [256, 0.04, 1],
  ]);
  expect(bestOf(runs).map(({ loss }) => loss)).toEqual([2.8, 2.4]);
});

test("pictures hold what they draw", () => {
  const points: PowerPoint[] = [1, 2, 4, 8].map((x) => ({ x, y: 3 * x ** -0.5 }));
  const boot = bootstrap(points, (p) => fitPower(p), { samples: 20 });
  const axis = (name: "x" | "y") => ({ name, of: (p: PowerPoint) => p[name], log: true });
  const picture = JSON.stringify(fitPicture(points, boot, { title: "t", x: axis("x"), y: axis("y"), line: points }));
  expect(picture).toContain('"y":1.5');
  expect(JSON.stringify(transferPicture(transferOf([result(64, 0.01, 3)]), "t"))).toContain('"loss":3');
  const rows = [{ width: 64, stream: [1, 2], change: [0, 1], logits: 1 }];
  expect(JSON.stringify(coordinatePicture({ rows, spread: 0, growth: 1 }, "t"))).toContain('"place":"layer 1"');
});
