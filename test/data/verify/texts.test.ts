// Answers of mathematics, and texts that are garbled.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compressionRatio, longestLoop, verifyText } from "../../../src/data/verify/garbled.ts";
import { finalAnswer, normalForm, sameAnswer, verifyAnswer } from "../../../src/data/verify/mathematics.ts";
import { sampleOf } from "../../../src/data/verify/samples.ts";
import { root } from "../rig.ts";

test("answers that are the same", () => {
  const pairs: readonly (readonly [string, string])[] = [
    ["42", "42.0"],
    ["1,234", "1234"],
    ["$1{,}234.50", "1234.5"],
    ["1/2", "0.5"],
    ["\\frac{1}{2}", "0.5"],
    ["\\dfrac12", "\\frac{2}{4}"],
    ["1\\frac{1}{2}", "3/2"],
    ["-\\frac{3}{4}", "\\frac{-3}{4}"],
    ["50%", "0.5"],
    ["50\\%", "1/2"],
    ["3.0 \\times 10^{8}", "300000000"],
    ["1e3", "1000"],
    ["5 cm", "5"],
    ["5\\text{ cm}", "5 centimeters"],
    ["$12$", "12 dollars"],
    ["90^\\circ", "90 degrees"],
    ["x = 5", "5"],
    ["\\left(1, 2\\right)", "(1,2)"],
    ["\\{2, 1\\}", "\\{1,2\\}"],
    ["1, 2", "2, 1"],
    ["2\\sqrt{3}", "2 \\sqrt 3"],
    ["\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"],
    ["[0, \\infty)", "[0,∞)"],
    ["\\text{(B)}", "B"],
    ["B. Paris", "B"],
    ["\\pi", "π"],
    ["2\\cdot x", "2x"],
    ["x^{2}", "x^2"],
    ["\\boxed{7}".slice(7, -1), "7."],
    ["Yes", "yes"],
    ["0.333", "0.333"],
  ];
  for (const [a, b] of pairs) expect(sameAnswer(a, b), `${a} and ${b}: ${normalForm(a)} | ${normalForm(b)}`).toBe(true);
});

test("answers that differ", () => {
  const pairs: readonly (readonly [string, string])[] = [
    ["42", "43"],
    ["0.33", "1/3"],
    ["5 cm", "5 m"],
    ["(1,2)", "(2,1)"],
    ["(0,1)", "[0,1]"],
    ["1,2", "12"],
    ["-5", "5"],
    ["A", "B"],
    ["x+1", "x+2"],
    ["50", "50%"],
    ["10^2", "102"],
    ["1/0", "0"],
    ["", "0"],
  ];
  for (const [a, b] of pairs) expect(sameAnswer(a, b), `${a} and ${b}`).toBe(false);
  expect(sameAnswer("5 cm", "5", { units: true })).toBe(false);
  expect(sameAnswer("0.3333", "1/3", { tolerance: 1e-3 })).toBe(true);
});

test("the final answer of a response", () => {
  const answers: Readonly<Record<string, string | undefined>> = {
    "So \\boxed{\\frac{1}{2}} it is, not 3.": "\\frac{1}{2}",
    "First \\boxed{1}, then \\boxed 2": "2",
    "Adding: 3 + 4 = 7\n#### 7": "7",
    "The answer is 12. Because 3*4.": "12",
    "The final answer is **(C)** as shown": "C",
    "The answer is $x^2$.": "x^2",
    "答案是：15": "15",
    "We get 3, then 1,250 apples.": "1,250",
    "<think>\\boxed{9}</think> It is 8": "8",
    "I choose (D)": "D",
    "I do not know": undefined,
  };
  for (const [text, answer] of Object.entries(answers)) expect(finalAnswer(text), text).toBe(answer);
  expect(verifyAnswer({ response: "It is 0.5.", answer: ["2", "1/2"] }).ok).toBe(true);
  expect(verifyAnswer({ response: "It is 0.5.", answer: 0.6 })).toEqual({ ok: false, reasons: ["answer: 0.5 is not 0.6"] });
  expect(verifyAnswer(sampleOf({ question: "?", answer: "2+2=4\n#### 1,004", response: "It is 1004." })).ok).toBe(true);
});

test("answers of any make end in a verdict, in time", () => {
  const hostile = [
    "\\frac{",
    "{".repeat(20_000),
    "\\sqrt".repeat(5000),
    "((((".repeat(5000),
    "1".repeat(100_000),
    "1e9999",
    ",".repeat(50_000),
    "\\boxed{".repeat(3000),
  ];
  for (const a of hostile) {
    expect(sameAnswer(a, "7")).toBe(false);
    expect(verifyAnswer({ response: a, answer: "7" }).ok).toBe(false);
  }
});

const noise = (length: number): string => {
  let state = 7;
  const letter = () => String.fromCharCode(33 + ((state = (state * 48271) % 2147483647) % 94));
  return Array.from({ length }, letter).join("");
};

test("garbled texts are told by what is wrong with them, and texts are not garbled", () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ["", /empty/],
    [`The cat sat. ${"I am sorry. ".repeat(30)}`, /repetition/],
    [`And so ${"ha".repeat(60)}`, /repetition: "(?:ha)+" stands/],
    [
      Array.from({ length: 30 }, (_, i) => `Step ${i}: we look at the value of the function again.`).join("\n"),
      /repetition|compression/,
    ],
    ["caf\ufffd au lait \ufffd", /unicode: 2 broken/],
    ["a\ud800b c d", /unicode/],
    ["text \u0000 with \u0007 controls", /unicode/],
    ["itâ€™s a cafÃ© and dÃ©jÃ vu â€œquotedâ€", /decoded wrongly/],
    [noise(4000), /noise/],
  ];
  for (const [text, reason] of wrong)
    expect(verifyText({ response: text }).reasons.join("\n"), text.slice(0, 80)).toMatch(reason);
  const right = [
    readFileSync(join(root, "README.md"), "utf8"),
    readFileSync(join(root, "ARCHITECTURE.md"), "utf8"),
    readFileSync(join(root, "src/data/verify/garbled.ts"), "utf8"),
    "Yes.",
    "幸福的家庭都是相似的，不幸的家庭各有各的不幸。",
    "👩‍👩‍👧 naïve café — “quoted” ½ €5",
    "| a | b |\n|---|---|\n| 1 | 2 |\n------------------------------------------------\n",
    "Ha, ha, ha!",
  ];
  for (const text of right) expect(verifyText({ response: text }).reasons, text.slice(0, 60)).toEqual([]);
  expect(longestLoop("x a b a b a b y").times).toBe(3);
  expect(compressionRatio("abcd".repeat(1000))).toBeGreaterThan(50);
});
