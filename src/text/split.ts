// Pre-tokenisers: regular expressions that cut text into words before byte-level BPE merges inside each word.
import { CpmError } from "../errors.ts";
import { shown } from "../shown.ts";
import { casedLetters } from "./cased.ts";
import { Automaton, type Units } from "./pattern/automaton.ts";
import { LinearPattern } from "./pattern/linear.ts";

const contractions = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const modern = (digits: string) =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
/** Words whose capitals stand at their beginning, as GPT-4o's and Mistral's vocabularies cut them; `tail`: what may end one. */
const cased = (tail: string, digits: string) => {
  const [upper, lower] = ["[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"];
  const lead = "[^\\r\\n\\p{L}\\p{N}]?";
  return `${lead}${upper}*${lower}+${tail}|${lead}${upper}+${lower}*${tail}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
};
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
  "gpt-4o": { patterns: [cased(`${contractions}?`, "\\p{N}{1,3}")] },
  tekken: { patterns: [cased("", "\\p{N}")], wholeWords: true },
  "seed-coder": {
    patterns: [`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`],
  },
  smollm: { patterns: ["\\p{N}", gpt2] },
  "deepseek-coder": { patterns: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", ideographs, "\\p{N}"] },
  "deepseek-llm": {
    patterns: [
      "[\\r\\n]",
      `\\s?[${casedLetters}]+`,
      "\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+",
      "(?<!\\s)\\s+\\z",
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
  jais: "gpt-2",
  trillion: "gpt-2",
  exaone4: "gpt-2",
  "granite-docling": "gpt-2",
  mellum: "gpt-2",
  gigachat: "gpt-2",
  "a.x-4.0": "gpt-2",
  llama3: "llama-bpe",
  "llama-v3": "llama-bpe",
  falcon3: "llama-bpe",
  "falcon-h1": "llama-bpe",
  "midm-2.0": "llama-bpe",
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
  kormo: "qwen2",
  "solar-open": "qwen2",
  llama4: "gpt-4o",
  kanana2: "gpt-4o",
  starcoder: "smollm",
  refact: "smollm",
  "command-r": "smollm",
  codeshell: "smollm",
  exaone: "smollm",
  "minerva-7b": "smollm",
};

/**
 * The pre-tokeniser a GGUF file names in `tokenizer.ggml.pre` (absent: "default").
 * @throws CpmError "unsupported" naming it when it is not known: another one would give wrong ids silently.
 */
export function preTokenizer(name = "default"): { splits: Splitter[]; wholeWords: boolean } {
  const key = Object.hasOwn(aliases, name) ? aliases[name]! : name;
  if (!Object.hasOwn(known, key)) {
    const expected = [...Object.keys(known), ...Object.keys(aliases)].sort().join(", ");
    const message = `tokenizer.ggml.pre: expected one of ${expected}, found "${name}" (this pre-tokeniser is not supported; use a model with one of these)`;
    throw new CpmError("unsupported", message, { field: "tokenizer.ggml.pre", expected, found: name });
  }
  const { patterns, wholeWords = false } = known[key]!;
  return { splits: patterns.map((pattern) => splitter(pattern)), wholeWords };
}

/** Names that a GGUF may give, the common ones first. */
export const preTokenizerNames: readonly string[] = [
  "llama-bpe",
  "qwen2",
  ...Object.keys(known).filter((name) => name !== "llama-bpe" && name !== "qwen2" && name !== "default"),
  "default",
];

/** The expressions of a pre-tokeniser by its name, applied one after another. @throws as `preTokenizer` */
export function preTokenizerPatterns(name = "default"): readonly string[] {
  preTokenizer(name);
  return known[Object.hasOwn(aliases, name) ? aliases[name]! : name]!.patterns;
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

/** Finds the matches of an expression from left to right. */
export class Finder {
  readonly pattern: string;
  readonly #automaton: Automaton;

  /** @throws SyntaxError for what cannot run in linear time, or means something else here. */
  constructor(pattern: string) {
    this.pattern = pattern;
    this.#automaton = new Automaton(new LinearPattern(pattern));
  }

  /** Characters looked at so far. */
  get looked(): number {
    return this.#automaton.looked;
  }

  /** The last match: text[begin, end). */
  get begin(): number {
    return this.#automaton.begin;
  }
  get end(): number {
    return this.#automaton.end;
  }

  /** Looks for the next match in text[first, last), a text of its own, from `from` on; an empty one is a match, too. */
  next(text: Units, first: number, last: number, from: number): boolean {
    return this.#automaton.find(text, first, last, from);
  }

  /** The error for matches that take quadratic time. */
  quadratic(length: number): CpmError {
    const pattern = shown(this.pattern);
    const message = `tokenizer pattern ${pattern}: on this text of ${length} characters its matches take quadratic time (shorten or part the text)`;
    return new CpmError("bad-input", message, { field: "text", found: `${length} characters` });
  }
}

/**
 * A cut at the matches of a pattern written for Oniguruma, run with its meaning in linear time.
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
