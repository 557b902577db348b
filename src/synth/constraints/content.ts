// Constraints on words, languages and lengths.
import { builtInLanguage } from "../../data/verify/language.ts";
import { wordsOf } from "../../data/verify/python.ts";
import { sentences } from "../../data/verify/sentences.ts";
import {
  bound,
  CASE,
  COMMON,
  counted,
  ENGLISH,
  FIRST,
  KEYWORDS,
  type Kind,
  keywordsOf,
  LANGUAGES,
  listed,
  occurrences,
  PARAGRAPHS,
  related,
  said,
  someOf,
  WHOLE,
  wordsFor,
} from "./kind.ts";

/** The classes by their published names. */
export const contentKinds: Readonly<Record<string, Kind>> = {
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
};
