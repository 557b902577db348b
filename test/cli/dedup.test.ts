// cpm dedup: duplicates over shards, joined in DuckDB (a real one) and in memory: the same records, and those that one process drops.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileWriter, ParquetWriter } from "hyparquet-writer";
import { beforeAll, describe, expect, test } from "vitest";
import { duckdb, joinInDuckdb } from "../../src/cli/duplicates.ts";
import { BANDS } from "../../src/data/dedup.ts";
import { door, pair, random } from "../data/rig.ts";
import { cpm, json, start, temporary } from "./command.ts";

const folder = temporary();
const at = (...path: string[]) => join(folder, ...path);
const lines = (...path: string[]) =>
  readFileSync(at(...path), "utf8")
    .split("\n")
    .slice(0, -1);
const all = (path: string, kind: string) =>
  readdirSync(at(path))
    .filter((name) => name.startsWith(kind))
    .sort()
    .flatMap((name) => lines(path, name));
const jsonl = (texts: readonly string[]) => texts.map((text, id) => `${JSON.stringify({ id, text })}\n`).join("");

const engines = ["memory", "duckdb"] as const;
const hasDuckdb = await import("@duckdb/node-api").then(
  () => true,
  () => false,
);
const available = engines.filter((engine) => engine === "memory" || hasDuckdb);
if (!hasDuckdb) test.skip("the join in DuckDB: @duckdb/node-api has no build for this machine", () => {});

interface Duplicate {
  file: string;
  line: number;
  record: number;
  kind: string;
  of: number;
  similarity?: number;
}
const duplicates = (path: string) => all(path, "duplicates").map((line) => JSON.parse(line) as Duplicate);

/** Shards of an input, with signatures. */
async function shards(input: string, out: string, count: number, ...more: string[]): Promise<void> {
  for (let i = 0; i < count; i++)
    await json(["clean", at(input), "-o", at(out), "--signatures", "--shard", `${i}/${count}`, "--no-heuristics", ...more]);
}

describe("texts with repetitions, some of them of texts that the classifier drops", () => {
  beforeAll(async () => {
    const next = random(17);
    const pick = (n: number) => Math.floor(next() * n);
    const texts: string[] = ["!!!", " ", "!!!", "a b", "A  b", "a b c"];
    for (let i = texts.length; i < 1500; i++) {
      const old = texts[6 + pick(i - 6)]?.split(" ");
      if (!old || i < 20 || next() < 0.6) {
        const good = next() < 0.7 ? "good" : "bad";
        texts.push([good, ...Array.from({ length: 40 + pick(160) }, () => `w${pick(4000)}`), good].join(" "));
      } else {
        if (next() < 0.7) for (let changes = 1 + pick(6); changes > 0; changes--) old[pick(old.length)] = `x${pick(1e6)}`;
        texts.push(next() < 0.2 ? old.join("  ").toUpperCase() : old.join(" "));
      }
    }
    writeFileSync(at("in.jsonl"), jsonl(texts));
    const examples = texts
      .slice(0, 400)
      .map((text) => `__label__${text.toLowerCase().startsWith("good") ? "pos" : "neg"} ${text}\n`);
    const { pieces } = await door.train(new TextEncoder().encode(examples.join("")), { dim: 8, epoch: 10, lr: 0.5 });
    writeFileSync(at("quality.bin"), Buffer.concat([...pieces()]));
    await shards("in.jsonl", "shards", 5, "--classifier", at("quality.bin"));
    const whole = ["clean", at("in.jsonl"), "-o", at("whole"), "--no-heuristics", "--classifier", at("quality.bin")];
    await json([...whole, "--dedup", "exact,near"]);
  }, 120_000);

  test.each(available)("%s: over five shards, what one process keeps", async (engine) => {
    const report = await json(["dedup", at("shards"), "-o", at(engine), "--engine", engine]);
    const { kept, exact, near, records } = report as Record<string, number>;
    expect(report).toMatchObject({ engine });
    expect([exact! > 50, near! > 50, kept! + exact! + near!]).toEqual([true, true, records]);
    expect(all(engine, "kept").sort()).toEqual(lines("whole", "kept.jsonl").sort());
    for (const { file, line, record, kind, of, similarity } of duplicates(engine)) {
      expect(JSON.parse(lines("shards", file)[line - 1]!)).toMatchObject({ id: record });
      expect(of).toBeLessThan(record);
      if (kind === "near") expect(similarity).toBeGreaterThan(0.2);
      else expect(similarity).toBeUndefined();
    }
    // Done is done: nothing is written again.
    const before = readdirSync(at(engine)).sort();
    rmSync(at(engine, before.find((name) => name.startsWith("kept"))!));
    expect(await json(["dedup", at("shards"), "-o", at(engine), "--engine", engine])).toEqual(report);
    expect(readdirSync(at(engine)).length).toBe(before.length - 1);
    expect(before.filter((name) => name.startsWith("."))).toEqual([]);
  });

  test.each(available)("%s: each kind alone; folders one after another", async (engine) => {
    const exact = await json(["dedup", at("shards"), "-o", at(`${engine}-exact`), "--engine", engine, "--kinds", "exact"]);
    expect(exact).toMatchObject({ near: 0 });
    // The same records again: all that were kept are exact repetitions of those of the first folder.
    if (engine === "memory") await shards("in.jsonl", "again", 1, "--classifier", at("quality.bin"));
    const two = await json(["dedup", at("shards"), at("again"), "-o", at(`${engine}-two`), "--engine", engine]);
    const { kept } = two as { kept: number };
    expect(kept).toBe(lines("whole", "kept.jsonl").length);
    const second = all(`${engine}-two`, "duplicates").filter(
      (line) => (JSON.parse(line) as { folder: string }).folder === at("again"),
    );
    expect(second.length).toBe(all("shards", "kept").length);
    for (const line of second) expect(JSON.parse(line)).toMatchObject({ kind: "exact", ofFolder: at("shards") });
  });

  test("both engines wrote the same bytes", () => {
    for (const engine of available)
      for (const name of readdirSync(at(`${engine}-two`)).filter((name) => name.endsWith(".jsonl")))
        expect(readFileSync(at(`${engine}-two`, name)).equals(readFileSync(at("memory-two", name))), name).toBe(true);
  });

  test("a shard killed on its way writes the signatures of one that was not", { timeout: 120_000 }, async () => {
    const many = Array.from({ length: 8 }, (_, i) => lines("in.jsonl").map((line) => line.replace('"text":"', `"text":"v${i} `)));
    writeFileSync(at("many.jsonl"), many.flat().join("\n"));
    const args = ["clean", at("many.jsonl"), "--signatures", "--no-heuristics"];
    await json([...args, "-o", at("left")]);
    const done = () => {
      try {
        return (JSON.parse(readFileSync(at("killed/.state.json"), "utf8")) as { done: number }).done;
      } catch {
        return 0;
      }
    };
    let kills = 0;
    for (let ended = false; !ended; ) {
      const before = done();
      const run = start([...args, "-o", at("killed"), "--json"]);
      const watch = setInterval(() => {
        if (done() > before) run.child.kill("SIGKILL");
      }, 2);
      ended = (await run.ended).status === 0;
      clearInterval(watch);
      if (!ended) kills++;
    }
    expect(kills).toBeGreaterThan(0);
    for (const name of ["signatures.parquet", "kept.jsonl"])
      expect(readFileSync(at("killed", name)).equals(readFileSync(at("left", name))), name).toBe(true);
    expect(readdirSync(at("killed")).filter((name) => name.endsWith(".parquet"))).toEqual(["signatures.parquet"]);
  });
});

test.each(available)("%s: recall of 1,000 pairs follows 1 - (1 - s^8)^14", { timeout: 120_000 }, async (engine) => {
  const next = random(23);
  const pairs = Array.from({ length: 1000 }, () => pair(next, 0.3 + 0.69 * next()));
  mkdirSync(at(`law-${engine}`), { recursive: true });
  // Second texts after all first ones: each is told from another shard's.
  writeFileSync(at("law.jsonl"), jsonl([...pairs.map(({ a }) => a), ...pairs.map(({ b }) => b)]));
  await shards("law.jsonl", `law-${engine}`, 3);
  await json(["dedup", at(`law-${engine}`), "-o", at(`law-${engine}-out`), "--engine", engine]);
  const found = new Map(duplicates(`law-${engine}-out`).map((one) => [one.record, one]));
  let [expected, spread, wrong, far] = [0, 0, 0, 0];
  pairs.forEach(({ jaccard }, i) => {
    const law = 1 - (1 - jaccard ** 8) ** BANDS;
    expected += law;
    spread += law * (1 - law);
    const duplicate = found.get(1000 + i);
    if (duplicate && duplicate.of !== i) wrong++;
    if (duplicate && Math.abs(duplicate.similarity! - jaccard) > 4 * Math.sqrt((jaccard * (1 - jaccard)) / 112) + 1e-4) far++;
  });
  expect(wrong).toBe(0);
  expect(Math.abs(found.size - expected)).toBeLessThan(3 * Math.sqrt(spread));
  // What is found is what looks more alike than it is, if anything.
  expect(far).toBeLessThan(20);
});

test("what cannot be joined is told", async () => {
  writeFileSync(at("few.jsonl"), jsonl(Array.from({ length: 30 }, (_, i) => `text number ${i} of a few texts`)));
  const dedup = (path: string, ...more: string[]) => cpm(["dedup", at(path), "-o", at("never"), ...more]);
  expect(await dedup("nowhere")).toMatchObject({ status: 1, err: /nowhere.*check the path/ });
  mkdirSync(at("empty"));
  expect(await dedup("empty")).toMatchObject({ status: 1, err: /no shard is finished/ });
  await json(["clean", at("few.jsonl"), "-o", at("unsigned"), "--no-heuristics"]);
  expect(await dedup("unsigned")).toMatchObject({ status: 1, err: /--signatures/ });
  await json(["clean", at("few.jsonl"), "-o", at("part"), "--signatures", "--no-heuristics", "--shard", "1/3"]);
  expect(await dedup("part")).toMatchObject({ status: 1, err: /shards 0, 2 of 3 are missing/ });
  await json(["clean", at("few.jsonl"), "-o", at("part"), "--signatures", "--no-heuristics"]);
  expect(await dedup("part")).toMatchObject({ status: 1, err: /shards of different runs/ });
  await shards("few.jsonl", "changed", 2);
  writeFileSync(at("changed/kept-00001-of-00002.jsonl"), "{}\n");
  expect(await dedup("changed")).toMatchObject({ status: 1, err: /changed since/ });
  for (const engine of available) {
    await shards("few.jsonl", `cut-${engine}`, 1);
    const table = readFileSync(at(`cut-${engine}/signatures.parquet`));
    writeFileSync(at(`cut-${engine}/signatures.parquet`), table.subarray(0, table.length / 2));
    expect(await dedup(`cut-${engine}`, "--engine", engine)).toMatchObject({ status: 1, err: /signatures\.parquet/ });
  }
  expect((await dedup("changed", "--engine", "other")).status).toBe(2);
  expect((await dedup("changed", "--kinds", "some")).status).toBe(2);
  expect((await cpm(["dedup", at("changed")])).status).toBe(2);
  expect((await cpm(["dedup", at("changed"), "-o", at("changed")])).status).toBe(2);
});

/** Signatures of so many records: every second one of a later shard repeats one of the first in all bands. */
async function table(file: string, shard: number, count: number): Promise<void> {
  const columns = [
    "record",
    "line",
    "exact_0",
    "exact_1",
    ...Array.from({ length: BANDS }, (_, i) => `band_${`${i}`.padStart(2, "0")}`),
  ];
  const schema = [
    { name: "root", num_children: columns.length + 1 },
    ...columns.map((name) => ({ name, type: "INT64", repetition_type: "REQUIRED" })),
    { name: "signature", type: "FIXED_LEN_BYTE_ARRAY", type_length: 448, repetition_type: "REQUIRED" },
  ] as ConstructorParameters<typeof ParquetWriter>[0]["schema"];
  const writer = new ParquetWriter({ writer: fileWriter(file), schema, codec: "UNCOMPRESSED", statistics: false });
  const group = 20_000;
  for (let at = 0; at < count; at += group) {
    const own = (i: number) => i + shard * 1e7;
    const value = (name: string, i: number): number => {
      if (name === "record") return 2 * i + shard;
      if (name === "line") return i;
      if (name.startsWith("exact")) return own(i) * 7 + Number(name.at(-1));
      return ((shard > 0 && i % 2 === 0 ? i : own(i)) * 2654435761 + Number(name.slice(5)) * 40503) % Number.MAX_SAFE_INTEGER;
    };
    const plain = (name: string, data: BigInt64Array | Uint8Array[]) => ({
      name,
      data,
      encoding: "PLAIN" as const,
      nullable: false,
    });
    writer.write({
      columnData: [
        ...columns.map((name) =>
          plain(
            name,
            BigInt64Array.from({ length: group }, (_, i) => BigInt(value(name, at + i))),
          ),
        ),
        plain(
          "signature",
          Array.from({ length: group }, (_, i) => new Uint8Array(448).fill(at + i)),
        ),
      ],
      rowGroupSize: group,
    });
  }
  await writer.finish();
}

test.skipIf(!hasDuckdb)(
  "a join of signatures larger than DuckDB may hold goes to disk, and without one is an error that says so",
  { timeout: 300_000 },
  async () => {
    const engine = (await duckdb())!;
    const count = 100_000;
    const signed = await Promise.all(
      [0, 1].map(async (index) => {
        const signatures = at(`large-${index}.parquet`);
        await table(signatures, index, count);
        return { index, signatures, base: 0 };
      }),
    );
    const sizes = signed.map(({ signatures }) => statSync(signatures).size);
    expect(sizes[0]! + sizes[1]!).toBeGreaterThan(110e6);
    const join = (scratch: string, memory: string) =>
      joinInDuckdb(engine, signed, { kinds: ["exact", "near"], onColumn() {}, scratch, memory });
    const found = await join(at("scratch"), "64MB");
    let repeated = 0;
    for await (const { line, record, of, kind, similarity } of found.of(signed[1]!)) {
      if (record !== 2 * line + 1 || of !== 2 * line || line % 2 !== 0 || kind !== "near" || similarity !== 1) break;
      repeated++;
    }
    found.close();
    expect(repeated).toBe(count / 2);
    await expect(join("", "64MB")).rejects.toMatchObject({ code: "out-of-memory", message: expect.stringContaining("--memory") });
  },
);
