// cpm convert: both ways and back to the same bytes, what is told, and what is refused without a trace.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";
import { cpm, json, story, temporary } from "./command.ts";

const root = temporary();
const path = (name: string): string => join(root, name);
const model = tinyModel({ tied: false }, 8);
const source = path("Tiny-Model");
mkdirSync(source);
for (const [name, bytes] of Object.entries(tinyFolder(model, "F16"))) writeFileSync(join(source, name), bytes);

const logits = async (name: string): Promise<string> => {
  const { out } = await cpm(["logits", name, "--tokens", "1,50,99,148", "--at", "all", "--threads", "1", "--json"]);
  return createHash("sha256").update(out).digest("hex");
};
const sha = (name: string): string => createHash("sha256").update(readFileSync(name)).digest("hex");

test("a folder becomes a GGUF, that a folder, and that a GGUF that stays what it is; all compute the same", async () => {
  const [file, back, again] = [path("tiny.gguf"), path("back"), path("again.gguf")];
  const first = await json<{ format: string; tensors: number; bytes: number; types: object; notes: string[]; seconds: number }>([
    "convert",
    source,
    file,
  ]);
  expect(first).toMatchObject({ format: "gguf", tensors: model.weights.size, types: { F32: 5, F16: model.weights.size - 5 } });
  expect(first.bytes).toBe(readFileSync(file).length);
  expect(first.seconds).toBeGreaterThan(0);
  const { status, out, err } = await cpm(["convert", file, back]);
  expect([status, out], err).toEqual([0, ""]);
  expect(err).toMatch(new RegExp(`back: ${model.weights.size} tensors \\(.*F16.*\\), \\d+ bytes in [\\d.]+ s`));
  expect(readdirSync(back)).toEqual(expect.arrayContaining(["config.json", "model.safetensors"]));
  await json(["convert", back, again, "--name", "Tiny Model"]);
  const [backAgain, third] = [path("back-again"), path("third.gguf")];
  await json(["convert", again, backAgain]);
  await json(["convert", backAgain, third, "--name", "Tiny Model"]);
  expect(sha(third)).toBe(sha(again));
  const wanted = await logits(source);
  for (const name of [file, back, again]) expect(await logits(name), name).toBe(wanted);
  const named = path("named.gguf");
  await json(["convert", source, named, "--name", "Another"]);
  const { metadata } = await json<{ metadata: Record<string, unknown> }>(["inspect", named]);
  expect(metadata["general.name"]).toBe("Another");
});

test("bad input is one line and a status, and leaves nothing behind", async () => {
  const taken = path("taken.gguf");
  writeFileSync(taken, "mine");
  const broken = path("broken");
  mkdirSync(broken);
  writeFileSync(join(broken, "config.json"), "{");
  for (const name of ["mine", "diary"]) mkdirSync(path(name));
  writeFileSync(path("mine/tiny.gguf"), tinyGguf(model));
  writeFileSync(path("diary/monday"), "mine");
  const before = readdirSync(root).sort();
  const refusals: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["convert"], 2, /give a source and a target/],
    [["convert", source], 2, /give a source and a target/],
    [["convert", path("none"), path("x.gguf")], 1, /none/],
    [["convert", source, path("folder")], 1, /a folder becomes a GGUF; give a name that ends in \.gguf/],
    [["convert", story, path("x.gguf")], 1, /a GGUF becomes a folder/],
    [["convert", story, path("x")], 1, /is a quantised type, which no Hugging Face folder holds/],
    [["convert", source, taken], 1, /taken\.gguf: .*--force/],
    [["convert", broken, path("x.gguf")], 1, /config\.json/],
    [["convert", source, path("no/where.gguf")], 1, /where\.gguf: there is no folder .*no; make it first/],
    [["convert", source, path("x.gguf"), "--name", ""], 2, /--name: expected a name/],
    [["convert", path("mine/tiny.gguf"), path("mine"), "--force"], 1, /the source lies in it/],
    [["convert", path("mine/tiny.gguf"), path("diary"), "--force"], 1, /replaces no folder that is not a model's/],
    [["convert", source, path("x.gguf"), "--nme", "x"], 2, /no option --nme/],
  ];
  for (const [args, wanted, message] of refusals) {
    const { status, out, err } = await cpm(args);
    expect([status, out], err).toEqual([wanted, ""]);
    expect(err).toMatch(message);
  }
  expect(readdirSync(root).sort()).toEqual(before);
  expect(readFileSync(taken, "utf8")).toBe("mine");
  expect([readdirSync(path("mine")), readdirSync(path("diary"))]).toEqual([["tiny.gguf"], ["monday"]]);
  expect((await cpm(["convert", source, taken, "--force"])).status).toBe(0);
  expect(readFileSync(taken).subarray(0, 4).toString()).toBe("GGUF");
  // A damaged weight in the middle of a file: the target never appears.
  const cut = path("cut.gguf");
  const bytes = tinyGguf(model);
  writeFileSync(cut, bytes.subarray(0, bytes.length - 4096));
  expect((await cpm(["convert", cut, path("from-cut")])).status).toBe(1);
  expect(existsSync(path("from-cut"))).toBe(false);
});
