// Classifiers of all losses and both containers give what fastText printed.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Classifier, Prediction } from "../../src/data/classifier.ts";
import { difference, door, golden, printed } from "./rig.ts";

const files = readdirSync(golden).filter((name) => /\.(bin|ftz)$/.test(name));

function scored(classifier: Classifier, lines: Uint8Array, step = lines.length): Prediction[] {
  const scorer = classifier.lines({ k: Number.POSITIVE_INFINITY });
  const out: Prediction[] = [];
  for (let at = 0; at < lines.length; at += step) out.push(...scorer.take(lines.subarray(at, at + step)));
  return [...out, ...scorer.end()];
}

/** Six digits, as fastText prints. */
const rounded = (predictions: readonly Prediction[]): Prediction[] =>
  predictions.map(({ labels, probabilities }) => ({ labels, probabilities: probabilities.map((p) => Number(p.toPrecision(6))) }));

test("golden models were found", () => expect(files.length).toBeGreaterThanOrEqual(5));

for (const file of files) {
  const name = file.replace(/[-.].*/, "");
  const expected = printed(readFileSync(join(golden, `${file}.predict-prob.txt`), "latin1"));
  const lines = readFileSync(join(golden, `${name}.lines.txt`));
  for (const fold of [false, true])
    test(`${file}, ${fold ? "folded" : "as it is"}: 300 lines as predict-prob printed them`, async () => {
      const classifier = await door.loadClassifier(join(golden, file), { fold });
      const found = scored(classifier, lines);
      const { wrong, most } = difference(rounded(found), expected);
      expect({ count: found.length, wrong }).toEqual({ count: expected.length, wrong: [] });
      // Not folded, every digit that fastText prints is right. Folded, a line of one word 2,000 times is off by what the
      // original's float32 sums lose there.
      if (fold) expect(most).toBeLessThan(1e-5);
      else expect(most).toBeLessThan(1e-7);
      // Pieces of any size give the same, to the last bit.
      expect(scored(classifier, lines, 7)).toEqual(found);
    });
}

for (const name of ["softmax", "ova", "hs", "unigram"].filter((name) => files.includes(`${name}.bin`)))
  for (const kind of ["eos-in-text", "no-final-newline"])
    test(`${name}: ${kind}`, async () => {
      const classifier = await door.loadClassifier(join(golden, `${name}.bin`));
      const expected = printed(readFileSync(join(golden, `${name}.${kind}.predict-prob.txt`), "latin1"));
      const found = scored(classifier, readFileSync(join(golden, `${name}.${kind}.lines.txt`)));
      expect(difference(found, expected).wrong).toEqual([]);
      expect(found.length).toBe(expected.length);
      expect(difference(rounded(found), expected).most).toBeLessThan(1e-7);
    });

for (const file of files)
  test(`${file}: folded and not folded agree to 2e-6, but for float32 sums over one word repeated`, async () => {
    const lines = readFileSync(join(golden, `${file.replace(/[-.].*/, "")}.lines.txt`));
    const dense = scored(await door.loadClassifier(join(golden, file), { fold: false }), lines);
    const folded = scored(await door.loadClassifier(join(golden, file), { fold: true }), lines);
    const long = new Set(
      lines
        .toString("latin1")
        .split("\n")
        .flatMap((line, i) => (line.length > 10_000 ? [i] : [])),
    );
    const short = (all: Prediction[]) => all.filter((_, i) => !long.has(i));
    expect(difference(short(folded), short(dense)).most).toBeLessThan(2e-6);
    expect(difference(folded, dense).most).toBeLessThan(5e-6);
  });
