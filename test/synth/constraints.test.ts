// Constraints: every class can be drawn, said and checked; what is read off a text the text follows; none that exclude each other meet.
import { expect, test } from "vitest";
import { followsInstruction, instructionNames } from "../../src/data/verify/ifeval.ts";
import { constraintNames, drawConstraints, kinds, readConstraints } from "../../src/synth/constraints.ts";
import { Random } from "../../src/synth/random.ts";
import { chances, prose } from "./answers.mjs";

const request = "Tell me about the harbour, its lanterns and the journey of a timber ship.";

/** A text that follows a class, made by hand for its arguments. */
interface Arguments {
  readonly keywords: readonly string[];
  readonly keyword: string;
  readonly frequency: number;
  readonly relation: string;
  readonly letter: string;
  readonly let_frequency: number;
  readonly let_relation: string;
  readonly language: string;
  readonly num_sentences: number;
  readonly num_paragraphs: number;
  readonly num_words: number;
  readonly nth_paragraph: number;
  readonly first_word: string;
  readonly num_placeholders: number;
  readonly postscript_marker: string;
  readonly num_bullets: number;
  readonly num_highlights: number;
  readonly section_spliter: string;
  readonly num_sections: number;
  readonly prompt_to_repeat: string;
  readonly end_phrase: string;
  readonly capital_frequency: number;
  readonly capital_relation: string;
}
const answers: Readonly<Record<string, (k: Arguments) => string>> = {
  "keywords:existence": ({ keywords }) => `Here are ${keywords.join(" and ")}.`,
  "keywords:frequency": ({ keyword, frequency, relation }) =>
    `So. ${relation === "at least" ? `${keyword}. `.repeat(frequency) : ""}`,
  "keywords:forbidden_words": () => "Nothing of it.",
  "keywords:letter_frequency": ({ letter, let_frequency: n, let_relation: relation }) =>
    relation === "at least" ? letter.repeat(n) : "1234",
  "language:response_language": ({ language }) =>
    ({
      de: "Der Hafen ist alt und die Schiffe liegen still, weil es heute nicht weht und niemand fährt.",
      fr: "Le port est vieux et les bateaux sont calmes, parce que le vent ne souffle pas aujourd'hui.",
      es: "El puerto es viejo y los barcos están tranquilos, porque hoy no hay viento en la ciudad.",
      it: "Il porto è vecchio e le barche sono ferme, perché oggi non c'è vento nella città.",
      pt: "O porto é velho e os barcos estão parados, porque hoje não há vento na cidade e ninguém sai.",
      ru: "Порт старый, и корабли стоят тихо, потому что сегодня нет ветра.",
      hi: "बंदरगाह पुराना है और जहाज़ शांत हैं।",
      ko: "항구는 오래되었고 배들은 조용합니다.",
      ja: "港は古く、船は静かに泊まっています。",
      "zh-cn": "港口很古老，船只静静地停着，因为今天没有风。",
      ar: "الميناء قديم والسفن هادئة لأن الريح لا تهب اليوم.",
      fi: "Satama on vanha ja laivat ovat hiljaa, koska tänään ei tuule eikä kukaan lähde.",
    })[language]!,
  "length_constraints:number_sentences": ({ num_sentences: n, relation }) =>
    Array.from({ length: relation === "at least" ? n : 1 }, () => "The ship is old.").join(" "),
  "length_constraints:number_paragraphs": ({ num_paragraphs: n }) =>
    Array.from({ length: n }, (_, i) => `Part ${i}.`).join("\n***\n"),
  "length_constraints:number_words": ({ num_words: n, relation }) => "word ".repeat(relation === "at least" ? n : n - 1),
  "length_constraints:nth_paragraph_first_word": ({ num_paragraphs: n, nth_paragraph: nth, first_word: word }) =>
    Array.from({ length: n }, (_, i) => (i + 1 === nth ? `${word} it is.` : "Then it is.")).join("\n\n"),
  "detectable_content:number_placeholders": ({ num_placeholders: n }) => "[name] ".repeat(n),
  "detectable_content:postscript": ({ postscript_marker: marker }) => `So it is.\n\n${marker} More.`,
  "detectable_format:number_bullet_lists": ({ num_bullets: n }) => "* one\n".repeat(n),
  "detectable_format:constrained_response": () => "My answer is maybe.",
  "detectable_format:number_highlighted_sections": ({ num_highlights: n }) => "*this* and ".repeat(n),
  "detectable_format:multiple_sections": ({ section_spliter: name, num_sections: n }) =>
    Array.from({ length: n }, (_, i) => `${name} ${i + 1}\ntext`).join("\n"),
  "detectable_format:json_format": () => '```json\n{"a": 1}\n```',
  "detectable_format:title": () => "<<a title>>\nText.",
  "combination:two_responses": () => "One.\n******\nTwo.",
  "combination:repeat_prompt": ({ prompt_to_repeat: text }) => `${text} Yes.`,
  "startend:end_checker": ({ end_phrase: phrase }) => `Well. ${phrase}`,
  "startend:quotation": () => '"All of it."',
  "change_case:capital_word_frequency": ({ capital_frequency: n, capital_relation: relation }) =>
    relation === "at least" ? "SHIP and ".repeat(n) : "no such thing",
  "change_case:english_capital": () => "THE HARBOUR IS OLD AND THE SHIPS ARE STILL, FOR THERE IS NO WIND.",
  "change_case:english_lowercase": () => "the harbour is old and the ships are still, for there is no wind.",
  "punctuation:no_comma": () => "There is none.",
};

test("the classes are the checker's 25", () => {
  expect([...constraintNames].sort()).toEqual([...instructionNames].sort());
  expect(constraintNames).toHaveLength(25);
  for (const [name, { without }] of Object.entries(kinds))
    for (const other of without) expect(other === "*" || constraintNames.includes(other), `${name}: ${other}`).toBe(true);
});

test.each(constraintNames)("%s: 60 draws have arguments that the checker takes, and a text that follows them passes", (name) => {
  for (let i = 0; i < 60; i++) {
    const random = new Random(name, i);
    const kwargs = kinds[name]!.draw(random, request);
    for (const text of kinds[name]!.say(kwargs)) {
      expect(text.length).toBeGreaterThan(10);
      expect(text).not.toMatch(/undefined|\[object|NaN/);
    }
    const answer = answers[name]!(kwargs as never as Arguments);
    expect(followsInstruction(name, kwargs, answer), `${JSON.stringify(kwargs)}\n${answer}`).toBe(true);
    // What stands in the arguments stands in the words.
    const said = kinds[name]!.say(kwargs).join(" ");
    for (const value of Object.values(kwargs).flat()) if (typeof value === "number") expect(said).toContain(String(value));
  }
});

test.each(constraintNames.filter((name) => name !== "combination:repeat_prompt"))(
  "%s is read off a text that follows it",
  (name) => {
    let found = 0;
    for (let i = 0; i < 30; i++) {
      const random = new Random("read", name, i);
      const text = answers[name]!(kinds[name]!.draw(random, request) as never as Arguments);
      const kwargs = kinds[name]!.read(text, random);
      if (kwargs && followsInstruction(name, kwargs, text)) found++;
    }
    expect(found).toBeGreaterThan(0);
  },
);

test("500 draws: never a class twice, none beside one that excludes it, as many as asked for", () => {
  const seen = new Set<string>();
  let full = 0;
  for (let i = 0; i < 500; i++) {
    const drawn = drawConstraints(new Random("draw", i), request, 4, constraintNames);
    const ids = drawn.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const a of ids)
      for (const b of ids)
        if (a !== b) expect(kinds[a]!.without.includes(b) || kinds[a]!.without.includes("*"), `${a} ${b}`).toBe(false);
    for (const id of ids) seen.add(id);
    if (ids.length === 4) full++;
  }
  expect(seen.size).toBe(25);
  expect(full).toBeGreaterThan(300);
});

test("200 texts: the constraints read off them are followed, and say something", () => {
  let count = 0;
  for (let i = 0; i < 200; i++) {
    const text = `${prose(chances(`read ${i}`), 2 + (i % 6))}${i % 3 ? "" : "\n\n* one\n* two"}`;
    const follows = (id: string, kwargs: Readonly<Record<string, unknown>>) => followsInstruction(id, kwargs, text);
    const read = readConstraints(new Random("texts", i), text, 3, constraintNames, follows);
    for (const { id, kwargs } of read) expect(follows(id, kwargs)).toBe(true);
    expect(read.length).toBeLessThanOrEqual(3);
    count += read.length;
  }
  expect(count).toBeGreaterThan(400);
});

test("chances: bounded, even, and decided by their names", () => {
  const counts = new Array<number>(10).fill(0);
  const random = new Random("even");
  for (let i = 0; i < 20_000; i++) counts[random.below(10)]!++;
  for (const n of counts) expect(Math.abs(n - 2000)).toBeLessThan(5 * Math.sqrt(1800));
  expect(new Random("a", 1).next()).toBe(new Random("a", 1).next());
  expect(new Random("a", 1).next()).not.toBe(new Random("a", 2).next());
  const list = Array.from({ length: 50 }, (_, i) => i);
  expect([...new Random("s").shuffled(list)].sort((a, b) => a - b)).toEqual(list);
});
