// The quick forms of what every record goes through give what their plain definitions give.
import { expect, test } from "vitest";
import { repetition, symbols } from "../../src/data/heuristics.ts";
import { finish, normalise, Preprocessor } from "../../src/data/preprocess.ts";
import { random } from "./rig.ts";

const next = random(31);
const pick = <T>(all: readonly T[]): T => all[Math.floor(next() * all.length)]!;

test("a line grown piece by piece is the pieces joined by spaces, squeezed and stripped", () => {
  const pieces = ["", " ", "  ", " a", "b ", "c", "  d  ", "\n", "\t x", "\u3000", "é", "\ufffd", "e  f"];
  for (let i = 0; i < 3000; i++) {
    const ids = Array.from({ length: Math.floor(next() * 12) }, () => Math.floor(next() * pieces.length));
    const tokenizer = { size: pieces.length, encode: () => ids, decode: ([id]: Iterable<number>) => pieces[id!]! };
    const preprocessor = new Preprocessor(tokenizer);
    const right = finish(ids.map((id) => pieces[id]!));
    expect(preprocessor.line(normalise("any")), JSON.stringify(ids)).toBe(right);
    expect(preprocessor.line("again")).toBe(right);
  }
});

test("symbols and runs of words are counted as expressions count them", () => {
  const plain = /[\p{L}\p{M}\p{N}\s.,;:!?'"()\-\u2010-\u201f\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]/gu;
  const units = ["a", "é", "漢", "#", " ", "\n", "\u00a0", "\u3000", "\ufeff", "😀", "𐐀", "\ud800", "\udc00", "1", "。"];
  for (let i = 0; i < 3000; i++) {
    const text = Array.from({ length: Math.floor(next() * 40) }, () => pick(units)).join("");
    const all = [...text].length;
    expect(symbols(text), JSON.stringify(text)).toBe(all > 0 ? 1 - (text.match(plain)?.length ?? 0) / all : 0);
    // One line, so that only runs count.
    const line = Array.from(
      { length: Math.floor(next() * 40) },
      () => `${pick(["w", "w", "w", "x"])}${pick([" ", "\u00a0 ", "\t"])}`,
    ).join("");
    const words = line.split(/\s+/);
    let [inRuns, run] = [0, 1];
    for (let k = 1; k <= words.length; k++) {
      if (k < words.length && words[k] === words[k - 1]) run++;
      else {
        if (run >= 5) inRuns += run;
        run = 1;
      }
    }
    expect(repetition(line), JSON.stringify(line)).toBe(inRuns / words.length);
  }
});
