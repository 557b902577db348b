// What values from outside look like in messages: bounded, on one line, and never called.
import { expect, test } from "vitest";
import { CpmError, modelError } from "../src/errors.ts";
import { printable, reasonOf, shown } from "../src/shown.ts";

const trap = {
  toString: () => {
    throw new Error("called");
  },
  valueOf: () => {
    throw new Error("called");
  },
  toJSON: () => {
    throw new Error("called");
  },
};
const values: unknown[] = [
  undefined,
  null,
  0,
  -1.5,
  Number.NaN,
  7n,
  2n ** 4_000_000n,
  true,
  "\u001b]0;title\u0007\u001b[31mred\r\n\u202eback\ud800",
  "x".repeat(1e6),
  "\u0000".repeat(1e6),
  trap,
  Object.assign(Object.create(null), { toString: 0, valueOf: 0 }),
  [trap],
  [[[]]],
  new Array(1e6).fill(trap),
  new Uint8Array(1e6),
  new Float32Array([1, 2]),
  new BigInt64Array(3),
  new DataView(new ArrayBuffer(8)),
  new Map([[trap, trap]]),
  () => trap,
  Symbol("\u001b"),
  new Proxy({}, {}),
];

const isWellFormed = (text: string): boolean =>
  !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
const controls = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

test("every value has a form of at most 600 characters without one that steers a terminal", () => {
  for (const value of values) {
    const text = shown(value);
    expect(text.length).toBeLessThanOrEqual(602);
    expect(text).not.toMatch(controls);
    expect(text).not.toBe("");
    expect(isWellFormed(text)).toBe(true);
  }
  expect(shown({ a: 1 })).toBe("an object");
  expect(shown([1, 2])).toBe("[1, 2]");
  expect(shown(new Array(9).fill(0))).toBe("a list of 9");
  expect(shown("\u001b[31m")).toBe('"\\u001b[31m"');
  expect(shown("\u202egnp.exe")).toBe('"\\u202egnp.exe"');
});

test("what is thrown is told, whatever it is", () => {
  for (const value of values) expect(reasonOf(value).length).toBeLessThanOrEqual(1002);
  expect(reasonOf(new TypeError("no\u001b[2J"))).toBe("no\\u001b[2J");
  expect(reasonOf({ message: trap })).toBe("an object");
  expect(reasonOf("plain")).toBe("plain");
});

test("texts keep what can be printed: scripts, emoji and combining marks are themselves", () => {
  const text = "Ünïcode 中文 हिन्दी 👩‍🚀".replace("\u200d", "");
  expect(printable(text, 100)).toBe(text);
  expect(printable("a\u200db", 100)).toBe("a\\u200db");
  expect(printable("👩".repeat(10), 3)).toBe("👩…");
});

test("no error of this package carries a longer or a control character, in its message or its details", () => {
  const long = `\u001b[31m${"y".repeat(1e6)}\u0007`;
  for (const error of [
    new CpmError("io", `${long}: failed`, { file: long, field: long, expected: long, found: long, offset: 7 }),
    modelError({ file: long, offset: 7, field: long, expected: long, found: long }, "value"),
  ]) {
    expect(error.message.length).toBeLessThanOrEqual(4002);
    expect(error.message).not.toMatch(controls);
    expect(error.detail.offset).toBe(7);
    for (const text of [error.detail.file, error.detail.field, error.detail.expected, error.detail.found]) {
      expect(text!.length).toBeLessThanOrEqual(1024);
      expect(text).not.toMatch(controls);
    }
  }
});

test("a message of many lines keeps its lines, a file's name makes none", () => {
  expect(new CpmError("io", "one\n\ttwo").message).toBe("one\n\ttwo");
  expect(modelError({ file: "a\nerror: all is well", field: "f", found: "x" }, "value").message).toContain("a\\u000aerror");
});
