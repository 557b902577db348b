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

/** Share of words that repeat the word before, where five and more do so in a row. */
function runs(text: string): number {
  const words = text.split(/\s+/);
  let [inRuns, run] = [0, 1];
  for (let i = 1; i <= words.length; i++) {
    if (i < words.length && words[i] === words[i - 1]) run++;
    else {
      if (run >= 5) inRuns += run;
      run = 1;
    }
  }
  return inRuns / words.length;
}

/** Share of characters that are neither letters, marks, digits, white space nor common punctuation. */
export function symbols(text: string): number {
  const plain =
    text.match(/[\p{L}\p{M}\p{N}\s.,;:!?'"()\-\u2010-\u201f\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]/gu)?.length ??
    0;
  const all = [...text].length;
  return all > 0 ? 1 - plain / all : 0;
}
