// Files and folders on disk have their names when they are whole, or never.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { written } from "../../src/file/write/output.ts";
import { fileOutput, folderOutput } from "../../src/host/node.output.ts";

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
  await expect(fileOutput(join(path, "x"))).rejects.toMatchObject({ code: "io" });
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
