// Byte-level BPE and its pre-tokenisers. byte-level.json holds a small vocabulary of the project's own (merges learned from
// its cases, across words, so that every cut shows) and the ids that native llama.cpp gives for it under each pre-tokeniser.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { cut } from "../../src/text/cutter.ts";
import { byteLetters } from "../../src/text/pieces.ts";
import { preTokenizer, splitter } from "../../src/text/split.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { i32, list, text, u32, writeGguf } from "../support/gguf.ts";
import { joinByDefinition, json, random, randomText, wellFormed } from "./vocabularies.ts";

interface Case {
  readonly text: string;
  /** By pre-tokeniser. */
  readonly ids: Readonly<Record<string, readonly number[]>>;
}

const { merges, whole, cases } = JSON.parse(readFileSync(new URL("byte-level.json", import.meta.url), "utf8")) as {
  readonly merges: readonly string[];
  /** Pieces that no merge makes: found only where whole words are. */
  readonly whole: readonly string[];
  readonly cases: readonly Case[];
};
const controls = ["<unk>", "<s>", "</s>"];
const ends = ["<|im_start|>", "<|im_end|>"];
const pieces = [...controls, ...new Set([...byteLetters, ...merges.map((merge) => merge.replace(" ", ""))]), ...whole, ...ends];
const names = Object.keys(cases[0]!.ids);

/** A vocabulary-only GGUF of the pieces. */
async function fromGguf(pre: string): Promise<Tokenizer> {
  const types = pieces.map((piece) => (controls.includes(piece) || ends.includes(piece) ? 3 : 1));
  const bytes = writeGguf({
    metadata: [
      ["general.architecture", text("llama")],
      ["tokenizer.ggml.model", text("gpt2")],
      ["tokenizer.ggml.pre", text(pre)],
      ["tokenizer.ggml.tokens", list(8, pieces.map(text))],
      ["tokenizer.ggml.token_type", list(5, types.map(i32))],
      ["tokenizer.ggml.merges", list(8, merges.map(text))],
      ["tokenizer.ggml.bos_token_id", u32(1)],
      ["tokenizer.ggml.eos_token_id", u32(2)],
    ],
    tensors: [],
  });
  return new Tokenizer((await readTokenizer(memoryFiles("vocabulary.gguf", { "vocabulary.gguf": bytes }))).tokenizer);
}

const words = (digits: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const split = (regex: string) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });
const byteLevel = (use_regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex });
const sequence = (...pretokenizers: object[]) => ({ type: "Sequence", pretokenizers });
/** How a tokenizer.json spells the pre-tokenisers that GGUF files name. */
const spelled: Readonly<Record<string, object>> = {
  "gpt-2": byteLevel(true),
  "llama-bpe": sequence(split(words("\\p{N}{1,3}")), byteLevel(false)),
  qwen2: sequence(split(words("\\p{N}")), byteLevel(false)),
  minicpm5: sequence(split("\\p{N}{1,3}"), split(words("\\p{N}+")), byteLevel(false)),
  smollm: sequence({ type: "Digits", individual_digits: true }, byteLevel(true)),
};

function fromJson(pre: string): Tokenizer {
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]));
  const ignore_merges = preTokenizer(pre).wholeWords;
  const added_tokens = [...controls, ...ends].map((content) => ({ id: vocab[content], content, special: true }));
  const parts = { normalizer: null, pre_tokenizer: spelled[pre] ?? others[pre], added_tokens };
  return new Tokenizer(json({ type: "BPE", vocab, merges, ignore_merges }, parts));
}

test.each(names)("a GGUF with the pre-tokeniser %s gives the ids that llama.cpp gives, and the text back", async (pre) => {
  const tokenizer = await fromGguf(pre);
  for (const { text, ids } of cases) {
    expect(tokenizer.encode(text, { bos: false }), text).toEqual(ids[pre]);
    expect(tokenizer.decode(tokenizer.encode(text, { bos: false }))).toBe(text);
  }
});

test("a GGUF that does not say whether texts begin with BOS: those of llama-bpe do, as llama.cpp has it, others do not", async () => {
  for (const pre of names) {
    const tokenizer = await fromGguf(pre);
    expect(tokenizer.encode("a")[0] === tokenizer.bos, pre).toBe(pre === "llama-bpe");
  }
});

test.each(Object.keys(spelled))("a tokenizer.json that spells %s out gives the same ids", (pre) => {
  const tokenizer = fromJson(pre);
  for (const { text, ids } of cases) expect(tokenizer.encode(text), text).toEqual(ids[pre]);
});

/** As the published tokenizer.json files of GPT-4o, Mistral Nemo and Granite 3 have them. */
const others: Readonly<Record<string, object>> = {
  "gpt-4o": sequence(
    split(
      `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ),
    byteLevel(false),
  ),
  tekken: sequence(
    split(
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ),
    byteLevel(false),
  ),
  refact: sequence({ type: "Digits", individual_digits: true }, byteLevel(true)),
  exaone4: byteLevel(true),
  dbrx: sequence(split(words("\\p{N}{1,3}")), byteLevel(false)),
};

test.each(Object.keys(others))("a GGUF that names %s gives the ids of the tokenizer.json that spells it out", async (pre) => {
  const [named, written] = [await fromGguf(pre), fromJson(pre)];
  const below = random(17);
  const texts = Array.from({ length: 1000 }, () => randomText(below, 40));
  for (const text of [...cases.map((c) => c.text), "HTTPServer iPhone'S DON'T don't 12345 //\n/ ǅ ʰa कि", ...texts])
    expect(named.encode(text, { bos: false }), JSON.stringify(text)).toEqual(written.encode(text));
});

test("words with capitals are cut before the small letters' last capital stands alone, contractions stay with GPT-4o's words", () => {
  expect(cut("HTTPServer iPhone don't A1234 x//\n/y", preTokenizer("gpt-4o").splits)).toEqual([
    "HTTPServer",
    " i",
    "Phone",
    " don't",
    " A",
    "123",
    "4",
    " x",
    "//\n/",
    "y",
  ]);
  expect(cut("don't A12", preTokenizer("tekken").splits)).toEqual(["don", "'t", " A", "1", "2"]);
});

test("the cases tell the pre-tokenisers apart", () => {
  const distinct = new Set(names.map((name) => JSON.stringify(cases.map(({ ids }) => ids[name]))));
  expect(distinct.size).toBeGreaterThanOrEqual(8);
});

test("encoding is its definition: cut into words, letters for bytes, merges in their order", async () => {
  const tokenizer = await fromGguf("gpt-2");
  const ranks = new Map(merges.map((merge, rank) => [merge, rank]));
  const below = random(5);
  const letters = (word: string) => [...new TextEncoder().encode(word)].map((byte) => byteLetters[byte]!).join("");
  for (let i = 0; i < 1500; i++) {
    const text = wellFormed(randomText(below, 25));
    const symbols = cut(text, preTokenizer("gpt-2").splits).flatMap((word) =>
      joinByDefinition(letters(word), (a, b) => ranks.get(`${a} ${b}`)),
    );
    expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(symbols.map((symbol) => pieces.indexOf(symbol)));
  }
});

test("decoding undoes encoding for any text, special tokens among it", async () => {
  const below = random(6);
  for (const pre of names) {
    const tokenizer = await fromGguf(pre);
    for (let i = 0; i < 300; i++) {
      const text = randomText(below, 30) + (below(3) === 0 ? ends[below(2)]! : "") + randomText(below, 10);
      expect(tokenizer.decode(tokenizer.encode(text, { bos: false }))).toBe(wellFormed(text));
      expect(tokenizer.decode(tokenizer.encode(text, { bos: false, special: false }))).toBe(wellFormed(text));
    }
  }
});

test("a space is put before a text that has none where a tokenizer.json asks for it", () => {
  const parts = { normalizer: null, pre_tokenizer: { type: "ByteLevel", add_prefix_space: true, use_regex: true } };
  const tokenizer = new Tokenizer(json({ type: "BPE", vocab: { Ġ: 0, a: 1, Ġa: 2 }, merges: ["Ġ a"] }, parts));
  expect(tokenizer.encode("a a")).toEqual([2, 2]);
  expect(tokenizer.encode(" a")).toEqual([2]);
});

test("pre-tokenisers lose no character and cut where their models' patterns say", () => {
  const below = random(7);
  for (const pre of names) {
    const { splits } = preTokenizer(pre);
    for (let i = 0; i < 200; i++) {
      const text = wellFormed(randomText(below, 40));
      expect(cut(text, splits).join("")).toBe(text);
      expect(cut(text, splits)).not.toContain("");
    }
  }
  expect(cut("I'LL go,  they've 12345 left\n\n", preTokenizer("llama-bpe").splits)).toEqual([
    "I",
    "'LL",
    " go",
    ",",
    " ",
    " they",
    "'ve",
    " ",
    "123",
    "45",
    " left",
    "\n\n",
  ]);
  expect(cut("I'LL they've 12345", preTokenizer("gpt-2").splits)).toEqual(["I", "'", "LL", " they", "'ve", " 12345"]);
  expect(cut("a 123", preTokenizer("qwen2").splits)).toEqual(["a", " ", "1", "2", "3"]);
  expect(preTokenizer("llama3")).toEqual(preTokenizer("llama-bpe"));
});

test("white space is Unicode's, as in the patterns' own language: U+0085 is, U+FEFF is not", () => {
  expect(cut("a\u0085\ufeffb", [splitter("\\s+")])).toEqual(["a", "\u0085", "\ufeffb"]);
  expect(cut("a\u0085\ufeffb", [splitter("[^\\s]+")])).toEqual(["a", "\u0085", "\ufeffb"]);
  expect(cut("a\u0085b", [splitter("\\S+")])).toEqual(["a", "\u0085", "b"]);
});

test("patterns of the regular expression language that tokenizers use are translated", () => {
  expect(cut("xAbY", [splitter("(?i:ab|[y])")])).toEqual(["x", "Ab", "Y"]);
  expect(cut("Ab", [splitter("(?i:a(?:b))")])).toEqual(["Ab"]);
  expect(cut("a-b#c", [splitter("[\\-\\#]")])).toEqual(["a", "-", "b", "#", "c"]);
  expect(cut("a漢字b", [splitter("\\p{Han}+")])).toEqual(["a", "漢字", "b"]);
  expect(cut("a٣b", [splitter("\\d")])).toEqual(["a", "٣", "b"]);
  expect(cut("a\u4e00b", [splitter("[\\u4e00-\\u9fa5]+")])).toEqual(["a", "\u4e00", "b"]);
});

test("an unknown pre-tokeniser, and a pattern that does not compile or could take for ever, are refused", () => {
  expect(() => preTokenizer("unheard-of")).toThrow(/tokenizer.ggml.pre: .*found "unheard-of"/);
  expect(() => preTokenizer("unheard-of")).toThrow(/ gpt-4o, .* llama-bpe, .* refact, .* tekken, /);
  for (const pattern of ["(", "(a++)++", "((a*)b?)*", "(a*)*", "\\q", "(?>ab)", "a".repeat(5000)])
    expect(() => splitter(pattern), pattern).toThrow(expect.objectContaining({ code: "unsupported" }));
});
