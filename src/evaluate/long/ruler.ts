// Kinds of long texts after RULER (arXiv 2404.06654): what is asked can be told exactly from how the text was made.
import type { Random } from "../random.ts";
import { type LongTextMaker, type NeedlePlan, needleTexts } from "./needles.ts";
import { adjectives, hay, nouns } from "./words.ts";

export const longKinds = [
  "single",
  "single-uuid",
  "multikey",
  "multikey-dense",
  "multikey-uuid",
  "multivalue",
  "multiquery",
  "variables",
  "common-words",
  "frequent-words",
] as const;
export type LongKind = (typeof longKinds)[number];

export interface LongKindOptions {
  /** Sentences that are repeated as hay (default: five of the package's own). */
  readonly hay?: readonly string[] | undefined;
  /** Chains of assignments, and how often each is handed on. */
  readonly chains?: number | undefined;
  readonly hops?: number | undefined;
}

/** Makes texts of a kind; the same random numbers give the same answers at every length. */
export function longTexts(kind: LongKind, options: LongKindOptions, random: Random): LongTextMaker {
  const sentences = options.hay ?? hay;
  const plan: NeedlePlan = { key: "word", value: "number", others: 0, queries: 1, values: 1, hay: sentences };
  switch (kind) {
    case "single":
      return needleTexts(plan, random);
    case "single-uuid":
      return needleTexts({ ...plan, value: "uuid" }, random);
    case "multikey":
      return needleTexts({ ...plan, others: 3 }, random);
    case "multikey-dense":
      return needleTexts({ ...plan, hay: "needles" }, random);
    case "multikey-uuid":
      return needleTexts({ ...plan, key: "uuid", value: "uuid", hay: "needles" }, random);
    case "multivalue":
      return needleTexts({ ...plan, values: 4 }, random);
    case "multiquery":
      return needleTexts({ ...plan, queries: 4 }, random);
    case "variables":
      return variables(sentences, options.chains ?? 1, options.hops ?? 4, random);
    case "common-words":
      return commonWords(random);
    case "frequent-words":
      return frequentWords(random);
  }
}

/** Variable tracking: which variables have a value that was handed on from one to the next? */
function variables(sentences: readonly string[], chains: number, hops: number, random: Random): LongTextMaker {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const names = random.distinct(chains * (hops + 1), () => Array.from({ length: 5 }, () => letters[random.below(26)]).join(""));
  const values = random.distinct(chains, () => String(10_000 + random.below(90_000)));
  const lines = values.map((value, chain) =>
    Array.from({ length: hops + 1 }, (_, hop) => {
      const name = names[chain * (hops + 1) + hop]!;
      return `VAR ${name} = ${hop === 0 ? value : `VAR ${names[chain * (hops + 1) + hop - 1]}`}.`;
    }),
  );
  // Assignments of a chain stand in its order, wherever they fall.
  const shares = lines.map((chain) => chain.map(() => random.below(1 << 16) / (1 << 16)).sort((a, b) => a - b));
  return {
    most: 1 << 20,
    make(units) {
      const put = lines.flatMap((chain, c) =>
        chain.map((line, hop) => ({ line, at: Math.floor(shares[c]![hop]! * units), own: c === 0, order: c * (hops + 1) + hop })),
      );
      put.sort((a, b) => a.at - b.at || a.order - b.order);
      let text = "Follow the values of the variables in the following text, which is full of other things.\n\n";
      const spans: [number, number][] = [];
      let next = 0;
      for (let at = 0; at <= units; at++) {
        for (; next < put.length && put[next]!.at === at; next++) {
          if (put[next]!.own) spans.push([text.length, text.length + put[next]!.line.length]);
          text += `${put[next]!.line} `;
        }
        if (at < units) text += `${sentences[at % sentences.length]} `;
      }
      const [value] = values;
      return {
        text: `${text.trimEnd()}\n\nWhich variables have the value ${value} in the end, given by number or by another variable? There are ${hops + 1} of them.`,
        lead: `The variables with the value ${value} are:`,
        answers: names.slice(0, hops + 1),
        spans,
      };
    },
  };
}

/** Ten words that stand in a list thirty times, among words that stand in it three times; in short lists ten times and once. */
function commonWords(random: Random): LongTextMaker {
  const all = adjectives.flatMap((adjective) => nouns.map((noun) => `${adjective}-${noun}`));
  random.shuffle(all);
  const seed = random.bits();
  const [common, rest] = [all.slice(0, 10), all.slice(10)];
  return {
    most: rest.length,
    make(units) {
      const [often, seldom] = units < 200 ? [10, 1] : [30, 3];
      const list = [
        ...common.flatMap((word) => repeat(word, often)),
        ...rest.slice(0, units).flatMap((word) => repeat(word, seldom)),
      ];
      shuffled(list, seed);
      return {
        text: `Here is a numbered list of words. Some stand in it far more often than the others. Keep the most common ones in mind.\n\n${list
          .map((word, i) => `${i + 1}. ${word}`)
          .join(" ")}\n\nWhich ten words are the most common in the list above?`,
        lead: "The ten most common words in the list are:",
        answers: common,
        spans: [],
      };
    },
  };
}

/** Made-up words whose counts fall with the square of their rank; the three most frequent are asked for. */
function frequentWords(random: Random): LongTextMaker {
  const letters = "abcdefghijklmnopqrstuvwxyz";
  const kinds = 2000;
  const words = random.distinct(kinds, () => Array.from({ length: 6 }, () => letters[random.below(26)]).join(""));
  const seed = random.bits();
  return {
    most: 1 << 18,
    make(units) {
      // Every word of a rank whose share is a whole word or more; the first has half of the units, at least 18, so that the third never ties with the fourth.
      const first = Math.max(18, Math.ceil(units / 2));
      const list = words.flatMap((word, rank) => repeat(word, Math.floor(first / (rank + 1) ** 2)));
      shuffled(list, seed);
      return {
        text: `The following text is written in coded words. Keep in mind which of them are the most frequent.\n\n${list.join(" ")}\n\nWhich three coded words are the most frequent in the text above?`,
        lead: "The three most frequent coded words are:",
        answers: words.slice(0, 3),
        spans: [],
      };
    },
  };
}

const repeat = (word: string, times: number): string[] => Array.from({ length: times }, () => word);

/** An order that depends on the seed and the length alone. */
function shuffled(list: string[], seed: number): void {
  // Numerical Recipes' generator: its high bits are good enough for an order, and it is quick.
  let state = seed >>> 0;
  for (let i = list.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
}
