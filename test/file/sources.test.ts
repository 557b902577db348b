// Sources over bytes, Blobs and files: the range asked for, or a typed error.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { blobSource, bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { inputKind } from "../../src/file/kind.ts";
import { openInput } from "../../src/file/open.ts";
import { pathFiles } from "../../src/host/node.files.ts";

const data = Uint8Array.from({ length: 1000 }, (_, i) => i * 7);
const folder = mkdtempSync(join(tmpdir(), "cpm-sources-"));
const path = join(folder, "data.bin");
writeFileSync(path, data);
afterAll(() => rmSync(folder, { recursive: true }));

const fileOf = async () => (await (await pathFiles(path)).open("data.bin"))!;
const kinds = {
  bytes: async () => bytesSource("data.bin", data),
  buffer: async () => bytesSource("data.bin", data.slice().buffer),
  blob: async () => blobSource("data.bin", new Blob([data])),
  path: fileOf,
};

for (const [kind, make] of Object.entries(kinds))
  test(`a source over ${kind} gives any range, as a copy, and refuses those outside`, async () => {
    const source = await make();
    expect(source.size).toBe(1000);
    for (const [offset, length] of [
      [0, 1000],
      [0, 0],
      [1000, 0],
      [999, 1],
      [13, 500],
    ] as const)
      expect(await source.read(offset, length)).toEqual(data.slice(offset, offset + length));
    for (const [offset, length] of [
      [0, 1001],
      [1000, 1],
      [-1, 5],
      [5, -1],
      [Number.NaN, 1],
      [2 ** 53, 1],
    ] as const)
      await expect(source.read(offset, length)).rejects.toMatchObject({
        name: "CpmError",
        code: "io",
        detail: { file: expect.stringContaining("data.bin") },
      });
    const copy = await source.read(0, 4);
    copy.fill(255);
    expect(await source.read(0, 4)).toEqual(data.slice(0, 4));
    if (source.readInto) {
      const target = new Uint8Array(new SharedArrayBuffer(16)).subarray(3, 13);
      await source.readInto(target, 100);
      expect([...target]).toEqual([...data.slice(100, 110)]);
    }
    await source.close();
  });

test("a Blob that cannot be read any more is an io error", async () => {
  const blob = {
    size: 10,
    slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException("gone", "NotReadableError")) }),
  } as unknown as Blob;
  await expect(blobSource("a.gguf", blob).read(0, 4)).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/a\.gguf.*gone.*choose the file again/),
  });
});

test("a file that became shorter while it was read is an io error, not a hang", async () => {
  const short = join(folder, "short.bin");
  writeFileSync(short, data);
  const files = await pathFiles(short);
  const source = (await files.open("short.bin"))!;
  truncateSync(short, 500);
  await expect(source.read(0, 1000)).rejects.toMatchObject({ code: "io", detail: { offset: 500 } });
  await files.close();
});

test("named bytes are found by their own names only", async () => {
  const files = memoryFiles("a", { a: data });
  expect(await files.open("a")).toBeDefined();
  for (const name of ["b", "toString", "__proto__", "constructor"]) expect(await files.open(name)).toBeUndefined();
});

test("an input is sorted by how it can be reached", () => {
  expect(inputKind("model.gguf")).toEqual({ kind: "path", path: "model.gguf" });
  expect(inputKind("model.gguf", "https://a.b/c/")).toEqual({ kind: "url", url: "https://a.b/c/model.gguf" });
  expect(inputKind("https://a.b/c.gguf")).toEqual({ kind: "url", url: "https://a.b/c.gguf" });
  expect(inputKind(new URL("file:///a%20b/c.gguf"))).toEqual({ kind: "path", path: "/a b/c.gguf" });
  expect(inputKind("file:///C:/a.gguf")).toEqual({ kind: "path", path: "C:/a.gguf" });
  expect(inputKind(new Blob([data]))).toMatchObject({ kind: "blobs", entry: "model.gguf" });
  expect(inputKind({ "config.json": data, "model.safetensors": data })).toMatchObject({ kind: "files", files: { entry: "" } });
  expect(inputKind({ "b.gguf": new Blob([]), "a.gguf": new Blob([]) })).toMatchObject({ kind: "blobs", entry: "a.gguf" });
});

test("what is no model input is a typed error, whatever it is", async () => {
  for (const input of ["", "http://", "https://a b", "file://%%%/x", null, undefined, 7, {}, { a: "text" }, []] as never[])
    expect(() => inputKind(input), String(input)).toThrow(
      expect.objectContaining({ name: "CpmError", code: "bad-input", detail: expect.objectContaining({ field: "model" }) }),
    );
  for (const input of ["file:///%E0%A4%A.gguf", "https://a.b/%E0%A4%A.gguf"])
    await expect(openInput(inputKind(input), pathFiles).then((files) => files.entry)).resolves.toMatch(/gguf$/);
  await expect(openInput(inputKind("x.gguf"), undefined)).rejects.toMatchObject({
    code: "bad-input",
    message: expect.stringMatching(/no file system/),
  });
});

test("a path that does not exist is no file, and loading it says so", async () => {
  const files = await pathFiles(join(folder, "none.gguf"));
  expect(await files.open("none.gguf")).toBeUndefined();
  const { load } = await import("../support/engine.ts");
  await expect(load(join(folder, "none.gguf"))).rejects.toMatchObject({
    code: "io",
    message: expect.stringMatching(/none\.gguf.*check the path/),
  });
});
