// Added tokens that take white space beside them or stand only between words, from each kind of file that says so.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { f32, i32, list, text, writeGguf } from "../support/gguf.ts";
import { json } from "./vocabularies.ts";

const letters = [..."▁ab-1é\t\n"];

function withToken(flags: object): (text: string) => string[] {
  const vocab = Object.fromEntries(["<unk>", ...letters].map((piece, id) => [piece, id]));
  const added_tokens = [
    { id: 20, content: "<x>", special: true, normalized: false, lstrip: false, rstrip: false, single_word: false, ...flags },
    { id: 21, content: "<y>", special: true, normalized: false, lstrip: false, rstrip: false, single_word: false },
  ];
  const normalizer = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const model = { type: "BPE", vocab, merges: [], unk_token: "<unk>", byte_fallback: false };
  const tokenizer = new Tokenizer(json(model, { normalizer, added_tokens }));
  return (text) => tokenizer.encode(text).map((id) => tokenizer.piece(id));
}

test("white space before or behind such a token is the token's, up to the token before", () => {
  expect(withToken({})("a <x> b")).toEqual(["a", "▁", "<x>", "▁", "b"]);
  expect(withToken({ rstrip: true })("a <x> \n\t\u2003b")).toEqual(["a", "▁", "<x>", "b"]);
  expect(withToken({ lstrip: true })("a \n<x> b")).toEqual(["a", "<x>", "▁", "b"]);
  expect(withToken({ lstrip: true, rstrip: true })(" <x>  <x> <y> ")).toEqual(["<x>", "<x>", "<y>", "▁"]);
  expect(withToken({ lstrip: true })("<y> <x>")).toEqual(["<y>", "<x>"]);
  expect(withToken({ rstrip: true })("<x> ")).toEqual(["<x>"]);
});

test("long white space and many tokens take linear time, and rests lie between", () => {
  const spell = withToken({ lstrip: true, rstrip: true });
  expect(spell(`a${" ".repeat(200_000)}<x>${"\n".repeat(200_000)}b`)).toEqual(["a", "<x>", "b"]);
  expect(spell("<x> ".repeat(20_000))).toEqual(Array.from({ length: 20_000 }, () => "<x>"));
});

test("a token that is a word of its own is text inside of others", () => {
  const spell = withToken({ content: "ab", single_word: true });
  expect(spell("ab ab-ab\nab")).toEqual(["ab", "▁", "ab", "-", "ab", "\n", "ab"]);
  for (const text of ["aab", "abb", "1ab", "abé", "ab\u0301", "\u{1d49c}ab"]) expect(spell(text)).not.toContain("ab");
  expect(spell("aab ab")).toEqual(["a", "a", "b", "▁", "ab"]);
  // Beside another token's name stands no letter.
  expect(spell("<y>ab")).toEqual(["<y>", "ab"]);
});

test("a token of normalised text does so in that text", () => {
  const spell = withToken({ content: "ab", normalized: true, single_word: true });
  expect(spell("ab aab")).toEqual(["ab", "▁", "a", "a", "b"]);
});

test("a GGUF of Phi-3 does as its tokenizer.json says: special tokens but <s> and <|endoftext|> take the white space behind them", async () => {
  const pieces = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "<|end|>", ...letters];
  const types = [2, 3, 4, 3, 3, 3, ...letters.map(() => 1)];
  const spelled = async (architecture: string, input: string) => {
    const bytes = writeGguf({
      metadata: [
        ["general.architecture", text(architecture)],
        ["tokenizer.ggml.model", text("llama")],
        ["tokenizer.ggml.tokens", list(8, pieces.map(text))],
        [
          "tokenizer.ggml.scores",
          list(
            6,
            pieces.map(() => f32(0)),
          ),
        ],
        ["tokenizer.ggml.token_type", list(5, types.map(i32))],
      ],
      tensors: [],
    });
    const tokenizer = new Tokenizer((await readTokenizer(memoryFiles("v.gguf", { "v.gguf": bytes }))).tokenizer);
    return tokenizer.encode(input, { bos: false }).map((id) => tokenizer.piece(id));
  };
  const prompt = "<|user|>\na<|end|>\n<s> b";
  expect(await spelled("phi3", prompt)).toEqual(["<|user|>", "▁", "a", "<|end|>", "<s>", "▁", "▁", "b"]);
  expect(await spelled("llama", prompt)).toEqual(["<|user|>", "▁", "\n", "a", "<|end|>", "▁", "\n", "<s>", "▁", "▁", "b"]);
});

test("a folder of a tokenizer.model-less Gemma finds its runs of spaces by joining and puts no space before a text", () => {
  const vocab = { "<unk>": 0, "▁": 1, a: 2, "▁▁": 3, "▁▁▁": 4, "▁a": 5, "\n": 6, "\n\n": 7 };
  const tokenizer = new Tokenizer(
    json(
      { type: "BPE", vocab, merges: ["▁ ▁", "▁▁ ▁", "▁ a"], unk_token: "<unk>", byte_fallback: true },
      {
        normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
        pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
        added_tokens: [
          { id: 3, content: "▁▁", special: false, normalized: false },
          { id: 4, content: "▁▁▁", special: false, normalized: false },
          { id: 7, content: "\n\n", special: false, normalized: false },
        ],
      },
    ),
  );
  expect(tokenizer.encode("a   a\n\n\na")).toEqual([2, 4, 2, 7, 6, 2]);
  expect(tokenizer.encode("  a")).toEqual([3, 2]);
  expect(tokenizer.decode([2, 4, 2, 7, 6, 2])).toBe("a   a\n\n\na");
});
