// cpm attention: what the picture shows, and what is said where it cannot be drawn.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { pictureOf, type Run, runsOf } from "../../src/cli/picture.ts";
import type { BlockTrace } from "../../src/engine/types.ts";
import { cpm, json, root, story, temporary } from "./command.ts";

const folder = temporary();
const prompt = join(folder, "prompt.txt");
writeFileSync(prompt, Array.from({ length: 250 }, (_, i) => ["the cat", "a big ball", "one sunny day"][(i * i) % 3]).join(" "));
const sparse = JSON.stringify({ windowSize: 64, topk: 2, denseLen: 256 });

const trace: BlockTrace = {
  layers: 1,
  kvHeads: 2,
  blockSize: 64,
  blocks: 10,
  positions: Int32Array.from([100, 600]),
  // Head 0: blocks 0 and 1, then 0, 3, 4, 9; head 1: block 1 alone, then all ten.
  chosen: Uint8Array.from([0b11, 0, 0b11001, 0b10, 0b10, 0, 0b11111111, 0b11]),
};

test("neighbouring blocks are one run, which ends at the position itself", () => {
  expect(runsOf(trace)).toEqual([
    { layer: 0, head: 0, position: 100, first: 0, end: 101 },
    { layer: 0, head: 0, position: 600, first: 0, end: 64 },
    { layer: 0, head: 0, position: 600, first: 192, end: 320 },
    { layer: 0, head: 0, position: 600, first: 576, end: 601 },
    { layer: 0, head: 1, position: 100, first: 64, end: 101 },
    { layer: 0, head: 1, position: 600, first: 0, end: 601 },
  ]);
  expect(pictureOf(trace, "two rows")).toMatchObject({ title: "two rows", data: { values: runsOf(trace) } });
});

test("attention --json tells the runs of every layer and KV head; sparse positions attend to three blocks", async () => {
  const result = await json<{ tokens: number; layers: number; kvHeads: number; positions: number[]; runs: Run[] }>([
    ...["attention", story, "-p", prompt, "--sparse", sparse, "--every", "100", "--ctx", "2048"],
  ]);
  expect(result.tokens).toBeGreaterThan(600);
  expect(result.positions).toEqual(Array.from({ length: Math.ceil(result.tokens / 100) }, (_, i) => 100 * i));
  const last = result.positions.at(-1)!;
  for (let layer = 0; layer < result.layers; layer++)
    for (let head = 0; head < result.kvHeads; head++) {
      const runs = result.runs.filter((r) => r.layer === layer && r.head === head && r.position === last);
      expect(runs[0]!.first).toBe(0);
      expect(runs.at(-1)!.end).toBe(last + 1);
      const blocks = runs.map(({ first, end }) => Math.ceil(end / 64) - first / 64).reduce((a, b) => a + b, 0);
      expect(blocks).toBe(3);
    }
});

test("a prompt that is not long enough attends to everything, and the title says so", async () => {
  const spec = join(folder, "dense.json");
  const { status, err } = await cpm([
    "attention",
    story,
    "-p",
    prompt,
    "--sparse",
    "on",
    "--every",
    "500",
    "--spec",
    spec,
    "--ctx",
    "2048",
  ]);
  expect(status).toBe(0);
  expect(err).toContain("dense attention (sparse from 8192 tokens)");
  const { data } = JSON.parse(readFileSync(spec, "utf8")) as { data: { values: Run[] } };
  expect(data.values.every(({ first, end, position }) => first === 0 && end === position + 1)).toBe(true);
});

test("an SVG is drawn where Vega is installed; elsewhere what to install is said before a model is loaded", async () => {
  const svg = join(folder, "out.svg");
  const { status, err } = await cpm(["attention", story, "-p", prompt, "--sparse", sparse, "--svg", svg]);
  if (existsSync(join(root, "node_modules/vega"))) {
    expect(status).toBe(0);
    expect(readFileSync(svg, "utf8")).toMatch(/^<svg /);
  } else {
    console.log("attention: no SVG is drawn, since vega is not installed here");
    expect(status).toBe(1);
    expect(err).toContain("npm install vega vega-lite");
    expect(existsSync(svg)).toBe(false);
  }
});

test("a prompt and somewhere to draw are asked for, and sparse fields are checked by name", async () => {
  for (const [args, what] of [
    [["--svg", "x.svg"], "give a prompt with -p FILE"],
    [["-p", prompt], "give --svg FILE, --spec FILE or --json"],
    [["-p", prompt, "--json", "--sparse", "some"], "--sparse: expected on, off or an object like"],
    [["-p", prompt, "--json", "--sparse", '{"topk":-1}'], "sparse.topk: expected a whole number"],
    [["-p", prompt, "--json", "--sparse", '{"blocks":3}'], "blocks: expected one of kernelSize"],
    [["-p", prompt, "--json", "--rope-factors", "1,2"], "expected"],
  ] as const) {
    const { status, err } = await cpm(["attention", story, ...args]);
    expect({ status, err }, args.join(" ")).toEqual({ status: 2, err: expect.stringContaining(what) });
  }
});
