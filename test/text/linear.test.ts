// What texts and vocabularies may cost: work that grows with them, counted.
import { expect, test } from "vitest";
import { Matcher } from "../../src/text/matcher.ts";
import { nfc } from "../../src/text/nfc.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { json, random } from "./vocabularies.ts";

test("strings are found leftmost, then longest, however they overlap", () => {
  const below = random(91);
  const draw = (most: number) => Array.from({ length: 1 + below(most) }, () => "ab\u00e9"[below(3)]!).join("");
  for (let i = 0; i < 3000; i++) {
    const list = Array.from({ length: 1 + below(6) }, () => draw(5));
    const text = draw(14);
    const from = below(4);
    const until = from + below(12);
    let right: { start: number; end: number; id: number } | undefined;
    for (let start = from; start < Math.min(until, text.length) && right === undefined; start++)
      for (const each of list)
        if (text.startsWith(each, start) && start + each.length > (right?.end ?? 0))
          right = { start, end: start + each.length, id: list.indexOf(each) };
    const found = new Matcher(list.map((each, id) => [each, id] as const)).find(text, from, until);
    expect(found, JSON.stringify([list, text, from, until])).toEqual(right);
  }
});

test("thousands of added tokens that begin alike cost a few look-ups a character", () => {
  const matcher = new Matcher(Array.from({ length: 2000 }, (_, i) => [`${"a".repeat(i + 1)}z`, i] as const));
  const costs = [5000, 10_000, 20_000].map((n) => {
    const before = matcher.looked;
    expect(matcher.find("a".repeat(n))).toBeUndefined();
    return (matcher.looked - before) / n;
  });
  for (const cost of costs) expect(cost).toBeLessThan(2.1);
  expect(matcher.find(`${"a".repeat(5000)}z`)).toMatchObject({ start: 3000, end: 5001, id: 1999 });
});

test("long runs of marks are composed as the engine composes them", () => {
  const below = random(92);
  const marks = [
    ..."\u0301\u0316\u0327\u0345\u0334\u0344\u0340\u05b0\u05bc\u093c\u0e38\u3099\u0903\u20dd\u302a\u0f71\u{1d165}\u{1e8d0}",
  ];
  for (let i = 0; i < 300; i++) {
    const run = Array.from({ length: below(200) }, () => marks[below(marks.length)]!).join("");
    const text = `${"ae\u00e9\u4e2d\u1100"[below(5)]!}${run}${i % 2 ? "b\u0301" : ""}`;
    expect(nfc(text), JSON.stringify(text)).toBe(text.normalize("NFC"));
  }
  const alternating = `a${"\u0301\u0316".repeat(1_000_000)}`;
  expect(nfc(alternating)).toBe(`\u00e1${"\u0316".repeat(1_000_000)}${"\u0301".repeat(999_999)}`);
});

test("tokens that are normalised are looked for in normalised text, the others in the text as it is", () => {
  const vocab = Object.fromEntries(["<unk>", "\u2581", "a", "b", "<", "x", ">", "\u2581a"].map((piece, id) => [piece, id]));
  const make = (normalized: boolean) =>
    new Tokenizer(
      json(
        { type: "BPE", unk_token: "<unk>", vocab, merges: ["\u2581 a"] },
        { added_tokens: [{ id: 8, content: "<x>", special: false, normalized }] },
      ),
    );
  const spell = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text).map((id) => tokenizer.piece(id));
  expect(spell(make(true), "a<x>b")).toEqual(["\u2581a", "<", "x", ">", "b"]);
  expect(spell(make(true), "a <x> b")).toEqual(["\u2581a", "<x>", "\u2581", "b"]);
  expect(spell(make(true), "<x>b")).toEqual(["<x>", "b"]);
  expect(make(true).decode(make(true).encode("<x> b"))).toBe("<x> b");
  expect(spell(make(false), "a<x>b")).toEqual(["\u2581a", "<x>", "\u2581", "b"]);
});
