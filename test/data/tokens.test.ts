// Lines scored as tokens have the same bits as their text.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Classifier } from "../../src/data/classifier.ts";
import { Preprocessor } from "../../src/data/preprocess.ts";
import { decide, QualityFilter } from "../../src/data/quality.ts";
import { trainOn } from "../../src/data/train.ts";
import { corpus } from "./corpus.ts";
import { door, golden, module, random } from "./rig.ts";

/** A tokenizer whose tokens are told by the letters that stand for them. */
function made(pieces: readonly string[]) {
  return {
    size: pieces.length,
    encode: (text: string) => [...text].map((letter) => letter.codePointAt(0)! - 0x4e00),
    decode: (ids: Iterable<number>) => [...ids].map((id) => pieces[id]!).join(""),
  };
}

const odd = [
  "",
  " ",
  "  ",
  "\u2028",
  "\u1680",
  "\u3000x",
  "x\u0085",
  "\u001c",
  "</s>",
  " </s>",
  "a</s>",
  "</s> b",
  "__label__0",
  "__label__z",
];
const spaces = ["\n", "\t", "\r\n", "\v", "\f", "a\0b", "\ufeff", "\ufffd", "a b", " a  b c ", "z".repeat(300)];

async function trained(options: object, words: readonly string[]): Promise<Classifier> {
  const next = random(7);
  const lines = Array.from({ length: 300 }, (_, i) => {
    const text = Array.from({ length: 12 }, () => words[Math.floor(next() * words.length)]).join(" ");
    return `__label__${i % 3 ? "pos" : "neg"} ${text}\n`;
  });
  const bytes = new TextEncoder().encode(lines.join("") + corpus(3, 100, 2));
  const source = {
    name: "lines",
    size: bytes.length,
    read: async (at: number, length: number) => bytes.slice(at, at + length),
    close: async () => {},
  };
  const { pieces } = await trainOn(await module, source, { dim: 8, epoch: 2, lr: 0.5, ...options });
  return door.loadClassifier(new Uint8Array(Buffer.concat([...pieces()])), { fold: "fold" in options && options.fold === true });
}

for (const [name, options] of Object.entries({
  "three-grams, folded": { wordNgrams: 3, bucket: 3000, fold: true },
  "three-grams, as it is": { wordNgrams: 3, bucket: 3000, fold: false },
  "words alone": {},
  "hierarchical softmax": { loss: "hs", wordNgrams: 2, bucket: 500 },
  "negative sampling": { loss: "ns", wordNgrams: 5, bucket: 77 },
  "n-grams of characters, which need the text": { wordNgrams: 2, bucket: 999, minn: 1, maxn: 3 },
}))
  test(`${name}: 2,000 lines of odd tokens, each by its tokens and by its text`, async () => {
    const words = Array.from({ length: 60 }, (_, i) => `w${i}${"é漢-"[i % 3]}`);
    const pieces = [...odd, ...spaces, ...words, ...words.map((word) => ` ${word}`)];
    const classifier = await trained(options, words);
    const tokenizer = made(pieces);
    const preprocessor = new Preprocessor(tokenizer);
    const filter = new QualityFilter({ classifier, tokenizer });
    const next = random(11);
    const line = (length: number) =>
      String.fromCodePoint(...Array.from({ length }, () => 0x4e00 + Math.floor(next() * (next() < 0.5 ? 25 : pieces.length))));
    const texts = Array.from({ length: 2000 }, () => line(Math.floor(next() * 12)));
    texts.push("", line(20_000).replaceAll(/[\u4e08-\u4e0b]/g, ""), line(70_000));
    for (const text of texts) {
      const { keep, score } = filter.judge(text);
      expect({ text, keep, score }).toEqual({ text, ...decide(classifier.score(preprocessor.line(text))) });
    }
    classifier.close();
    expect(() => filter.judge("\u4e01")).toThrow(expect.objectContaining({ code: "closed" }));
  });

test("two tokenizers, two classifiers, and texts between tokens do not disturb each other", async () => {
  const classifier = await door.loadClassifier(join(golden, "unigram.bin"));
  const lines = readFileSync(join(golden, "unigram.lines.txt"), "utf8").split("\n").slice(20, 80);
  const words = [...new Set(lines.flatMap((line) => line.split(" ")))];
  const filters = [words, words.toReversed()].map((pieces) => {
    const tokenizer = { ...made(pieces), encode: (text: string) => text.split(" ").map((word) => pieces.indexOf(word)) };
    return new QualityFilter({ classifier, tokenizer });
  });
  const lower = lines
    .map((line) => line.toLowerCase())
    .filter((line) => /^[ -~]*$/.test(line) && line.split(" ").every((word) => words.includes(word)));
  expect(lower.length).toBeGreaterThan(5);
  for (const line of lower) {
    const wanted = decide(classifier.score(line.split(" ").filter(Boolean).join(" ")));
    for (const filter of filters) expect(filter.judge(line)).toMatchObject(wanted);
    expect(decide(classifier.score(line))).toEqual(wanted);
  }
});

test("a token outside the vocabulary is told", async () => {
  const classifier = await door.loadClassifier(join(golden, "unigram.bin"));
  const filter = new QualityFilter({ classifier, tokenizer: { ...made(["a"]), encode: () => [5] } });
  expect(() => filter.judge("a")).toThrow(expect.objectContaining({ code: "bad-input" }));
});
