// Split patterns with Oniguruma's meaning, on an engine that is linear in the text.
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { cut } from "../../src/text/cutter.ts";
import { LinearPattern } from "../../src/text/pattern/linear.ts";
import { type Behaviour, splitter } from "../../src/text/split.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { json } from "./vocabularies.ts";

const words = (pattern: string, text: string, behaviour: Behaviour = "Isolated", invert = false) =>
  cut(text, [splitter(pattern, behaviour, invert)]);
const refusal = (pattern: string): string => {
  try {
    splitter(pattern);
    return "";
  } catch (error) {
    expect(error).toBeInstanceOf(CpmError);
    expect((error as CpmError).code).toBe("unsupported");
    return (error as CpmError).message;
  }
};

test.each<[string, string, string[]]>([
  ["\\w+", "ab\u00e9_1 \u0e01\u0e33!", ["ab\u00e9_1", " ", "\u0e01\u0e33", "!"]],
  ["\\W+", "a\u00e9!?b", ["a\u00e9", "!?", "b"]],
  ["\\d+", "a\u0663\u0664b", ["a", "\u0663\u0664", "b"]],
  ["\\s", "a\u0085b\ufeffc", ["a", "\u0085", "b\ufeffc"]],
  ["\\h+", "xyzab0Fg", ["xyz", "ab0F", "g"]],
  ["\\Aa", "aa", ["a", "a"]],
  ["a\\z", "aaa", ["aa", "a"]],
  ["a\\Z", "aa\n", ["a", "a", "\n"]],
  [".", "\r\na", ["\r", "\n", "a"]],
  ["(?m:.)+", "a\nb", ["a\nb"]],
  ["^a", "aa\naa\n", ["a", "a\n", "a", "a\n"]],
  ["a$", "aa\naa", ["a", "a", "\na", "a"]],
  ["\\bab\\b", "ab abc ab", ["ab", " abc ", "ab"]],
  ["a++b?", "aaab", ["aaab"]],
  ["a++a", "aaa", ["aaa"]],
  ["a*+b|a", "aab", ["aab"]],
  ["\\p{N}{1,2}+", "12345x", ["12345", "x"]],
  ["(?i:'s|'LL)", "it'S we'll", ["it", "'S", " we", "'ll"]],
  ["a{,2}b", "aaab", ["a", "aab"]],
  ["a+?", "aa", ["a", "a"]],
  ["(?:ab|a)(?:c|bcd)?", "abcd", ["abc", "d"]],
  ["(?=[A-Z])", "aBcD", ["a", "Bc", "D"]],
  ["(?<!\\s)-", "a- -", ["a", "-", " -"]],
  ["[[:upper:]\\-&]+", "aB-&c", ["a", "B-&", "c"]],
  ["[^a[bc]]+", "axb", ["a", "x", "b"]],
  ["\\p{Han}+|\\p{^L}", "\u4e2d\u6587 a", ["\u4e2d\u6587", " ", "a"]],
  ["\\x41|\\x{1F600}|\\t", "A\u{1f600}\tb", ["A", "\u{1f600}", "\t", "b"]],
  ["\u{1f600}", "a\u{1f600}\u{1f601}", ["a", "\u{1f600}", "\u{1f601}"]],
])("%s cuts %j", (pattern, text, right) => {
  expect(words(pattern, text)).toEqual(right);
});

test.each([
  ["Isolated", false, ["a", "-", "-", "b", "-"]],
  ["Removed", false, ["a", "b"]],
  ["Removed", true, ["-", "-", "-"]],
  ["MergedWithPrevious", false, ["a-", "-", "b-"]],
  ["MergedWithNext", false, ["a", "-", "-b", "-"]],
  ["Contiguous", false, ["a", "--", "b", "-"]],
] as [Behaviour, boolean, string[]][])("a match is %s, inverted: %s", (behaviour, invert, right) => {
  expect(words("-", "a--b-", behaviour, invert)).toEqual(right);
});

test.each([
  ["\\q", /\\q/],
  ["(a)\\1", /\\1/],
  ["\\k<a>", /\\k/],
  ["(?>ab)", /\(\?>/],
  ["(?=ab)", /more than one character/],
  ["(a*)*", /may be empty/],
  ["(?:ab)++", /possessive/],
  ["a**", /repeat of a repeat/],
  ["[a&&b]", /&&/],
  ["\\R", /\\R/],
  ["\\X", /\\X/],
  ["(?i:ss)", /case is ignored/],
  ["(?i:\u00e9)", /ASCII/],
  ["a{2}?", /\{2\}\?/],
  ["(a", /unmatched \(/],
  ["a)", /unmatched \)/],
  ["[a", /without an end/],
  ["\\p{Nonsense}", /Nonsense/],
  ["(?:a{900}){900}", /4096 steps/],
  ["(".repeat(100), /nested/],
])("%s is refused by name", (pattern, named) => {
  expect(refusal(pattern)).toMatch(named);
});

const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

test("the work of a foreign pattern grows with the text, not with its ways to match", () => {
  for (const [pattern, make] of [
    ["a*a*a*a*a*a*a*a*b", (n: number) => "a".repeat(n)],
    ["(?:a|aa)+c", (n: number) => "a".repeat(n)],
    ["(?:\\w+\\s?)+!", (n: number) => "ab ".repeat(n)],
  ] as const) {
    const looked = [1000, 2000, 4000].map((n) => {
      const linear = new LinearPattern(pattern);
      expect(linear.find(make(n), 0)).toBeUndefined();
      return linear.looked / make(n).length;
    });
    for (const each of looked) expect(each).toBeLessThan(1.01);
  }
});

test("matches that would take quadratic time are refused while the work is still linear", () => {
  const split = splitter("a*b|a");
  expect(() => cut("a".repeat(20_000), [split])).toThrow(expect.objectContaining({ name: "CpmError", code: "bad-input" }));
  expect(split.matcher.looked).toBeLessThan(65 * 20_000 + 2 * 65536);
  expect(cut("aab", [split])).toEqual(["aab"]);
});

test("millions of letters in a row are one word", () => {
  const text = "\u4e2d".repeat(6_000_000);
  expect(cut(text, [splitter(gpt2)]).map((word) => word.length)).toEqual([6_000_000]);
});

test("unknown characters are fused only where the file says so, and left out where it has no unknown token", () => {
  const make = (model: object) =>
    new Tokenizer(json({ type: "BPE", vocab: { "<unk>": 0, "\u2581": 1, a: 2 }, merges: [], ...model }, {}, { unk: 0 }));
  expect(make({ unk_token: "<unk>", fuse_unk: false }).encode("azza")).toEqual([1, 2, 0, 0, 2]);
  expect(make({ unk_token: "<unk>" }).encode("azza")).toEqual([1, 2, 0, 0, 2]);
  expect(make({ unk_token: "<unk>", fuse_unk: true }).encode("azza")).toEqual([1, 2, 0, 2]);
  expect(make({ unk_token: null }).encode("azza")).toEqual([1, 2, 2]);
});
