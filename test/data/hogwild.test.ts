// Training on several threads, as it is shipped: the same dictionary, as good a classifier, all losses; ends when it is told to.
import { expect, test } from "vitest";
import { loadClassifier, type TrainOptions, train } from "../../dist/host/data.node.js";
import { corpus } from "./corpus.ts";
import { door } from "./rig.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** A trained model's file, and its share of held-out lines whose first label is right. */
async function trained(text: string, held: string, options: TrainOptions) {
  const { pieces, loss } = await train(bytes(text), options);
  const file = Buffer.concat([...pieces()]);
  const classifier = await loadClassifier(file);
  let right = 0;
  const lines = held.split("\n").filter((line) => line.startsWith("__label__"));
  for (const line of lines) {
    const labels = line.match(/__label__\S+/g)!;
    const { labels: found } = classifier.score(line.replace(/__label__\S+ ?/g, ""));
    if (labels.includes(found[0]!)) right++;
  }
  return { file, loss, precision: right / lines.length };
}

const shapes: { name: string; labels: number; options: TrainOptions }[] = [
  {
    name: "softmax, word 3-grams",
    labels: 3,
    options: { dim: 16, wordNgrams: 3, bucket: 5000, minCount: 2, epoch: 10, seed: 5, lr: 0.3 },
  },
  { name: "one against all", labels: 4, options: { dim: 9, loss: "ova", lr: 0.3, epoch: 10, minn: 2, maxn: 3, bucket: 3000 } },
  { name: "hierarchical softmax", labels: 8, options: { dim: 10, loss: "hs", lr: 0.5, epoch: 12, seed: 3 } },
  { name: "negative sampling", labels: 5, options: { dim: 7, loss: "ns", lr: 0.3, neg: 3, epoch: 12, seed: 9 } },
];

test.for(shapes)("$name: three threads train as good a classifier as one", { timeout: 240_000 }, async (shape) => {
  const { labels, options } = shape;
  const [text, held] = [corpus(31, 6000, labels), corpus(77, 1000, labels)];
  const one = await trained(text, held, options);
  const three = await trained(text, held, { ...options, threads: 3 });
  console.log(
    `${shape.name}: P@1 ${one.precision.toFixed(3)} with one, ${three.precision.toFixed(3)} with three; loss ${one.loss.toFixed(4)}, ${three.loss.toFixed(4)}`,
  );
  const head = three.file.readInt32LE(64);
  expect(three.file.length).toBe(one.file.length);
  // Magic to dictionary, labels and words to the byte.
  const dictionary = one.file.subarray(0, 92 + 10 * head);
  expect(three.file.subarray(0, dictionary.length).equals(dictionary)).toBe(true);
  expect(one.precision).toBeGreaterThan(0.6);
  expect(Math.abs(three.precision - one.precision)).toBeLessThan(0.05);
});

test("texts shorter than threads, and without a last newline", { timeout: 120_000 }, async () => {
  for (const text of ["__label__a x y\n__label__b z w", "__label__a x\n"]) {
    const { pieces, words } = await train(bytes(text), { dim: 4, epoch: 300, threads: 4, minCount: 1 });
    expect(words).toBe([...new Set(text.match(/\b[xyzw]\b|\n/g))].length);
    const classifier = await loadClassifier(Buffer.concat([...pieces()]));
    expect(classifier.score("x").labels[0]).toBe("__label__a");
  }
});

test("an abort ends the threads, a line too long is refused; where there are no threads one trains, and the result says so", {
  timeout: 240_000,
}, async () => {
  const text = bytes(corpus(1, 2000, 2));
  const control = new AbortController();
  const training = train(text, {
    epoch: 100_000,
    dim: 4,
    threads: 2,
    signal: control.signal,
    onProgress: () => control.abort(new Error("stop")),
  });
  await expect(training).rejects.toThrow("stop");
  const long = bytes(`__label__a ${"w ".repeat(2 ** 21 + 1000)}\n__label__b x\n`);
  await expect(train(long, { dim: 4, threads: 2 })).rejects.toMatchObject({ code: "bad-input" });
  await expect(train(text, { threads: 0 })).rejects.toMatchObject({ code: "bad-option", detail: { field: "threads" } });
  const options = { dim: 4, seed: 3 };
  const [alone, fallen] = [await door.train(text, options), await door.train(text, { ...options, threads: 2 })];
  expect(alone).toMatchObject({ threads: 1, threadsNote: undefined });
  expect(fallen).toMatchObject({ threads: 1, threadsNote: expect.stringContaining("no threads") });
  expect(Buffer.concat([...fallen.pieces()]).equals(Buffer.concat([...alone.pieces()]))).toBe(true);
  expect(await train(text, { ...options, threads: 2 })).toMatchObject({ threads: 2, threadsNote: undefined });
});
