// The published preprocessing equals its definition: golden rows, and every code point as Python normalises it.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, normalise, Preprocessor } from "../../src/data/preprocess.ts";
import { decide, languageOf, QualityFilter, tuneThreshold } from "../../src/data/quality.ts";
import { loadTokenizer } from "../../src/host/node.ts";
import { whereFile } from "../support/where.ts";
import { door, golden, shared } from "./rig.ts";

const vocabulary = join(shared, "data/deepseek-llm/deepseek-llm-vocab.gguf");

interface Row {
  readonly id: number;
  readonly text: string;
  readonly normalised: string;
  readonly ids: number[];
  readonly line: string;
}
const rows = readFileSync(join(golden, "preprocess.jsonl"), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);

test("golden rows: what stands before tokenisation (../shared/golden/ultraclean)", () => {
  expect(rows.length).toBe(400);
  expect(rows.filter((row) => normalise(row.text) !== row.normalised).map((row) => row.id)).toEqual([]);
});

whereFile(existsSync(vocabulary), "data/deepseek-llm")("golden rows: ids and lines", async () => {
  const tokenizer = await loadTokenizer(vocabulary);
  const preprocessor = new Preprocessor(tokenizer);
  const wrong = rows.filter(
    (row) =>
      JSON.stringify(tokenizer.encode(row.normalised, { special: false, bos: false, eos: false })) !== JSON.stringify(row.ids),
  );
  expect(wrong.map((row) => row.id)).toEqual([]);
  expect(rows.filter((row) => preprocessor.line(row.text) !== row.line).map((row) => row.id)).toEqual([]);
  expect(rows.filter((row) => finish(row.ids.map((id) => tokenizer.decode([id]))) !== row.line).map((row) => row.id)).toEqual([]);
});

const python = spawnSync("python3", ["-c", "import unicodedata; print(unicodedata.unidata_version)"], { encoding: "utf8" });

test.skipIf(python.status !== 0)(
  `every code point, alone and between letters, as Python's tables of Unicode ${python.stdout?.trim() ?? "(no python3)"} say`,
  { timeout: 180_000 },
  () => {
    const script = `
import sys, unicodedata
def normalise(text):
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if unicodedata.category(c) != "Mn")
out = sys.stdout.buffer
for c in range(0x110000):
    if 0xd800 <= c < 0xe000: continue
    x = chr(c)
    out.write(("%x %s %s %s\\n" % (c, unicodedata.category(x), normalise(x).encode("utf-32-be").hex(), normalise("Aa" + x + "Z\\u03a3").encode("utf-32-be").hex())).encode())
`;
    const { stdout } = spawnSync("python3", ["-c", script], { encoding: "latin1", maxBuffer: 1 << 28 });
    const hex = (text: string) => [...text].map((c) => c.codePointAt(0)!.toString(16).padStart(8, "0")).join("");
    const differ: string[] = [];
    let count = 0;
    for (const line of stdout.trimEnd().split("\n")) {
      const [code, category, alone, between] = line.split(" ");
      const c = String.fromCodePoint(Number.parseInt(code!, 16));
      count++;
      if (hex(normalise(c)) === alone && hex(normalise(`Aa${c}Z\u03a3`)) === between) continue;
      differ.push(`${code} ${category}`);
    }
    expect(count).toBe(0x110000 - 0x800);
    // What the two tables disagree on is what only one of them has assigned.
    const unassigned = (entry: string) =>
      entry.endsWith(" Cn") || /^\p{Cn}$/u.test(String.fromCodePoint(Number.parseInt(entry, 16)));
    // U+1171E became Mc in Unicode 15.
    expect(differ.filter((entry) => !unassigned(entry) && entry !== "1171e Mn")).toEqual([]);
    if (differ.length > 0)
      console.log(`Unicode tables differ at ${differ.length} code points: ${differ.slice(0, 20).join(", ")}`);
  },
);

test("what strip() takes away is Python's white space, and newlines of any number become two", () => {
  expect(finish(["\u001c\u0085 a", "b\ufeff", "\u2003"])).toBe("a b\ufeff");
  expect(finish(["\n\r", "\t"])).toBe("\\n\\r \\t");
  expect(normalise("A\n\n\n\nB\n\nC")).toBe("a\n\nb\n\nc");
});

test("decisions are the published script's", () => {
  const { labels } = { labels: ["__label__pos", "__label__neg"] };
  expect(decide({ labels, probabilities: [1.00001, 0.1] })).toEqual({ keep: true, score: 1 });
  expect(decide({ labels: ["__label__neg"], probabilities: [0.75] })).toEqual({ keep: false, score: 0.25 });
  expect(languageOf("\u4e2d\u6587\u5185\u5bb9 ok")).toBe("zh");
  expect(languageOf("plain English \u4e2d")).toBe("en");
});

test("a filter keeps by label, or by a threshold, with a classifier for each language", async () => {
  const classifier = await door.loadClassifier(join(golden, "unigram.bin"));
  const text = readFileSync(join(golden, "unigram.lines.txt"), "utf8").split("\n").slice(20, 60);
  const plain = new QualityFilter({ classifier });
  const strict = new QualityFilter({ classifier: { en: classifier, zh: classifier }, threshold: { en: 0.9, zh: 0 } });
  for (const line of text) {
    const { keep, score } = plain.judge(line);
    expect(keep).toBe(classifier.score(line).labels[0] === "__label__pos");
    expect(strict.judge(line).keep).toBe(languageOf(line) === "zh" || score >= 0.9);
  }
  expect(() => new QualityFilter({ classifier, threshold: 2 })).toThrow(expect.objectContaining({ code: "bad-option" }));
});

test("a tuned threshold has the highest F1 that any has", async () => {
  const classifier = await door.loadClassifier(join(golden, "unigram.bin"));
  const lines = readFileSync(join(golden, "unigram.train.txt"), "utf8").split("\n").slice(0, 200);
  const { threshold, f1 } = tuneThreshold(classifier, lines);
  const scores = lines
    .filter((line) => line !== "")
    .map((line) => {
      const { labels, probabilities } = classifier.score(line.replace(/^\S+\s/, ""), { k: 2 });
      return { positive: line.startsWith("__label__pos"), score: Math.min(1, probabilities[labels.indexOf("__label__pos")]!) };
    });
  const f1At = (least: number) => {
    const kept = scores.filter(({ score }) => score >= least);
    const hits = kept.filter(({ positive }) => positive).length;
    return (2 * hits) / (kept.length + scores.filter(({ positive }) => positive).length);
  };
  expect(f1At(threshold)).toBeCloseTo(f1, 12);
  for (const { score } of scores) expect(f1At(score)).toBeLessThanOrEqual(f1 + 1e-12);
  expect(f1).toBeGreaterThan(0.8);
  expect(() => tuneThreshold(classifier, ["__label__neg a"])).toThrow(expect.objectContaining({ code: "bad-input" }));
});
