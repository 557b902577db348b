// Tokens to text as they come, against decoding all of them at the end.
import { expect, test } from "vitest";
import { marksOf, type ThinkingMarks } from "../../src/text/marks.ts";
import { pieceTable } from "../../src/text/pieces.ts";
import { TextStream } from "../../src/text/stream.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import type { TokenizerData } from "../../src/text/vocabulary.ts";
import { streamed } from "./streamed.ts";
import { byteTokens, json, type Piece, random, spm } from "./vocabularies.ts";

const words: Piece[] = [
  "▁",
  "▁a",
  "b",
  "ab",
  "é",
  "😀",
  "▁😀",
  "\n",
  "<",
  "th",
  "ink>",
  "</",
  "<think>",
  "</think>",
  "k>\n\n",
  "▁▁",
].map((piece) => [piece, 0]);
const kinds: Readonly<Record<string, TokenizerData>> = {
  "with dummy spaces": spm([...byteTokens, ...words, ["<x>", 0, 3], ["<t>", 0, 4]]),
  "without dummy spaces": spm([...byteTokens, ...words, ["<x>", 0, 3]], {}, { addSpacePrefix: false }),
  "with one dummy space": json(
    {
      type: "BPE",
      byte_fallback: true,
      merges: [],
      vocab: Object.fromEntries([...byteTokens, ...words].map(([piece], id) => [piece, id])),
    },
    {
      normalizer: null,
      pre_tokenizer: { type: "Metaspace", prepend_scheme: "first", split: false },
      added_tokens: [{ id: 300, content: "<x>", special: true }],
    },
  ),
  "of bytes": json(
    {
      type: "BPE",
      merges: [],
      vocab: Object.fromEntries(["a", "b", "Ġ", "Ġa", "Ã", "©", "ð", "Ł", "ĺ", "Ģ", "ÿ", "Ċ"].map((piece, id) => [piece, id])),
    },
    {
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
      added_tokens: [{ id: 12, content: "<x>", special: true }],
    },
  ),
};

test.each(Object.entries(kinds))(
  "the stream of any tokens is what decoding them gives beyond their prompt: vocabulary %s",
  (_, data) => {
    const tokenizer = new Tokenizer(data);
    const table = pieceTable(data);
    const below = random(21);
    for (let i = 0; i < 800; i++) {
      const tokens = Array.from({ length: below(25) }, () => below(tokenizer.size));
      const prompt = Array.from({ length: below(3) * below(12) }, () => below(tokenizer.size));
      for (const special of [true, false]) {
        expect(streamed(table, tokens, { prompt: [], special }).text).toBe(tokenizer.decode(tokens, { special }));
        // A prompt may end inside a character: what is whole of it, as a stream would have given it, is what stands before.
        const before = new TextStream(table, { stop: [], thinking: "none", special, prompt: [] });
        const head = prompt
          .flatMap((token) => before.push(token))
          .map((piece) => piece.text)
          .join("");
        expect(head + streamed(table, tokens, { prompt, special }).text).toBe(
          tokenizer.decode([...prompt, ...tokens], { special }),
        );
      }
    }
  },
);

test("a continuation keeps its leading space after text, and not after a special token, where it is the dummy space", () => {
  const data = kinds["with dummy spaces"]!;
  const tokenizer = new Tokenizer(data);
  const [a, b] = [tokenizer.id("▁a")!, tokenizer.id("b")!];
  const continued = (prompt?: readonly number[]) => streamed(pieceTable(data), [a, b], { prompt }).text;
  expect(continued()).toBe(" ab");
  expect(continued([1, b])).toBe(" ab");
  expect(continued([...Array.from({ length: 40 }, () => b)])).toBe(" ab");
  expect(continued([1])).toBe("ab");
  expect(continued([...Array.from({ length: 40 }, () => b), 1])).toBe("ab");
});

test("half a character is held back, and given up as U+FFFD when it cannot be completed", () => {
  const data = kinds["with dummy spaces"]!;
  const table = pieceTable(data);
  const bytes = (...values: number[]) => values.map((value) => 3 + value);
  const texts = (tokens: readonly number[]) => streamed(table, tokens).pieces.map((piece) => [piece.text, piece.tokens.length]);
  expect(texts(bytes(0xf0, 0x9f, 0x98, 0x80, 0x41))).toEqual([
    ["😀", 4],
    ["A", 1],
  ]);
  expect(texts(bytes(0xf0, 0x9f))).toEqual([["\ufffd", 2]]);
  expect(texts(bytes(0xf0, 0x9f, 0x41))).toEqual([["\ufffdA", 3]]);
  expect(texts(bytes(0x41, 0xff, 0x42))).toEqual([
    ["A", 1],
    ["\ufffd", 1],
    ["B", 1],
  ]);
  expect(texts(bytes(0xef, 0xbb, 0xbf))).toEqual([["\ufeff", 3]]);
});

test("a token without text goes with the next piece, or the last", () => {
  const data = kinds["with dummy spaces"]!;
  const tokenizer = new Tokenizer(data);
  const [b, hidden] = [tokenizer.id("b")!, tokenizer.id("<x>")!];
  const table = pieceTable(data);
  const summary = (tokens: readonly number[], special: boolean) =>
    streamed(table, tokens, { special }).pieces.map((piece) => [piece.text, piece.tokens]);
  expect(summary([b, hidden, b, hidden], false)).toEqual([
    ["b", [b]],
    ["b", [hidden, b]],
    ["", [hidden]],
  ]);
  expect(summary([b, hidden], true)).toEqual([
    ["b", [b]],
    ["<x>", [hidden]],
  ]);
});

test("reasoning between other marks, an answer between tags of its own, however tokens cut them", () => {
  const data = kinds["with dummy spaces"]!;
  const table = pieceTable(data);
  const tokens = (text: string) => [...new TextEncoder().encode(text)].map((byte) => 3 + byte);
  const read = (text: string, marks: ThinkingMarks | undefined, thinking: "split" | "open" = "split", stop: string[] = []) => {
    const stream = new TextStream(table, { stop, thinking, marks, special: true, prompt: [1] });
    const all = tokens(text);
    const pieces = [...all.flatMap((token) => stream.push(token)), ...stream.finish()];
    expect(pieces.reduce((sum, piece) => sum + piece.tokens.length, 0)).toBeLessThanOrEqual(all.length);
    const of = (type: string) => pieces.flatMap((piece) => (piece.type === type ? [piece.text] : [])).join("");
    return [of("reasoning"), of("text")];
  };
  const granite = marksOf("<think> <response>");
  expect(read("<think>a\nb</think>\n<response>\n42</response>", granite)).toEqual(["a\nb", "42"]);
  expect(read("<think>a</think><response>4<x>2</response>\n", granite)).toEqual(["a", "4<x>2\n"]);
  expect(read("<think>a</think>\n42</response>", granite)).toEqual(["a", "42</response>"]);
  expect(read("<think>a</think><resp", granite)).toEqual(["a", "<resp"]);
  expect(read("<think>a</think><response>4END2</response>", granite, "split", ["END"])).toEqual(["a", "4"]);
  expect(read("<think>a</think><response>42</response>END", granite, "split", ["END"])).toEqual(["a", "42"]);
  expect(read("no tags <response>x</response>", granite)).toEqual(["", "no tags <response>x</response>"]);
  const magistral = marksOf("[THINK]");
  expect(read("[THINK]a <think>[/THINK]b", magistral)).toEqual(["a <think>", "b"]);
  expect(read("a[/THINK]\n\nb", magistral, "open")).toEqual(["a", "b"]);
  const older = marksOf("Here is my thought process:");
  expect(read("Here is my thought process:\na\n\nHere is my response:\n b", older)).toEqual(["a\n\n", "b"]);
  expect(read("Here is my", older)).toEqual(["", "Here is my"]);
});
