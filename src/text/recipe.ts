// One description of how a vocabulary cuts and joins text, whichever file it came from.
import type { EdgeTable } from "./edges.ts";
import type { Splitter } from "./split.ts";

/** Token types, as in GGUF. */
export const unknownType = 2;
export const controlType = 3;
export const addedType = 4;
export const unusedType = 5;
export const byteType = 6;

export interface Recipe {
  /** By token id; "" where an id has no piece. */
  readonly pieces: readonly string[];
  readonly types: Int32Array;
  /** How pieces spell text: U+2581 for spaces with `<0xXX>` bytes, or GPT-2's alphabet of 256 letters, one per byte. */
  readonly form: "spaces" | "bytes";
  /** Where the dummy space goes: before every stretch of text between special tokens, only before the text, or nowhere. */
  readonly prefix: "every" | "first" | "never";
  /** No dummy space before text that begins with a space. */
  readonly prefixUnlessSpace: boolean;
  readonly nfc: boolean;
  /** The space before a stretch is put there, and spaces are made U+2581, before tokens of `normalized` are looked for. */
  readonly prepends?: boolean;
  readonly replaces?: boolean;
  /** Added tokens that are looked for in normalised text; the others are in the text as it is. */
  readonly normalized?: ReadonlySet<number>;
  /** Added tokens that are pieces, too: text may be joined to them. */
  readonly joined?: ReadonlySet<number>;
  /** Added tokens that take white space beside them, or stand only between words. */
  readonly edges?: EdgeTable | undefined;
  /** Applied in order, "bytes" only. */
  readonly splits: readonly Splitter[];
  /** A word that is a token is taken whole. */
  readonly wholeWords: boolean;
  /** A run of unknown characters is one token. */
  readonly fuseUnknown: boolean;
  /** What unknown characters become where it is not the vocabulary's own unknown token: nothing, if null. */
  readonly unknown?: number | null;
  readonly atoms: Int32Array | undefined;
  /** Joins by the score of the joined piece, highest first… */
  readonly scores: Float32Array | undefined;
  /** …or by rank of "left" + separator + "right". */
  readonly merges: readonly string[] | undefined;
  readonly separator: string;
}
