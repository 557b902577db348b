// Files that a caller brings: any kind of bytes, none of them kept or taken away; broken promises are typed errors.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { bytesOf, isArrayBuffer, isBlob, isError, isRecord, isSignal, isUrl, kindOf } from "../../src/brands.ts";
import { bytesSource } from "../../src/file/bytes.ts";
import { filePath, inputKind } from "../../src/file/kind.ts";
import { ownFiles } from "../../src/file/owned.ts";
import type { ModelFiles, Source } from "../../src/file/source.ts";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { tinyFolder, tinyGguf } from "../support/tiny.ts";

const model = tinyGguf();
const tokens = [1, 5, 9];

/** The same bytes in every kind of value that holds bytes. */
function kinds(bytes: Uint8Array): Record<string, ArrayBufferLike | ArrayBufferView> {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const wide = new Uint8Array(bytes.length + 24);
  wide.set(bytes, 8);
  const foreign = runInNewContext("(list) => Uint8Array.from(list)")(bytes) as Uint8Array;
  return {
    "a Uint8Array": bytes,
    "a Buffer": Buffer.from(bytes),
    "a view in the middle of a buffer": wide.subarray(8, 8 + bytes.length),
    "a Buffer in the middle of a buffer": Buffer.from(wide.buffer, 8, bytes.length),
    "an ArrayBuffer": bytes.slice().buffer,
    "a DataView": new DataView(wide.buffer, 8, bytes.length),
    "an Int8Array": new Int8Array(wide.buffer, 8, bytes.length),
    "shared memory": shared,
    "a SharedArrayBuffer": shared.buffer,
    "an array of another realm": foreign,
    "a buffer of another realm": foreign.buffer as ArrayBuffer,
  };
}

test("a model is the same from any kind of bytes, which stay the caller's", async () => {
  const expected = await logitsOf(await load(model), tokens);
  for (const [kind, bytes] of Object.entries(kinds(model))) {
    expect(firstDifference(await logitsOf(await load(bytes), tokens), expected), kind).toBe(-1);
    expect(Buffer.compare(bytesOf(bytes)!, model), kind).toBe(0);
  }
});

test("a folder of pooled Buffers is read at each Buffer's own place", async () => {
  const folder = tinyFolder();
  const expected = await logitsOf(await load(folder), tokens);
  const pooled = Object.fromEntries(Object.entries(folder).map(([name, bytes]) => [name, Buffer.from(bytes)]));
  expect(firstDifference(await logitsOf(await load(pooled), tokens), expected)).toBe(-1);
  for (const [name, bytes] of Object.entries(pooled)) expect(bytes.equals(folder[name]!), name).toBe(true);
});

test("files of the caller's own may give Buffers, DataViews, shared memory, or the same cached array again and again", async () => {
  const expected = await logitsOf(await load(model), tokens);
  const parts = new Map<string, Uint8Array>();
  const cached = (offset: number, length: number) => {
    const key = `${offset} ${length}`;
    if (!parts.has(key)) parts.set(key, model.slice(offset, offset + length));
    return parts.get(key)!;
  };
  const ways: Record<string, (offset: number, length: number) => unknown> = {
    "slices of a Buffer": (offset, length) => Buffer.from(model).subarray(offset, offset + length),
    "cached arrays": cached,
    DataViews: (offset, length) => new DataView(cached(offset, length).buffer),
    "shared memory": (offset, length) => kinds(cached(offset, length))["shared memory"],
  };
  for (const [way, read] of Object.entries(ways)) {
    const files = {
      entry: "m.gguf",
      open: async (name: string) =>
        name === "m.gguf"
          ? { name, size: model.length, read: async (o: number, l: number) => read(o, l), close: async () => {} }
          : null,
      close: async () => {},
    } as unknown as ModelFiles;
    for (const _ of [1, 2]) expect(firstDifference(await logitsOf(await load(files), tokens), expected), way).toBe(-1);
  }
  for (const [key, bytes] of parts) {
    const [offset, length] = key.split(" ").map(Number) as [number, number];
    expect(bytes.length, "a cached array was taken away").toBe(length);
    expect(Buffer.compare(bytes, model.subarray(offset, offset + length))).toBe(0);
  }
});

test("what files give instead of what they promise is a typed error", async () => {
  const source = bytesSource("m.gguf", model);
  const files = (changes: Partial<Record<keyof Source, unknown>> | null | number, entry: unknown = "m.gguf") =>
    ({
      entry,
      open: async () => (changes === null || typeof changes === "number" ? changes : { ...source, ...changes }),
    }) as unknown as ModelFiles;
  const wrong: [string, ModelFiles][] = [
    ["no source", files(7)],
    ["no size", files({ size: "12" })],
    ["an endless size", files({ size: Number.POSITIVE_INFINITY })],
    ["no read", files({ read: 3 })],
    ["text", files({ read: async () => "GGUF" })],
    ["nothing", files({ read: async () => undefined })],
    ["too little", files({ read: async (_: number, length: number) => new Uint8Array(length - 1) })],
    ["too much", files({ read: async (_: number, length: number) => new Uint8Array(length + 1) })],
    ["an error", files({ read: () => Promise.reject(new Error("disk on fire")) })],
    ["a thrown text", files({ read: () => Promise.reject("disk on fire") })],
  ];
  for (const [what, broken] of wrong) await expect(load(broken), what).rejects.toMatchObject({ name: "CpmError", code: "io" });
  await expect(load(files({ read: () => Promise.reject(new Error("disk on fire")) }))).rejects.toThrow(/disk on fire/);
  expect(() => ownFiles(files({}, 7))).toThrow(expect.objectContaining({ code: "io" }));
  await expect(load(files(null))).rejects.toMatchObject({ code: "io", message: expect.stringMatching(/no such file/) });
  expect((await load(files({ name: undefined }))).info.format).toBeDefined();
});

test("a kind that is none is named, not taken for an empty one", () => {
  for (const [wrong, found] of [
    [new Map(), "a Map"],
    [new Set(), "a Set"],
    [[], "a list"],
    [null, "null"],
    [() => 1, "a function"],
    [new Date(), "a Date"],
  ] as never[][])
    expect(() => inputKind(wrong!)).toThrow(
      expect.objectContaining({ code: "bad-input", message: expect.stringContaining(found!) }),
    );
});

test("brands hold in every realm", () => {
  const other = (code: string): unknown => runInNewContext(code);
  expect(bytesOf(other("new DataView(new ArrayBuffer(8), 2)"))).toHaveLength(6);
  expect(isArrayBuffer(other("new ArrayBuffer(3)"))).toBe(true);
  expect(isError(other("new RangeError('x')"))).toBe(true);
  expect(isRecord(other("({ a: 1 })"))).toBe(true);
  expect(isRecord(other("new Map()"))).toBe(false);
  expect(isUrl(new URL("http://a"))).toBe(true);
  expect(isUrl({ href: "http://a" })).toBe(false);
  expect(isBlob(new Blob([]))).toBe(true);
  expect(isBlob({ size: 1, slice() {} })).toBe(false);
  expect(isSignal(AbortSignal.abort())).toBe(true);
  expect(isSignal({ aborted: false })).toBe(false);
  expect(bytesOf([1, 2])).toBeUndefined();
  expect(kindOf(other("new Uint8Array(2)"))).toBe("a Uint8Array");
});

test("file: URLs become paths by the rules of each system", () => {
  const path = (url: string, windows: boolean) => filePath(new URL(url), windows);
  expect(path("file:///C:/models/a%20b.gguf", true)).toBe("C:/models/a b.gguf");
  expect(path("file://server/share/models/a%20b.gguf", true)).toBe("\\\\server\\share\\models\\a b.gguf");
  expect(path("file:///home/a%20b.gguf", false)).toBe("/home/a b.gguf");
  expect(path("file://localhost/home/a.gguf", false)).toBe("/home/a.gguf");
  const refused = expect.objectContaining({ name: "CpmError", code: "bad-input" });
  for (const [url, windows] of [
    ["file://server/share/a.gguf", false],
    ["file:///home/a%2Fb.gguf", false],
    ["file:///C:/a%2Fb.gguf", true],
    ["file:///C:/a%5Cb.gguf", true],
    ["file:///home/a.gguf", true],
  ] as const)
    expect(() => path(url, windows), url).toThrow(refused);
  expect(() => inputKind("file://server/share/a.gguf")).toThrow(refused);
  expect(inputKind("C:\\models\\a.gguf")).toEqual({ kind: "path", path: "C:\\models\\a.gguf" });
  expect(inputKind("\\\\server\\share\\a.gguf")).toEqual({ kind: "path", path: "\\\\server\\share\\a.gguf" });
});

/** Bare `.buffer` of what may be a view, and slices meant as copies: a Buffer's slice is a view, a view's buffer is larger than it. */
const traps = [
  /\.slice\([^()]*(?:\([^()]*\)[^()]*)*\)\.buffer/,
  /new (?:DataView|\w+Array)\([\w.#!]+\.buffer\)/,
  /postMessage\([^)]*\[[^\]]*\.buffer/,
];
/** Buffers of arrays that the line itself, or one beside it, made. */
const own = ["file/metadata.ts: new DataView(this.#bytes.buffer)", "engine/sequences.ts: new DataView(out.buffer)"];

test("no source takes a slice of bytes for a copy, or a view's whole buffer", () => {
  const src = fileURLToPath(new URL("../../src/", import.meta.url));
  const found: string[] = [];
  for (const folder of ["file", "model", "text", "decode", "engine", "port", "door", "host"])
    for (const name of readdirSync(join(src, folder), { recursive: true, encoding: "utf8" }).filter((n) => n.endsWith(".ts")))
      for (const line of readFileSync(join(src, folder, name), "utf8").split("\n"))
        for (const trap of traps) {
          const match = trap.exec(line)?.[0];
          if (match && !/emory\.buffer/.test(match)) found.push(`${folder}/${name}: ${match}`);
        }
  expect(found.filter((line) => !own.includes(line))).toEqual([]);
});
