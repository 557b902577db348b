// Vocabularies of our making, for any runtime.
import type { PieceTable, TokenizerData } from "../../src/text/vocabulary.ts";

export interface Vocabulary {
  readonly name: string;
  readonly table: PieceTable;
  readonly stop: readonly number[];
  readonly data?: TokenizerData;
}

/** Pieces as bytes; `special` ones have no text. */
export function tableFrom(pieces: readonly (string | Uint8Array)[], special: readonly number[]): PieceTable {
  const all = pieces.map((p) => (typeof p === "string" ? new TextEncoder().encode(p) : p));
  const offsets = new Uint32Array(all.length + 1);
  for (let i = 0; i < all.length; i++) offsets[i + 1] = offsets[i]! + all[i]!.length;
  const bytes = new Uint8Array(offsets[all.length]!);
  for (let i = 0; i < all.length; i++) bytes.set(all[i]!, offsets[i]);
  const kinds = new Uint8Array(all.length);
  for (const id of special) kinds[id] = 1;
  return { bytes, offsets, special: kinds, stripSpace: false };
}

/** All bytes, then tokens that cross what grammars are made of, some twice, and cut characters. */
export const tiny: Vocabulary = (() => {
  const words = `{" "} ": ," "," ":" ": " ["}] "] [[ ]] {} [] "" \\" \\\\ \\n \\u00 é — 漢字 😀 abc name "name "name" true false null ull tr 12 0. e- -1 <tool> </ te ol> a  b   xyzxyz aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`;
  const pieces: (string | Uint8Array)[] = Array.from({ length: 256 }, (_, b) => Uint8Array.of(b));
  pieces.push(
    ...words.split(" "),
    "  ",
    ", ",
    ": ",
    "\n",
    "\n  ",
    "abc",
    "a",
    "é",
    Uint8Array.of(0xe6, 0xbc),
    Uint8Array.of(0xa2, 0x22),
  );
  pieces.push("<s>", "</s>", "<|end|>", "<|call|>", "");
  const count = pieces.length;
  return { name: "tiny", table: tableFrom(pieces, [count - 5, count - 4, count - 3, count - 2]), stop: [count - 4, count - 3] };
})();

export const callToken = tiny.table.special.length - 2;

export const bit = (mask: Uint32Array, token: number): boolean => ((mask[token >> 5]! >>> (token & 31)) & 1) === 1;
