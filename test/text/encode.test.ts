// Encoding of ordinary text: against its plain definition, and back.
import { expect, test } from "vitest";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { reduceJson } from "../../src/text/json.ts";
import { isShort, Merger, ShortMerger } from "../../src/text/merge.ts";
import { NEVER } from "../../src/text/pairs.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import type { JsonVocabulary } from "../../src/text/vocabulary.ts";
import { jsonBytes, writeSentencePiece } from "../support/folder.ts";
import {
  byteTokens,
  encodeByDefinition,
  joinByDefinition,
  json,
  type Piece,
  random,
  randomText,
  spm,
  wellFormed,
} from "./vocabularies.ts";

const letters = ["a", "b", "c", "▁", "é", "😀"];

/** Random pieces over a few letters: many ties, many nested pieces. */
function randomPieces(below: (n: number) => number): Piece[] {
  const text = () => Array.from({ length: 1 + below(4) }, () => letters[below(letters.length)]!).join("");
  const names = new Set(Array.from({ length: 2 + below(25) }, text));
  return [...names].map((name) => [name, below(4) === 0 ? -Infinity : -below(6)]);
}

const shortText = (below: (n: number) => number) =>
  Array.from({ length: 1 + below(14) }, () => ["a", "b", "c", " ", "é", "😀", "x"][below(7)]!).join("");

test("joining by score is its definition: the best pair first, the leftmost of equals, on random vocabularies and texts", () => {
  const below = random(1);
  for (let round = 0; round < 400; round++) {
    const data = spm([...(below(2) ? byteTokens : []), ...randomPieces(below)]);
    const tokenizer = new Tokenizer(data);
    for (let i = 0; i < 10; i++) {
      const text = shortText(below);
      expect(tokenizer.encode(text), JSON.stringify([text, data.vocabulary])).toEqual(encodeByDefinition(text, data));
    }
  }
});

test("joining by merges is its definition: the merge listed first, the leftmost of equals", () => {
  const below = random(2);
  for (let round = 0; round < 400; round++) {
    const vocab = new Set(["▁", "a", "b", "c"]);
    const merges: string[] = [];
    for (let i = 0; i < 20; i++) {
      const [left, right] = [[...vocab][below(vocab.size)]!, [...vocab][below(vocab.size)]!];
      if (!merges.includes(`${left} ${right}`)) merges.push(`${left} ${right}`);
      vocab.add(left + right);
    }
    const ids = Object.fromEntries([...vocab].map((piece, id) => [piece, id]));
    const listed = below(2) ? merges : merges.map((merge) => merge.split(" "));
    const tokenizer = new Tokenizer(json({ type: "BPE", vocab: ids, merges: listed }));
    const rank = (left: string, right: string) => {
      const at = merges.indexOf(`${left} ${right}`);
      return at < 0 ? undefined : at;
    };
    for (let i = 0; i < 10; i++) {
      const text = Array.from({ length: 1 + below(14) }, () => "abc "[below(4)]!).join("");
      const expected = joinByDefinition(`▁${text.replaceAll(" ", "▁")}`, rank).map((piece) => ids[piece]);
      expect(tokenizer.encode(text), JSON.stringify([text, merges])).toEqual(expected);
    }
  }
});

test("both mergers give the symbols that the definition leaves, for any rank, and keep nothing of the text before", () => {
  const below = random(3);
  const texts: string[] = [];
  const numbers = new Map<string, number>();
  const numberOf = (symbol: string) => {
    if (!numbers.has(symbol)) numbers.set(symbol, texts.push(symbol) - 1);
    return numbers.get(symbol)!;
  };
  const rank = (left: string, right: string) => ((left + right).length > 6 ? undefined : left.charCodeAt(0) % 7);
  const pairs = {
    rank: 0,
    join(left: number, right: number) {
      const found = rank(texts[left]!, texts[right]!);
      pairs.rank = found ?? 0;
      return found === undefined ? NEVER : numberOf(texts[left]! + texts[right]!);
    },
  };
  const [long, short] = [new Merger(pairs), new ShortMerger(pairs)];
  for (let round = 0; round < 300; round++) {
    const text = wellFormed(randomText(below, 40));
    const symbols = Int32Array.from([...text], numberOf);
    const right = joinByDefinition(text, rank);
    expect(long.merge(symbols, symbols.length).map((symbol) => texts[symbol])).toEqual(right);
    if (!isShort(symbols.length)) continue;
    const left = short.merge(symbols, symbols.length);
    expect([...symbols.subarray(0, left)].map((symbol) => texts[symbol])).toEqual(right);
  }
  expect(long.merge([], 0)).toEqual([]);
});

test("decoding undoes encoding for any text, when there are byte tokens", () => {
  const below = random(4);
  const pieces: Piece[] = [
    ["▁", -1],
    ["▁a", -2],
    ["ab", -3],
    ["的一", -1],
    ["😀", -1],
    ["\n\n", -1],
    ["12", 0],
  ];
  const tokenizer = new Tokenizer(spm([...byteTokens, ...pieces]));
  for (let i = 0; i < 3000; i++) {
    const text = randomText(below, 30).replaceAll("▁", "");
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(wellFormed(text));
    expect(tokenizer.decode(tokenizer.encode(text, { special: false }))).toBe(wellFormed(text));
  }
});

test("a character without a piece becomes its bytes, a run of such characters one <unk> where there are none", () => {
  const withBytes = new Tokenizer(spm([...byteTokens, ["▁", 0]]));
  expect(withBytes.encode("é").map((id) => withBytes.piece(id))).toEqual(["▁", "<0xC3>", "<0xA9>"]);
  const without = new Tokenizer(
    spm([
      ["▁", 0],
      ["a", 0],
    ]),
  );
  expect(without.encode("éüa😀").map((id) => without.piece(id))).toEqual(["▁", "<unk>", "a", "<unk>"]);
  const nothing = new Tokenizer(spm([["▁", 0]], { unk: undefined }, { types: Int32Array.of(1, 3, 3, 1) }));
  expect(() => nothing.encode("z")).toThrow(/cannot spell "z"/);
});

test("the unknown token is the one a file names, else the first of that type", () => {
  const tokenizer = new Tokenizer(json({ type: "BPE", unk_token: "<u>", vocab: { "▁": 0, "<u>": 1 }, merges: [] }));
  expect(tokenizer.encode("z")).toEqual([0, 1]);
});

test("a piece marked unused is only a step: it is taken apart again", () => {
  const tokenizer = new Tokenizer(
    spm([
      ["▁", -9],
      ["a", -9],
      ["b", -9],
      ["c", -9],
      ["ab", -1, 5],
      ["abc", -2],
      ["▁a", -3],
    ]),
  );
  const pieces = (text: string) => tokenizer.encode(text).map((id) => tokenizer.piece(id));
  expect(pieces("ab")).toEqual(["▁", "a", "b"]);
  expect(pieces("abc")).toEqual(["▁", "abc"]);
  // A long chain of unused pieces is taken apart without recursion.
  const chain: Piece[] = Array.from({ length: 5000 }, (_, i) => ["x".repeat(i + 2), -i, 5]);
  const deep = new Tokenizer(spm([["▁", 0], ["x", 0], ...chain]));
  expect(new Set(deep.encode("x".repeat(5000)).slice(1))).toEqual(new Set([deep.id("x")]));
});

test("SentencePiece's user-defined symbols are matched whole, leftmost then longest, and never joined", () => {
  const data = spm(
    [
      ["▁", 0],
      ["a", 0],
      ["b", 0],
      ["ab", 9],
      ["<h", 0],
      ["<h2>", 0],
      ["▁▁", 5],
    ],
    {},
    { atoms: Int32Array.of(7, 8, 9) },
  );
  const tokenizer = new Tokenizer(data);
  expect(tokenizer.encode("<h2>a<hab").map((id) => tokenizer.piece(id))).toEqual(["▁", "<h2>", "a", "<h", "ab"]);
  expect(tokenizer.encode("  a").map((id) => tokenizer.piece(id))).toEqual(["▁▁", "▁", "a"]);
});

test("special tokens in text are recognised, leftmost then longest; each stretch after them gets its own dummy space", () => {
  const pieces: Piece[] = [
    ["▁", 0],
    ["a", 0],
    ["▁a", 1],
    ["<|x|>", 0, 3],
    ["<|x|>y", 0, 3],
    ["<t>", 0, 4],
  ];
  const tokenizer = new Tokenizer(spm([...byteTokens, ...pieces]));
  const spell = (text: string, special?: boolean) =>
    tokenizer.encode(text, special === undefined ? {} : { special }).map((id) => tokenizer.piece(id));
  expect(spell("a<|x|>a")).toEqual(["▁a", "<|x|>", "▁a"]);
  expect(spell("<|x|>y<|x|><s>")).toEqual(["<|x|>y", "<|x|>", "<s>"]);
  expect(spell("<unk>")).toEqual(["<unk>"]);
  expect(spell("<t>a<0x41>")).toEqual([
    "<t>",
    "▁a",
    ..."<0x41>".split("").map((c) => `<0x${c.charCodeAt(0).toString(16).toUpperCase()}>`),
  ]);
  for (const text of ["a<|x|>a", "<t> a", "<s> a</s>  ", " <|x|>"]) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
});

test("untrusted text names no special token: special: false spells them out, and added ordinary tokens stay", () => {
  const tokenizer = new Tokenizer(spm([...byteTokens, ["▁", 0], ["<t>", 0, 4]]));
  const ids = tokenizer.encode("<s></s><unk><t>", { special: false });
  for (const name of ["<s>", "</s>", "<unk>"]) expect(ids).not.toContain(tokenizer.id(name));
  expect(ids).toContain(tokenizer.id("<t>"));
  expect(tokenizer.decode(ids)).toBe("<s></s><unk><t>");
});

test("ordinary text never becomes a special, added or byte token by its spelling, nor a stop token that a file calls normal", () => {
  const tokenizer = new Tokenizer(spm([...byteTokens, ["▁", 0], ["A", 0], ["<end>", 9]], { stop: [261] }));
  expect(tokenizer.id("<end>")).toBe(261);
  expect(tokenizer.encode("<end>", { special: false })).not.toContain(261);
  expect(tokenizer.encode("<end>")).toEqual([261]);
  expect(tokenizer.encode("<0x41>", { special: false })).not.toContain(tokenizer.id("<0x41>"));
});

test("BOS and EOS come as the model asks or as the caller does", () => {
  const pieces: Piece[] = [
    ["▁", 0],
    ["▁a", 1],
  ];
  const tokenizer = new Tokenizer(spm([...byteTokens, ...pieces], { addBos: true, addEos: true }));
  expect(tokenizer.encode("a")).toEqual([1, tokenizer.id("▁a"), 2]);
  expect(tokenizer.encode("a", { bos: false, eos: false })).toEqual([tokenizer.id("▁a")]);
  expect(tokenizer.encode("")).toEqual([1, 2]);
  const plain = new Tokenizer(spm([...byteTokens, ...pieces], { bos: undefined, stop: [] }));
  expect(plain.encode("a", { bos: true, eos: true })).toEqual([plain.id("▁a")]);
});

test("a Metaspace pre-tokeniser puts its space first, everywhere or nowhere, and not before text that has one", () => {
  const model = { type: "BPE", vocab: { "▁": 0, a: 1, "▁a": 2, "<s>": 3 }, merges: ["▁ a"] };
  const added_tokens = [{ id: 3, content: "<s>", special: true }];
  const spell = (scheme: string, text: string) => {
    const pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split: false };
    const tokenizer = new Tokenizer(json(model, { normalizer: null, pre_tokenizer, added_tokens }));
    const ids = tokenizer.encode(text);
    return `${ids.map((id) => tokenizer.piece(id)).join(" ")} = ${tokenizer.decode(ids)}`;
  };
  expect(spell("always", "a<s>a")).toBe("▁a <s> ▁a = a<s>a");
  expect(spell("first", "a<s>a<s>a")).toBe("▁a <s> a <s> a = a<s>a<s>a");
  expect(spell("never", "a<s>a")).toBe("a <s> a = a<s>a");
  expect(spell("always", " a")).toBe("▁a = a");
});

test("a tokenizer.model has the dummy space unless its folder's configuration says otherwise", async () => {
  const files = { "tokenizer.model": writeSentencePiece(["<unk>", "▁", "a", "▁a"], [0, -3, -2, -1], [2, 1, 1, 1]) };
  const spell = async (config: object) => {
    const all = { ...files, "tokenizer_config.json": jsonBytes(config) };
    const tokenizer = new Tokenizer((await readTokenizer(memoryFiles("tokenizer.model", all))).tokenizer);
    return tokenizer.encode("a a").map((id) => tokenizer.piece(id));
  };
  expect(await spell({})).toEqual(["▁a", "▁a"]);
  expect(await spell({ add_prefix_space: null })).toEqual(["▁a", "▁a"]);
  expect(await spell({ add_prefix_space: false })).toEqual(["a", "▁a"]);
});

test("NFC is applied where a tokenizer.json asks for it", () => {
  const parts = { normalizer: { type: "NFC" }, pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false } };
  const tokenizer = new Tokenizer(json({ type: "BPE", vocab: { Ã: 0, "©": 1, "Ã©": 2 }, merges: ["Ã ©"] }, parts));
  expect(tokenizer.encode("e\u0301")).toEqual([2]);
  expect(tokenizer.decode([2])).toBe("é");
});

test("a tokenizer.json of another kind is refused by naming its first such step", () => {
  const model = { type: "BPE", vocab: { "▁": 0 }, merges: [] };
  const refusal = (parts: object, own: object = model) => {
    const { vocabulary } = json(own, parts);
    return expect(() => reduceJson(vocabulary as JsonVocabulary));
  };
  refusal({}, { type: "Unigram", vocab: [] }).toThrow(/model.type: expected BPE, found "Unigram"/);
  refusal({}, { ...model, dropout: 0.1 }).toThrow(/model.dropout/);
  refusal({}, { ...model, ignore_merges: true }).toThrow(/ignore_merges/);
  refusal({ normalizer: { type: "Lowercase" } }).toThrow(/normalizer: .*Lowercase/);
  refusal({ normalizer: null }).toThrow(/pre_tokenizer: expected ByteLevel/);
  refusal({ pre_tokenizer: { type: "Digits" } }).toThrow(/no splits where spaces/);
  refusal({ pre_tokenizer: { type: "Metaspace", replacement: "▁" } }).toThrow(/Metaspace/);
  refusal({ pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "ByteLevel" }, { type: "Digits" }] } }).toThrow(/Digits/);
});

test("what is no string is refused by a typed error", () => {
  const tokenizer = new Tokenizer(spm([...byteTokens]));
  for (const value of [undefined, null, 5, ["a"]])
    expect(() => tokenizer.encode(value as unknown as string)).toThrow(
      expect.objectContaining({ name: "CpmError", code: "bad-input" }),
    );
});
