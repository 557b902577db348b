// The tokenizer works with numbers and tables; its plain form, kept in definition/, works with texts. Both give the same ids.
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { cut } from "../../src/text/cutter.ts";
import { Encoder } from "../../src/text/encode.ts";
import { PairMap } from "../../src/text/pairmap.ts";
import { Automaton, unitsOf } from "../../src/text/pattern/automaton.ts";
import { LinearPattern } from "../../src/text/pattern/linear.ts";
import { byteLetters } from "../../src/text/pieces.ts";
import { addedType, byteType, controlType, type Recipe, unknownType } from "../../src/text/recipe.ts";
import { recipeOf } from "../../src/text/reduce.ts";
import { preTokenizer, splitter } from "../../src/text/split.ts";
import type { PieceVocabulary, TokenizerData } from "../../src/text/vocabulary.ts";
import { WordCache } from "../../src/text/words.ts";
import { shared } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";
import { Encoder as PlainEncoder } from "./definition/encode.ts";
import { cut as plainCut } from "./definition/split.ts";
import { byteTokens, json, type Piece, random, randomText, spm, wellFormed } from "./vocabularies.ts";

/** The pieces that ordinary text may become. */
function joinable({ pieces, types }: Recipe): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [id, piece] of pieces.entries())
    if (![controlType, unknownType, addedType, byteType].includes(types[id]!) && piece !== "" && !ids.has(piece))
      ids.set(piece, id);
  return ids;
}

/** Encodes by both forms; throws the same, too. */
function both(data: TokenizerData): (text: string) => readonly [unknown, unknown] {
  const recipe = recipeOf(data);
  const { unknown, types } = recipe;
  const unk =
    unknown === undefined
      ? (data.unk ?? (types.includes(unknownType) ? types.indexOf(unknownType) : undefined))
      : (unknown ?? undefined);
  const encoders = [Encoder, PlainEncoder].map((Kind) => new Kind(recipe, joinable(recipe), unk)) as [Encoder, PlainEncoder];
  return (text) =>
    encoders.map((encoder) => {
      const out: number[] = [];
      try {
        encoder.encode(text, true, out);
        return out;
      } catch (error) {
        return (error as Error).message;
      }
    }) as [unknown, unknown];
}

const patterns = [
  "gpt-2",
  "llama-bpe",
  "qwen2",
  "minicpm5",
  "smollm",
  "deepseek-coder",
  "deepseek-llm",
  "deepseek-v3",
  "default",
  "gpt-4o",
  "tekken",
];
const others = [
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
];

test.each(patterns)("%s: the automaton cuts as the engine's own expressions do, on random texts", (pre) => {
  const below = random(201);
  const { splits } = preTokenizer(pre);
  for (let i = 0; i < 1500; i++) {
    const text = wellFormed(randomText(below, 60));
    expect(cut(text, splits), JSON.stringify(text)).toEqual(plainCut(text, splits));
  }
});

/** All of them take minutes: CPM_CODE_POINTS=all. CI looks at all of the BMP and every 61st beyond. */
const all = process.env["CPM_CODE_POINTS"] === "all";

test("every code point, between letters, digits and spaces, is cut as the engine's own expressions do", {
  timeout: 3_600_000,
}, () => {
  const splits = [...patterns.map((pre) => preTokenizer(pre).splits), ...others.map((pattern) => [splitter(pattern)])];
  let text = "";
  for (let code = 0; code <= 0x10ffff; code += all || code < 0x10000 ? 1 : 61) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const c = String.fromCodePoint(code);
    text += all ? `a${c} ${c}1${c}${c}` : `a${c} ${c}`;
    if (text.length < 20_000 && code < 0x10ff00) continue;
    for (const split of splits) {
      const [found, right] = [cut(text, split), plainCut(text, split)];
      if (found.join("\u0000") !== right.join("\u0000")) expect(found).toEqual(right);
    }
    text = "";
  }
});

const foreign = [
  "a+b?|\\s",
  "\\Aa|b",
  "a\\z|ab",
  "a\\Z",
  "^a",
  "a$",
  "^|b$",
  "\\bab\\b",
  "\\Ba",
  "(?=[A-Z])",
  "(?<!\\s)-|a",
  "(?<=\\s)[ab]+",
  "a*b|a",
  "(?:a|aa)+c",
  "a{2,3}?",
  "(?:ab|a)(?:c|bcd)?",
  "[^\\n]*\\n",
  "\\p{L}+(?![\\p{L}1])",
  "(?m:.)b",
];

test.each(foreign)("%s: the automaton finds what the engine step by step finds, in texts and parts of them", (pattern) => {
  const below = random(202);
  for (let i = 0; i < 800; i++) {
    const fast = new Automaton(new LinearPattern(pattern));
    const slow = new LinearPattern(pattern);
    const text = Array.from({ length: below(14) }, () => ["a", "b", "c", "A", " ", "\n", "-", "\u{1f600}", "1"][below(9)]!).join(
      "",
    );
    const first = below(text.length + 1);
    const last = first + below(text.length - first + 1);
    const part = text.slice(first, last);
    for (let from = first; from <= last; from++) {
      // Inside a pair no search begins.
      if (/^[\udc00-\udfff]/.test(text.slice(from)) || /^[\udc00-\udfff]/.test(part) || /[\ud800-\udbff]$/.test(part)) continue;
      const right = slow.find(part, from - first);
      const found = fast.find(unitsOf(text), first, last, from) ? [fast.begin - first, fast.end - first] : undefined;
      expect(found, JSON.stringify([text, first, last, from])).toEqual(right === undefined ? undefined : [...right]);
    }
  }
});

test("an automaton that would be too large goes on step by step, and finds the same", () => {
  const pattern = "(?:[a-h]{0,40}x[a-h]{0,40}y|[a-d]*z[b-h]{0,60}w)";
  const below = random(203);
  const fast = new Automaton(new LinearPattern(pattern));
  const slow = new LinearPattern(pattern);
  for (let i = 0; i < 200; i++) {
    const text = Array.from({ length: 200 }, () => "abcdefghxyzw"[below(12)]!).join("");
    const right = slow.find(text, 0);
    const found = fast.find(unitsOf(text), 0, text.length, 0) ? [fast.begin, fast.end] : undefined;
    expect(found).toEqual(right === undefined ? undefined : [...right]);
  }
});

test("the work of a search grows with the text, whatever begins and comes to nothing", () => {
  for (const [pattern, part] of [
    ["a+b", "a"],
    ["(?<!\\s)\\s+\\z", "a          "],
    [`(?<!\\s)\\s+\\z`, `${" ".repeat(300)}a`],
    ["\\p{N}{1,3}", "abc "],
  ] as const) {
    const looked = [4000, 8000, 16_000].map((n) => {
      const text = part.repeat(Math.ceil(n / part.length));
      const automaton = new Automaton(new LinearPattern(pattern));
      automaton.find(unitsOf(text), 0, text.length, 0);
      return automaton.looked / text.length;
    });
    for (const each of looked) expect(each).toBeLessThan(4);
  }
});

const letters = ["a", "b", "c", " ", "▁", "é", "😀", "\n"];

test("random vocabularies with scores, steps and atoms: the same ids", () => {
  const below = random(204);
  const draw = (most: number) => Array.from({ length: 1 + below(most) }, () => letters[below(letters.length)]!).join("");
  for (let round = 0; round < 500; round++) {
    const names = [...new Set(Array.from({ length: 3 + below(40) }, () => draw(5).replaceAll(" ", "▁")))];
    const pieces: Piece[] = names.map((name) => [name, below(9) === 0 ? -Infinity : -below(7), below(6) === 0 ? 5 : 1]);
    const base = below(2) ? [...byteTokens] : [];
    const atoms = Int32Array.from({ length: below(3) }, () => 3 + base.length + below(pieces.length));
    const encode = both(spm([...base, ...pieces], {}, below(3) === 0 ? { atoms } : {}));
    for (let i = 0; i < 12; i++) {
      const [found, right] = encode(draw(60));
      expect(found).toEqual(right);
    }
  }
});

test("random merges, of letters for bytes and of texts: the same ids", () => {
  const below = random(205);
  for (let round = 0; round < 300; round++) {
    const bytes = round % 2 === 0;
    const base = bytes ? [...byteLetters].slice(0, 140 + below(117)) : ["▁", "a", "b", "é"];
    const vocab = new Set(base);
    const merges: string[] = [];
    for (let i = 0; i < 60; i++) {
      const pick = () => (bytes && below(2) ? "Ġabé"[below(4)]! : [...vocab][below(vocab.size)]!);
      const [left, right] = [pick(), pick()];
      merges.push(below(20) ? `${left} ${right}` : `${left} ${right} x`);
      if (below(8)) vocab.add(left + right);
    }
    const ids = Object.fromEntries([...vocab].map((piece, id) => [piece, id]));
    const model = {
      type: "BPE",
      vocab: ids,
      merges,
      unk_token: below(2) ? "▁" : undefined,
      ignore_merges: bytes && below(2) === 0,
    };
    const parts = bytes ? { normalizer: null, pre_tokenizer: { type: "ByteLevel", add_prefix_space: below(2) === 0 } } : {};
    const encode = both(json(model, parts));
    for (let i = 0; i < 10; i++) {
      const [found, right] = encode(wellFormed(randomText(below, 50)) || "a");
      expect(found).toEqual(right);
    }
  }
});

/** Vocabularies of others, and texts: all the project's documents and sources. */
const files = [
  "minicpm4/minicpm4-vocab.gguf",
  "minicpm4/tokenizer.json",
  "minicpm4/tokenizer.model",
  "deepseek-llm/deepseek-llm-vocab.gguf",
];
const cases = files.flatMap((name) => {
  const path = shared(`data/${name}`);
  const here = path !== undefined && existsSync(path);
  return name.startsWith("deepseek")
    ? [
        { name, path, here, pre: undefined },
        { name, path, here, pre: "llama-bpe" },
      ]
    : [{ name, path, here, pre: undefined }];
});

for (const { name, path, here, pre } of cases)
  whereFile(here, name.startsWith("deepseek") ? "data/deepseek-llm" : "data/minicpm4 and data/minicpm5")(
    `${name}${pre ? ` cut as ${pre}` : ""}: documents, sources and random texts have the same ids`,
    { timeout: 300_000 },
    async () => {
      const bytes = (file: string) => new Uint8Array(readFileSync(shared(`data/${name.replace(/[^/]+$/, "")}`)! + file));
      const entry = name.split("/")[1]!;
      const folder = entry.endsWith(".gguf") ? [entry] : [entry, "tokenizer_config.json"];
      const { tokenizer } = await readTokenizer(
        memoryFiles(entry, Object.fromEntries(folder.map((file) => [file, bytes(file)]))),
      );
      const data = pre ? { ...tokenizer, vocabulary: { ...(tokenizer.vocabulary as PieceVocabulary), pre } } : tokenizer;
      const encode = both(data);
      const root = new URL("../../", import.meta.url);
      for (const file of [
        "README.md",
        "docs/data.md",
        "src/text/encode.ts",
        "package.json",
        "test/text/byte-level.json",
        "test/text/vocabularies.ts",
      ]) {
        const [found, right] = encode(readFileSync(new URL(file, root), "utf8"));
        expect(found, file).toEqual(right);
      }
      const below = random(206);
      for (let i = 0; i < 1500; i++) {
        const text = wellFormed(randomText(below, 80)) || "a";
        const [found, right] = encode(text);
        expect(found, JSON.stringify(text)).toEqual(right);
      }
      expect(path).toBeDefined();
    },
  );

test("words are found as they were put, also when there are more than the table holds", () => {
  const cache = new WordCache();
  const below = random(207);
  const words = Array.from({ length: 200_000 }, (_, i) => unitsOf(`${" ".repeat(below(2))}w${i}${"é😀"[below(3)] ?? ""}`).units);
  const wrong: unknown[] = [];
  let lost = 0;
  for (const [i, word] of words.entries()) {
    const level = i % 4;
    cache.put(word, 0, word.length, [i, 70_000 + i], i % 2, level);
    for (const at of [i, below(i + 1)]) {
      const other = words[at]!;
      const slot = cache.find(other, 0, other.length, at % 4);
      if (slot < 0) {
        lost++;
        if (at === i) wrong.push(["just put", i]);
        continue;
      }
      const out: number[] = [];
      cache.take(slot, other.length, out);
      if (out.join() !== [at, 70_000 + at].slice(at % 2).join()) wrong.push([at, out]);
      if (cache.find(other, 0, other.length, (at + 1) % 4) >= 0) wrong.push(["another level", at]);
    }
  }
  expect(wrong).toEqual([]);
  expect(lost).toBeGreaterThan(0);
  const long = unitsOf("x".repeat(65)).units;
  cache.put(long, 0, 65, [1], 0);
  expect(cache.find(long, 0, 65)).toBe(-1);
});

test("a map of pairs is a map", () => {
  const map = new PairMap();
  const right = new Map<string, [number, number]>();
  const below = random(208);
  for (let i = 0; i < 20_000; i++) {
    const [a, b] = [below(300), below(300)];
    if (below(2)) {
      map.set(a, b, i, 2 * i);
      right.set(`${a},${b}`, [i, 2 * i]);
    }
    const value = map.get(a, b);
    expect(value < 0 ? undefined : [value, map.extra]).toEqual(right.get(`${a},${b}`));
  }
});
