// cpm clean and cpm score, as commands: containers, shards, resuming, standard input and output, bad input.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { door } from "../data/rig.ts";
import { cpm, json, rawZstd, start, temporary } from "./command.ts";

const folder = temporary();

function records(count: number, seed = 1): string[] {
  let state = seed;
  const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return Array.from({ length: count }, (_, i) => {
    const words = Array.from({ length: 30 }, () => `word${Math.floor(next() * 5000)}`);
    return JSON.stringify({ id: i, big: 12345678901234567890n.toString(), text: words.join(" "), source: `s${i % 3}` });
  });
}

const model = join(folder, "quality.bin");

async function trained(): Promise<string> {
  const lines = records(400, 9).map((line, i) => {
    const { text } = JSON.parse(line) as { text: string };
    return `__label__${i % 2 ? "pos" : "neg"} ${i % 2 ? `good ${text} good` : `bad ${text} bad`}`;
  });
  const { pieces } = await door.train(new TextEncoder().encode(`${lines.join("\n")}\n`), { dim: 8, epoch: 10, lr: 0.5 });
  writeFileSync(model, Buffer.concat([...pieces()]));
  return model;
}
const ready = trained();

const read = (...path: string[]) => readFileSync(join(folder, ...path), "utf8");
interface Report {
  records: number;
  kept: number;
  dropped: number;
  errors: number;
  reasons: Record<string, number>;
  sources: Record<string, { records: number; kept: number }>;
  histogram: number[];
}

test("bad records become errors with their place; rules, duplicates and the classifier are counted", async () => {
  await ready;
  const lines = records(60);
  lines[3] = lines[2]!;
  lines[5] = "{broken";
  lines[7] = JSON.stringify({ text: "short" });
  lines[9] = JSON.stringify({ other: 1 });
  lines[11] = JSON.stringify({ text: "same line here\n".repeat(20) });
  lines[13] = `{"text":"${"x".repeat(3000)}"}`;
  const input = join(folder, "mixed.jsonl");
  writeFileSync(input, Buffer.concat([Buffer.from(`${lines.join("\n")}\n`), Buffer.from([0x7b, 0xff, 0x7d, 10])]));
  const args = ["clean", input, "-o", join(folder, "mixed"), "--dropped", "--dedup", "exact,near", "--max-record", "2000"];
  const report = await json<Report>([...args, "--classifier", model]);
  expect(report.reasons).toMatchObject({ short: 1, repetition: 1, "duplicate-exact": 1 });
  expect(report.errors).toBe(4);
  expect(report.kept + report.dropped).toBe(report.records);
  expect(report.histogram.reduce((a, b) => a + b, 0)).toBe(report.records - 3);
  const errors = read("mixed", "errors.jsonl")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { line: number; file: string });
  expect(errors.map(({ line }) => line)).toEqual([6, 10, 14, 61]);
  const kept = read("mixed", "kept.jsonl").trimEnd().split("\n");
  expect(kept.length).toBe(report.kept);
  expect(kept[0]).toMatch(/^\{"id":\d+,.*,"cpm_score":[\d.]+\}$/);
  // The picture tells what the report does.
  const picture = read("mixed", "report.svg");
  expect(picture).toContain(`${report.records} records, ${report.kept} kept, ${report.dropped} dropped, 4 errors`);
  for (const said of ["dropped: duplicate-exact", "kept of s0", "kept (0.", "dropped (short): short"])
    expect(picture).toContain(said);
  const tallest = Math.max(...report.histogram);
  expect(picture).toContain(`text-anchor="end">${tallest}<`);
  expect(picture.match(/height="200\.0"/g)?.length).toBe(report.histogram.filter((n) => n === tallest).length);
  // Done is done: the same command does nothing more.
  const again = await json<Report>([...args, "--classifier", model]);
  expect(again.records).toBe(report.records);
});

test("gzip, zstd's absence or presence, a truncated gzip, text folders", async () => {
  const plain = `${records(20).join("\n")}\n`;
  writeFileSync(join(folder, "a.jsonl"), plain);
  writeFileSync(join(folder, "a.jsonl.gz"), gzipSync(plain));
  writeFileSync(join(folder, "cut.jsonl.gz"), gzipSync(plain).subarray(0, 300));
  for (const name of ["a.jsonl", "a.jsonl.gz"]) await json(["clean", join(folder, name), "-o", join(folder, `out-${name}`)]);
  expect(read("out-a.jsonl.gz", "kept.jsonl")).toBe(read("out-a.jsonl", "kept.jsonl"));
  const cut = await cpm(["clean", join(folder, "cut.jsonl.gz"), "-o", join(folder, "cut"), "--json"]);
  expect(cut.status).toBe(1);
  expect(JSON.parse(cut.err)).toMatchObject({ error: { code: "io", detail: { file: join(folder, "cut.jsonl.gz") } } });
  mkdirSync(join(folder, "texts/deep"), { recursive: true });
  writeFileSync(join(folder, "texts/a.txt"), "A text that is long enough to be kept by the rules, surely so.");
  writeFileSync(join(folder, "texts/deep/b.md"), "Another text that is long enough to be kept by the rules too.");
  // A file of another kind is one error, a hidden one is left alone.
  writeFileSync(join(folder, "texts/table.csv"), "a,b\n1,2\n3,4\n");
  writeFileSync(join(folder, "texts/.cache.jsonl"), "nothing");
  const texts = await json<Report>(["clean", join(folder, "texts"), "-o", join(folder, "texts-out")]);
  expect(texts).toMatchObject({ kept: 2, errors: 1 });
  expect(JSON.parse(read("texts-out", "errors.jsonl"))).toMatchObject({ file: join(folder, "texts/table.csv"), line: 1 });
  // What a shell makes of *.jsonl* and more.
  const several = [join(folder, "a.jsonl.gz"), join(folder, "a.jsonl"), join(folder, "texts")];
  expect(await json<Report>(["clean", ...several, "-o", join(folder, "several")])).toMatchObject({ kept: 42 });
});

test("zstd and Parquet give the records of JSON lines", async () => {
  const lines = records(50);
  const plain = Buffer.from(`${lines.join("\n")}\n`);
  writeFileSync(join(folder, "z.jsonl"), plain);
  writeFileSync(join(folder, "z.jsonl.zst"), rawZstd(plain));
  writeFileSync(join(folder, "zcut.jsonl.zst"), rawZstd(plain).subarray(0, 500));
  await json(["clean", join(folder, "z.jsonl"), "-o", join(folder, "z-plain")]);
  await json(["clean", join(folder, "z.jsonl.zst"), "-o", join(folder, "z-zst")]);
  expect(read("z-zst", "kept.jsonl")).toBe(read("z-plain", "kept.jsonl"));
  // Without a classifier nothing is added: records are what they were, to the byte.
  expect(read("z-plain", "kept.jsonl")).toBe(plain.toString());
  const cut = await cpm(["clean", join(folder, "zcut.jsonl.zst"), "-o", join(folder, "z-cut"), "--json"]);
  expect({ status: cut.status, code: (JSON.parse(cut.err) as { error: { code: string } }).error.code }).toEqual({
    status: 1,
    code: "io",
  });
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  const rows = lines.map((line) => JSON.parse(line) as { id: number; text: string; source: string });
  const parquet = Buffer.from(
    parquetWriteBuffer({
      columnData: [
        { name: "id", data: rows.map(({ id }) => id), type: "INT32" },
        { name: "text", data: rows.map(({ text }) => text), type: "STRING" },
        { name: "source", data: rows.map(({ source }) => source), type: "STRING" },
      ],
      rowGroupSize: 20,
    }),
  );
  writeFileSync(join(folder, "p.parquet"), parquet);
  writeFileSync(join(folder, "pcut.parquet"), parquet.subarray(0, parquet.length - 100));
  const report = await json<Report>(["clean", join(folder, "p.parquet"), "-o", join(folder, "p")]);
  expect(report).toMatchObject({ records: 50, kept: 50, sources: { s0: { records: 17 } } });
  const broken = await cpm(["clean", join(folder, "pcut.parquet"), "-o", join(folder, "pc"), "--json"]);
  expect(broken.status).toBe(1);
  expect(JSON.parse(broken.err)).toMatchObject({ error: { code: "io" } });
});

test("shards together are the whole, and a killed run goes on to the same bytes", { timeout: 120_000 }, async () => {
  await ready;
  const input = join(folder, "many.jsonl");
  writeFileSync(input, `${records(20_000, 4).join("\n")}\n`);
  const common = ["clean", input, "--classifier", model, "--dedup", "exact", "--dropped"];
  await json([...common, "-o", join(folder, "whole")]);
  // Killed whenever it has written down how far it came, until it is done.
  const killed = join(folder, "killed");
  const state = join(killed, ".state.json");
  const doneSoFar = () => (existsSync(state) ? (JSON.parse(readFileSync(state, "utf8")) as { done: number }).done : 0);
  let kills = 0;
  for (let ended = false; !ended; ) {
    const before = doneSoFar();
    const run = start([...common, "-o", killed, "--json"]);
    const watch = setInterval(() => {
      if (doneSoFar() > before) run.child.kill("SIGKILL");
    }, 2);
    ended = (await run.ended).status === 0;
    clearInterval(watch);
    if (!ended) kills++;
  }
  expect(kills).toBeGreaterThan(0);
  for (const name of ["kept.jsonl", "dropped.jsonl", "errors.jsonl", "report.json"])
    expect(readFileSync(join(killed, name)).equals(readFileSync(join(folder, "whole", name)))).toBe(true);
  // Shards, without duplicates' memory: each record is judged by itself.
  const alone = ["clean", input, "--classifier", model];
  await json([...alone, "-o", join(folder, "one")]);
  const names: string[] = [];
  for (let i = 0; i < 3; i++) await json([...alone, "-o", join(folder, "three"), "--shard", `${i}/3`]);
  for (const name of readdirSync(join(folder, "three"))) if (name.startsWith("kept-")) names.push(name);
  expect(names).toEqual(["kept-00000-of-00003.jsonl", "kept-00001-of-00003.jsonl", "kept-00002-of-00003.jsonl"]);
  const lines = (text: string) => text.trimEnd().split("\n").sort();
  expect(lines(names.map((name) => read("three", name)).join(""))).toEqual(lines(read("one", "kept.jsonl")));
});

test("two runs of one shard at once, as after a lost lock, give its bytes", { timeout: 60_000 }, async () => {
  const input = join(folder, "twice.jsonl");
  writeFileSync(input, `${records(12_000, 8).join("\n")}\n`);
  await json(["clean", input, "-o", join(folder, "alone")]);
  const both = await Promise.all([0, 1].map(() => cpm(["clean", input, "-o", join(folder, "twice"), "--json"])));
  expect(both.some(({ status }) => status === 0)).toBe(true);
  expect(read("twice", "kept.jsonl")).toBe(read("alone", "kept.jsonl"));
});

test("--stdio: one line in, one line out, in order; bad lines too", async () => {
  await ready;
  const lines = records(5);
  const input = `${[lines[0], "nonsense", "", lines[1]].join("\n")}\n`;
  const { status, out } = await cpm(["clean", "--stdio", "--classifier", model], input);
  expect(status).toBe(0);
  const answers = out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(answers.map((answer) => [answer["id"], typeof answer["cpm_keep"], answer["cpm_line"]])).toEqual([
    [0, "boolean", undefined],
    [undefined, "undefined", 2],
    [undefined, "undefined", 3],
    [1, "boolean", undefined],
  ]);
});

test("cpm score prints a line a prediction; cpm fold's file gives the same", async () => {
  await ready;
  const lines = join(folder, "lines.txt");
  writeFileSync(lines, "good word1 word2\nbad word3\n\nend </s> again");
  const scored = await cpm(["score", model, "-f", lines, "--k", "2", "--json"]);
  expect(scored.status).toBe(0);
  const rows = scored.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { line: number; labels: string[]; probabilities: number[] });
  expect(rows.map(({ line }) => line)).toEqual([1, 2, 3, 4, 4]);
  expect(rows[0]!.labels).toEqual(["__label__pos", "__label__neg"]);
  const folded = join(folder, "quality.fold");
  expect((await json<{ bytes: number }>(["fold", model, "-o", folded])).bytes).toBe(readFileSync(folded).length);
  // Whole or not at all: nothing is left beside it, and what cannot be written says so.
  expect(readdirSync(folder).filter((name) => name.includes(".partial"))).toEqual([]);
  expect(await cpm(["fold", model, "-o", folder])).toMatchObject({ status: 1, err: /could not be written.*check --output/ });
  const other = (await cpm(["score", folded, "-f", lines, "--k", "2", "--json"])).out.trimEnd().split("\n");
  other.forEach((line, i) => {
    const { labels, probabilities } = JSON.parse(line) as { labels: string[]; probabilities: number[] };
    expect(labels).toEqual(rows[i]!.labels);
    probabilities.forEach((p, j) => {
      expect(Math.abs(p - rows[i]!.probabilities[j]!)).toBeLessThan(1.2e-5);
    });
  });
});

test("wrong use is told", async () => {
  expect((await cpm(["clean", join(folder, "nowhere.jsonl"), "-o", join(folder, "n")])).status).toBe(1);
  expect((await cpm(["clean", "-o", join(folder, "n")])).status).toBe(2);
  expect((await cpm(["clean", "x", "-o", join(folder, "n"), "--shard", "3/3"])).status).toBe(2);
  expect((await cpm(["clean", "x", "-o", join(folder, "n"), "--language", "en,fr"])).err).toMatch(
    /expected en or zh, found "fr"/,
  );
  writeFileSync(join(folder, "there"), "{}");
  expect((await cpm(["clean", join(folder, "there"), "-o", join(folder, "there")])).err).toMatch(
    /no folder can be made.*--output/,
  );
  expect((await cpm(["score"])).status).toBe(2);
});

test("the first error is told in words; hidden files and folders are no input; a folder that cannot be made is an error", async () => {
  const text = JSON.stringify({ text: "words of a text that is long enough for the rule of length" });
  mkdirSync(join(folder, "tree/.git/refs"), { recursive: true });
  mkdirSync(join(folder, "tree/.hidden"));
  mkdirSync(join(folder, "tree/a/b"), { recursive: true });
  for (const name of [".git/refs/x.jsonl", ".hidden/y.txt", ".z.jsonl", "a/b/c.jsonl"])
    writeFileSync(join(folder, "tree", name), `${text}\n`);
  writeFileSync(join(folder, "tree/empty.parquet"), "");
  const run = (...args: string[]) => cpm(["clean", join(folder, "tree"), ...args]);
  expect(await run("-o", join(folder, "deep/er/out"))).toMatchObject({
    status: 1,
    err: /empty\.parquet.*no Parquet file: 0 bytes/,
  });
  writeFileSync(join(folder, "tree/empty.parquet"), parquet());
  const { status, err } = await run("-o", join(folder, "deep/er/out"), "--field", "text");
  expect({ status, err }).toMatchObject({ status: 0, err: /2 records: 2 kept, 0 dropped, 0 errors\n$/ });
  expect(await run("-o", join(folder, "wrong"), "--field", "txt")).toMatchObject({
    status: 0,
    err: /0 kept, 0 dropped, 2 errors\nthe first error: .*c\.jsonl, record 1: no text in txt; all are in .*errors\.jsonl\n$/,
  });
  // Under a file, and (where there is one) in a system's folder in which Node's own way to make folders does not come back.
  for (const out of [join(folder, "tree/a/b/c.jsonl/out"), "/proc/cpm/out"])
    expect(await run("-o", out)).toMatchObject({ status: 1, err: /no folder can be made there/ });
});

/** A table of one text. */
const parquet = () =>
  Buffer.from(
    parquetWriteBuffer({
      columnData: [{ name: "text", data: ["a text in a table, as long as the rule of length asks for"], type: "STRING" }],
    }),
  );
