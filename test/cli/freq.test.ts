// cpm freq: which words are files of the corpus, and what a failing disk leaves behind.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cpm, json, story, temporary } from "./command.ts";

const folder = temporary();
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const a = file("a.txt", "Once upon a time\n".repeat(3));
const b = file("b.txt", "There was a little girl\n".repeat(2));

test("every argument right after --corpus is a file of it, wherever the model stands", async () => {
  const output = join(folder, "freq.json");
  const counted = async (args: string[]) => (await json<{ counted: number }>(["freq", ...args, "-o", output])).counted;
  const [one, other] = [await counted(["--corpus", a]), await counted(["--corpus", b])];
  expect(one).toBeGreaterThan(0);
  for (const args of [
    ["--corpus", a, b],
    [story, "--corpus", a, b],
    ["--corpus", a, "--corpus", b, "--size", "100", story],
    ["--size", "100", story, "--corpus", a, b],
  ])
    expect(await counted(args), args.join(" ")).toBe(one + other);
});

test("a list that cannot be written is a typed failure, and no half of it is left", async () => {
  const nowhere = join(folder, "none/freq.json");
  const missing = await cpm(["freq", "--corpus", a, "-o", nowhere, "--json"]);
  expect({ status: missing.status, out: missing.out }).toEqual({ status: 1, out: "" });
  expect(JSON.parse(missing.err)).toMatchObject({ error: { code: "io", message: expect.stringMatching(/check --output/) } });
  const before = readdirSync(folder);
  const whole = file("kept.json", "[1]\n");
  const onto = await cpm(["freq", "--corpus", a, "-o", folder]);
  expect({ status: onto.status, err: onto.err }).toEqual({ status: 1, err: expect.stringMatching(/this is a folder/) });
  expect(readFileSync(whole, "utf8")).toBe("[1]\n");
  expect(readdirSync(folder).filter((name) => name !== "kept.json")).toEqual(before);
  if (!existsSync("/dev/full")) return console.log("not tested: a full disk takes /dev/full of Linux");
  const full = await cpm(["freq", "--corpus", a, "-o", "/dev/full", "--json"]);
  expect(JSON.parse(full.err)).toMatchObject({ error: { code: "io", message: expect.stringMatching(/the disk is full/) } });
});
