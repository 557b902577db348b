// What cpm clean reads may be damaged in any way: records, errors with their places, or one typed error; and memory that does not grow with it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createGzip, gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { recordsOf } from "../../src/cli/cleaninput.ts";
import { door, random } from "../data/rig.ts";
import { cpm, main, rawZstd, start, temporary } from "./command.ts";

const folder = temporary();
const at = (name: string) => join(folder, name);
const mostBytes = 1 << 20;

/** What reading a file gives: records, errors, and how it ended. */
async function outcome(file: string) {
  const seen = { records: 0, errors: 0, ended: "whole" };
  let last = 0;
  try {
    for await (const { record, error, line } of recordsOf(file, { field: undefined, mostBytes })) {
      expect(line).toBeGreaterThan(last);
      last = line;
      if (record) seen.records++;
      else {
        expect(error).toMatch(/./);
        seen.errors++;
      }
    }
  } catch (error) {
    // CpmError of the built package, whose code and message tell.
    const { name, code, message } = error as { name: string; code: string; message: string };
    expect(name, String((error as Error).stack)).toBe("CpmError");
    expect(message).toContain(file);
    seen.ended = code;
  }
  return seen;
}

const lines = Array.from({ length: 200 }, (_, id) => JSON.stringify({ id, text: `record ${id} of some words that are read` }));
const plain = Buffer.from(`${lines.join("\n")}\n`);
const table = Buffer.from(
  parquetWriteBuffer({
    columnData: [
      { name: "id", data: lines.map((_, id) => id), type: "INT32" },
      { name: "text", data: lines.map((line) => (JSON.parse(line) as { text: string }).text), type: "STRING" },
    ],
    rowGroupSize: 50,
  }),
);
const containers: readonly (readonly [string, Buffer])[] = [
  ["a.jsonl.gz", gzipSync(plain)],
  ["a.jsonl.zst", rawZstd(plain)],
  ["a.parquet", table],
  ["a.jsonl", plain],
];

test.each(containers)(
  "%s, cut and changed in 150 ways: typed errors, and places in order",
  { timeout: 300_000 },
  async (name, bytes) => {
    const next = random(name.length * 7919 + bytes.length);
    writeFileSync(at(name), bytes);
    expect(await outcome(at(name))).toEqual({ records: 200, errors: 0, ended: "whole" });
    const ends: Record<string, number> = {};
    for (let i = 0; i < 150; i++) {
      const copy = Buffer.from(bytes);
      const place = Math.floor(next() * copy.length);
      const tail = copy.length - 1 - Math.floor(next() * Math.min(600, copy.length));
      // Of Parquet the end tells what the rest is.
      const where = name.endsWith("parquet") && next() < 0.7 ? tail : place;
      if (i % 3 === 0) copy.fill(Math.floor(next() * 256), where, Math.min(copy.length, where + 1 + Math.floor(next() * 8)));
      else if (i % 3 === 1) copy[where] = [0, 255, 127, 128, 10][Math.floor(next() * 5)]!;
      writeFileSync(at(name), i % 3 === 2 ? copy.subarray(0, place) : copy);
      const { ended } = await outcome(at(name));
      ends[ended] = (ends[ended] ?? 0) + 1;
    }
    expect(Object.keys(ends).filter((end) => end !== "whole" && end !== "io")).toEqual([]);
    if (name !== "a.jsonl") expect(ends["io"]).toBeGreaterThan(30);
  },
);

/** The command with its peak of memory, in MB, after what it says. */
async function measured(args: readonly string[]) {
  const hook = 'data:text/javascript,process.on("exit",()=>process.stderr.write("PEAK "+process.resourceUsage().maxRSS/1000))';
  const running = start(args, [process.execPath, "--import", hook, main]);
  running.child.stdin.end();
  const { status, err } = await running.ended;
  return { status, peak: Number(/PEAK ([\d.]+)/.exec(err)?.[1]) };
}

test("a line of 400 MB is an error with its place, and is never held", { timeout: 300_000 }, async () => {
  const gzip = createGzip({ level: 1 });
  const parts: Buffer[] = [];
  gzip.on("data", (part: Buffer) => parts.push(part));
  const ended = new Promise((resolve) => gzip.once("end", resolve));
  const piece = Buffer.alloc(1 << 20, "x");
  gzip.write(`${lines[0]}\n{"text":"`);
  for (let i = 0; i < 400; i++) if (!gzip.write(piece)) await new Promise((resolve) => gzip.once("drain", resolve));
  gzip.end(`"}\n${lines[1]}\n`);
  await ended;
  writeFileSync(at("long.jsonl.gz"), Buffer.concat(parts));
  const { status, peak } = await measured(["clean", at("long.jsonl.gz"), "-o", at("long"), "--no-heuristics"]);
  expect(status).toBe(0);
  // The most that a record may have is 64 MiB; Node itself takes some 60 MB.
  expect(peak).toBeGreaterThan(20);
  expect(peak).toBeLessThan(330);
  const [error, ...more] = readFileSync(at("long/errors.jsonl"), "utf8").trim().split("\n");
  expect([JSON.parse(error!), more]).toMatchObject([{ line: 2, error: /419430\d+ bytes; at most 67108864/ }, []]);
  expect(readFileSync(at("long/kept.jsonl"), "utf8").trim().split("\n").length).toBe(2);
});

test("NUL, bytes that are no UTF-8, lone surrogates, a mark at the beginning, carriage returns", async () => {
  const odd = [
    Buffer.from(`\ufeff${lines[0]}`),
    Buffer.from('{"text":"a \u0000 raw NUL"}'),
    Buffer.from('{"text":"an escaped \\u0000 and a lone \\ud800 surrogate"}'),
    Buffer.concat([Buffer.from('{"text":"'), Buffer.from([0xc3, 0x28, 0xff]), Buffer.from('"}')]),
    Buffer.from(`${lines[1]}\r`),
    Buffer.from('[{"text":"in a list"}]'),
    Buffer.from('{"text":["no text"]}'),
    Buffer.from("\0".repeat(100)),
    Buffer.from('{"__proto__":{"text":"inherited"}}'),
  ];
  writeFileSync(at("odd.jsonl"), Buffer.concat(odd.flatMap((line) => [line, Buffer.from("\n")])));
  const { status } = await cpm([
    "clean",
    at("odd.jsonl"),
    "-o",
    at("odd"),
    "--no-heuristics",
    "--dedup",
    "exact,near",
    "--signatures",
  ]);
  expect(status).toBe(0);
  const errors = readFileSync(at("odd/errors.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { line: number });
  expect(errors.map(({ line }) => line)).toEqual([2, 4, 6, 7, 8, 9]);
  const kept = readFileSync(at("odd/kept.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { text: string });
  expect(kept.map(({ text }) => text)).toEqual([
    "record 0 of some words that are read",
    "an escaped \u0000 and a lone \ud800 surrogate",
    "record 1 of some words that are read",
  ]);
});

test.each([["clean --stdio"], ["score MODEL --json"]])(
  "cpm %s with a slow reader takes no more than it gives",
  { timeout: 300_000 },
  async (command) => {
    const { pieces } = await door.train(new TextEncoder().encode("__label__a one two\n__label__b three four\n".repeat(20)), {
      dim: 4,
    });
    writeFileSync(at("model.bin"), Buffer.concat([...pieces()]));
    const { child, ended } = start(command.replace("MODEL", at("model.bin")).split(" "));
    // An answer is about as long as its line.
    const line = Buffer.from(`${JSON.stringify({ text: "words and words ".repeat(4) })}\n`);
    const block = Buffer.concat(Array.from({ length: 700 }, () => line));
    const blocks = 300;
    let [taken, most, given] = [0, 0, 0];
    const feed = (async () => {
      for (let i = 0; i < blocks; i++) {
        await new Promise((resolve) => child.stdin.write(block, resolve));
        taken += block.length;
      }
      child.stdin.end();
    })();
    child.stdout.removeAllListeners("data");
    child.stdout.pause();
    child.stdout.setEncoding("latin1");
    let answers = 0;
    child.stdout.on("data", (part: string) => {
      given += part.length;
      for (let end = part.indexOf("\n"); end >= 0; end = part.indexOf("\n", end + 1)) answers++;
      // As if each answer were as long as its line: what was taken and is not answered yet.
      most = Math.max(most, taken - answers * line.length);
      if (answers > 20 * 700) return;
      // A slow reader at first; what runs ahead of it does so now.
      child.stdout.pause();
      setTimeout(() => child.stdout.resume(), 20);
    });
    child.stdout.resume();
    const { status } = await ended;
    await feed;
    expect(status).toBe(0);
    expect(answers).toBe(blocks * 700);
    expect(given).toBeGreaterThan(blocks * 700 * 20);
    // Both pipes, a piece of input and its answers; all of it is 20 MB.
    expect(blocks * block.length).toBeGreaterThan(15e6);
    expect(most).toBeLessThan(4e6);
  },
);
