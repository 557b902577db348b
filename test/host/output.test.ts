// Files and folders on disk have their names when they are whole, or never.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { CpmError } from "../../src/errors.ts";
import { written } from "../../src/file/write/output.ts";
import { checkReplaced, fileOutput, folderOutput } from "../../src/host/node.output.ts";

const folder = await mkdtemp(join(tmpdir(), "cpm-output-"));
afterAll(() => rm(folder, { recursive: true }));
const place = async (name: string) => {
  await mkdir(join(folder, name));
  return { at: join(folder, name), path: join(folder, name, "out"), names: () => readdir(join(folder, name)) };
};
const bytes = (text: string) => new TextEncoder().encode(text);

test("a file appears when it is committed, with what was written wherever", async () => {
  const { path, names } = await place("commit");
  const output = await fileOutput(path);
  await output.write(3, bytes("def"));
  await output.write(0, bytes("abc"));
  await output.sync();
  expect(await names()).not.toContain("out");
  await output.commit();
  await output.discard();
  expect(await names()).toEqual(["out"]);
  expect(await readFile(path, "utf8")).toBe("abcdef");
  await expect(output.write(0, bytes("x"))).rejects.toMatchObject({ code: "io" });
});

test("nothing is left of what failed", async () => {
  const { path, names } = await place("discard");
  const output = await fileOutput(path);
  await expect(
    written(output, async () => {
      await output.write(0, bytes("abc"));
      throw new Error("no");
    }),
  ).rejects.toThrow("no");
  expect(await names()).toEqual([]);
});

test("what is there stays, unless told otherwise", async () => {
  const { path, names } = await place("exists");
  await writeFile(path, "old");
  await expect(fileOutput(path)).rejects.toMatchObject({ code: "io", message: /--force/ });
  await rm(path);
  const late = await fileOutput(path);
  await late.write(0, bytes("new"));
  await writeFile(path, "old");
  await expect(late.commit()).rejects.toMatchObject({ code: "io", message: /--force/ });
  await late.discard();
  expect(await readFile(path, "utf8")).toBe("old");
  const forced = await fileOutput(path, { force: true });
  await forced.write(0, bytes("new"));
  await forced.commit();
  expect(await readFile(path, "utf8")).toBe("new");
  expect(await names()).toContain("out");
});

test("a disk that is too small, and a folder that is not there", async () => {
  const { path } = await place("full");
  await expect(fileOutput(path, { size: 2 ** 60 })).rejects.toMatchObject({ code: "io", message: /bytes are needed/ });
  await expect(fileOutput(join(path, "x"))).rejects.toMatchObject({
    code: "io",
    message: /there is no folder .*full.*; make it first/,
  });
  await expect(folderOutput(join(path, "x"))).rejects.toMatchObject({ code: "io", message: /there is no folder/ });
  await writeFile(path, "mine");
  await expect(fileOutput(join(path, "x"), { force: true })).rejects.toMatchObject({ code: "io", message: /is no folder/ });
});

test("what force may not replace: the source, a folder that it lies in, a folder by a file, a folder that is no model's", async () => {
  const { at, path } = await place("replaced");
  const source = join(path, "model.gguf");
  await mkdir(path);
  await writeFile(source, "model");
  const refusal = async (...given: Parameters<typeof checkReplaced>) => {
    const { code, message } = (await checkReplaced(...given).catch((error: unknown) => error)) as CpmError;
    return `${code}: ${message}`;
  };
  for (const force of [false, true]) {
    expect(await refusal(source, "file", source, force)).toMatch(/^bad-input: .*the same/);
    expect(await refusal(join(path, "..", "out", "model.gguf"), "file", source, force)).toMatch(/the same/);
  }
  // Without force the name is refused anyhow.
  await checkReplaced(path, "folder", source, false);
  expect(await refusal(path, "folder", source, true)).toMatch(/^bad-input: .*the source lies in it/);
  expect(await refusal(at, "folder", path, true)).toMatch(/the source lies in it/);
  expect(await refusal(path, "file", join(at, "other.gguf"), true)).toMatch(/^io: .*this is a folder, and a file is written/);
  expect(await refusal(path, "folder", "https://example.org/model", true)).toMatch(/^io: .*no folder that is not a model's/);
  await writeFile(join(path, "config.json"), "{}");
  await checkReplaced(path, "folder", undefined, true);
  const empty = join(at, "..empty");
  await mkdir(empty);
  await checkReplaced(empty, "folder", path, true);
  // A name that begins with two dots is no way out of a folder.
  await writeFile(join(empty, "model"), "model");
  expect(await refusal(at, "folder", join(empty, "model"), true)).toMatch(/the source lies in it/);
  await checkReplaced(join(at, "free"), "file", source, true);
});

test("a run that can be taken up keeps its temporary file", async () => {
  const { at, path, names } = await place("resume");
  const temporary = join(at, ".out.part");
  const first = await fileOutput(path, { temporary });
  await first.write(0, bytes("abc"));
  await first.discard();
  expect(await names()).toEqual([".out.part"]);
  const second = await fileOutput(path, { temporary });
  await second.write(3, bytes("def"));
  await second.commit();
  expect(await names()).toEqual(["out"]);
  expect(await readFile(path, "utf8")).toBe("abcdef");
});

test("a folder appears with all its files", async () => {
  const { path, names } = await place("folder");
  const out = await folderOutput(path);
  for (const name of ["a", "b"]) {
    const file = await out.file(name);
    await file.write(0, bytes(name));
    await file.commit();
  }
  await expect(out.file("../c")).rejects.toMatchObject({ code: "bad-input" });
  expect(await names()).not.toContain("out");
  await out.commit();
  await out.discard();
  expect(await names()).toEqual(["out"]);
  expect((await readdir(path)).sort()).toEqual(["a", "b"]);
  await expect(folderOutput(path)).rejects.toMatchObject({ code: "io" });
  const other = await folderOutput(path, { force: true });
  await other.discard();
  expect(await names()).toEqual(["out"]);
  const forced = await folderOutput(path, { force: true });
  await (await forced.file("c")).commit();
  await forced.commit();
  expect(await readdir(path)).toEqual(["c"]);
  expect(await names()).toEqual(["out"]);
});
