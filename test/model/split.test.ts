// GGUF files published in parts.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import type { ModelFiles } from "../../src/file/source.ts";
import { firstDifference, load, logitsOf } from "../support/engine.ts";
import { type GgufParts, text, u32, type Value, writeGguf } from "../support/gguf.ts";
import { tinyGguf, tinyModel, tinyParts } from "../support/tiny.ts";

const parts = tinyParts(tinyModel(), "F16");
const tokens = [1, 5, 9, 300];
const name = (i: number, count = 3) => `tiny-${String(i).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;

/** Three parts, the first with all metadata; `change` makes one of them wrong. */
function split(change: (part: GgufParts, i: number) => GgufParts = (part) => part): Record<string, Uint8Array> {
  const third = Math.ceil(parts.tensors.length / 3);
  const files = Array.from({ length: 3 }, (_, i) => {
    const own: (readonly [string, Value])[] = [
      ["split.no", { type: 2, write: (w) => w.u8(i, 0) }],
      ["split.count", { type: 2, write: (w) => w.u8(3, 0) }],
      ["split.tensors.count", { type: 5, write: (w) => w.u32(parts.tensors.length) }],
    ];
    const metadata = i === 0 ? [...parts.metadata, ...own] : own;
    return [name(i + 1), writeGguf(change({ metadata, tensors: parts.tensors.slice(i * third, (i + 1) * third) }, i))] as const;
  });
  return Object.fromEntries(files);
}

test("a model in three parts, opened by any of them, equals the whole one", async () => {
  const expected = await logitsOf(await load(tinyGguf(tinyModel(), "F16")), tokens);
  for (const i of [1, 2, 3])
    expect(
      firstDifference(await logitsOf(await load(memoryFiles(name(i), split())), tokens), expected),
      `opened by part ${i}`,
    ).toBe(-1);
  expect(firstDifference(await logitsOf(await load(split()), tokens), expected), "given as named bytes").toBe(-1);
});

test("parts are read one after another, each forwards", async () => {
  const read: [string, number][] = [];
  const inner = memoryFiles(name(1), split());
  const files: ModelFiles = {
    ...inner,
    async open(part) {
      const source = (await inner.open(part))!;
      return {
        name: part,
        size: source.size,
        read(offset, length) {
          read.push([part, offset]);
          return source.read(offset, length);
        },
        close: () => source.close(),
      };
    },
  };
  let weights = 0;
  await load(files, {}, { onProgress: ({ phase }) => void (phase === "weights" && (weights ||= read.length)) });
  const order = read.slice(weights - 1);
  expect(order).toEqual([...order].sort((a, b) => a[0].localeCompare(b[0]) || a[1] - b[1]));
  expect(new Set(order.map(([part]) => part)).size).toBe(3);
});

const wrong: Readonly<Record<string, readonly [Record<string, Uint8Array>, string]>> = {
  "a part that is missing": [Object.fromEntries(Object.entries(split()).filter(([key]) => key !== name(2))), name(1)],
  "a name that says nothing of parts": [{ "tiny.gguf": split()[name(1)]! }, "tiny.gguf"],
  "a name of another count": [{ [name(1, 4)]: split()[name(1)]! }, name(1, 4)],
  "parts in the wrong places": [{ ...split(), [name(2)]: split()[name(3)]!, [name(3)]: split()[name(2)]! }, name(1)],
  "the same tensor in two parts": [
    split((part, i) => (i === 2 ? { ...part, tensors: [...part.tensors, parts.tensors[0]!] } : part)),
    name(1),
  ],
  "fewer tensors than were promised": [
    split((part, i) => (i === 2 ? { ...part, tensors: part.tensors.slice(1) } : part)),
    name(1),
  ],
  "a part without its number": [
    split((part, i) => (i === 1 ? { ...part, metadata: [["general.name", text("x")]] } : part)),
    name(1),
  ],
  "a million parts": [
    split((part, i) =>
      i === 0
        ? { ...part, metadata: part.metadata.map(([key, value]) => [key, key === "split.count" ? u32(1e6) : value]) }
        : part,
    ),
    name(1),
  ],
};

for (const [what, [files, entry]] of Object.entries(wrong))
  test(`split files with ${what} are refused`, async () => {
    await expect(load(memoryFiles(entry, files))).rejects.toMatchObject({
      name: "CpmError",
      code: "bad-model",
      detail: { file: expect.any(String) },
      message: expect.stringMatching(/split/),
    });
  });
