// Folders are made level by level, and what cannot be made is told instead of tried for ever.
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { afterAll, expect, test } from "vitest";
import { makeFolder as make } from "../../src/file/write/folder.ts";
import { makeFolder } from "../../src/host/node.folder.ts";

/** A file system of folders alone; `refuses` says with which code a folder cannot be made. */
function folders(refuses: (path: string) => string | undefined = () => undefined) {
  const there = new Set(["/", "/a"]);
  const tried: string[] = [];
  const fail = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));
  return {
    there,
    tried,
    mkdir: (path: string) => {
      tried.push(path);
      const code = there.has(path) ? "EEXIST" : (refuses(path) ?? (there.has(posix.dirname(path)) ? undefined : "ENOENT"));
      if (code !== undefined) return fail(code);
      there.add(path);
      return Promise.resolve();
    },
    isFolder: (path: string) => Promise.resolve(there.has(path)),
    parent: posix.dirname,
  };
}

test("what is missing is made, from above; what is there stays", async () => {
  const disk = folders();
  await make("/a/b/c/d", disk);
  expect([...disk.there]).toEqual(["/", "/a", "/a/b", "/a/b/c", "/a/b/c/d"]);
  await make("/a/b", disk);
  expect(disk.there.size).toBe(5);
});

test("a file system that says of a folder that its parent is not there, though it is, is asked twice a level", async () => {
  const disk = folders((path) => (path.startsWith("/a/") ? "ENOENT" : undefined));
  await expect(make("/a/b/c", disk)).rejects.toMatchObject({ code: "ENOENT" });
  expect(disk.tried).toEqual(["/a/b/c", "/a/b", "/a", "/a/b"]);
});

test("a folder that appears meanwhile is one; other refusals are told as they are", async () => {
  const disk = folders();
  const { mkdir } = disk;
  await make("/a/b", { ...disk, mkdir: (path) => mkdir(path).then(() => mkdir(path)) });
  for (const code of ["EACCES", "EROFS", "ENOTDIR", "ENOSPC"])
    await expect(
      make(
        "/a/x/y",
        folders((path) => (path.startsWith("/a/x") ? code : undefined)),
      ),
    ).rejects.toMatchObject({ code });
});

const work = mkdtempSync(join(tmpdir(), "cpm-folder-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

test("on disk: below a folder, below a file, and relative to where the process is", async () => {
  await makeFolder(join(work, "one/two"));
  await makeFolder(join(work, "one/two"));
  expect(statSync(join(work, "one/two")).isDirectory()).toBe(true);
  writeFileSync(join(work, "file"), "");
  await expect(makeFolder(join(work, "file"))).rejects.toThrow();
  await expect(makeFolder(join(work, "file/below"))).rejects.toThrow();
  await makeFolder(".");
  expect(dirname(work)).not.toBe(work);
});
