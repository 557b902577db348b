// Pre-tokenisers: regular expressions that cut text into words before byte-level BPE merges inside each word.
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { casedLetters } from "./cased.ts";
import { LinearPattern } from "./pattern/linear.ts";

const contractions = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const modern = (digits: string) =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const deepseek3 =
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const ideographs = "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+";
const kana = "[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+";

/** How each pre-tokeniser cuts: expressions applied one after another, and whether a word that is a token skips the merges. */
interface PreTokenizer {
  readonly patterns: readonly string[];
  readonly wholeWords?: boolean;
}

/** By `tokenizer.ggml.pre`. Source: the patterns in the models' own tokenizer.json, named as GGUF converters name them. */
const known: Readonly<Record<string, PreTokenizer>> = {
  default: { patterns: ["[\\p{P}$+<=>^~|]+", gpt2, "\\p{N}+", "[0-9][0-9][0-9]"] },
  "gpt-2": { patterns: [gpt2] },
  "llama-bpe": { patterns: [modern("\\p{N}{1,3}")], wholeWords: true },
  "smaug-bpe": { patterns: [modern("\\p{N}{1,3}")] },
  qwen2: { patterns: [modern("\\p{N}")] },
  minicpm5: { patterns: ["\\p{N}{1,3}", modern("\\p{N}+")], wholeWords: true },
  smollm: { patterns: ["\\p{N}", gpt2] },
  "deepseek-coder": { patterns: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", ideographs, "\\p{N}"] },
  "deepseek-llm": {
    patterns: [
      "[\\r\\n]",
      `\\s?[${casedLetters}]+`,
      "\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+",
      "(?<!\\s)\\s+$",
      ideographs,
      "\\p{N}",
    ],
  },
  "deepseek-v3": { patterns: ["\\p{N}{1,3}", kana, deepseek3] },
};

const aliases: Readonly<Record<string, string>> = {
  gpt2: "gpt-2",
  "phi-2": "gpt-2",
  olmo: "gpt-2",
  mpt: "gpt-2",
  llama3: "llama-bpe",
  "llama-v3": "llama-bpe",
  falcon3: "llama-bpe",
  pixtral: "llama-bpe",
  lfm2: "llama-bpe",
  smaug: "smaug-bpe",
  dbrx: "smaug-bpe",
  glm4: "smaug-bpe",
  "chatglm-bpe": "smaug-bpe",
  "deepseek-r1-qwen": "qwen2",
  stablelm2: "qwen2",
  hunyuan: "qwen2",
  megrez: "qwen2",
  starcoder: "smollm",
  refact: "smollm",
  "command-r": "smollm",
};

/**
 * The pre-tokeniser a GGUF file names in `tokenizer.ggml.pre` (absent: "default").
 * @throws CpmError "unsupported" naming it when it is not known: another one would give wrong ids silently.
 */
export function preTokenizer(name = "default"): { splits: Splitter[]; wholeWords: boolean } {
  const key = Object.hasOwn(aliases, name) ? aliases[name]! : name;
  if (!Object.hasOwn(known, key)) {
    const expected = Object.keys(known).join(", ");
    const message = `tokenizer.ggml.pre: expected one of ${expected}, found "${name}" (this pre-tokeniser is not supported; use a model with one of these)`;
    throw new CpmError("unsupported", message, { field: "tokenizer.ggml.pre", expected, found: name });
  }
  const { patterns, wholeWords = false } = known[key]!;
  return { splits: patterns.map((pattern) => splitter(pattern)), wholeWords };
}

/** GPT-2's own pattern, which a ByteLevel pre-tokeniser applies unless told not to. */
export const byteLevelPattern = gpt2;

/** What becomes of matches and of what lies between them, as the tokenizers library names it. */
export type Behaviour = "Isolated" | "Removed" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous";

/** One cut of a text into words. */
export interface Splitter {
  readonly behaviour: Behaviour;
  /** Matches and what lies between them change places. */
  readonly invert: boolean;
  readonly matcher: Finder;
}

/** Published expressions, which engines run in linear time; all others run on the linear engine. */
const letters = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const small = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";
const folded = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const lines = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const lead = "[^\\r\\n\\p{L}\\p{N}]?";
const omni = (end: string, digits: string) =>
  `${lead}[${letters}]*[${small}]+${end}|${lead}[${letters}]+[${small}]*${end}|${digits}|${lines}`;
const published: ReadonlySet<string> = new Set([
  ...Object.values(known).flatMap(({ patterns }) => patterns),
  ...["\\p{N}", "\\p{N}+", "\\p{N}{1,3}"].map((digits) => modern(digits).replace(contractions, folded)),
  omni(`${folded}?`, "\\p{N}{1,3}"),
  omni("", "\\p{N}"),
  "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
]);

/** Finds the matches of an expression from left to right. */
export class Finder {
  readonly #pattern: string;
  readonly #native: RegExp | undefined;
  #linear: LinearPattern | undefined;

  /** @throws SyntaxError for what cannot run in linear time, or means something else here. */
  constructor(pattern: string) {
    this.#pattern = pattern;
    if (published.has(pattern)) this.#native = new RegExp(translate(pattern), "gu");
    else this.#linear = new LinearPattern(pattern);
  }

  /** Matches of `text` in order, empty ones too. @throws CpmError "bad-input" where they would take quadratic time. */
  *matches(text: string): Generator<readonly [number, number], void> {
    // Several texts may be on their way at a time: each counts its own.
    let spent = 0;
    for (let at = 0; at <= text.length; ) {
      const before = this.looked;
      const match = this.#next(text, at);
      spent += this.looked - before;
      if (match === undefined) return;
      yield match;
      at = match[1] > match[0] ? match[1] : match[1] + (text.codePointAt(match[1])! > 0xffff ? 2 : 1);
      if (spent > 64 * text.length + 65536) throw this.#quadratic(text.length);
    }
  }

  /** Characters that the linear engine has looked at. */
  get looked(): number {
    return this.#linear?.looked ?? 0;
  }

  #next(text: string, at: number): readonly [number, number] | undefined {
    if (this.#native !== undefined) {
      try {
        this.#native.lastIndex = at;
        const match = this.#native.exec(text);
        return match === null ? undefined : [match.index, match.index + match[0].length];
      } catch (cause) {
        // A run of millions of characters: the engine's stack has an end.
        if (!(cause instanceof RangeError)) throw cause;
        this.#linear ??= new LinearPattern(this.#pattern.replace(/\$$/, "\\z"));
      }
    }
    return this.#linear!.find(text, at);
  }

  #quadratic(length: number): CpmError {
    const pattern = shown(this.#pattern);
    const message = `tokenizer pattern ${pattern}: on this text of ${length} characters its matches take quadratic time (shorten or part the text)`;
    return new CpmError("bad-input", message, { field: "text", found: `${length} characters` });
  }
}

/**
 * A cut at the matches of a pattern written for Oniguruma. Published patterns run on the engine's own expressions, all others
 * on a linear one with Oniguruma's meaning.
 * @throws CpmError "unsupported" naming what of the pattern cannot run so.
 */
export function splitter(pattern: string, behaviour: Behaviour = "Isolated", invert = false): Splitter {
  try {
    if (pattern.length > 4096) throw new SyntaxError("more than 4096 characters");
    return { behaviour, invert, matcher: new Finder(pattern) };
  } catch (cause) {
    const message = `tokenizer pattern ${shown(pattern.slice(0, 200))} cannot be used here: ${(cause as Error).message}`;
    throw new CpmError("unsupported", message, { field: "pre_tokenizer", found: pattern.slice(0, 200) }, { cause });
  }
}

/** The words of `text` by one cut, in order. */
function* parts(text: string, { behaviour, invert, matcher }: Splitter): Generator<string, void> {
  if (behaviour === "Isolated" || behaviour === "Removed") {
    for (const [begin, end, match] of spans(text, matcher, invert))
      if (behaviour === "Isolated" || !match) yield text.slice(begin, end);
    return;
  }
  const list = [...spans(text, matcher, invert)];
  const next = behaviour === "MergedWithNext";
  if (next) list.reverse();
  const joined: [number, number][] = [];
  let previous: boolean | undefined;
  for (const [begin, end, match] of list) {
    const last = joined.at(-1);
    const joins = behaviour === "Contiguous" ? match === previous : match && !previous;
    if (last !== undefined && joins) last[next ? 0 : 1] = next ? begin : end;
    else joined.push([begin, end]);
    previous = match;
  }
  if (next) joined.reverse();
  for (const [begin, end] of joined) if (end > begin) yield text.slice(begin, end);
}

function* spans(text: string, matcher: Finder, invert: boolean): Generator<readonly [number, number, boolean], void> {
  let at = 0;
  for (const [begin, end] of matcher.matches(text)) {
    if (begin > at) yield [at, begin, invert];
    if (end > begin) yield [begin, end, !invert];
    at = end;
  }
  if (at < text.length) yield [at, text.length, invert];
}

/** Cuts every word by each splitter in turn. */
export function cut(text: string, splits: readonly Splitter[]): string[] {
  let words = [text];
  for (const split of splits) words = words.flatMap((word) => [...parts(word, split)]);
  return words;
}

/** As cut(), the words of one match of the first splitter at a time: a long text need not be cut at once. */
export function* cuts(text: string, [first, ...others]: readonly Splitter[]): Generator<readonly string[], void> {
  if (first === undefined) return yield [text];
  for (const part of parts(text, first)) yield others.length === 0 ? [part] : cut(part, others);
}

const classes: Readonly<Record<string, string>> = { s: "\\p{White_Space}", S: "\\P{White_Space}", d: "\\p{Nd}", D: "\\P{Nd}" };

function translate(pattern: string): string {
  let out = "";
  let inClass = false;
  /** Per open group: whether letters in it match both cases. */
  const folds: boolean[] = [false];
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i]!;
    if (c === "\\") {
      const next = pattern[++i] ?? "";
      const kept = "pPbBnrtfvuxk123456789wW^$\\.*+?()[]{}|/".includes(next) || (inClass && next === "-");
      out += classes[next] ?? (kept ? `\\${next}` : next);
      if (next === "p" || next === "P" || next === "u" || next === "x") {
        const rest = /^\{[^}]*\}|^[0-9a-fA-F]{2,4}/.exec(pattern.slice(i + 1))?.[0] ?? "";
        out += rest === "{Han}" ? "{Script=Han}" : rest;
        i += rest.length;
      }
    } else if (inClass) {
      inClass = c !== "]";
      out += folds.at(-1) ? bothCases(c, true) : c;
    } else if (c === "[") {
      inClass = true;
      out += c;
    } else if (c === "(") {
      const fold = pattern.startsWith("(?i:", i);
      folds.push(fold || folds.at(-1)!);
      out += fold ? "(?:" : c;
      if (fold) i += 3;
    } else {
      if (c === ")") folds.pop();
      out += folds.at(-1) ? bothCases(c, false) : c;
    }
  }
  return out;
}

function bothCases(c: string, inClass: boolean): string {
  if (!/[a-zA-Z]/.test(c)) return c;
  const both = c.toLowerCase() + c.toUpperCase();
  return inClass ? both : `[${both}]`;
}
