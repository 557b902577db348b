// Text to token ids and back.
import { CpmError } from "../errors.ts";
import { reach } from "./edges.ts";
import { Encoder, REST } from "./encode.ts";
import { Matcher } from "./matcher.ts";
import { badToken, Detokenizer, tableOf } from "./pieces.ts";
import { addedType, byteType, controlType, type Recipe, unknownType } from "./recipe.ts";
import { recipeOf } from "./reduce.ts";
import type { PieceTable, TokenizerData } from "./vocabulary.ts";

export interface EncodeOptions {
  /** Recognise special tokens that the text spells out. Default true; false keeps untrusted text from naming them. */
  readonly special?: boolean | undefined;
  /** Begin with the BOS token. Default: what the model asks for. */
  readonly bos?: boolean | undefined;
  /** End with the EOS token. Default: what the model asks for. */
  readonly eos?: boolean | undefined;
}

export interface DecodeOptions {
  /** Write special tokens by name. Default true; false leaves them out. */
  readonly special?: boolean | undefined;
}

/** Lone surrogates become U+FFFD. Engines since 2023 know at once that most texts have none. */
const wellFormed: (text: string) => string =
  "toWellFormed" in String.prototype
    ? (text) => (text as string & { toWellFormed(): string }).toWellFormed()
    : (text) => text.replace(/\p{Surrogate}/gu, "\ufffd");

/**
 * A model's tokenizer: SentencePiece-type BPE with byte fallback, or byte-level BPE.
 *
 * Added tokens are matched first (leftmost, then longest); every stretch between them gets the dummy space the model
 * was trained with; lone surrogates count as U+FFFD. `decode(encode(text, { bos: false }))` is `text` for well-formed text,
 * unless the tokenizer itself loses something: where U+2581 stands for the space, or a tokenizer.json asks for NFC or adds
 * a space only to text without one.
 * @throws CpmError "bad-model" for a vocabulary that contradicts itself, "unsupported" for other kinds of tokenizer.
 */
export class Tokenizer {
  readonly data: TokenizerData;
  readonly bos: number | undefined;
  /** Tokens that end a generation. */
  readonly stop: readonly number[];
  readonly #recipe: Recipe;
  readonly #ids = new Map<string, number>();
  // Made when first needed: whoever only decodes needs no merge table (60 ms), whoever only encodes no bytes.
  #encoder: Encoder | undefined;
  /** By whether special tokens are looked for: in the text as it is, and in normalised text. */
  readonly #matchers = new Map<boolean, readonly [Matcher, Matcher | undefined]>();
  #table: PieceTable | undefined;

  constructor(data: TokenizerData) {
    this.data = data;
    this.bos = data.bos;
    this.stop = data.stop;
    this.#recipe = recipeOf(data);
    const { pieces } = this.#recipe;
    for (let id = 0; id < pieces.length; id++) if (!this.#ids.has(pieces[id]!)) this.#ids.set(pieces[id]!, id);
  }

  /** Vocabulary size in tokens. */
  get size(): number {
    return this.#recipe.pieces.length;
  }

  /** How the vocabulary spells a token ("\u2581the", "<|im_end|>"). @throws CpmError "bad-input" outside the vocabulary. */
  piece(id: number): string {
    const piece = this.#recipe.pieces[id];
    if (piece === undefined) throw badToken(id, this.size);
    return piece;
  }

  /** The bytes that a token stands for in the middle of a text; a special token's are its name. @throws CpmError "bad-input" */
  bytes(id: number): Uint8Array {
    this.#table ??= tableOf(this.#recipe);
    return new Detokenizer(this.#table, true, false).bytes(id);
  }

  /** The token spelled exactly so in the vocabulary. */
  id(piece: string): number | undefined {
    return piece === "" ? undefined : this.#ids.get(piece);
  }

  /**
   * Token ids of `text`.
   * @throws CpmError "bad-input" when it is no string; "bad-model" when the vocabulary cannot spell it.
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    const steps = this.encodeSteps(text, options);
    for (let step = steps.next(); ; step = steps.next()) if (step.done) return step.value;
  }

  /**
   * As encode(), for long texts: rests after every few thousand characters of work, and gives the ids known so far, which only grow.
   * Several texts may be on their way at a time.
   */
  *encodeSteps(
    text: string,
    { special = true, bos = this.data.addBos, eos = this.data.addEos }: EncodeOptions = {},
  ): Generator<readonly number[], number[]> {
    if (typeof text !== "string") {
      const found = text === null ? "null" : typeof text;
      throw new CpmError("bad-input", `text: expected a string, found ${found}`, { field: "text", expected: "a string", found });
    }
    const out: number[] = [];
    const { before, after, eos: end = this.stop[0] } = this.data;
    if (bos) out.push(...(before ?? (this.bos === undefined ? [] : [this.bos])));
    const whole = wellFormed(text);
    const encoder = (this.#encoder ??= new Encoder(this.#recipe, this.#joinable(), this.#unknown()));
    const [matcher, normalized] = this.#matchersFor(special, encoder);
    for (let at = 0, looked = 0; at < whole.length; ) {
      const until = Math.min(whole.length, looked + REST);
      const found = matcher.find(whole, looked, until);
      const match = found && reach(whole, found, at, this.#recipe.edges);
      if (found && !match) {
        looked = found.end;
        continue;
      }
      looked = match ? match.start : until;
      if (!match && looked < whole.length) {
        yield out;
        continue;
      }
      const steps = encoder.steps(whole.slice(at, looked), at === 0, out, normalized);
      if (looked > at) while (!steps.next().done) yield out;
      if (!match) break;
      out.push(match.id);
      at = looked = match.end;
    }
    if (eos) out.push(...(after ?? (end === undefined ? [] : [end])));
    return out;
  }

  /**
   * Text of `ids`, without the dummy spaces that encoding puts in. Bytes that are not UTF-8 become U+FFFD.
   * @throws CpmError "bad-input" for ids outside the vocabulary.
   */
  decode(ids: Iterable<number>, { special = true }: DecodeOptions = {}): string {
    this.#table ??= tableOf(this.#recipe);
    const tokens = new Detokenizer(this.#table, special, true);
    let bytes = new Uint8Array(256);
    let size = 0;
    for (const id of ids) {
      const piece = tokens.bytes(id);
      if (size + piece.length > bytes.length) {
        const larger = new Uint8Array(2 * (size + piece.length));
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(piece, size);
      size += piece.length;
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, size));
  }

  #unknown(): number | undefined {
    const { types, unknown } = this.#recipe;
    if (unknown !== undefined) return unknown ?? undefined;
    const first = types.indexOf(unknownType);
    return this.data.unk ?? (first < 0 ? undefined : first);
  }

  /** Added tokens are matched in any text, special ones only on request. */
  #matchersFor(special: boolean, encoder: Encoder): readonly [Matcher, Matcher | undefined] {
    const made = this.#matchers.get(special);
    if (made !== undefined) return made;
    const { pieces, types, normalized } = this.#recipe;
    const plain: [string, number][] = [];
    const normal: [string, number][] = [];
    for (let id = 0; id < pieces.length; id++) {
      const type = types[id]!;
      if (type !== addedType && !(special && (type === controlType || type === unknownType))) continue;
      if (normalized?.has(id)) normal.push([encoder.normalize(pieces[id]!), id]);
      else plain.push([pieces[id]!, id]);
    }
    const pair = [new Matcher(plain), normal.length > 0 ? new Matcher(normal) : undefined] as const;
    this.#matchers.set(special, pair);
    return pair;
  }

  /** The pieces that ordinary text may become: never a special, added or byte token by its spelling. */
  #joinable(): Map<string, number> {
    const { pieces, types, joined } = this.#recipe;
    const ids = new Map<string, number>();
    for (let id = 0; id < pieces.length; id++) {
      const type = types[id]!;
      const added = type === addedType && !joined?.has(id);
      const name = type === controlType || type === unknownType || added || type === byteType;
      if (!name && pieces[id] !== "" && !ids.has(pieces[id]!)) ids.set(pieces[id]!, id);
    }
    return ids;
  }
}
