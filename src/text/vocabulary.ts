// What a tokenizer is made from, as plain data that can cross a worker boundary.
import type { EdgeTable } from "./edges.ts";

/** A GGUF-style vocabulary: tokenizer.ggml.* keys, or a SentencePiece file read into the same shape. */
export interface PieceVocabulary {
  readonly kind: "pieces";
  /** "spm": SentencePiece-type BPE with byte fallback; "bpe": byte-level BPE (GGUF "gpt2"). */
  readonly model: "spm" | "bpe";
  readonly pieces: readonly string[];
  /** spm only: score per piece. */
  readonly scores?: Float32Array;
  /** Per piece: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  readonly types: Int32Array;
  /** spm only: pieces (of type 1) that are matched before merging and never merged: SentencePiece's user-defined symbols. */
  readonly atoms?: Int32Array;
  /** bpe only: "left right" in rank order. */
  readonly merges?: readonly string[];
  /** bpe only: tokenizer.ggml.pre. */
  readonly pre?: string;
  readonly addSpacePrefix: boolean;
  /** Added tokens by id that take white space beside them, or stand only between words. */
  readonly edges?: EdgeTable | undefined;
}

/** A Hugging Face tokenizer.json with its tokenizer_config.json. */
export interface JsonVocabulary {
  readonly kind: "json";
  readonly tokenizer: Record<string, unknown>;
  readonly config: Record<string, unknown>;
}

export interface TokenizerData {
  readonly vocabulary: PieceVocabulary | JsonVocabulary;
  readonly bos: number | undefined;
  /** Tokens that end a generation. */
  readonly stop: readonly number[];
  readonly unk: number | undefined;
  /** What ends a text, and a template's eos_token. Absent: the first stop token. */
  readonly eos?: number | undefined;
  /** Tokens put before and behind a text where BOS and EOS are added, when they are others than `bos` and `eos` alone. */
  readonly before?: readonly number[] | undefined;
  readonly after?: readonly number[] | undefined;
  readonly addBos: boolean;
  readonly addEos: boolean;
  /** The model's own Jinja template, when it has one. */
  readonly chatTemplate: string | undefined;
  /** Further templates by name: "tool_use" is taken where tools are given. */
  readonly chatTemplates?: Readonly<Record<string, string>> | undefined;
  /** Special tokens that templates may name: "pad_token", "additional_special_tokens", … */
  readonly templateTokens?: Readonly<Record<string, string | readonly string[]>> | undefined;
}

/** The bytes of every token, flat: token i is bytes[offsets[i], offsets[i + 1]). Enough to decode. */
export interface PieceTable {
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;
  /** Bit 0: the token is special (control), left out of text unless asked for. Bit 1: a dummy space follows it, too. */
  readonly special: Uint8Array;
  /** The tokenizer puts a dummy space before text; decoding drops it again. */
  readonly stripSpace: boolean;
}
