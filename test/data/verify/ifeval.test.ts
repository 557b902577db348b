// IFEval's instructions: the published checker's verdicts on its rows, and each class by examples of our own.
import { expect, test } from "vitest";
import { followsInstruction, instructionNames, isPythonJson, verifyInstructions } from "../../../src/data/verify/ifeval.ts";
import { builtInLanguage, type LanguageDetector } from "../../../src/data/verify/language.ts";
import { isLower, isUpper, pythonPattern, strip } from "../../../src/data/verify/python.ts";
import { plainSentences, sentences } from "../../../src/data/verify/sentences.ts";
import { sentenceWords } from "../../../src/data/verify/words.ts";
import { loadLanguageDetector } from "../../../src/host/verify.node.ts";
import { hasProfiles, onSuite, profiles, rows } from "./rig.ts";

interface Row {
  readonly id?: string;
  readonly key?: number;
  readonly instruction_id_list: readonly string[];
  readonly kwargs: readonly Record<string, unknown>[];
  readonly response: string;
  readonly strict: readonly boolean[];
  readonly loose: readonly boolean[];
}
interface Unit {
  readonly instruction_id: string;
  readonly kwargs: Record<string, unknown>;
  readonly response: string;
  readonly expected: boolean;
}

/** Verdicts of all rows that differ from the published ones. */
function differences(language: LanguageDetector): { readonly verdicts: number; readonly wrong: readonly string[] } {
  let verdicts = 0;
  const wrong: string[] = [];
  const all = [...rows<Row>("ifeval/generated.jsonl"), ...rows<Row>("ifeval/gpt4-responses.jsonl.gz")];
  for (const row of all)
    for (const mode of ["strict", "loose"] as const)
      row.instruction_id_list.forEach((name, i) => {
        verdicts++;
        if (followsInstruction(name, row.kwargs[i], row.response, { mode, language }) !== row[mode][i])
          wrong.push(`${row.id ?? row.key} ${name} ${mode}`);
      });
  for (const { instruction_id: name, kwargs, response, expected } of rows<Unit>("ifeval/unit-cases.jsonl")) {
    verdicts++;
    if (followsInstruction(name, kwargs, response, { language }) !== expected) wrong.push(`unit ${name}: ${response}`);
  }
  return { verdicts, wrong };
}

onSuite("ifeval", "with langdetect's profiles: every verdict is the published checker's", async () => {
  if (!hasProfiles) return console.warn(`not run: ${profiles} is not there (Debian: python3-langdetect)`);
  const { verdicts, wrong } = differences(await loadLanguageDetector(profiles));
  expect(verdicts).toBe(2405);
  expect(wrong).toEqual([]);
});

onSuite("ifeval", "without: what differs are verdicts on languages, under 0.5 %", () => {
  const { verdicts, wrong } = differences(builtInLanguage);
  expect(wrong.length / verdicts, wrong.join("\n")).toBeLessThan(0.005);
  for (const one of wrong) expect(one).toMatch(/language:response_language|change_case:english_/);
});

test("25 instructions; each follows and fails by an example", () => {
  const examples: Readonly<Record<string, readonly [kwargs: Record<string, unknown>, good: string, bad: string]>> = {
    "keywords:existence": [{ keywords: ["river", "Stone"] }, "A stone in the RIVER.", "A stone."],
    "keywords:frequency": [{ keyword: "a.c", frequency: 2, relation: "at least" }, "abc, AXC", "abc"],
    "keywords:forbidden_words": [{ forbidden_words: ["cat"] }, "concatenate", "A Cat."],
    "keywords:letter_frequency": [{ letter: "É", let_frequency: 2, let_relation: "at least" }, "été", "ete é"],
    "language:response_language": [
      { language: "de" },
      "Das ist nicht der Hund, den ich meine.",
      "It is not the dog that I mean.",
    ],
    "length_constraints:number_sentences": [
      { num_sentences: 2, relation: "less than" },
      "Dr. Smith left.",
      "He left. She stayed.",
    ],
    "length_constraints:number_paragraphs": [{ num_paragraphs: 2 }, "a\n***\nb", "a\n***\n***\nb"],
    "length_constraints:number_words": [{ num_words: 3, relation: "at least" }, "one two's", "one two"],
    "length_constraints:nth_paragraph_first_word": [
      { num_paragraphs: 2, nth_paragraph: 2, first_word: "Now" },
      "A b.\n\n'\"now, c.",
      "A b.\n\nNowhere.",
    ],
    "detectable_content:number_placeholders": [{ num_placeholders: 2 }, "[a] and [b c]", "[a"],
    "detectable_content:postscript": [{ postscript_marker: "P.P.S" }, "x\np. p.s. y", "P.S. y"],
    "detectable_format:number_bullet_lists": [{ num_bullets: 2 }, "* a\n - b", "* a\n** b **"],
    "detectable_format:constrained_response": [{}, "So: My answer is maybe.", "My answer is Maybe"],
    "detectable_format:number_highlighted_sections": [{ num_highlights: 2 }, "*a* and *b*", "*a* ** **"],
    "detectable_format:multiple_sections": [{ section_spliter: "PART", num_sections: 2 }, "PART 1\na\nPART2 b", "PART 1 part 2"],
    "detectable_format:json_format": [{}, '```JSON\n{"a": NaN}\n```', "{'a': 1}"],
    "detectable_format:title": [{}, "<<a title>> x", "<< >>"],
    "combination:two_responses": [{}, "******a******b", "a******a"],
    "combination:repeat_prompt": [{ prompt_to_repeat: "Say it. " }, " say IT. Done.", "I say it."],
    "startend:end_checker": [{ end_phrase: " The END" }, '"It is the end"', "The end."],
    "startend:quotation": [{}, ' "a" ', '"'],
    "change_case:capital_word_frequency": [{ capital_frequency: 3, capital_relation: "at least" }, "I CAN'T", "I NASA-eSA"],
    "change_case:english_capital": [{}, "THE ANSWER IS THAT THE DOG IS NOT HERE", "The answer"],
    "change_case:english_lowercase": [{}, "the answer is that the dog is not here", "the Answer"],
    "punctuation:no_comma": [{}, "a; b，c", "a, b"],
  };
  expect(Object.keys(examples).sort()).toEqual([...instructionNames].sort());
  expect(instructionNames).toHaveLength(25);
  for (const [name, [kwargs, good, bad]] of Object.entries(examples)) {
    expect(followsInstruction(name, kwargs, good), `${name}: ${good}`).toBe(true);
    expect(followsInstruction(name, kwargs, bad), `${name}: ${bad}`).toBe(false);
    expect(followsInstruction(name, kwargs, " \n"), name).toBe(false);
  }
});

test("loose takes a response without its first line, its last or its asterisks; strict does not", () => {
  const json = 'Sure, here it is:\n{"a": 1}\nI hope that helps!';
  expect(followsInstruction("detectable_format:json_format", {}, json)).toBe(false);
  expect(followsInstruction("detectable_format:json_format", {}, json, { mode: "loose" })).toBe(true);
  expect(followsInstruction("startend:quotation", {}, '*"a"*', { mode: "loose" })).toBe(true);
});

test("bad arguments are the caller's mistake, and are told", () => {
  expect(() => followsInstruction("no:such", {}, "x")).toThrow(/no such instruction/);
  expect(() => followsInstruction("keywords:frequency", { keyword: "a" }, "x")).toThrow(/relation/);
  expect(() => followsInstruction("toString", {}, "x")).toThrow(/no such instruction/);
  expect(() => followsInstruction("keywords:existence", { keywords: ["(?<n>a"] }, "x")).toThrow(/no pattern/);
  expect(() => verifyInstructions({ response: "x" })).toThrow(/instruction_id_list/);
  const { ok, reasons } = verifyInstructions({
    response: "a, b",
    instruction_id_list: ["punctuation:no_comma", "startend:quotation"],
    kwargs: [{}],
  });
  expect(ok).toBe(false);
  expect(reasons).toHaveLength(2);
});

test("texts as Python has them: white space, case, patterns, JSON", () => {
  expect(strip("\x1c\u0085 a\ufeff\u3000")).toBe("a\ufeff");
  expect([isUpper("Ⅷ1"), isUpper("ǅ"), isUpper("12"), isLower("ª!"), isLower("aǅ")]).toEqual([true, false, false, true, false]);
  const all = (source: string, text: string, options = {}) => text.match(pythonPattern(source, options)) ?? [];
  expect(all("\\bé\\w+", "été éa")).toEqual(["été", "éa"]);
  expect(all("^.*$", "a\u2028b\rc\nd", { multiline: true })).toEqual(["a\u2028b\rc", "d"]);
  expect(all("[]a-]{2,}|C++|a{,2}b|{x}", "]- CC ab {x}")).toEqual(["]-", "CC", "ab", "{x}"]);
  expect(all("(?i)STRASSE|ſ", "strasse")).toEqual(["strasse"]);
  expect(all("(?P<q>['\"])x(?P=q)", "'x' \"x'")).toEqual(["'x'"]);
  // A dash at a class's end is one, where letters of Turkish come behind it, too.
  for (const source of ["[i-]", "[a_i-]", "[\\w-]"]) expect(all(source, "-`", { ignoreCase: true }), source).toEqual(["-"]);
  for (const bad of ["(", "\\q", "[a", "(?(1)a|b)"]) expect(() => pythonPattern(bad), bad).toThrow();
  for (const [text, is] of Object.entries({
    '{"a":[NaN,-Infinity]}': true,
    "-NaN": false,
    "1NaN": false,
    '"NaN': false,
    "[1,]": false,
  }))
    expect(isPythonJson(text), text).toBe(is);
});

test("sentences and words", () => {
  const counts: Readonly<Record<string, number>> = {
    "He came to Washington, D.C. on Jan. 5. It rained.": 2,
    "J. R. R. Tolkien wrote it. I know.": 2,
    "Wait... what? Yes! (Really.) Good.": 4,
    "It costs 3.50 dollars at 5 p.m. today": 1,
    "One\n\ntwo": 1,
    "": 0,
  };
  for (const [text, count] of Object.entries(counts)) expect(sentences(text), text).toHaveLength(count);
  expect(sentences('"Stop!" she said. "Why?" He ran.')).toEqual(['"Stop!"', "she said.", '"Why?"', "He ran."]);
  expect(plainSentences("Dr. Who came at 3.5. Did he? Visit a.com now...")).toEqual([
    "Dr. Who came at 3.5.",
    "Did he?",
    "Visit a.com now...",
  ]);
  expect(sentenceWords("I CAN'T cannot 'TIS \"NASA\" (U.S.A.) 3,000:5 a--b.")).toEqual(
    "I CA N'T can not 'T IS `` NASA '' ( U.S.A. ) 3,000:5 a -- b .".split(" "),
  );
});

test("languages told without files", () => {
  const texts: Readonly<Record<string, string>> = {
    en: "All happy families are alike; every unhappy family is unhappy in its own way.",
    de: "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett.",
    fr: "Longtemps, je me suis couché de bonne heure.",
    es: "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, vivía un hidalgo.",
    pt: "Não sei se isso é bom para você, mas eu também não tenho uma resposta.",
    it: "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura.",
    ru: "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    uk: "Усі щасливі родини схожі одна на одну, і кожна нещаслива нещаслива по-своєму.",
    bg: "Всички щастливи семейства си приличат, всяко нещастно семейство е нещастно посвоему, това е така.",
    ar: "كل العائلات السعيدة متشابهة، أما العائلات التعيسة فهي مختلفة في كل شيء.",
    fa: "همه خانواده‌های خوشبخت مثل هم هستند و این را می‌دانند که چگونه باشند.",
    ur: "تمام خوش خاندان ایک جیسے ہوتے ہیں اور یہ بات سب کو معلوم ہے۔",
    hi: "सभी सुखी परिवार एक जैसे होते हैं और यह बात सबको पता है।",
    mr: "सर्व सुखी कुटुंबे सारखीच असतात आणि हे सर्वांना माहीत आहे.",
    ne: "सबै सुखी परिवार उस्तै हुन्छन् र यो कुरा सबैलाई थाहा छ।",
    ja: "幸福な家庭はすべて互いに似かよったものである。",
    "zh-cn": "幸福的家庭都是相似的，不幸的家庭各有各的不幸。",
    ko: "행복한 가정은 모두 비슷한 이유로 행복하다.",
    vi: "Tất cả các gia đình hạnh phúc đều giống nhau.",
    sw: "Familia zote zenye furaha zinafanana kwa kila jambo na hii ni kweli.",
    fi: "Kaikki onnelliset perheet ovat toistensa kaltaisia, mutta se ei ole totta.",
    pl: "Wszystkie szczęśliwe rodziny są do siebie podobne, ale to nie jest tak.",
  };
  for (const [language, text] of Object.entries(texts)) expect(builtInLanguage(text), text).toBe(language);
  expect(builtInLanguage("1234 ... !?")).toBeUndefined();
});
