// Constraints on marks, forms, combinations, beginnings and ends, case and punctuation.
import { isUpper } from "../../data/verify/python.ts";
import { treebankWords } from "../../data/verify/words.ts";
import {
  bound,
  CASE,
  counted,
  ENDINGS,
  ENGLISH,
  KEYWORDS,
  type Kind,
  none,
  PARAGRAPHS,
  related,
  SECTIONS,
  said,
  same,
  WHOLE,
} from "./kind.ts";

/** The classes by their published names. */
export const formKinds: Readonly<Record<string, Kind>> = {
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
