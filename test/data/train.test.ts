// Training: Debian's fasttext loads what is trained here; its dictionary and, with one thread, its numbers come out the same.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { TrainOptions } from "../../src/data/train.ts";
import { corpus } from "./corpus.ts";
import { door, fasttext, golden, hasFastText, missingFastText, temporary } from "./rig.ts";

const folder = temporary();

async function bytesOf(text: string, options: TrainOptions): Promise<Buffer> {
  const trained = await door.train(text, options);
  const bytes = Buffer.concat([...trained.pieces()]);
  expect(bytes.length).toBe(trained.bytes);
  return bytes;
}

const shapes: { name: string; labels: number; options: TrainOptions }[] = [
  { name: "softmax, word 3-grams", labels: 3, options: { dim: 16, wordNgrams: 3, bucket: 5000, minCount: 2, epoch: 3, seed: 5 } },
  {
    name: "one against all, character n-grams",
    labels: 4,
    options: { dim: 9, minn: 2, maxn: 4, bucket: 1000, loss: "ova", lr: 0.3 },
  },
  { name: "one against all", labels: 4, options: { dim: 9, loss: "ova", lr: 0.3 } },
  { name: "hierarchical softmax", labels: 12, options: { dim: 10, loss: "hs", lr: 0.5, seed: 3 } },
  {
    name: "negative sampling",
    labels: 6,
    options: { dim: 7, loss: "ns", neg: 3, wordNgrams: 2, bucket: 777, epoch: 2, seed: 9 },
  },
];

shapes.forEach(({ name, labels, options }, i) => {
  test.skipIf(!hasFastText)(
    `${name}: the file that Debian's fasttext writes${hasFastText ? "" : ` (${missingFastText})`}`,
    { timeout: 120_000 },
    async () => {
      const [text, held] = [join(folder, `${i}.txt`), join(folder, `${i}.held`)];
      writeFileSync(text, corpus(20 + i, 2500, labels));
      writeFileSync(held, corpus(70 + i, 1000, labels));
      const base = join(folder, `d${i}`);
      const flags = Object.entries(options).flatMap(([key, value]) => [`-${key}`, String(value)]);
      fasttext("supervised", "-input", text, "-output", base, "-thread", "1", "-verbose", "0", ...flags);
      const expected = readFileSync(`${base}.bin`);
      const found = await bytesOf(text, options);
      const ours = join(folder, `o${i}.bin`);
      writeFileSync(ours, found);
      // Everything before the input matrix: arguments and dictionary.
      const [input] = places(expected, options.dim!);
      expect(found.subarray(0, input).equals(expected.subarray(0, input))).toBe(true);
      expect(found.length).toBe(expected.length);
      const precision = (model: string) => Number(/P@1\s+([\d.]+)/.exec(fasttext("test", model, held))![1]);
      expect(Math.abs(precision(ours) - precision(`${base}.bin`))).toBeLessThan(0.0021);
      const difference = floatsDiffer(found, expected, options.dim!);
      console.log(`${name}: ${difference.count} of ${difference.total} floats differ, by ${difference.most} at most`);
      expect(difference.most).toBe(0);
    },
  );
});

/** Where the floats of the two matrices begin: the file ends with them, after 17 bytes of sizes each. */
function places(file: Buffer, dim: number): readonly [number, number] {
  const [words, labels, bucket] = [file.readInt32LE(68), file.readInt32LE(72), file.readInt32LE(40)];
  const output = file.length - 4 * labels * dim;
  return [output - 17 - 4 * (words + bucket) * dim, output];
}

function floatsDiffer(a: Buffer, b: Buffer, dim: number) {
  const [input, output] = places(b, dim);
  let [count, most, total] = [0, 0, 0];
  for (const [from, end] of [
    [input, output - 17],
    [output, b.length],
  ] as const)
    for (let at = from; at < end; at += 4, total++) {
      const d = Math.abs(a.readFloatLE(at) - b.readFloatLE(at));
      if (d !== 0) count++;
      most = Math.max(most, d);
    }
  return { count, most, total };
}

test("golden training text: the recorded model comes out", async () => {
  const found = await bytesOf(join(golden, "unigram.train.txt"), { seed: 104, dim: 3, epoch: 3, minCount: 2, lr: 0.1 });
  const expected = readFileSync(join(golden, "unigram.bin"));
  expect(found.length).toBe(expected.length);
  expect(floatsDiffer(found, expected, 3).most).toBe(0);
});

test("several files are one text", async () => {
  const text = new TextEncoder().encode(corpus(3, 300, 2));
  const parts = [text.slice(0, 1001), text.slice(1001, 1002), text.slice(1002)];
  const [whole, joined] = [await door.train(text, { dim: 4 }), await door.train(parts, { dim: 4 })];
  expect(Buffer.concat([...joined.pieces()]).equals(Buffer.concat([...whole.pieces()]))).toBe(true);
});

test("options and texts are checked, an abort ends training", async () => {
  const text = new TextEncoder().encode(corpus(1, 200, 2));
  await expect(door.train(text, { dim: 0 })).rejects.toMatchObject({ code: "bad-option", detail: { field: "dim" } });
  await expect(door.train(text, { loss: "hinge" as "hs" })).rejects.toMatchObject({ code: "bad-option" });
  await expect(door.train(new TextEncoder().encode("no labels here\n"))).rejects.toMatchObject({ code: "bad-input" });
  const control = new AbortController();
  const training = door.train(text, {
    epoch: 100_000,
    dim: 4,
    signal: control.signal,
    onProgress: () => control.abort(new Error("stop")),
  });
  await expect(training).rejects.toThrow("stop");
});
