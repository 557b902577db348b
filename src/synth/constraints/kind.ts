// What a class of constraints is, and what several of them need: lists to draw from, words for numbers, classes that exclude each other.
import { wordsOf } from "../../data/verify/python.ts";
import type { Random } from "../random.ts";

export type Kwargs = Readonly<Record<string, unknown>>;

export interface Constraint {
  readonly id: string;
  readonly kwargs: Kwargs;
  readonly text: string;
}

export interface Kind {
  /** Arguments by chance, for a request. */
  draw(random: Random, request: string): Kwargs;
  /** How people say it. */
  say(kwargs: Kwargs): readonly string[];
  /** Arguments that fit a text, if the class says something of it. What is wrong with them the verifier finds. */
  read(text: string, random: Random): Kwargs | undefined;
  /** Classes that do not go with it, beside its own. */
  readonly without: readonly string[];
}

export const LANGUAGES: Readonly<Record<string, string>> = {
  de: "German",
  fr: "French",
  es: "Spanish",
  it: "Italian",
  pt: "Portuguese",
  ru: "Russian",
  hi: "Hindi",
  ko: "Korean",
  ja: "Japanese",
  "zh-cn": "Chinese",
  ar: "Arabic",
  fi: "Finnish",
};
export const ENDINGS = [
  "Is there anything else I can help with?",
  "Let me know what you think.",
  "That is all for now.",
  "I hope this helps.",
];
export const COMMON =
  "about above after again along among because before being between could every first great having house little might never other people place right should small sound still their there these thing think three under water where which while world would write years".split(
    " ",
  );
export const SECTIONS = ["Section", "Part", "Chapter", "SECTION"];
export const FIRST = ["Today", "Perhaps", "Some", "Later", "Finally", "Here", "Many", "When"];

/** Words of a text that may be asked for: letters only, long enough to mean something. */
export function keywordsOf(text: string): string[] {
  const words = wordsOf(text).filter((word) => /^[a-z]{5,14}$/.test(word));
  return [...new Set(words)].filter((word) => !COMMON.includes(word));
}

export const someOf = (random: Random, list: readonly string[], most: number): string[] =>
  random.shuffled(list).slice(0, random.between(1, Math.min(most, list.length)));
export const wordsFor = (random: Random, request: string, most: number): string[] => {
  const own = keywordsOf(request.toLowerCase());
  return someOf(random, own.length > 2 ? own : COMMON, most);
};
/** An argument in words: a text or a number. */
export const said = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
export const listed = (value: unknown): string => (value as readonly string[]).map((word) => `"${word}"`).join(", ");
export const counted = (n: unknown, what: string): string => `${said(n)} ${what}${n === 1 ? "" : "s"}`;
/** "at least 3", "fewer than 3". */
export const related = (relation: unknown, n: unknown): string =>
  `${relation === "less than" ? "fewer than" : "at least"} ${said(n)}`;
export const none = (): undefined => undefined;
export const same =
  (text: string): (() => readonly string[]) =>
  () => [text];
/** A bound that a count holds to: below it, not far, or above. */
export function bound(
  count: number,
  random: Random,
  step: number,
): { readonly relation: string; readonly limit: number } | undefined {
  const [low, high] = [Math.floor(count / step) * step, (Math.floor(count / step) + 1) * step];
  return low > 0 && random.next() < 0.5 ? { relation: "at least", limit: low } : { relation: "less than", limit: high };
}
export const occurrences = (text: string, part: string): number => text.split(part).length - 1;

export const WHOLE = [
  "detectable_format:constrained_response",
  "detectable_format:json_format",
  "combination:two_responses",
  "combination:repeat_prompt",
];
export const ENGLISH = ["language:response_language"];
export const CASE = ["change_case:english_capital", "change_case:english_lowercase", "change_case:capital_word_frequency"];
export const PARAGRAPHS = ["length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"];
export const KEYWORDS = ["keywords:existence", "keywords:frequency", "keywords:forbidden_words", "keywords:letter_frequency"];
