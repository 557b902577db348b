// Needles in haystacks: sentences that give a key a value, hidden in a long text, and the question for them.
import type { Random } from "../random.ts";
import { adjectives, hay, nouns } from "./words.ts";

/** What a value looks like: seven digits, two words, or a UUID. */
export type NeedleValue = "number" | "word" | "uuid";

/** A text to be read, with what is asked and what is right. */
export interface LongText {
  /** Everything before the answer; ends with the question. */
  readonly text: string;
  /** How the answer begins: the model goes on behind it. */
  readonly lead: string;
  /** What must be in the answer. */
  readonly answers: readonly string[];
  /** Where in `text` what is asked for stands: [from, to) in characters. Empty where it is all over the text. */
  readonly spans: readonly (readonly [number, number])[];
}

/** Makes a text of `units` (sentences, words …); more units make it longer. `most`: units that there can be. */
export interface LongTextMaker {
  readonly most: number;
  make(units: number): LongText;
}

export interface NeedlePlan {
  readonly key: "word" | "uuid";
  readonly value: NeedleValue;
  /** Sentences about other keys, hidden among the hay. */
  readonly others: number;
  /** Keys that are asked for, and values of each. */
  readonly queries: number;
  readonly values: number;
  /** Sentences that are repeated; "needles": every sentence gives some other key a value. */
  readonly hay: readonly string[] | "needles";
  /** Where the needle is, from 0 (the beginning) to 1; undefined: anywhere. For one query with one value. */
  readonly depth?: number | undefined;
}

const names = { number: "number", word: "word", uuid: "code" } as const;

/** Keys are single words while there are enough of them. */
const compound = (random: Random): string => `${random.pick(adjectives)}-${random.pick(nouns)}`;

function uuid(random: Random): string {
  const hex = Array.from({ length: 32 }, () => random.below(16).toString(16));
  [hex[12], hex[16]] = ["4", (8 + random.below(4)).toString(16)];
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
    .map((part) => part.join(""))
    .join("-");
}

const drawValue = (kind: NeedleValue, random: Random): string =>
  kind === "number" ? String(1_000_000 + random.below(9_000_000)) : kind === "word" ? compound(random) : uuid(random);

/** What `text` says of `key`: the sentence that a needle is. */
export const needleSentence = (kind: NeedleValue, key: string, value: string): string =>
  `The special ${names[kind]} for ${key} is: ${value}.`;

const listed = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

/** A maker of haystacks; the same random numbers give the same needles at every length. */
export function needleTexts(plan: NeedlePlan, random: Random): LongTextMaker {
  const dense = plan.hay === "needles";
  const most = dense ? 4096 : 1 << 20;
  const keys = drawKeys(plan, dense ? most : plan.queries + plan.others, random);
  const asked = keys.slice(0, plan.queries);
  const values = new Map(keys.map((key) => [key, valuesOf(plan, asked.includes(key), random)]));
  const needles = (from: readonly string[]) =>
    from.flatMap((key) => values.get(key)!.map((value) => needleSentence(plan.value, key, value)));
  const places = { asked: needles(asked), others: dense ? [] : needles(keys.slice(plan.queries)) };
  const shares = [...places.asked, ...places.others].map(() => random.below(1 << 16) / (1 << 16));
  const filler = dense ? needles(keys.slice(plan.queries)) : undefined;
  const plural = plan.queries * plan.values > 1;
  const name = `${names[plan.value]}${plural ? "s" : ""}`;
  const question = `What ${plural ? "are all the" : "is the"} special ${name} for ${listed(asked)}, as told above?`;
  return {
    most: dense ? keys.length - plan.queries : most,
    make(units) {
      const lines = Array.from({ length: units }, (_, i) => (filler ? filler[i]! : plan.hay[i % plan.hay.length]!));
      // Of those at one place the one that is asked for comes last, so that nothing is put in before it.
      const put = [...places.asked, ...places.others].map((sentence, i) => ({
        sentence,
        asked: i < places.asked.length,
        at: Math.round((i < places.asked.length && plan.depth !== undefined ? plan.depth : shares[i]!) * units),
      }));
      const inserted = put.sort((a, b) => a.at - b.at || Number(a.asked) - Number(b.asked));
      let text = `Some special ${names[plan.value]}s are hidden in the following text. Keep them in mind: you will be asked for them.\n\n`;
      const spans: [number, number][] = [];
      const add = (sentence: string) => {
        text += `${sentence}${dense ? "\n" : " "}`;
      };
      let next = 0;
      for (let at = 0; at <= units; at++) {
        for (; next < inserted.length && inserted[next]!.at === at; next++) {
          const { sentence, asked: own } = inserted[next]!;
          if (own) spans.push([text.length, text.length + sentence.length]);
          add(sentence);
        }
        if (at < units) add(lines[at]!);
      }
      return {
        text: `${text.trimEnd()}\n\n${question}`,
        lead: `The special ${name} for ${listed(asked)} ${plural ? "are" : "is"}:`,
        answers: asked.flatMap((key) => values.get(key)!),
        spans,
      };
    },
  };
}

function drawKeys(plan: NeedlePlan, count: number, random: Random): string[] {
  if (plan.key === "uuid") return random.distinct(count, () => uuid(random));
  return random.distinct(count, () => (count <= nouns.length / 2 ? random.pick(nouns) : compound(random)));
}

const valuesOf = (plan: NeedlePlan, asked: boolean, random: Random): string[] =>
  random.distinct(asked ? plan.values : 1, () => drawValue(plan.value, random));

/** Sentences of a text of one's own, to be repeated as hay. */
export function sentencesOf(text: string): string[] {
  const found = text
    .replace(/\s+/g, " ")
    .split(/(?<=[.!?…])\s+/)
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence !== "");
  return found.length > 0 ? found : [...hay];
}
