// The tokenizer of a Hugging Face folder as a GGUF's list of pieces, as llama.cpp's converter makes it.
import { CpmError } from "../errors.ts";
import type { ModelFiles } from "../file/source.ts";
import { addedType, controlType, unusedType } from "../text/recipe.ts";
import { recipeOf } from "../text/reduce.ts";
import { readSentencePiece } from "../text/sentencepiece.ts";
import { preTokenizerNames } from "../text/split.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { PieceVocabulary, TokenizerData } from "../text/vocabulary.ts";
import { checkText } from "./checktext.ts";

/** Scores of added tokens, and of ids that no token has. */
const [ADDED_SCORE, ABSENT_SCORE] = [-1000, -10000];

/** Added tokens that are control tokens whatever their file says. Source: llama.cpp, does_token_look_special. */
const looksSpecial = (token: string): boolean =>
  ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].includes(token) ||
  /^<\|.*\|>$/su.test(token) ||
  /^<\uff5c.*\uff5c>$/su.test(token) ||
  /^<unused.*>$/su.test(token);

interface Pieces {
  readonly pieces: string[];
  readonly scores: Float32Array;
  readonly types: Int32Array;
}

function empty(size: number): Pieces {
  return {
    pieces: Array.from({ length: size }, (_, i) => `[PAD${i}]`),
    scores: new Float32Array(size).fill(ABSENT_SCORE),
    types: new Int32Array(size).fill(unusedType),
  };
}

/** Whether two tokenizers give the same ids for a text with everything in it; the first id that differs, if any does. */
function differAt(a: Tokenizer, b: Tokenizer): number | undefined {
  const [left, right] = [a, b].map((t) => t.encode(checkText, { bos: false, eos: false, special: false }));
  const at = left!.findIndex((id, i) => id !== right![i]);
  return at < 0 && left!.length === right!.length ? undefined : Math.max(0, at);
}

async function readBytes(files: ModelFiles, name: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
  const source = await files.open(name, signal);
  return source && (await source.read(0, source.size, signal));
}

async function readObject(files: ModelFiles, name: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
  const bytes = await readBytes(files, name, signal);
  if (!bytes) return {};
  // The folder's reader has parsed it before: it is an object.
  return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
}

/** tokenizer.model with what was added to it, in the order in which llama.cpp's converter looks. */
async function fromSentencePiece(files: ModelFiles, file: Uint8Array, size: number, signal?: AbortSignal): Promise<Pieces> {
  const model = readSentencePiece(file, "tokenizer.model");
  const { pieces, scores, types } = empty(size);
  for (let id = 0; id < Math.min(size, model.pieces.length); id++) {
    pieces[id] = model.pieces[id]!;
    scores[id] = model.scores![id]!;
    types[id] = model.types[id]!;
  }
  const put = (id: number, token: string, type: number) => {
    if (!Number.isSafeInteger(id) || id < 0 || id >= size) return;
    pieces[id] = token;
    scores[id] = ADDED_SCORE;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(await readObject(files, "added_tokens.json", signal)))
    if (typeof id === "number") put(id, token, addedType);
  const config = await readObject(files, "tokenizer_config.json", signal);
  const added = Object.entries(
    (config["added_tokens_decoder"] ?? {}) as Record<string, { content?: unknown; special?: unknown }>,
  );
  for (const [id, token] of added) {
    if (typeof token?.content !== "string") continue;
    if (token.special || looksSpecial(token.content)) put(Number(id), token.content, controlType);
    else put(Number(id), token.content.replaceAll("\u2581", " "), addedType);
  }
  return { pieces, scores, types };
}

/** Pieces of a tokenizer.json. SentencePiece-type ones get scores that join in the order of the merges. */
function fromJson(data: TokenizerData, size: number): Pieces & { readonly merges: readonly string[] } {
  const recipe = recipeOf(data);
  const { pieces, scores, types } = empty(size);
  for (let id = 0; id < Math.min(size, recipe.pieces.length); id++) {
    const type = recipe.types[id]!;
    if (recipe.pieces[id] === "" && type === 0) continue;
    const added = type === addedType || type === controlType;
    pieces[id] = recipe.pieces[id]!;
    types[id] = type === addedType && looksSpecial(pieces[id]!) ? controlType : type;
    // Found in no text that spaces are still spaces in, only by joining.
    if (type === addedType && recipe.joined?.has(id) && /^\u2581+$/.test(pieces[id]!)) types[id] = 1;
    scores[id] = added ? ADDED_SCORE : 0;
  }
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const pairs = (recipe.merges ?? []).map((merge) => merge.split(recipe.separator) as [string, string]);
  const ranked = new Set<number>();
  for (const [rank, [left, right]] of pairs.entries()) {
    const id = ids.get(left + right);
    if (id === undefined || ranked.has(id) || types[id] !== 1) continue;
    ranked.add(id);
    scores[id] = -rank;
  }
  // Pieces that nothing joins are letters: they are never compared.
  const letter = (part: string) => part.replaceAll(" ", "\u0120");
  return { pieces, scores, types, merges: pairs.map(([left, right]) => `${letter(left)} ${letter(right)}`) };
}

export interface GgufVocabulary {
  /** As a GGUF with it is read. */
  readonly data: TokenizerData;
  readonly vocabulary: PieceVocabulary;
  readonly notes: readonly string[];
}

/**
 * `size` pieces for a folder whose tokenizer is `data`. A tokenizer.model comes first, as in llama.cpp's converter; where a
 * tokenizer.json is all there is, the result is compared with it over a text of everything that pre-tokenisers tell apart.
 * @throws CpmError "unsupported" where no GGUF vocabulary gives the folder's ids.
 */
export async function ggufVocabulary(
  files: ModelFiles,
  data: TokenizerData,
  size: number,
  signal?: AbortSignal,
): Promise<GgufVocabulary> {
  const as = (vocabulary: PieceVocabulary): TokenizerData => ({ ...data, vocabulary });
  const original = new Tokenizer(data);
  const file = await readBytes(files, "tokenizer.model", signal);
  if (file) {
    const config = await readObject(files, "tokenizer_config.json", signal);
    const vocabulary: PieceVocabulary = {
      kind: "pieces",
      model: "spm",
      pre: "default",
      ...(await fromSentencePiece(files, file, size, signal)),
      addSpacePrefix: config["add_prefix_space"] !== false,
    };
    const at = differAt(new Tokenizer(as(vocabulary)), original);
    const note =
      "tokenizer.model and tokenizer.json cut a text differently; the file has tokenizer.model's pieces, as llama.cpp's converter writes";
    return { data: as(vocabulary), vocabulary, notes: at === undefined ? [] : [note] };
  }
  const recipe = recipeOf(data);
  const { merges, ...pieces } = fromJson(data, size);
  const candidates: PieceVocabulary[] =
    recipe.form === "spaces"
      ? [{ kind: "pieces", model: "spm", pre: "default", ...pieces, addSpacePrefix: recipe.prefix !== "never" }]
      : preTokenizerNames.map((pre) => ({ kind: "pieces", model: "bpe", pre, ...pieces, merges, addSpacePrefix: false }));
  for (const vocabulary of candidates) {
    signal?.throwIfAborted();
    if (differAt(new Tokenizer(as(vocabulary)), original) === undefined)
      return { data: as(vocabulary), vocabulary, notes: missingNotes(original.size, size) };
  }
  throw new CpmError(
    "unsupported",
    `tokenizer.json: none of the pre-tokenisers that a GGUF can name (${preTokenizerNames.join(", ")}) cuts text as this one does; put the model's tokenizer.model beside it`,
    { file: "tokenizer.json", field: "pre_tokenizer" },
  );
}

const missingNotes = (tokens: number, size: number): string[] =>
  tokens > size ? [`${tokens - size} added tokens have no row in the embedding and are left out`] : [];
