// Regular expressions against the runtime's own, on texts near what they match; numbers against arithmetic.
import { describe, expect, test } from "vitest";
import { anyNumber, contains, type NumberRange, numberPart } from "../../src/constrain/numbers.ts";
import { regexDfa } from "../../src/constrain/regex.ts";
import { combine, dfaOf, matches } from "../../src/constrain/strings.ts";
import { random } from "../text/vocabularies.ts";

const patterns = [
  "^a+$",
  "a|bc",
  "^(a|b)*c",
  "x{2,4}$",
  "^[^a-c]+$",
  "\\d{3}-\\d{4}",
  "^\\w+\\s\\W$",
  "^.$",
  "(?:ab){2}",
  "^$",
  "^a?b??c+?$",
  "[\\dx-]",
  "^(a|^b)c",
  "a$|^b",
  "\\u{1f600}+",
  "\\p{Lu}\\P{L}",
  "[\\s\\S]{2}",
  "^\\x61\\u0062\\cA?$",
  "",
  "(a$)?b",
  "^[é-ü漢]{1,2}$",
  "^(?<n>a)(b|)$",
  "[^]a|^x",
  "^a^b|c",
  "a[^\\s\\S]|^bc",
  "(a$|b)c^|X",
  "\\/\\.\\$",
];

describe("regular expressions", () => {
  for (const pattern of patterns)
    test(JSON.stringify(pattern), () => {
      const own = new RegExp(pattern, "u");
      const dfa = regexDfa(pattern, "");
      const below = random(pattern.length + 1);
      const letters = [..."abcxX019- \n\u2028é漢😀\u0001/.$Lü_"];
      for (let i = 0; i < 3000; i++) {
        const text = Array.from({ length: below(7) }, () => letters[below(letters.length)]!).join("");
        expect(dfa !== undefined && matches(dfa, text), JSON.stringify(text)).toBe(own.test(text));
      }
    });

  test.each(["(?=a)", "(?<!a)b", "(a)\\1", "\\bword", "a**", "(", "[a", "a{3,2}", "\\", "\\q", "\\p{Nope}", "x)"])(
    "%s is refused",
    (pattern) => {
      expect(() => regexDfa(pattern, "/p")).toThrow(/schema at \/p: pattern/);
    },
  );

  test("an escaped hyphen outside a class stands for itself", () => {
    expect(matches(regexDfa("^a\\-b$", "")!, "a-b")).toBe(true);
  });

  test("what takes too many states is told", () => {
    expect(() => regexDfa("^(a|b)*a(a|b){20}$", "/p")).toThrow(/\/p: it takes (more than|too much)/);
    expect(() => regexDfa("(x{1000}){1000}", "/p")).toThrow(/it/);
  });

  test("sets of texts: both, and one without the other", () => {
    const [a, b] = [regexDfa("^[a-f]+$", "")!, regexDfa("^.{2,3}$", "")!];
    const both = combine(a, b, true, "")!;
    const without = combine(a, b, false, "")!;
    for (const text of ["a", "ab", "abc", "abcd", "xy", ""]) {
      expect(matches(both, text), text).toBe(matches(a, text) && matches(b, text));
      expect(matches(without, text), text).toBe(matches(a, text) && !matches(b, text));
    }
    expect(combine(a, a, false, "")).toBeUndefined();
  });
});

test("numbers: texts of random ranges are the numbers in them", () => {
  const below = random(11);
  const values: number[] = [];
  for (let i = -130; i <= 130; i++) values.push(i);
  for (let i = 0; i < 300; i++) values.push((below(20000) - 10000) / 100, below(1000000) - 500000, (below(4000) - 2000) / 1000);
  const bound = () => {
    if (below(3) === 0) return undefined;
    const value = [below(60) - 30, (below(400) - 200) / 100, 0, below(200000) / 10 - 10000, 99, 100][below(6)]!;
    return { value, exclusive: below(5) < 2 };
  };
  for (let i = 0; i < 250; i++) {
    let [low, high] = [bound(), bound()];
    if (low && high && low.value > high.value) [low, high] = [high, low];
    const range: NumberRange = {
      ...anyNumber,
      kind: (["any", "any", "integer", "fraction"] as const)[below(4)]!,
      low,
      high,
      multiples: below(5) === 0 ? [[2, 3, 0.5, 0.01, 7, 25][below(6)]!] : [],
      notMultiples: below(10) === 0 ? [3] : [],
      not: below(10) === 0 ? [5, 0] : [],
    };
    const part = numberPart(range, "");
    const dfa = part && dfaOf(part, "");
    const wrong = values.find((v) => (dfa !== undefined && matches(dfa, String(v))) !== contains(range, v));
    expect(wrong, JSON.stringify(range)).toBeUndefined();
    // What is no number at all: points at the end, leading zeros, signs.
    const odd = values.slice(0, 261).flatMap((v) => [`${v}.`, `0${v}`, `+${v}`, `${v}e`]);
    for (const text of [...odd, "-", "-.", ".5", "--1", ""]) expect(dfa !== undefined && matches(dfa, text), text).toBe(false);
  }
});
