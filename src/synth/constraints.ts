// Constraints that a program can check: the 25 classes of IFEval, how they are drawn, said, and read off a text that follows them.
import { builtInLanguage } from "../data/verify/language.ts";
import { isUpper, wordsOf } from "../data/verify/python.ts";
import { sentences } from "../data/verify/sentences.ts";
import { treebankWords } from "../data/verify/words.ts";
import type { Random } from "./random.ts";

export type Kwargs = Readonly<Record<string, unknown>>;

export interface Constraint {
  readonly id: string;
  readonly kwargs: Kwargs;
  readonly text: string;
}

interface Kind {
  /** Arguments by chance, for a request. */
  draw(random: Random, request: string): Kwargs;
  /** How people say it. */
  say(kwargs: Kwargs): readonly string[];
  /** Arguments that fit a text, if the class says something of it. What is wrong with them the verifier finds. */
  read(text: string, random: Random): Kwargs | undefined;
  /** Classes that do not go with it, beside its own. */
  readonly without: readonly string[];
}

const LANGUAGES: Readonly<Record<string, string>> = {
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
const ENDINGS = [
  "Is there anything else I can help with?",
  "Let me know what you think.",
  "That is all for now.",
  "I hope this helps.",
];
const COMMON =
  "about above after again along among because before being between could every first great having house little might never other people place right should small sound still their there these thing think three under water where which while world would write years".split(
    " ",
  );
const SECTIONS = ["Section", "Part", "Chapter", "SECTION"];
const FIRST = ["Today", "Perhaps", "Some", "Later", "Finally", "Here", "Many", "When"];

/** Words of a text that may be asked for: letters only, long enough to mean something. */
function keywordsOf(text: string): string[] {
  const words = wordsOf(text).filter((word) => /^[a-z]{5,14}$/.test(word));
  return [...new Set(words)].filter((word) => !COMMON.includes(word));
}

const someOf = (random: Random, list: readonly string[], most: number): string[] =>
  random.shuffled(list).slice(0, random.between(1, Math.min(most, list.length)));
const wordsFor = (random: Random, request: string, most: number): string[] => {
  const own = keywordsOf(request.toLowerCase());
  return someOf(random, own.length > 2 ? own : COMMON, most);
};
/** An argument in words: a text or a number. */
const said = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
const listed = (value: unknown): string => (value as readonly string[]).map((word) => `"${word}"`).join(", ");
const counted = (n: unknown, what: string): string => `${said(n)} ${what}${n === 1 ? "" : "s"}`;
/** "at least 3", "fewer than 3". */
const related = (relation: unknown, n: unknown): string => `${relation === "less than" ? "fewer than" : "at least"} ${said(n)}`;
const none = (): undefined => undefined;
const same =
  (text: string): (() => readonly string[]) =>
  () => [text];
/** A bound that a count holds to: below it, not far, or above. */
function bound(count: number, random: Random, step: number): { readonly relation: string; readonly limit: number } | undefined {
  const [low, high] = [Math.floor(count / step) * step, (Math.floor(count / step) + 1) * step];
  return low > 0 && random.next() < 0.5 ? { relation: "at least", limit: low } : { relation: "less than", limit: high };
}
const occurrences = (text: string, part: string): number => text.split(part).length - 1;

const WHOLE = [
  "detectable_format:constrained_response",
  "detectable_format:json_format",
  "combination:two_responses",
  "combination:repeat_prompt",
];
const ENGLISH = ["language:response_language"];
const CASE = ["change_case:english_capital", "change_case:english_lowercase", "change_case:capital_word_frequency"];
const PARAGRAPHS = ["length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"];
const KEYWORDS = ["keywords:existence", "keywords:frequency", "keywords:forbidden_words", "keywords:letter_frequency"];

/** The classes by their published names. */
export const kinds: Readonly<Record<string, Kind>> = {
  "keywords:existence": {
    draw: (random, request) => ({ keywords: wordsFor(random, request, 3) }),
    say: ({ keywords }) => [
      `Use the words ${listed(keywords)}.`,
      `These keywords must occur in the response: ${listed(keywords)}.`,
    ],
    read: (text, random) => {
      const own = keywordsOf(text);
      return own.length < 3 ? undefined : { keywords: someOf(random, own, 3) };
    },
    without: [...ENGLISH, ...CASE, ...WHOLE.slice(0, 1), "keywords:forbidden_words"],
  },
  "keywords:frequency": {
    draw: (random, request) => ({
      keyword: wordsFor(random, request, 1)[0],
      frequency: random.between(2, 4),
      relation: random.pick(["at least", "less than"]),
    }),
    say: ({ keyword, frequency, relation }) => [
      `The word "${said(keyword)}" must occur ${related(relation, frequency)} times.`,
      `Use the word "${said(keyword)}" ${related(relation, frequency)} times in your response.`,
    ],
    read: (text, random) => {
      const own = keywordsOf(text);
      if (own.length === 0) return undefined;
      const keyword = random.pick(own);
      const { relation, limit } = bound(occurrences(text.toLowerCase(), keyword), random, 1)!;
      return { keyword, frequency: limit, relation };
    },
    without: [...ENGLISH, ...CASE, ...WHOLE.slice(0, 1), "keywords:forbidden_words"],
  },
  "keywords:forbidden_words": {
    draw: (random, request) => ({ forbidden_words: wordsFor(random, request, 3) }),
    say: ({ forbidden_words: words }) => [
      `Do not use the words ${listed(words)}.`,
      `The words ${listed(words)} must not occur in the response.`,
    ],
    read: (text, random) => {
      const lower = new Set(wordsOf(text.toLowerCase()));
      const absent = COMMON.filter((word) => !lower.has(word));
      return absent.length === 0 ? undefined : { forbidden_words: someOf(random, absent, 3) };
    },
    without: [...ENGLISH, "keywords:existence", "keywords:frequency"],
  },
  "keywords:letter_frequency": {
    draw: (random) => ({
      letter: random.pick([..."abcdefghijklmnopqrstuvwxyz"]),
      let_frequency: random.between(3, 20),
      let_relation: random.pick(["at least", "less than"]),
    }),
    say: ({ letter, let_frequency: n, let_relation: relation }) => [
      `The letter "${said(letter)}" should occur ${related(relation, n)} times.`,
      `In your response, use the letter ${said(letter)} ${related(relation, n)} times.`,
    ],
    read: (text, random) => {
      const letter = random.pick([..."abcdefghijklmnopqrstuvwxyz"]);
      const { relation, limit } = bound(occurrences(text.toLowerCase(), letter), random, 1)!;
      return { letter, let_frequency: limit, let_relation: relation };
    },
    without: [...ENGLISH, ...WHOLE.slice(0, 1)],
  },
  "language:response_language": {
    draw: (random) => ({ language: random.pick(Object.keys(LANGUAGES)) }),
    say: ({ language }) => [
      `Write your whole response in ${LANGUAGES[said(language)] ?? said(language)}, no other language is allowed.`,
      `Answer in ${LANGUAGES[said(language)] ?? said(language)} only.`,
    ],
    read: (text) => {
      const language = builtInLanguage(text);
      return language !== undefined && Object.hasOwn(LANGUAGES, language) ? { language } : undefined;
    },
    without: [
      ...CASE,
      ...KEYWORDS,
      ...WHOLE,
      "startend:end_checker",
      "length_constraints:nth_paragraph_first_word",
      "length_constraints:number_words",
      "length_constraints:number_sentences",
      "detectable_format:multiple_sections",
      "detectable_content:postscript",
    ],
  },
  "length_constraints:number_sentences": {
    draw: (random) => ({ num_sentences: random.between(3, 15), relation: random.pick(["at least", "less than"]) }),
    say: ({ num_sentences: n, relation }) => [
      `Your response should contain ${related(relation, n)} sentences.`,
      `Write ${related(relation, n)} sentences.`,
    ],
    read: (text, random) => {
      const { relation, limit } = bound(sentences(text).length, random, 1)!;
      return { num_sentences: limit, relation };
    },
    without: [...WHOLE.slice(0, 2), "length_constraints:number_words"],
  },
  "length_constraints:number_paragraphs": {
    draw: (random) => ({ num_paragraphs: random.between(2, 5) }),
    say: ({ num_paragraphs: n }) => [
      `There should be ${counted(n, "paragraph")}. Separate them with the markdown divider: ***`,
      `Write exactly ${counted(n, "paragraph")}, with *** between them.`,
    ],
    read: (text) => {
      const parts = text.split("***").filter((part) => part.trim() !== "").length;
      return parts < 2 ? undefined : { num_paragraphs: parts };
    },
    without: [...PARAGRAPHS, ...WHOLE, "detectable_format:number_highlighted_sections", "detectable_format:multiple_sections"],
  },
  "length_constraints:number_words": {
    draw: (random) => ({ num_words: 10 * random.between(4, 30), relation: random.pick(["at least", "less than"]) }),
    say: ({ num_words: n, relation }) => [
      `Answer with ${related(relation, n)} words.`,
      `Your response should have ${related(relation, n)} words.`,
    ],
    read: (text, random) => {
      const { relation, limit } = bound(wordsOf(text).length, random, 10)!;
      return { num_words: limit, relation };
    },
    without: [...WHOLE.slice(0, 2), "length_constraints:number_sentences"],
  },
  "length_constraints:nth_paragraph_first_word": {
    draw: (random) => {
      const paragraphs = random.between(2, 4);
      return {
        num_paragraphs: paragraphs,
        nth_paragraph: random.between(1, paragraphs),
        first_word: random.pick(FIRST).toLowerCase(),
      };
    },
    say: ({ num_paragraphs: n, nth_paragraph: nth, first_word: word }) => [
      `There should be ${counted(n, "paragraph")}, separated by two line breaks and by nothing else. Paragraph ${said(nth)} must start with the word ${said(word)}.`,
    ],
    read: (text, random) => {
      const parts = text.split("\n\n");
      if (parts.length < 2 || parts.some((part) => part.trim() === "")) return undefined;
      const nth = random.between(1, parts.length);
      const [word] = /^[A-Za-z]+(?=\s)/.exec(parts[nth - 1]!.trim()) ?? [];
      return word === undefined
        ? undefined
        : { num_paragraphs: parts.length, nth_paragraph: nth, first_word: word.toLowerCase() };
    },
    without: [
      ...PARAGRAPHS,
      ...WHOLE,
      "detectable_format:number_bullet_lists",
      "detectable_format:multiple_sections",
      "startend:quotation",
    ],
  },
  "detectable_content:number_placeholders": {
    draw: (random) => ({ num_placeholders: random.between(1, 4) }),
    say: ({ num_placeholders: n }) => [
      `The response must contain at least ${counted(n, "placeholder")} in square brackets, such as [address].`,
      `Leave at least ${counted(n, "placeholder")} to fill in, written in square brackets like [name].`,
    ],
    read: (text) => {
      const found = text.match(/\[.*?\]/g)?.length ?? 0;
      return found === 0 ? undefined : { num_placeholders: found };
    },
    without: WHOLE.slice(0, 2),
  },
  "detectable_content:postscript": {
    draw: (random) => ({ postscript_marker: random.pick(["P.S.", "P.P.S"]) }),
    say: ({ postscript_marker: marker }) => [`At the end of your response, add a postscript that starts with ${said(marker)}`],
    read: (text) => {
      const marker = ["P.P.S", "P.S."].find((one) => text.includes(one));
      return marker === undefined ? undefined : { postscript_marker: marker };
    },
    without: [...WHOLE, "startend:end_checker"],
  },
  "detectable_format:number_bullet_lists": {
    draw: (random) => ({ num_bullets: random.between(2, 6) }),
    say: ({ num_bullets: n }) => [
      `Your answer must contain exactly ${counted(n, "bullet point")}, written as markdown: * This is a point.`,
      `Use exactly ${counted(n, "bullet")} in markdown, each beginning with "* ".`,
    ],
    read: (text) => {
      const found = text.split("\n").filter((line) => /^\s*(?:\*[^*]|-)/.test(line)).length;
      return found === 0 ? undefined : { num_bullets: found };
    },
    without: [...WHOLE, "length_constraints:nth_paragraph_first_word"],
  },
  "detectable_format:constrained_response": {
    draw: () => ({}),
    say: same('Answer with one of these: "My answer is yes.", "My answer is no.", "My answer is maybe."'),
    read: (text) => (/My answer is (?:yes|no|maybe)\./.test(text) ? {} : undefined),
    without: ["*"],
  },
  "detectable_format:number_highlighted_sections": {
    draw: (random) => ({ num_highlights: random.between(1, 4) }),
    say: ({ num_highlights: n }) => [
      `Highlight at least ${counted(n, "part")} of your answer with markdown, like *this part*.`,
      `At least ${counted(n, "section")} must be highlighted in markdown: *highlighted*.`,
    ],
    read: (text) => {
      const found = text.match(/\*[^\n*]+\*/g)?.length ?? 0;
      return found === 0 ? undefined : { num_highlights: found };
    },
    without: [...WHOLE.slice(0, 2), "length_constraints:number_paragraphs", "combination:two_responses"],
  },
  "detectable_format:multiple_sections": {
    draw: (random) => ({ section_spliter: random.pick(SECTIONS), num_sections: random.between(2, 4) }),
    say: ({ section_spliter: name, num_sections: n }) => [
      `Your response must have ${counted(n, "section")}. Mark the beginning of each with ${said(name)} X, such as:\n${said(name)} 1\n[content]\n${said(name)} 2\n[content]`,
    ],
    read: (text) => {
      for (const name of SECTIONS) {
        const found = text.match(new RegExp(`${name}\\s?\\d+`, "g"))?.length ?? 0;
        if (found > 0) return { section_spliter: name, num_sections: found };
      }
      return undefined;
    },
    without: [...WHOLE, ...PARAGRAPHS, ...CASE.slice(0, 2)],
  },
  "detectable_format:json_format": {
    draw: () => ({}),
    say: same("The whole output must be JSON. You may put it between markdown ticks such as ```."),
    read: (text) => (/^\s*(?:```|\{|\[)/.test(text) ? {} : undefined),
    without: [
      ...WHOLE,
      ...PARAGRAPHS,
      ...CASE,
      "detectable_format:title",
      "startend:quotation",
      "startend:end_checker",
      "detectable_content:postscript",
      "punctuation:no_comma",
      "length_constraints:number_sentences",
      "detectable_format:multiple_sections",
      "detectable_format:number_bullet_lists",
    ],
  },
  "detectable_format:title": {
    draw: () => ({}),
    say: () => [
      "Give your answer a title, wrapped in double angular brackets, such as <<poem of joy>>.",
      "Begin with a title in double angular brackets: <<title>>.",
    ],
    read: (text) => (/<<[^\n]+>>/.test(text) ? {} : undefined),
    without: [...WHOLE, "startend:quotation", "length_constraints:nth_paragraph_first_word"],
  },
  "combination:two_responses": {
    draw: () => ({}),
    say: same("Give two different responses. Separate them with six asterisks and nothing else: ******"),
    read: (text) => (text.split("******").length === 2 ? {} : undefined),
    without: [
      ...WHOLE,
      ...PARAGRAPHS,
      "detectable_format:multiple_sections",
      "startend:quotation",
      "detectable_content:postscript",
      "detectable_format:number_bullet_lists",
    ],
  },
  "combination:repeat_prompt": {
    draw: (_, request) => ({ prompt_to_repeat: request }),
    say: same(
      "First repeat the request above, word for word, without change, then give your answer. Do not say anything before the request.",
    ),
    read: none,
    without: [
      ...WHOLE,
      ...PARAGRAPHS,
      ...CASE,
      ...ENGLISH,
      "punctuation:no_comma",
      "startend:quotation",
      "detectable_format:title",
    ],
  },
  "startend:end_checker": {
    draw: (random) => ({ end_phrase: random.pick(ENDINGS) }),
    say: ({ end_phrase: phrase }) => [
      `Finish your response with this exact phrase: ${said(phrase)} No other words should follow it.`,
    ],
    read: (text) => {
      const last = text
        .trim()
        .split("\n")
        .at(-1)!
        .split(/(?<=[.!?])\s+/)
        .at(-1)!;
      return last.length < 8 || last.length > 90 ? undefined : { end_phrase: last };
    },
    without: [
      ...WHOLE.slice(0, 2),
      ...ENGLISH,
      ...CASE.slice(0, 2),
      "detectable_content:postscript",
      "startend:quotation",
      "punctuation:no_comma",
    ],
  },
  "startend:quotation": {
    draw: () => ({}),
    say: () => [
      "Wrap your whole response with double quotation marks.",
      "Put the whole response between double quotation marks.",
    ],
    read: (text) => (/^\s*"[\s\S]*"\s*$/.test(text) ? {} : undefined),
    without: [...WHOLE, "detectable_format:title", "startend:end_checker", "length_constraints:nth_paragraph_first_word"],
  },
  "change_case:capital_word_frequency": {
    draw: (random) => ({ capital_frequency: random.between(2, 8), capital_relation: random.pick(["at least", "less than"]) }),
    say: ({ capital_frequency: n, capital_relation: relation }) => [
      `Words in all capital letters should appear ${related(relation, n)} times.`,
      `Use words with all letters in capitals ${related(relation, n)} times.`,
    ],
    read: (text, random) => {
      const { relation, limit } = bound(treebankWords(text).filter(isUpper).length, random, 1)!;
      return { capital_frequency: limit, capital_relation: relation };
    },
    without: [...CASE, ...ENGLISH, ...WHOLE.slice(0, 2)],
  },
  "change_case:english_capital": {
    draw: () => ({}),
    say: () => [
      "Your whole response must be in English, and in all capital letters.",
      "Write in English and in capital letters only.",
    ],
    read: (text) => (text === text.toUpperCase() ? {} : undefined),
    without: [...CASE, ...ENGLISH, ...WHOLE, ...KEYWORDS, "startend:end_checker", "detectable_format:multiple_sections"],
  },
  "change_case:english_lowercase": {
    draw: () => ({}),
    say: () => [
      "Your whole response must be in English and in lowercase letters. No capital letters are allowed.",
      "Write in English without any capital letter.",
    ],
    read: (text) => (text === text.toLowerCase() ? {} : undefined),
    without: [
      ...CASE,
      ...ENGLISH,
      ...WHOLE,
      "keywords:existence",
      "keywords:frequency",
      "startend:end_checker",
      "detectable_format:multiple_sections",
      "detectable_content:postscript",
    ],
  },
  "punctuation:no_comma": {
    draw: () => ({}),
    say: () => ["Do not use any commas.", "Your response must not contain commas."],
    read: (text) => (text.includes(",") ? undefined : {}),
    without: [...WHOLE.slice(1, 2), "combination:repeat_prompt", "startend:end_checker"],
  },
};

export const constraintNames: readonly string[] = Object.keys(kinds);

const clash = (a: string, b: string): boolean =>
  a === b || [a, b].some((one, i) => kinds[one]!.without.includes("*") || kinds[one]!.without.includes(i ? a : b));

/** A constraint with its arguments, in words. */
const told = (id: string, kwargs: Kwargs, random: Random): Constraint => ({
  id,
  kwargs,
  text: random.pick(kinds[id]!.say(kwargs)),
});

/** Up to `most` constraints that go together, for a request: never a class twice, none that another makes impossible. */
export function drawConstraints(random: Random, request: string, most: number, among: readonly string[]): Constraint[] {
  const out: Constraint[] = [];
  for (const id of random.shuffled(among)) {
    if (out.length >= most) break;
    if (out.some((other) => clash(other.id, id))) continue;
    out.push(told(id, kinds[id]!.draw(random, request), random));
  }
  return out;
}

/**
 * Up to `most` constraints that a text follows, by `follows`. Those that few texts follow come first: they say more of this one.
 */
export function readConstraints(
  random: Random,
  text: string,
  most: number,
  among: readonly string[],
  follows: (id: string, kwargs: Kwargs) => boolean,
): Constraint[] {
  const found: Constraint[] = [];
  const rare = (id: string) => (/^(?:keywords|length_constraints:number_[sw]|change_case:capital_w)/.test(id) ? 1 : 0);
  const order = random.shuffled(among).sort((a, b) => rare(a) - rare(b));
  for (const id of order) {
    const kwargs = kinds[id]!.read(text, random);
    if (kwargs === undefined || !follows(id, kwargs) || found.some((other) => clash(other.id, id))) continue;
    found.push(told(id, kwargs, random));
  }
  return random.shuffled(found.slice(0, Math.max(most, 1)));
}
