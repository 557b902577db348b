// Models trained by Debian's fasttext, read here: shapes, losses and containers that the golden files lack.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { corpus, hardLines } from "./corpus.ts";
import { difference, door, fasttext, hasFastText, missingFastText, printed, temporary } from "./rig.ts";

const folder = temporary();
const one = ["-thread", "1", "-verbose", "0"];

const shapes = [
  {
    name: "ns",
    labels: 7,
    train: ["-loss", "ns", "-dim", "11", "-wordNgrams", "2", "-bucket", "999", "-neg", "3"],
    quantise: [],
  },
  {
    name: "softmax with character n-grams",
    labels: 3,
    train: ["-dim", "20", "-minn", "1", "-maxn", "3", "-wordNgrams", "3", "-bucket", "5000"],
    quantise: [
      ["-dsub", "3"],
      ["-cutoff", "800", "-retrain", "-epoch", "1", "-qnorm"],
    ],
  },
  { name: "hs of many labels", labels: 40, train: ["-loss", "hs", "-dim", "6"], quantise: [["-qnorm"]] },
  { name: "softmax of 300 labels, output quantised", labels: 300, train: ["-dim", "9"], quantise: [["-qout", "-qnorm"]] },
  {
    name: "ova",
    labels: 5,
    train: ["-loss", "ova", "-dim", "16", "-wordNgrams", "4", "-bucket", "4001"],
    quantise: [["-qnorm"]],
  },
];

shapes.forEach(({ name, labels, train, quantise }, i) => {
  const title = `${name}, ${quantise.length} quantised: what Debian's fasttext prints, folded and not`;
  test.skipIf(!hasFastText)(`${title}${hasFastText ? "" : ` (${missingFastText})`}`, { timeout: 120_000 }, async () => {
    const base = join(folder, `m${i}`);
    const [text, lines] = [join(folder, `${i}.txt`), join(folder, `${i}.lines`)];
    writeFileSync(text, corpus(i, 3000, labels));
    writeFileSync(lines, hardLines(100 + i, 400, labels));
    fasttext("supervised", "-input", text, "-output", base, "-lr", "0.3", "-epoch", "4", ...train, ...one);
    const files = [`${base}.bin`];
    quantise.forEach((options, q) => {
      const copy = `${base}-${q}`;
      writeFileSync(`${copy}.bin`, readFileSync(`${base}.bin`));
      fasttext("quantize", "-input", text, "-output", copy, ...options, ...one);
      files.push(`${copy}.ftz`);
    });
    for (const file of files) {
      const expected = printed(fasttext("predict-prob", file, lines, "-1"));
      for (const fold of [false, true]) {
        const scorer = (await door.loadClassifier(file, { fold })).lines({ k: Number.POSITIVE_INFINITY });
        const found = [...scorer.take(readFileSync(lines)), ...scorer.end()];
        expect({ file, fold, count: found.length }).toEqual({ file, fold, count: expected.length });
        // The last line repeats two words 40,000 times: the float32 sums drift there, maybe over a step of the sigmoid table.
        const last = found.length - 1;
        const drift = fold ? 8e-3 : 1e-5;
        expect(difference(found.slice(last), expected.slice(last)).most).toBeLessThan(drift);
        const { wrong, most } = difference(found.slice(0, last), expected.slice(0, last));
        expect({ file, fold, wrong }).toEqual({ file, fold, wrong: [] });
        // Printed numbers above 1 have five decimals.
        expect(most).toBeLessThan(1e-5);
      }
    }
  });
});
