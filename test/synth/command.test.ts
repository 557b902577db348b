// cpm synth as a person uses it: a folder with samples, a second run that does nothing, formats, shards, what is wrong is told.
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fromShareGpt } from "../../src/data/formats.ts";
import { journalValue } from "../../src/synth/journal.ts";
import type { SynthRecord } from "../../src/synth/types.ts";
import { cpm, main, root, start, story, temporary } from "../cli/command.ts";
import { startEndpoint } from "./endpoint.mjs";

const folder = temporary();
let endpoint: Awaited<ReturnType<typeof startEndpoint>>;
beforeAll(async () => {
  endpoint = await startEndpoint();
});
afterAll(() => endpoint.close());

const example = join(root, "examples/synth/config.json");
const ask = (out: string, ...more: string[]) => [
  "synth",
  example,
  "-o",
  out,
  "--api",
  endpoint.url,
  "--api-model",
  "script",
  ...more,
];
const rows = (file: string) =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as SynthRecord);
const samplesOf = (out: string) =>
  readdirSync(out)
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map((name) => [name, readFileSync(join(out, name), "utf8")]);

const whole = join(folder, "whole");

test("samples of five families, journals, a report as JSON, picture and page, a manifest; the second run asks nothing", async () => {
  const { status, out, err } = await cpm(ask(whole, "--dropped"));
  expect({ status, err }).toMatchObject({ status: 0, err: expect.stringMatching(/^\d+ tokens\n$/) as string });
  for (const family of ["knowledge", "reasoning", "instructions", "long", "tools"]) {
    expect(out).toContain(family);
    const kept = rows(join(whole, `${family}.jsonl`));
    const dropped = rows(join(whole, `dropped-${family}.jsonl`));
    expect(kept.length, family).toBeGreaterThan(2);
    expect(new Set(kept.map(({ id }) => id)).size).toBe(kept.length);
    const report = (
      JSON.parse(readFileSync(join(whole, "report.json"), "utf8")) as Record<string, { kept: number; dropped: number }>
    )[family];
    expect(report).toMatchObject({ kept: kept.length, dropped: dropped.length });
  }
  for (const name of ["report.svg", "report.html", "manifest.json"]) expect(existsSync(join(whole, name))).toBe(true);
  const asked = endpoint.facts.requests;
  const before = samplesOf(whole);
  const again = await cpm(ask(whole, "--dropped"));
  expect(again.err).toContain("all of it is there already");
  expect(endpoint.facts.requests).toBe(asked);
  expect(samplesOf(whole)).toEqual(before);
});

test("killed, with a torn line at the journals' ends and a spoilt one in the middle: the same files, item by item", async () => {
  const out = join(folder, "killed");
  const slow = await startEndpoint({ latencyMs: 15 });
  const args = ["synth", example, "-o", out, "--api", slow.url, "--api-model", "script", "--dropped", "--concurrency", "3"];
  const running = start(args);
  await new Promise<void>((resolve) => {
    const look = setInterval(() => {
      if (slow.facts.requests > 60) resolve(clearInterval(look));
    }, 5);
  });
  running.child.kill("SIGKILL");
  await running.ended;
  await slow.close();
  const journal = join(out, "tools.journal");
  appendFileSync(journal, '0123456789ab {"item": 3, "outcomes"');
  const other = join(out, "instructions.journal");
  const text = readFileSync(other, "utf8");
  const lines = text.split("\n");
  expect(lines.length).toBeGreaterThan(3);
  // A letter of the first entry is another one now.
  writeFileSync(other, text.replace(lines[1]!, lines[1]!.replace("outcomes", "outcomez")));
  truncateSync(join(out, "knowledge.journal"), readFileSync(join(out, "knowledge.journal")).length - 7);
  const { status } = await cpm(ask(out, "--dropped"));
  expect(status).toBe(0);
  expect(samplesOf(out)).toEqual(samplesOf(whole));
  const items = readFileSync(journal, "utf8")
    .split("\n")
    .flatMap((line) => (journalValue(line) as { item?: number } | undefined)?.item ?? []);
  expect([...items].sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
});

test("ShareGPT holds the same records; Alpaca has no room for tools and says so; other settings do not overwrite a journal", async () => {
  const out = join(folder, "shared");
  expect((await cpm(ask(out, "--family", "tools", "--format", "sharegpt"))).status).toBe(0);
  const shared = rows(join(out, "tools.jsonl")).map((record) => fromShareGpt(record as never));
  expect(shared).toEqual(rows(join(whole, "tools.jsonl")));
  const alpaca = await cpm(ask(join(folder, "alpaca"), "--format", "alpaca"));
  expect(alpaca).toMatchObject({ status: 2, err: expect.stringContaining("no room for tools") as string });
  expect((await cpm(ask(join(folder, "alpaca"), "--format", "alpaca", "--family", "knowledge"))).status).toBe(0);
  expect(rows(join(folder, "alpaca/knowledge.jsonl"))[0]).toMatchObject({
    instruction: expect.any(String) as string,
    output: expect.any(String) as string,
  });
  const config = join(folder, "other.json");
  const given = JSON.parse(readFileSync(example, "utf8")) as Record<string, unknown>;
  mkdirSync(join(folder, "seeds"), { recursive: true });
  for (const name of ["tools.jsonl", "texts.jsonl"])
    writeFileSync(join(folder, name), readFileSync(join(root, "examples/synth", name)));
  writeFileSync(config, JSON.stringify({ ...given, seed: 2 }));
  const other = await cpm(["synth", config, "-o", out, "--family", "tools", "--api", endpoint.url, "--api-model", "script"]);
  expect(other).toMatchObject({ status: 1, err: expect.stringContaining("another configuration") as string });
  const anew = await cpm([
    "synth",
    config,
    "-o",
    out,
    "--family",
    "tools",
    "--anew",
    "--api",
    endpoint.url,
    "--api-model",
    "script",
  ]);
  expect(anew.status).toBe(0);
  expect(existsSync(join(out, "tools.journal.previous"))).toBe(true);
});

test("shards hold the whole, and a larger count goes on from what is there", async () => {
  const out = join(folder, "shards");
  for (const i of [1, 0]) expect((await cpm(ask(out, "--family", "tools", "--shard", `${i}/2`))).status).toBe(0);
  expect(existsSync(join(out, "manifest-tools-00001-of-00002.json"))).toBe(true);
  const ids = [0, 1].flatMap((i) => rows(join(out, `tools-0000${i}-of-00002.jsonl`)).map(({ id }) => id));
  const one = rows(join(whole, "tools.jsonl")).map(({ id }) => id);
  // Duplicates are told within a shard; here there are none.
  expect([...ids].sort()).toEqual([...one].sort());
  const config = JSON.parse(readFileSync(example, "utf8")) as { families: { tools: Record<string, unknown> } };
  for (const name of ["tools.jsonl", "texts.jsonl"])
    writeFileSync(join(folder, name), readFileSync(join(root, "examples/synth", name)));
  const file = join(folder, "more.json");
  const write = (count: number) =>
    writeFileSync(file, JSON.stringify({ ...config, families: { tools: { ...config.families.tools, count } } }));
  const go = () => cpm(["synth", file, "-o", join(folder, "more"), "--api", endpoint.url, "--api-model", "script"]);
  write(10);
  await go();
  const asked = endpoint.facts.requests;
  write(40);
  await go();
  expect(rows(join(folder, "more/tools.jsonl"))).toEqual(rows(join(whole, "tools.jsonl")));
  const manifest = JSON.parse(readFileSync(join(whole, "report.json"), "utf8")) as { tools: { requests: number } };
  expect(endpoint.facts.requests - asked).toBeLessThan(manifest.tools.requests);
});

test("a model that is loaded here makes samples, constrained by the schema", async () => {
  const config = join(folder, "resident.json");
  writeFileSync(
    config,
    JSON.stringify({
      sampling: { maxTokens: 60, temperature: 1 },
      families: { knowledge: { count: 3, samples: 1, evolve: 0, seeds: [{ text: "Tides come from the moon." }] } },
    }),
  );
  const out = join(folder, "resident");
  const { status, err } = await cpm(["synth", config, "-o", out, "--model", story, "--threads", "1", "--json"]);
  expect({ status, err }).toEqual({ status: 0, err: "" });
  const report = JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as {
    knowledge: { items: number; requests: number; completionTokens: number };
  };
  expect(report.knowledge).toMatchObject({ items: 3 });
  expect(report.knowledge.completionTokens).toBeGreaterThan(10);
});

test("where nothing is kept the first reason is told whole", async () => {
  const refusing = await startEndpoint({
    trouble: () => ({ status: 400, body: '{"error":{"message":"max_tokens is too large"}}' }),
  });
  const config = join(folder, "refused.json");
  writeFileSync(config, '{"families":{"instructions":{"count":2,"samples":1}}}');
  const asked = ["-o", join(folder, "refused"), "--api", refusing.url, "--api-model", "script"];
  const { status, err } = await cpm(["synth", config, ...asked]);
  await refusing.close();
  expect(status).toBe(0);
  expect(err).toMatch(/instructions: nothing was kept; the first sample: refused by the endpoint: .*max_tokens is too large/);
});

test("what is missing or wrong is told", () => {
  const run = (...args: string[]) => spawnSync(process.execPath, [main, "synth", ...args], { encoding: "utf8" });
  writeFileSync(join(folder, "bad.json"), "{");
  writeFileSync(join(folder, "family.json"), '{"families":{"tool":{"count":1}}}');
  writeFileSync(join(folder, "list.json"), '{"families":[]}');
  for (const [args, text] of [
    [[], "configuration is missing"],
    [[join(folder, "list.json"), "-o", folder], "list.json: families: expected an object, found a list"],
    // As the file has it, not as a flag.
    [[join(folder, "family.json"), "-o", folder], "family.json: families.tool: there is no such option"],
    [[example, "-o", folder, "--api", "http://127.0.0.1:9/v1"], "--api-model is missing"],
    [[example], "--output"],
    [[join(folder, "none.json"), "-o", folder], "none.json"],
    [[join(folder, "bad.json"), "-o", folder], "no JSON"],
    [[join(folder, "family.json"), "-o", folder], "did you mean tools"],
    [[example, "-o", folder, "--family", "chess"], 'not "chess"'],
    [[example, "-o", folder, "--shard", "2/2"], "I below N"],
    [[example, "-o", folder, "--format", "xml"], "--format"],
    [
      [example, "-o", join(folder, "down"), "--api", "http://127.0.0.1:9/v1", "--api-model", "x", "--retries", "0"],
      "not reached",
    ],
  ] as const) {
    const { status, stderr } = run(...args);
    expect(stderr).toContain(text);
    expect(status).not.toBe(0);
  }
});
