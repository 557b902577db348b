// Small vocabularies, random texts, and SentencePiece-type and byte-pair encoding by their plain definitions.
import type { PieceVocabulary, TokenizerData } from "../../src/text/vocabulary.ts";

/** xorshift32: the same numbers on every run. */
export function random(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor(((state >>> 0) / 4294967296) * below);
  };
}

const alphabets = [
  "abcdefgh  ,.!?'\n\r\t0123456789",
  "don't WE'LL 12345 \n\n",
  "的一是在不了 和人这ab1",
  "éüñø e\u0301\u0308\u00a0\u2003\u0085\ufeff\u200b",
  "😀🚀👨\u200d👩\u200d👧🏳\ufe0f a",
  "\u0000\u0001\u007f\u0080\uffff x",
];

/** Up to `most` characters of one alphabet, or of anything, lone surrogates too. */
export function randomText(below: (n: number) => number, most: number): string {
  const alphabet = [...(alphabets[below(alphabets.length + 1)] ?? "")];
  const unit = () => (alphabet.length > 0 ? alphabet[below(alphabet.length)]! : String.fromCharCode(below(0x10000)));
  return Array.from({ length: below(most + 1) }, unit).join("");
}

export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\ufffd");

export type Piece = readonly [piece: string, score: number, type?: number];

export const byteTokens: readonly Piece[] = Array.from({ length: 256 }, (_, b) => [
  `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`,
  0,
  6,
]);

/** <unk> is 0, <s> 1, </s> 2; then `pieces`. */
export function spm(
  pieces: readonly Piece[],
  overrides: Partial<TokenizerData> = {},
  vocabulary: Partial<PieceVocabulary> = {},
): TokenizerData {
  const all: readonly Piece[] = [["<unk>", 0, 2], ["<s>", 0, 3], ["</s>", 0, 3], ...pieces];
  return {
    vocabulary: {
      kind: "pieces",
      model: "spm",
      pieces: all.map(([piece]) => piece),
      scores: Float32Array.from(all, ([, score]) => score),
      types: Int32Array.from(all, ([, , type]) => type ?? 1),
      addSpacePrefix: true,
      ...vocabulary,
    },
    bos: 1,
    stop: [2],
    unk: 0,
    addBos: false,
    addEos: false,
    chatTemplate: undefined,
    ...overrides,
  };
}

/** As a tokenizer.json holds it: byte-fallback BPE in MiniCPM4's form, or any other by `parts`. */
export function json(model: object, parts: object = {}, overrides: Partial<TokenizerData> = {}): TokenizerData {
  const normalizers = [
    { type: "Prepend", prepend: "▁" },
    { type: "Replace", pattern: { String: " " }, content: "▁" },
  ];
  const tokenizer = { added_tokens: [], normalizer: { type: "Sequence", normalizers }, pre_tokenizer: null, model, ...parts };
  return {
    ...spm([]),
    vocabulary: { kind: "json", tokenizer, config: {} },
    bos: undefined,
    stop: [],
    unk: undefined,
    ...overrides,
  };
}

/** Symbols after joining, as often as possible, the two neighbours that come first by `before` (smaller), leftmost of equals. */
export function joinByDefinition(text: string, before: (left: string, right: string) => number | undefined): string[] {
  const symbols = [...text];
  for (;;) {
    let best = -1;
    let least: number | undefined;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = before(symbols[i]!, symbols[i + 1]!);
      if (rank !== undefined && (least === undefined || rank < least)) [best, least] = [i, rank];
    }
    if (best < 0) return symbols;
    symbols.splice(best, 2, symbols[best]! + symbols[best + 1]!);
  }
}

/** Ids of one stretch of text without special tokens: dummy space, joining by score, bytes or <unk> for the rest. */
export function encodeByDefinition(text: string, { vocabulary, unk }: TokenizerData): number[] {
  if (text === "" || vocabulary.kind !== "pieces") return [];
  const { pieces, types, scores } = vocabulary;
  const ids = new Map<string, number>();
  for (const [id, piece] of pieces.entries()) if (types[id] === 1 && !ids.has(piece)) ids.set(piece, id);
  const byte = (value: number) => pieces.indexOf(byteTokens[value]![0]);
  const score = (left: string, right: string) => {
    const id = ids.get(left + right);
    return id === undefined ? undefined : -scores![id]!;
  };
  const out: number[] = [];
  for (const symbol of joinByDefinition(` ${text}`.replaceAll(" ", "▁"), score)) {
    const id = ids.get(symbol);
    const bytes = [...new TextEncoder().encode(symbol)].map(byte);
    if (id !== undefined) out.push(id);
    else if (bytes.every((at) => at >= 0)) out.push(...bytes);
    else if (out.at(-1) !== unk) out.push(unk!);
  }
  return out;
}
