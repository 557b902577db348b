// cpm quantize: what is printed and drawn, tensors of other types, and what is refused without leaving half a file.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { bytesSource } from "../../src/file/bytes.ts";
import { readGguf } from "../../src/file/gguf.ts";
import type { QuantizeReport } from "../../src/quantise/report.ts";
import { cpm, json, temporary } from "./command.ts";

const folder = temporary();
const model = fileURLToPath(new URL("../golden/sparse-f32.gguf", import.meta.url));
const calibration = join(folder, "tokens.jsonl");
writeFileSync(
  calibration,
  Array.from({ length: 6 }, (_, s) =>
    JSON.stringify({ tokens: [1, ...Array.from({ length: 149 }, (_, i) => 3 + ((i * i * 7 + 31 * s + i) % 400))] }),
  ).join("\n"),
);
const path = (name: string) => join(folder, name);
const quick = ["--threads", "1"];
const typesOf = async (file: string) =>
  new Map((await readGguf(bytesSource(file, readFileSync(file)))).tensors.map(({ name, type }) => [name, type]));

test("--keep gives tensors other types, the first pattern that fits; the table and the picture tell of them", async () => {
  const [out, spec] = [path("kept.gguf"), path("picture.json")];
  const keep = ["--keep", "blk.0.attn_*=Q8_0", "--keep", "blk.*.ffn_down=Q4_1", "--keep", "token_embd=F16"];
  const report = await json<QuantizeReport>(["quantize", model, out, "--type", "Q4_0", ...keep, "--spec", spec, ...quick]);
  const types = await typesOf(out);
  expect(report.tensors.every(({ name, type }) => types.get(name) === type)).toBe(true);
  for (const [name, type] of types)
    if (/^blk\.0\.attn_(q|k|v|output)\.weight$/.test(name)) expect([name, type]).toEqual([name, "Q8_0"]);
    else if (/^blk\.1\.attn_(q|k|v|output)\.weight$/.test(name)) expect([name, type]).toEqual([name, "Q4_0"]);
    else if (/ffn_down/.test(name)) expect([name, type]).toEqual([name, "Q4_1"]);
    else if (name === "token_embd.weight") expect(type).toBe("F16");
  const picture = JSON.parse(readFileSync(spec, "utf8")) as { title: string; vconcat: { data: { values: object[] } }[] };
  expect(picture.title).toMatch(/^kept\.gguf, [\d.]+ bits a weight/);
  const [layers] = picture.vconcat;
  const drawn = report.tensors.filter(({ name, how }) => name.startsWith("blk.") && how !== "copied");
  expect(layers!.data.values).toHaveLength(drawn.length);
  const q = drawn.find(({ name }) => name === "blk.1.attn_q.weight")!;
  expect(layers!.data.values).toContainEqual({
    layer: 1,
    linear: "attn_q",
    type: "Q4_0",
    how: q.how,
    error: 100 * Math.sqrt(q.relativeError),
  });
});

test("few rows of calibration: said on stderr, and the file is whole", async () => {
  await json(["quantize", model, path("q8.gguf"), "--type", "Q8_0", ...quick]);
  const few = path("few.jsonl");
  writeFileSync(few, `${JSON.stringify({ tokens: [1, ...Array.from({ length: 39 }, (_, i) => 3 + i)] })}\n`);
  const args = ["quantize", model, path("few.gguf"), "--type", "Q4_0", "--calibration", few, ...quick];
  // A program gets what is told in its object, and nothing on stderr.
  const { warnings } = await json<QuantizeReport>(["quantize", path("q8.gguf"), path("again.gguf"), "--type", "Q8_0", ...quick]);
  expect(warnings).toContainEqual(expect.stringMatching(/15 tensors were quantised before/));
  const { status, err, out } = await cpm(args);
  expect(status, err).toBe(0);
  expect(err).toMatch(/40 calibration rows for \d+ inputs are too few for error feedback/);
  expect(out).toMatch(/weighted/);
  expect(out).not.toMatch(/feedback/);
  expect(out).toMatch(/^Q4_0 +\d+ +[\d.]+ +[\d.]+ % +weighted$/m);
  expect(out.endsWith("\n")).toBe(true);
});

test("what cannot be done is one line and a status, and no file has the name", async () => {
  const short = path("short.txt");
  writeFileSync(short, "Hi.");
  const damaged = path("damaged.gguf");
  const bytes = new Uint8Array(readFileSync(model));
  const { tensors } = await readGguf(bytesSource(model, bytes));
  const bad = tensors.find(({ name }) => name === "blk.1.attn_k.weight")!;
  new DataView(bytes.buffer).setFloat32(bad.offset, Number.NaN, true);
  writeFileSync(damaged, bytes);
  const there = path("there.gguf");
  writeFileSync(there, "mine");
  const refusals: readonly (readonly [readonly string[], number, RegExp])[] = [
    [[model, path("no.gguf"), "--type", "Q4_0", "--method", "gptq"], 2, /gptq needs calibration text/],
    [[model, path("no.gguf"), "--type", "Q4_0", "--calibration", short], 1, /text is too short/],
    [
      [model, path("no.gguf"), "--type", "Q4_0", "--calibration", path("none.txt")],
      1,
      /there is no such file.*check --calibration/,
    ],
    [[model, path("no.gguf"), "--type", "Q4_0", "--calibration", model], 1, /this is no UTF-8 text; check --calibration/],
    [[model, path("no/no.gguf"), "--type", "Q4_0"], 1, /there is no folder .*no; make it first/],
    [[model, path("no.gguf"), "--type", "Q4_0", "--spec", path("no/x.json")], 1, /there is no folder .*check --spec/],
    [[model, path("no.gguf"), "--memory", "1"], 2, /--memory: expected MiB, 4 or more/],
    [[model, path("no.gguf"), "--method", "p-gptq", "--calibration", calibration, "--prefix", "1,a"], 2, /--prefix: .*"1,a"/],
    [[there, there, "--type", "Q4_0", "--force"], 1, /source and target are the same/],
    [[model, folder, "--type", "Q4_0", "--force"], 1, /this is a folder, and a file is written/],
    [[damaged, path("no.gguf"), "--type", "Q4_0"], 1, /blk\.1\.attn_k\.weight/],
    [[damaged, path("no.gguf"), "--type", "Q4_0", "--calibration", calibration], 1, /blk\.1\.attn_k\.weight/],
    [[model, path("no.gguf"), "--type", "Q5_X"], 2, /type: expected/],
    [[model, path("no.gguf"), "--type", "Q4_0", "--keep", "blk.9.*=Q8_0"], 2, /no tensor is called/],
    [[model, path("no.gguf"), "--type", "Q4_0", "--keep", "blk.0.*"], 2, /expected PATTERN=TYPE/],
    [[model, path("no"), "--type", "int4", "--group", "48"], 2, /group: expected 32, 64 or 128/],
    [[model, path("no.gguf"), "--type", "Q4_0", "--group", "32"], 2, /--group: Q4_0 has groups of its own; leave it out/],
    [[model, there, "--type", "Q4_0"], 1, /--force/],
  ];
  for (const [args, wanted, message] of refusals) {
    const { status, out, err } = await cpm(["quantize", ...args, ...quick]);
    expect([status, out], `${args.join(" ")}: ${err}`).toEqual([wanted, ""]);
    expect(err).toMatch(message);
    expect(existsSync(path("no.gguf"))).toBe(false);
  }
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
  expect(readFileSync(there, "utf8")).toBe("mine");
  const forced = await cpm(["quantize", model, there, "--type", "Q4_0", "--force", "--threads", "auto"]);
  expect(forced.status, forced.err).toBe(0);
  expect(readFileSync(there).subarray(0, 4).toString()).toBe("GGUF");
  expect(readdirSync(folder).filter((name) => name.startsWith(".there"))).toEqual([]);
});
