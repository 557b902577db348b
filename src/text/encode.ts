// Encoding of one stretch of ordinary text: dummy space, cutting into words, merging, bytes of what is left.
import { modelError } from "../errors.ts";
import { Cutter, DONE, LEFT, PART } from "./cutter.ts";
import { reach } from "./edges.ts";
import { Matcher } from "./matcher.ts";
import { isShort, Merger, ShortMerger } from "./merge.ts";
import { Neighbours } from "./neighbours.ts";
import { nfc } from "./nfc.ts";
import { type MadeOf, MergePairs, type Pairs, ScorePairs } from "./pairs.ts";
import { type Units, unitsOf } from "./pattern/automaton.ts";
import { byteType, type Recipe, unusedType } from "./recipe.ts";
import { Symbols } from "./symbols.ts";
import { WholeWords } from "./whole.ts";
import { WordCache } from "./words.ts";

/** Characters after which steps() rests. */
export const REST = 4096;
/** Splitters whose parts are kept as words are, and units of such a part: longer ones hardly come again. */
const maxLevels = 15;
const maxPart = 32;

/** Pairs, and what pieces that are only steps were made of. */
interface Merging {
  readonly pairs: Pairs;
  readonly madeOf: MadeOf;
}

/** One stretch on its way: its ids are `out` from `from` on; a rest is due after so many characters. */
interface Run {
  readonly out: number[];
  readonly from: number;
  due: number;
}

/**
 * BPE over a recipe, exact for scores as for merges. Words met before are looked up; of new ones, and of text that cannot be cut
 * into words, pairs met before are.
 */
export class Encoder {
  readonly #recipe: Recipe;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #unk: number | undefined;
  /** Absent where merges are listed. */
  readonly #scores: ScorePairs | undefined;
  readonly #hasSteps: boolean;
  readonly #merging: Merging;
  readonly #short: ShortMerger;
  readonly #merger: Merger;
  readonly #symbols: Symbols;
  /** Made when first needed. */
  #wholes: WholeWords | undefined;
  readonly #atoms: Matcher;
  readonly #byteIds = new Int32Array(256).fill(-1);
  readonly #neighbours: Neighbours;
  readonly #cache = new WordCache();
  readonly #utf8 = new TextEncoder();

  /** `ids`: id of every piece that merging may end in. */
  constructor(recipe: Recipe, ids: ReadonlyMap<string, number>, unk: number | undefined) {
    this.#recipe = recipe;
    this.#ids = ids;
    this.#unk = unk;
    this.#symbols = new Symbols(recipe, ids);
    const { merges, separator } = recipe;
    this.#scores = merges ? undefined : ScorePairs.of(recipe, ids, this.#symbols);
    this.#hasSteps = this.#scores !== undefined && recipe.types.includes(unusedType);
    this.#merging = merges
      ? { pairs: new MergePairs(merges, separator, ids, this.#symbols), madeOf: new Map() }
      : this.#newMerging(this.#scores!);
    this.#short = new ShortMerger(this.#merging.pairs);
    this.#merger = new Merger(this.#merging.pairs);
    this.#atoms = new Matcher([...(recipe.atoms ?? [])].map((id) => [recipe.pieces[id] ?? "", id] as const));
    this.#neighbours = new Neighbours(recipe.form === "spaces" ? ids.keys() : [], this.#hasSteps);
    for (let id = 0; id < recipe.pieces.length; id++) {
      const piece = recipe.pieces[id]!;
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
      const found = normalized?.find(whole, looked, until);
      const match = found && reach(whole, found, at, this.#recipe.edges);
      if (found && !match) {
        looked = found.end;
        continue;
      }
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
    const dummy = !prepends && (prefix === "every" || (prefix === "first" && first));
    const begun = prefixUnlessSpace && (text.startsWith(" ") || (form === "spaces" && text.startsWith("\u2581")));
    if (dummy && !begun) text = ` ${text}`;
    const run = { out, from: out.length, due: REST };
    yield* form === "spaces" ? this.#spaces(text, run) : this.#bytes(unitsOf(text), run);
  }

  *#bytes(text: Units, run: Run): Generator<void, void> {
    const { out } = run;
    const cutter = new Cutter(text, this.#recipe.splits);
    // By level: where the ids of the part begin that is being cut; -1 where it need not be kept.
    const begins: number[] = [];
    // The part looked for last, in vain: what leaves it whole need not look again, and the part is kept instead.
    let [missed, missedEnd] = [-1, -1];
    for (let kind = cutter.next(); kind !== DONE; kind = cutter.next()) {
      const { begin, end, level } = cutter;
      const again = begin === missed && end === missedEnd;
      if (kind === PART) {
        const kept = !again && level <= maxLevels && end - begin <= maxPart;
        begins[level] = kept ? out.length : -1;
        if (!kept) continue;
        if (this.#known(text.units, begin, end, run, level)) cutter.pass();
        else [missed, missedEnd] = [begin, end];
      } else if (kind === LEFT) {
        const from = begins[level]!;
        if (from >= 0 && !this.#fuses(out, from)) this.#cache.put(text.units, begin, end, out, from, level);
      } else if (!this.#word(text, begin, end, run, again)) yield* this.#rest(text, begin, end, run);
    }
  }

  /** Unknown tokens, of which a run may have been made one. */
  #fuses(out: readonly number[], from: number): boolean {
    return this.#recipe.fuseUnknown && this.#unk !== undefined && out.indexOf(this.#unk, from) >= 0;
  }

  *#spaces(text: string, run: Run): Generator<void, void> {
    // To look for no atoms takes no text.
    const spaced = this.#recipe.atoms?.length ? text.replaceAll(" ", "\u2581") : "";
    // Here U+2581 is the space, and has its number.
    const whole = unitsOf(text, 0x2581, 0x20);
    const { units } = whole;
    for (let begin = 0, at = 0; begin < units.length; ) {
      const until = spaced === "" ? units.length : Math.min(units.length, at + REST);
      const atom = this.#atoms.find(spaced, at, until);
      at = atom ? atom.start : until;
      if (!atom && at < units.length) {
        yield;
        continue;
      }
      // Cut where no merge can be, so that words can be kept.
      for (let end = begin; begin < at; begin = end) {
        end = this.#neighbours.end(units, begin, at);
        if (!this.#word(whole, begin, end, run)) yield* this.#rest(whole, begin, end, run);
      }
      if (!atom) return;
      run.out.push(atom.id);
      begin = at = atom.end;
    }
  }

  /** Appends the ids of units[begin, end) where they are known, and no rest is due. */
  #known(units: Uint16Array, begin: number, end: number, run: Run, level: number): boolean {
    if (run.due <= 0) return false;
    const place = this.#cache.find(units, begin, end, level);
    if (place < 0) return false;
    const from = run.out.length;
    this.#cache.take(place, end - begin, run.out);
    if (this.#recipe.fuseUnknown) this.#fuse(run, from);
    run.due -= end - begin + 1;
    return true;
  }

  /**
   * Appends the ids of text[begin, end); where it is `missed`, it is not looked for, nor kept. False: a rest is due first, or the word is
   * too long to be merged at once; see #rest.
   */
  #word(text: Units, begin: number, end: number, run: Run, missed = false): boolean {
    if (!missed && this.#known(text.units, begin, end, run, 0)) return true;
    if (run.due <= 0 || end - begin > REST) return false;
    const { out } = run;
    const from = out.length;
    this.#merge(text, begin, end, out);
    if (!missed) this.#cache.put(text.units, begin, end, out, from);
    if (this.#recipe.fuseUnknown) this.#fuse(run, from);
    run.due -= end - begin + 1;
    return true;
  }

  /** As #word, resting first, and while a long word is merged. */
  *#rest(text: Units, begin: number, end: number, run: Run): Generator<void, void> {
    run.due = REST;
    yield;
    if (this.#word(text, begin, end, run)) return;
    const from = run.out.length;
    yield* this.#mergeLong(text, begin, end, run.out);
    if (this.#recipe.fuseUnknown) this.#fuse(run, from);
  }

  /** A run of unknown characters is one token, across words as within them. */
  #fuse({ out, from }: Run, begin: number): void {
    let to = begin;
    for (let i = begin; i < out.length; i++) {
      const id = out[i]!;
      if (id !== this.#unk || to === from || out[to - 1] !== id) out[to++] = id;
    }
    if (to < out.length) out.length = to;
  }

  #merge(text: Units, begin: number, end: number, out: number[]): void {
    const { madeOf } = this.#merging;
    const symbols = this.#symbols;
    const count = symbols.read(text.units, begin, end);
    if (this.#wholeWord(text, begin, end, count, out)) return;
    if (isShort(count)) {
      const left = this.#short.merge(symbols.list, count);
      for (let i = 0; i < left; i++) this.#symbol(symbols.list[i]!, madeOf, out);
    } else for (const symbol of this.#merger.merge(symbols.list, count)) this.#symbol(symbol, madeOf, out);
    if (this.#hasSteps) madeOf.clear();
  }

  /** As #merge, resting on the way, with a merger of its own. */
  *#mergeLong(text: Units, begin: number, end: number, out: number[]): Generator<void, void> {
    const count = this.#symbols.read(text.units, begin, end);
    if (this.#wholeWord(text, begin, end, count, out)) return this.#symbols.shrink();
    const { pairs, madeOf } = this.#hasSteps ? this.#newMerging(this.#scores!) : this.#merging;
    const merger = new Merger(pairs);
    merger.begin(this.#symbols.list, count);
    this.#symbols.shrink();
    while (!merger.advance(REST)) yield;
    for (const symbol of merger.finish()) this.#symbol(symbol, madeOf, out);
  }

  /** Whether text[begin, end), of which `count` symbols were read, is a piece that skips the merges. */
  #wholeWord({ text }: Units, begin: number, end: number, count: number, out: number[]): boolean {
    const { wholeWords, form } = this.#recipe;
    if (!wholeWords) return false;
    let id: number | undefined;
    if (form === "spaces") id = this.#ids.get(text.slice(begin, end).replaceAll(" ", "\u2581"));
    else {
      this.#wholes ??= new WholeWords(this.#ids, this.#symbols);
      id = this.#wholes.find(this.#symbols.list, count);
    }
    if (id === undefined || id < 0) return false;
    out.push(id);
    return true;
  }

  #newMerging(scores: ScorePairs): Merging {
    const madeOf: MadeOf = new Map();
    return { pairs: this.#hasSteps ? scores.noting(madeOf) : scores, madeOf };
  }

  #symbol(whole: number, madeOf: MadeOf, out: number[]): void {
    const parts = this.#hasSteps ? madeOf.get(whole) : undefined;
    if (parts === undefined) {
      if (this.#symbols.isPiece(whole)) out.push(whole);
      else this.#unknown(this.#symbols.text(whole), out);
      return;
    }
    const pending = [whole];
    for (let symbol = pending.pop(); symbol !== undefined; symbol = pending.pop()) {
      const made = madeOf.get(symbol);
      if (made !== undefined) pending.push(made[1], made[0]);
      else if (this.#symbols.isPiece(symbol)) out.push(symbol);
      else this.#unknown(this.#symbols.text(symbol), out);
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
}
