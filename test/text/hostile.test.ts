// Vocabularies that are damaged or contradict themselves: typed errors, or a well-defined result.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { pieceTable } from "../../src/text/pieces.ts";
import { readSentencePiece } from "../../src/text/sentencepiece.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import type { PieceVocabulary, TokenizerData } from "../../src/text/vocabulary.ts";
import { jsonBytes, writeSentencePiece } from "../support/folder.ts";
import { ByteWriter, f32, i32, list, text, type Value, writeGguf } from "../support/gguf.ts";
import { shared } from "../support/golden.ts";
import { byteTokens, encodeByDefinition, json, type Piece, random, spm } from "./vocabularies.ts";

const error = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "CpmError", code, message: expect.stringMatching(message) as string });
/** The error of `action`; nothing when there is none; anything untyped fails the test. */
function failure(action: () => unknown): CpmError | undefined {
  try {
    action();
    return undefined;
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(CpmError);
    return thrown as CpmError;
  }
}

const pieces = ["<unk>", "<s>", "</s>", ...byteTokens.map(([piece]) => piece), "▁", "▁a", "b", "é", "😀"];
const types = pieces.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1));
const model = writeSentencePiece(
  pieces,
  pieces.map((_, i) => -i),
  types,
);

test("a SentencePiece model is read piece by piece", () => {
  const vocabulary = readSentencePiece(model, "m");
  expect(vocabulary.pieces).toEqual(pieces);
  expect([...vocabulary.types]).toEqual(types);
  expect([...vocabulary.scores!]).toEqual(pieces.map((_, i) => -i));
  const own = readSentencePiece(writeSentencePiece(["a", "bc"], [0, 0], [1, 4]), "m");
  expect([[...own.types], [...own.atoms!]]).toEqual([[1, 1], [1]]);
});

test("a truncated SentencePiece model is refused with its place, or for not saying that it is BPE", () => {
  for (let length = 0; length < model.length; length++) {
    const found = failure(() => readSentencePiece(model.subarray(0, length), "tokenizer.model"));
    expect(found, String(length)).toBeDefined();
    expect(found!.detail.file).toBe("tokenizer.model");
    if (found!.code === "bad-model") expect(found!.detail.offset).toBeLessThanOrEqual(length);
  }
});

test("a SentencePiece model with flipped bytes gives typed errors or a vocabulary that works", () => {
  const below = random(31);
  let read = 0;
  for (let i = 0; i < 1500; i++) {
    const damaged = model.slice();
    for (let n = 0; n <= below(3); n++) damaged[below(damaged.length)] = below(256);
    failure(() => {
      const vocabulary = readSentencePiece(damaged, "m");
      read++;
      const tokenizer = new Tokenizer({ ...spm([]), vocabulary, bos: undefined, stop: [], unk: undefined });
      tokenizer.decode(tokenizer.encode("a bé😀"));
    });
  }
  expect(read).toBeGreaterThan(100);
});

test("what a SentencePiece model must not say is named", () => {
  const message = (tag: number, body: number[]) => Uint8Array.of(tag * 8 + 2, body.length, ...body);
  const piece = (body: number[]) => message(1, body);
  const bpe = message(2, [3 * 8, 2]);
  const plain = message(3, [4 * 8, 0]);
  const read =
    (...parts: Uint8Array[]) =>
    () =>
      readSentencePiece(parts.reduce((w, part) => w.raw(part), new ByteWriter()).bytes(), "m");
  const a = piece([10, 1, 97]);
  expect(read(a, bpe, plain)().pieces).toEqual(["a"]);
  expect(read(bpe, plain)).toThrow(error("bad-model", /pieces: .*at least one/));
  expect(read(a, plain)).toThrow(error("unsupported", /model_type: expected bpe, found unigram/));
  expect(read(a, message(2, [24, 2, 0xc0, 1, 1]), plain)).toThrow(error("unsupported", /treat_whitespace_as_suffix/));
  expect(read(a, bpe)).toThrow(error("unsupported", /remove_extra_whitespaces/));
  expect(read(a, bpe, message(3, [18, 1, 0, 32, 0]))).toThrow(error("unsupported", /precompiled_charsmap/));
  expect(read(a, bpe, message(3, [32, 0, 40, 0]))).toThrow(error("unsupported", /escape_whitespaces/));
  expect(read(piece([10, 1, 255]), bpe, plain)).toThrow(error("bad-model", /at byte .*UTF-8/));
  expect(read(piece([10, 1, 97, 21, 0, 0, 192, 127]), bpe, plain)).toThrow(error("bad-model", /score: .*NaN/));
  expect(read(piece([10, 1, 97, 24, 9]), bpe, plain)).toThrow(error("bad-model", /piece type: .*expected 1 to 6, found 9/));
  expect(read(piece([8, 1]), bpe, plain)).toThrow(error("bad-model", /wire type 2/));
  expect(read(Uint8Array.of(10, ...Array.from({ length: 12 }, () => 255)))).toThrow(error("bad-model", /varint/));
  expect(read(Uint8Array.of(10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1))).toThrow(error("bad-model", /bytes at most/));
  expect(read(Uint8Array.of(2, 0))).toThrow(error("bad-model", /field number/));
  expect(read(Uint8Array.of(11))).toThrow(error("bad-model", /wire type 0, 1, 2 or 5/));
});

test("the published tokenizer.model is refused when truncated or flipped, or still works", async () => {
  const path = shared("data/minicpm4/tokenizer.model");
  if (path === undefined) return;
  const bytes = new Uint8Array(readFileSync(path));
  const below = random(32);
  for (let i = 0; i < 40; i++)
    expect(failure(() => readSentencePiece(bytes.subarray(0, below(bytes.length)), "m"))).toBeDefined();
  for (let i = 0; i < 20; i++) {
    const damaged = bytes.slice();
    damaged[below(damaged.length)] = below(256);
    failure(() => readSentencePiece(damaged, "m"));
  }
});

function gguf(metadata: Readonly<Record<string, Value>>): Promise<TokenizerData> {
  const standard: Record<string, Value> = {
    model: text("llama"),
    tokens: list(8, pieces.map(text)),
    scores: list(
      6,
      pieces.map((_, i) => f32(-i)),
    ),
    token_type: list(5, types.map(i32)),
  };
  const all = Object.entries({ ...standard, ...metadata }).map(([key, value]) => [`tokenizer.ggml.${key}`, value] as const);
  const bytes = writeGguf({ metadata: [["general.architecture", text("llama")], ...all], tensors: [] });
  return readTokenizer(memoryFiles("v.gguf", { "v.gguf": bytes })).then(({ tokenizer }) => tokenizer);
}

test("a GGUF vocabulary that contradicts itself is refused with the field", async () => {
  await expect(gguf({}).then((data) => new Tokenizer(data).encode("ab"))).resolves.toHaveLength(3);
  await expect(gguf({ scores: list(6, [f32(0)]) })).rejects.toThrow(error("bad-model", /scores/));
  await expect(
    gguf({
      scores: list(
        6,
        pieces.map(() => f32(Number.NaN)),
      ),
    }),
  ).rejects.toThrow(error("bad-model", /scores/));
  await expect(gguf({ token_type: list(5, [i32(1)]) })).rejects.toThrow(error("bad-model", /token_type/));
  await expect(gguf({ tokens: text("a") })).rejects.toThrow(error("bad-model", /tokens/));
  await expect(gguf({ bos_token_id: i32(-1) })).rejects.toThrow(error("bad-model", /bos_token_id/));
  await expect(gguf({ eos_token_id: i32(99999) })).rejects.toThrow(error("bad-model", /eos_token_id/));
  await expect(gguf({ model: text("bert") })).rejects.toThrow(error("unsupported", /"bert" is not supported/));
  await expect(gguf({ model: text("gpt2") })).rejects.toThrow(error("bad-model", /merges/));
});

test("parts of a vocabulary that disagree, and special tokens outside it, are refused", () => {
  const data = spm([["a", 0]]);
  const broken =
    (vocabulary: Partial<PieceVocabulary>, own: Partial<TokenizerData> = {}) =>
    () =>
      new Tokenizer({ ...data, vocabulary: { ...(data.vocabulary as PieceVocabulary), ...vocabulary }, ...own });
  expect(broken({ types: Int32Array.of(1) })).toThrow(error("bad-model", /1 types/));
  expect(broken({ scores: Float32Array.of(1) })).toThrow(error("bad-model", /1 scores/));
  expect(broken({ model: "bpe" })).toThrow(error("bad-model", /merges: missing/));
  expect(broken({}, { bos: 4 })).toThrow(error("bad-model", /below 4, found 4/));
  expect(broken({}, { stop: [1.5] })).toThrow(error("bad-model", /found 1.5/));
  expect(broken({}, { unk: -1 })).toThrow(error("bad-model", /found -1/));
});

test("of duplicate pieces the first is used, and infinite scores have their order", () => {
  const same: Piece[] = [
    ["▁", 0],
    ["a", 0],
    ["a", 5],
    ["b", 0],
    ["ab", Infinity],
    ["ab", 9],
    ["▁a", -Infinity],
  ];
  const data = spm([...byteTokens, ...same]);
  const tokenizer = new Tokenizer(data);
  for (const sample of ["a", "ab", "aab", "a a b ab"]) expect(tokenizer.encode(sample)).toEqual(encodeByDefinition(sample, data));
  expect(tokenizer.encode("ab").at(-1)).toBe(tokenizer.id("ab"));
  expect(tokenizer.decode([tokenizer.id("▁")! + 2])).toBe("a");
});

test("merges that name or make no piece are passed over, and so are merges that are no pair", () => {
  const vocab = { "▁": 0, a: 1, b: 2, "▁a": 3, ab: 4 };
  const ids = (merges: unknown[]) => new Tokenizer(json({ type: "BPE", vocab, merges })).encode("ab");
  expect(ids(["b x", "▁ ab", "b", "", "a b c", "a b"])).toEqual([0, 4]);
  expect(ids(["▁a b", "▁ a", "a b"])).toEqual([3, 2]);
  expect(() => ids([["a", "b"], ["a"]])).toThrow(error("bad-model", /model.merges/));
  expect(() => ids([["a", "b"], 5])).toThrow(error("bad-model", /model.merges/));
});

test("a tokenizer.json with ids out of range, or of another shape, is refused", () => {
  const make =
    (model: object, parts: object = {}) =>
    () =>
      new Tokenizer(json(model, parts));
  for (const id of [-1, 1.5, 1e9, "1", null])
    expect(make({ type: "BPE", vocab: { a: id }, merges: [] }), String(id)).toThrow(error("bad-model", /vocabulary/));
  expect(make({ type: "BPE", vocab: [], merges: [] })).toThrow(error("bad-model", /model.vocab/));
  expect(make({ type: "BPE", vocab: {} })).toThrow(error("bad-model", /model.merges/));
  expect(make({ type: "BPE", vocab: {}, merges: [] }, { added_tokens: [null] })).toThrow(error("bad-model", /vocabulary/));
  expect(make({ type: "BPE", vocab: {}, merges: [] }, { added_tokens: [{ id: 0, content: 5 }] })).toThrow(
    error("bad-model", /vocabulary/),
  );
  expect(make({ type: "BPE", vocab: {}, merges: [] }, { pre_tokenizer: { type: "Sequence", pretokenizers: 5 } })).toThrow(
    error("unsupported", /pre_tokenizer/),
  );
  // Names that objects have anyway are pieces like any other.
  const odd = new Tokenizer(
    json({
      type: "BPE",
      byte_fallback: true,
      vocab: JSON.parse('{"▁": 0, "__proto__": 1, "constructor": 2, "7": 3}') as object,
      merges: [],
    }),
  );
  expect([1, 2, 3].map((id) => odd.piece(id))).toEqual(["__proto__", "constructor", "7"]);
  expect(odd.id("toString")).toBeUndefined();
});

test("files that are no tokenizer are refused", async () => {
  const read = (name: string, bytes: Uint8Array) =>
    readTokenizer(memoryFiles(name, { [name]: bytes })).then(({ tokenizer }) => new Tokenizer(tokenizer));
  for (const value of [[], {}, { model: null }, { model: 5 }, "x"])
    await expect(read("tokenizer.json", jsonBytes(value))).rejects.toThrow(expect.objectContaining({ name: "CpmError" }));
  await expect(read("tokenizer.json", new TextEncoder().encode('{"model": {'))).rejects.toThrow(
    error("bad-model", /tokenizer.json/),
  );
  await expect(read("tokenizer.model", new Uint8Array(0))).rejects.toThrow(error("bad-model", /tokenizer.model/));
});

test("ids outside the vocabulary are refused by decode and piece, gaps in it have no text", () => {
  const tokenizer = new Tokenizer(json({ type: "BPE", vocab: { a: 0, b: 9 }, merges: [] }));
  for (const id of [-1, 10, 1.5, Number.NaN, "0" as unknown as number]) {
    expect(() => tokenizer.decode([id])).toThrow(error("bad-input", /expected an integer below 10/));
    if (typeof id === "number") expect(() => tokenizer.piece(id)).toThrow(error("bad-input", /expected an integer below 10/));
  }
  expect([tokenizer.decode([0, 5, 9]), tokenizer.piece(5), tokenizer.id("")]).toEqual(["ab", "", undefined]);
});

test("the bytes of pieces are their UTF-8, letters of bytes their bytes, and lone surrogates U+FFFD", () => {
  const bytesOf = (data: TokenizerData, id: number) => {
    const { bytes, offsets } = pieceTable(data);
    return [...bytes.subarray(offsets[id], offsets[id + 1])];
  };
  const utf8 = (value: string) => [...new TextEncoder().encode(value)];
  const data = spm([
    ["▁é▁😀", 0],
    ["\ud800x", 0],
    ["<0xfF>", 0, 6],
    ["<0x4>", 0, 6],
    ["a▁", 0, 4],
  ]);
  expect([3, 4, 5, 6, 7].map((id) => bytesOf(data, id))).toEqual([
    utf8(" é 😀"),
    utf8("\ufffdx"),
    [255],
    utf8("<0x4>"),
    utf8("a▁"),
  ]);
  const byteLevel = json(
    { type: "BPE", vocab: { "ĠÃ©": 0, é漢: 1 }, merges: [] },
    { normalizer: null, pre_tokenizer: { type: "ByteLevel" }, added_tokens: [{ id: 2, content: "Ġé" }] },
  );
  expect([0, 1, 2].map((id) => bytesOf(byteLevel, id))).toEqual([utf8(" é"), [0xe9, ...utf8("漢")], utf8("Ġé")]);
});
