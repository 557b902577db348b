// Pre-tokenisers: regular expressions that cut text into words before byte-level BPE merges inside each word.
import { CpmError } from "../errors.ts";
import { casedLetters } from "./cased.ts";

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
export function preTokenizer(name = "default"): { splits: RegExp[]; wholeWords: boolean } {
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

/**
 * Compiles a pre-tokeniser pattern written for Oniguruma.
 * `(?i:…)` is spelled out (Node 20 lacks it), `\s` is Unicode White_Space (JavaScript's own lacks U+0085 and has U+FEFF),
 * `\d` is `\p{Nd}`, and escapes that the u flag refuses lose their backslash.
 * @throws CpmError "unsupported" for patterns that do not compile or that could take exponential time.
 */
export function splitter(pattern: string): RegExp {
  try {
    if (pattern.length > 4096 || nestsRepeats(pattern)) throw new SyntaxError("nested unbounded repeats");
    return new RegExp(translate(pattern), "gu");
  } catch (cause) {
    const message = `tokenizer pattern ${JSON.stringify(pattern.slice(0, 200))} cannot be used here: ${(cause as Error).message}`;
    throw new CpmError("unsupported", message, { field: "pre_tokenizer", found: pattern.slice(0, 200) }, { cause });
  }
}

/** Cuts every word at the matches of each expression; what lies between matches stays as a word of its own. */
export function cut(text: string, splits: readonly RegExp[]): string[] {
  let words = [text];
  for (const split of splits) {
    const finer: string[] = [];
    for (const word of words) {
      let at = 0;
      for (const match of word.matchAll(split)) {
        if (match[0] === "") continue;
        if (match.index > at) finer.push(word.slice(at, match.index));
        finer.push(match[0]);
        at = match.index + match[0].length;
      }
      if (at < word.length) finer.push(word.slice(at));
    }
    words = finer;
  }
  return words;
}

/** As cut(), the words of one match of the first expression at a time: a long text need not be cut at once. */
export function* cuts(text: string, [first, ...others]: readonly RegExp[]): Generator<readonly string[], void> {
  if (first === undefined) return yield [text];
  let at = 0;
  for (const match of text.matchAll(first)) {
    if (match[0] === "") continue;
    if (match.index > at) yield cut(text.slice(at, match.index), others);
    yield cut(match[0], others);
    at = match.index + match[0].length;
  }
  if (at < text.length) yield cut(text.slice(at), others);
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

/** Whether a group that repeats, or has alternatives, is itself repeated: exponential time on hostile text. */
function nestsRepeats(pattern: string): boolean {
  const bare = pattern.replace(/\\./gs, "x").replace(/\[[^\]]*\]/g, "x");
  const repeats = (at: number) => /^(?:[*+]|\{\d)/.test(bare.slice(at, at + 2));
  const varies: boolean[] = [false];
  for (let i = 0; i < bare.length; i++) {
    if (bare[i] === "(") varies.push(false);
    else if (bare[i] === ")" && varies.length > 1) {
      const inner = varies.pop()!;
      if (inner && repeats(i + 1)) return true;
      varies[varies.length - 1] ||= inner;
    } else if (bare[i] === "|" || repeats(i)) varies[varies.length - 1] = true;
  }
  return false;
}
