// Cheap filters before the classifier: what no model need look at. Source of the limits: the rules of Gopher (Rae et al. 2021, A.1.1), loosened.

export interface Heuristics {
  /** Characters, at least. Default 50. */
  readonly minChars?: number | undefined;
  /** Characters, at most. Default: any. */
  readonly maxChars?: number | undefined;
  /** Share of characters in lines that stood before in the text, at most. Default 0.3. */
  readonly maxRepetition?: number | undefined;
  /** Share of characters that are neither letters, digits, white space nor common punctuation, at most. Default 0.3. */
  readonly maxSymbols?: number | undefined;
  /** Keep texts of these languages only ("en", "zh": as `languageOf` tells). Default: any. */
  readonly languages?: readonly string[] | undefined;
}

export type HeuristicReason = "short" | "long" | "repetition" | "symbols" | "language";

/** Why a text is dropped, or undefined. `language` is asked only where languages are given. */
export function heuristicReason(
  text: string,
  rules: Heuristics,
  language: (text: string) => string,
): HeuristicReason | undefined {
  const { minChars = 50, maxChars = Number.POSITIVE_INFINITY, maxRepetition = 0.3, maxSymbols = 0.3, languages } = rules;
  if (text.length < minChars) return "short";
  if (text.length > maxChars) return "long";
  if (repetition(text) > maxRepetition) return "repetition";
  if (symbols(text) > maxSymbols) return "symbols";
  if (languages && !languages.includes(language(text))) return "language";
  return undefined;
}

/** Share of characters in lines that stood before; of a single line, in words that stood before five times and more in a row. */
export function repetition(text: string): number {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const seen = new Set<string>();
  let [repeated, total] = [0, 0];
  for (const line of lines) {
    total += line.length;
    if (seen.has(line)) repeated += line.length;
    else seen.add(line);
  }
  const share = total > 0 ? repeated / total : 0;
  return Math.max(share, runs(text));
}

/** Share of words that repeat the word before, where five and more do so in a row. Words are what white space parts. */
function runs(text: string): number {
  let [inRuns, run, count] = [0, 1, 1];
  let [begin, end] = wordAt(text, 0);
  while (end < text.length) {
    let next = end;
    while (next < text.length && isSpace(text.charCodeAt(next))) next++;
    const [from, to] = wordAt(text, next);
    if (to - from === end - begin && equal(text, begin, from, to - from)) run++;
    else {
      if (run >= 5) inRuns += run;
      run = 1;
    }
    count++;
    [begin, end] = [from, to];
  }
  if (run >= 5) inRuns += run;
  return inRuns / count;
}

function wordAt(text: string, begin: number): [number, number] {
  let end = begin;
  while (end < text.length && !isSpace(text.charCodeAt(end))) end++;
  return [begin, end];
}

function equal(text: string, a: number, b: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (text.charCodeAt(a + i) !== text.charCodeAt(b + i)) return false;
  return true;
}

/** JavaScript's white space. */
function isSpace(unit: number): boolean {
  if (unit < 0x80) return unit === 32 || (unit >= 9 && unit <= 13);
  return unit === 0xa0 || (unit >= 0x1680 && /\s/.test(String.fromCharCode(unit)));
}

const isPlain = /^[\p{L}\p{M}\p{N}\s.,;:!?'"()\-\u2010-\u201f\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]$/u;
/** By code unit: 1 plain, 2 not, 0 not yet asked. */
const plainUnits = new Uint8Array(0x10000);

/** Share of characters that are neither letters, marks, digits, white space nor common punctuation. */
export function symbols(text: string): number {
  let [plain, all] = [0, 0];
  for (let at = 0; at < text.length; all++) {
    const unit = text.charCodeAt(at);
    let kind = plainUnits[unit]!;
    if (kind === 0) {
      const code = text.codePointAt(at)!;
      kind = isPlain.test(String.fromCodePoint(code)) ? 1 : 2;
      if (code > 0xffff) at++;
      // What a high surrogate is depends on what follows.
      else if ((code & 0xfc00) !== 0xd800) plainUnits[unit] = kind;
    }
    if (kind === 1) plain++;
    at++;
  }
  return all > 0 ? 1 - plain / all : 0;
}
