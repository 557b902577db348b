// The plain form of src/text/encode.ts: words and pieces are texts, looked up as such.
import { modelError } from "../../../src/errors.ts";
import { Matcher } from "../../../src/text/matcher.ts";
import { nfc } from "../../../src/text/nfc.ts";
import { byteLetters } from "../../../src/text/pieces.ts";
import { byteType, type Recipe, unusedType } from "../../../src/text/recipe.ts";
import { Merger, type Rank } from "./merge.ts";
import { cut } from "./split.ts";

/** Characters after which steps() rests. */
export const REST = 4096;
const maxCachedWord = 64;
const maxCachedWords = 1 << 16;

/** A merger, and where unused pieces of its text were joined from, to take them apart again. */
interface Merging {
  readonly merger: Merger;
  readonly unused: Map<string, number>;
}

/** One stretch on its way: its ids are `out` from `from` on; a rest is due after so many characters. */
interface Run {
  readonly out: number[];
  readonly from: number;
  due: number;
}

/**
 * BPE over a recipe, exact for scores as for merges: about 0.1 s for 1 MB of English, and 1.6 s for 1 MB of text that cannot
 * be cut into words.
 */
export class Encoder {
  readonly #recipe: Recipe;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #unk: number | undefined;
  readonly #rank: (unused: Map<string, number>) => Rank;
  readonly #merging: Merging;
  readonly #atoms: Matcher;
  readonly #byteIds = new Int32Array(256).fill(-1);
  /** Units after which a word may go on with U+2581: those that stand before one inside some piece. */
  readonly #joins = new Set<number>();
  readonly #cache = new Map<string, readonly number[]>();
  readonly #utf8 = new TextEncoder();

  /** `ids`: id of every piece that merging may end in. */
  constructor(recipe: Recipe, ids: ReadonlyMap<string, number>, unk: number | undefined) {
    this.#recipe = recipe;
    this.#ids = ids;
    this.#unk = unk;
    this.#rank = recipe.merges ? this.#byMerges(recipe.merges) : this.#byScores();
    this.#merging = this.#newMerging();
    this.#atoms = new Matcher([...(recipe.atoms ?? [])].map((id) => [recipe.pieces[id] ?? "", id] as const));
    for (let id = 0; id < recipe.pieces.length; id++) {
      const piece = recipe.pieces[id]!;
      if (recipe.form === "spaces")
        for (let i = piece.indexOf("\u2581", 1); i > 0; i = piece.indexOf("\u2581", i + 1))
          this.#joins.add(piece.charCodeAt(i - 1));
      if (recipe.types[id] === byteType && /^<0x[0-9A-Fa-f]{2}>$/.test(piece))
        this.#byteIds[Number.parseInt(piece.slice(3, 5), 16)] = id;
    }
  }

  /** `text` as it is before words are cut. */
  normalize(text: string): string {
    const { prepends, replaces } = this.#recipe;
    const composed = this.#recipe.nfc ? nfc(text) : text;
    const begun = prepends ? `\u2581${composed}` : composed;
    return replaces ? begun.replaceAll(" ", "\u2581") : begun;
  }

  /** Appends the ids of `text` (well-formed UTF-16, not empty) to `out`. `first`: the text starts here. */
  encode(text: string, first: boolean, out: number[]): void {
    const steps = this.steps(text, first, out);
    while (!steps.next().done);
  }

  /** As encode(), with a rest after every few thousand characters of work; other texts may be encoded meanwhile. */
  *steps(text: string, first: boolean, out: number[], normalized?: Matcher): Generator<void, void> {
    const whole = this.normalize(text);
    for (let at = 0, looked = 0; at < whole.length; ) {
      const until = normalized ? Math.min(whole.length, looked + REST) : whole.length;
      const match = normalized?.find(whole, looked, until);
      looked = match ? match.start : until;
      if (!match && looked < whole.length) {
        yield;
        continue;
      }
      if (looked > at) yield* this.#stretch(whole.slice(at, looked), first && at === 0, out);
      if (!match) return;
      out.push(match.id);
      at = looked = match.end;
    }
  }

  *#stretch(text: string, first: boolean, out: number[]): Generator<void, void> {
    const { prefix, prefixUnlessSpace, prepends, form } = this.#recipe;
    const space = !prepends && (prefix === "every" || (prefix === "first" && first));
    const begun = prefixUnlessSpace && (text.startsWith(" ") || (form === "spaces" && text.startsWith("\u2581")));
    if (space && !begun) text = ` ${text}`;
    const run = { out, from: out.length, due: REST };
    if (form === "bytes") for (const word of cut(text, this.#recipe.splits)) yield* this.#word(word, run);
    else yield* this.#spaces(text.replaceAll(" ", "\u2581"), run);
  }

  *#spaces(text: string, run: Run): Generator<void, void> {
    for (let begin = 0, at = 0; begin < text.length; ) {
      const until = Math.min(text.length, at + REST);
      const atom = this.#atoms.find(text, at, until);
      at = atom ? atom.start : until;
      if (!atom && at < text.length) {
        yield;
        continue;
      }
      yield* this.#run(text.slice(begin, at), run);
      if (!atom) return;
      run.out.push(atom.id);
      begin = at = atom.end;
    }
  }

  /** Cuts before each U+2581 that no piece can join to what stands before it, so that words can be cached. */
  *#run(text: string, run: Run): Generator<void, void> {
    let begin = 0;
    for (let i = text.indexOf("\u2581", 1); i > 0; i = text.indexOf("\u2581", i + 1)) {
      if (this.#joins.has(text.charCodeAt(i - 1))) continue;
      yield* this.#word(text.slice(begin, i), run);
      begin = i;
    }
    if (begin < text.length) yield* this.#word(text.slice(begin), run);
  }

  *#word(word: string, run: Run): Generator<void, void> {
    const { out, from } = run;
    let ids = this.#cache.get(word);
    if (ids === undefined) {
      const letters = this.#recipe.form === "bytes" ? this.#letters(word) : word;
      ids = letters.length > REST ? yield* this.#mergeLong(letters) : this.#merge(letters);
      if (word.length <= maxCachedWord) {
        if (this.#cache.size >= maxCachedWords) this.#cache.clear();
        this.#cache.set(word, ids);
      }
    }
    // A run of unknown characters is one token, across words as within them.
    const fuse = this.#recipe.fuseUnknown;
    for (const id of ids) if (!fuse || id !== this.#unk || out.length === from || out.at(-1) !== id) out.push(id);
    run.due -= word.length + 1;
    if (run.due > 0) return;
    run.due = REST;
    yield;
  }

  #letters(word: string): string {
    let letters = "";
    for (const byte of this.#utf8.encode(word)) letters += byteLetters[byte];
    return letters;
  }

  #merge(word: string): number[] {
    const whole = this.#recipe.wholeWords ? this.#ids.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const { merger, unused } = this.#merging;
    const ids: number[] = [];
    this.#symbols(word, merger.merge(word), unused, ids);
    unused.clear();
    return ids;
  }

  /** As #merge, resting on the way, with a merger of its own. */
  *#mergeLong(word: string): Generator<void, number[]> {
    const whole = this.#recipe.wholeWords ? this.#ids.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const { merger, unused } = this.#newMerging();
    for (merger.begin(word); !merger.advance(REST); ) yield;
    const ids: number[] = [];
    this.#symbols(word, merger.finish(), unused, ids);
    return ids;
  }

  #newMerging(): Merging {
    const unused = new Map<string, number>();
    return { merger: new Merger(this.#rank(unused)), unused };
  }

  #symbols(word: string, ends: readonly number[], unused: ReadonlyMap<string, number>, ids: number[]): void {
    let begin = 0;
    for (const end of ends) {
      this.#symbol(word.slice(begin, end), unused, ids);
      begin = end;
    }
  }

  #symbol(whole: string, unused: ReadonlyMap<string, number>, ids: number[]): void {
    const pending = [whole];
    for (let symbol = pending.pop(); symbol !== undefined; symbol = pending.pop()) {
      const id = this.#ids.get(symbol);
      const middle = id !== undefined && this.#recipe.types[id] === unusedType ? unused.get(symbol) : undefined;
      if (middle !== undefined) pending.push(symbol.slice(middle), symbol.slice(0, middle));
      else if (id !== undefined) ids.push(id);
      else this.#unknown(symbol, ids);
    }
  }

  /** A character without a piece: its UTF-8 bytes, or the unknown token. */
  #unknown(symbol: string, ids: number[]): void {
    const bytes = this.#recipe.form === "spaces" ? this.#utf8.encode(symbol) : [];
    if (bytes.length > 0 && bytes.every((byte) => this.#byteIds[byte]! >= 0)) {
      for (const byte of bytes) ids.push(this.#byteIds[byte]!);
    } else if (this.#unk === undefined) {
      // A tokenizer.json without an unknown token leaves such characters out.
      if (this.#recipe.unknown === null) return;
      throw modelError(
        { field: "vocabulary", expected: "a piece, byte tokens or an unknown token", found: "none" },
        `cannot spell ${JSON.stringify(symbol)}`,
      );
    } else ids.push(this.#unk);
  }

  /** SentencePiece: two symbols join if their concatenation is a piece, the highest score first. */
  #byScores(): (unused: Map<string, number>) => Rank {
    const { scores, types } = this.#recipe;
    let longest = 0;
    for (const piece of this.#ids.keys()) longest = Math.max(longest, piece.length);
    return (unused) => (text, start, middle, end) => {
      if (end - start > longest) return undefined;
      const joined = text.slice(start, end);
      const id = this.#ids.get(joined);
      if (id === undefined) return undefined;
      if (types[id] === unusedType) unused.set(joined, middle - start);
      return -scores![id]!;
    };
  }

  /** The merge that is listed first; merges that do not make a piece are passed over. */
  #byMerges(merges: readonly string[]): () => Rank {
    const { separator } = this.#recipe;
    const ranks = new Map<string, number>();
    for (let rank = 0; rank < merges.length; rank++) if (!ranks.has(merges[rank]!)) ranks.set(merges[rank]!, rank);
    return () => (text, start, middle, end) => {
      const rank = ranks.get(text.slice(start, middle) + separator + text.slice(middle, end));
      return rank !== undefined && this.#ids.has(text.slice(start, end)) ? rank : undefined;
    };
  }
}
