// The 25 classes of instructions whose keeping a program can check, as IFEval's published checker does (J. Zhou et al. 2023,
// Instruction-Following Evaluation for Large Language Models, arXiv 2311.07911), strict and loose.
import { CpmError } from "../../errors.ts";
import { builtInLanguage, type LanguageDetector } from "./language.ts";
import { isLower, isUpper, pythonPattern, splitSpaces, strip, stripOf, wordsOf } from "./python.ts";
import { plainSentences, sentences } from "./sentences.ts";
import { responseOf, type Sample, type Verdict, verdict } from "./types.ts";
import { treebankWords } from "./words.ts";

type Check = (text: string, args: Arguments) => boolean;

/** Arguments of one instruction. What is missing or of the wrong kind is the caller's mistake, not the response's. */
class Arguments {
  readonly #id: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly detect: LanguageDetector;

  constructor(id: string, values: Readonly<Record<string, unknown>>, detect: LanguageDetector) {
    this.#id = id;
    this.#values = values;
    this.detect = detect;
  }

  #wrong(name: string, expected: string): CpmError {
    return new CpmError(
      "bad-input",
      `${this.#id}: ${name}: expected ${expected}, found ${JSON.stringify(this.#values[name])}; mend the sample's kwargs`,
      { field: `${this.#id}.${name}` },
    );
  }

  number(name: string): number {
    const value = this.#values[name];
    if (typeof value !== "number" || !(value >= 0)) throw this.#wrong(name, "a number from 0");
    return value;
  }

  text(name: string): string {
    const value = this.#values[name];
    if (typeof value !== "string" || value === "") throw this.#wrong(name, "a text");
    return value;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    if (!Array.isArray(value) || value.length === 0 || !value.every((item) => typeof item === "string"))
      throw this.#wrong(name, "a list of texts");
    return value as readonly string[];
  }

  /** Does a count stand in the relation that is asked for? */
  holds(count: number, limit: string, relation: string): boolean {
    const wanted = this.#values[relation];
    if (wanted === "less than") return count < this.number(limit);
    if (wanted === "at least") return count >= this.number(limit);
    throw this.#wrong(relation, '"less than" or "at least"');
  }

  /** A pattern with a text of the arguments in it, which is one itself. */
  pattern(name: string, source: string, options?: Parameters<typeof pythonPattern>[1]): RegExp {
    try {
      return pythonPattern(source, options);
    } catch (error) {
      throw new CpmError(
        "bad-input",
        `${this.#id}: ${name}: no pattern (${(error as Error).message}); mend the sample's kwargs`,
        {
          field: `${this.#id}.${name}`,
        },
      );
    }
  }
}

const lines = { multiline: true } as const;
const anyCase = { ignoreCase: true } as const;
const bullets = [pythonPattern("^\\s*\\*[^\\*].*$", lines), pythonPattern("^\\s*-.*$", lines)];
const placeholder = pythonPattern("\\[.*?\\]");
const divider = pythonPattern("\\s?\\*\\*\\*\\s?");
const highlight = pythonPattern("\\*[^\\n\\*]*\\*");
const doubleHighlight = pythonPattern("\\*\\*[^\\n\\*]*\\*\\*");
const title = pythonPattern("<<[^\\n]+>>");
const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;
const found = (text: string, pattern: RegExp): boolean => text.search(pattern) >= 0;

/** Does Python's json take it? Beside JSON it knows NaN and Infinity. */
export function isPythonJson(text: string): boolean {
  const plain = text.replace(/"(?:[^"\\]|\\[\s\S])*"|(?<![\w.+-])(?:-?Infinity|NaN)(?![\w.])/g, (part) =>
    part.startsWith('"') ? part : "0",
  );
  try {
    JSON.parse(plain);
    return true;
  } catch {
    return false;
  }
}

function unfenced(text: string): string {
  let out = strip(text);
  for (const fence of ["```json", "```Json", "```JSON", "```"]) if (out.startsWith(fence)) out = out.slice(fence.length);
  return strip(out.endsWith("```") ? out.slice(0, -3) : out);
}

/** Paragraphs between dividers; an empty one inside is a mistake. */
function paragraphs(text: string): number {
  const parts = text.split(divider);
  const empty = parts.map((part) => strip(part) === "");
  if (empty.some((is, i) => is && i !== 0 && i !== parts.length - 1)) return -1;
  return parts.length - empty.filter(Boolean).length;
}

function firstWord(text: string, args: Arguments): boolean {
  const [wanted, nth] = [args.number("num_paragraphs"), args.number("nth_paragraph")];
  const parts = text.split("\n\n");
  const filled = parts.filter((part) => strip(part) !== "").length;
  const paragraph = nth >= 1 && nth <= filled ? strip(parts[nth - 1]!) : "";
  if (paragraph === "") return false;
  const word = splitSpaces(paragraph)[0]!.replace(/^'+/, "").replace(/^"+/, "");
  const [bare] = word.split(/[.,?!'"]/);
  return filled === wanted && [...bare!].map((char) => char.toLowerCase()).join("") === args.text("first_word").toLowerCase();
}

function postscript(text: string, args: Arguments): boolean {
  const marker = strip(args.text("postscript_marker"));
  const known = { "P.P.S": "\\s*p\\.\\s?p\\.\\s?s.*$", "P.S.": "\\s*p\\.\\s?s\\..*$" }[marker];
  return found(text.toLowerCase(), args.pattern("postscript_marker", known ?? `\\s*${marker.toLowerCase()}.*$`, lines));
}

function twoResponses(text: string): boolean {
  const parts = text.split("******");
  const empty = parts.map((part) => strip(part) === "");
  if (empty.some((is, i) => is && i !== 0 && i !== parts.length - 1)) return false;
  const filled = parts.filter((_, i) => !empty[i]);
  return filled.length === 2 && strip(filled[0]!) !== strip(filled[1]!);
}

const oneLanguage =
  (wanted: (args: Arguments) => string): Check =>
  (text, args) => {
    const language = args.detect(text);
    // A text without letters is in no wrong language.
    return language === undefined || language === wanted(args);
  };
const english = oneLanguage(() => "en");

/** The classes by their published names. */
const checks: Readonly<Record<string, Check>> = {
  "keywords:existence": (text, args) =>
    args.list("keywords").every((keyword) => found(text, args.pattern("keywords", keyword, anyCase))),
  "keywords:frequency": (text, args) =>
    args.holds(count(text, args.pattern("keyword", strip(args.text("keyword")), anyCase)), "frequency", "relation"),
  "keywords:forbidden_words": (text, args) =>
    !args.list("forbidden_words").some((word) => found(text, args.pattern("forbidden_words", `\\b${word}\\b`, anyCase))),
  "keywords:letter_frequency": (text, args) => {
    const letter = strip(args.text("letter")).toLowerCase();
    return args.holds([...text.toLowerCase()].filter((char) => char === letter).length, "let_frequency", "let_relation");
  },
  "language:response_language": oneLanguage((args) => args.text("language")),
  "length_constraints:number_sentences": (text, args) => args.holds(sentences(text).length, "num_sentences", "relation"),
  "length_constraints:number_paragraphs": (text, args) => paragraphs(text) === args.number("num_paragraphs"),
  "length_constraints:number_words": (text, args) => args.holds(wordsOf(text).length, "num_words", "relation"),
  "length_constraints:nth_paragraph_first_word": firstWord,
  "detectable_content:number_placeholders": (text, args) => count(text, placeholder) >= args.number("num_placeholders"),
  "detectable_content:postscript": postscript,
  "detectable_format:number_bullet_lists": (text, args) =>
    count(text, bullets[0]!) + count(text, bullets[1]!) === args.number("num_bullets"),
  "detectable_format:constrained_response": (text) =>
    ["My answer is yes.", "My answer is no.", "My answer is maybe."].some((answer) => text.includes(answer)),
  "detectable_format:number_highlighted_sections": (text, args) => {
    const single = (text.match(highlight) ?? []).filter((part) => strip(stripOf(part, "*")) !== "");
    const double = (text.match(doubleHighlight) ?? []).filter((part) => strip(part.slice(2, -2)) !== "");
    return single.length + double.length >= args.number("num_highlights");
  },
  "detectable_format:multiple_sections": (text, args) =>
    count(text, args.pattern("section_spliter", `\\s?${strip(args.text("section_spliter"))}\\s?\\d+\\s?`)) >=
    args.number("num_sections"),
  "detectable_format:json_format": (text) => isPythonJson(unfenced(text)),
  "detectable_format:title": (text) =>
    (text.match(title) ?? []).some((part) => strip(part.replace(/^<+/, "").replace(/>+$/, "")) !== ""),
  "combination:two_responses": twoResponses,
  "combination:repeat_prompt": (text, args) =>
    strip(text)
      .toLowerCase()
      .startsWith(strip(args.text("prompt_to_repeat")).toLowerCase()),
  "startend:end_checker": (text, args) =>
    stripOf(strip(text), '"')
      .toLowerCase()
      .endsWith(strip(args.text("end_phrase")).toLowerCase()),
  "startend:quotation": (text) => {
    const bare = strip(text);
    return bare.length > 1 && bare.startsWith('"') && bare.endsWith('"');
  },
  "change_case:capital_word_frequency": (text, args) =>
    args.holds(treebankWords(text).filter(isUpper).length, "capital_frequency", "capital_relation"),
  "change_case:english_capital": (text, args) => isUpper(text) && english(text, args),
  "change_case:english_lowercase": (text, args) => isLower(text) && english(text, args),
  "punctuation:no_comma": (text) => !text.includes(","),
};

/** Further classes that the checker holds but its list leaves out. */
const more: Readonly<Record<string, Check>> = {
  "keywords:key_sentences": (text, args) => {
    const all = plainSentences(text);
    return args.list("key_sentences").filter((wanted) => all.includes(wanted)).length === args.number("num_sentences");
  },
  "detectable_format:constrained_start": (text, args) =>
    found(text, args.pattern("starter", `^\\s*${strip(args.text("starter"))}.*$`, lines)),
};

/** Names of the instructions that can be checked. */
export const instructionNames: readonly string[] = Object.keys(checks);

export interface InstructionOptions {
  /** "loose" also takes a response without its first line, its last, or its asterisks. Default "strict". */
  readonly mode?: "strict" | "loose" | undefined;
  /** Tells languages. Default: `builtInLanguage`; `languageDetector` over langdetect's profiles is what the published checker has. */
  readonly language?: LanguageDetector | undefined;
}

/** The texts of which one has to follow: the response, and in loose mode those without its edges and asterisks. */
function variants(response: string, loose: boolean): readonly string[] {
  if (!loose) return [response];
  const rows = response.split("\n");
  const cut = [
    response,
    strip(rows.slice(1).join("\n")),
    strip(rows.slice(0, -1).join("\n")),
    strip(rows.slice(1, -1).join("\n")),
  ];
  return [...cut, ...cut.map((text) => text.replaceAll("*", ""))];
}

/**
 * Does a response follow one instruction?
 * @throws CpmError "bad-input" for unknown names, and for arguments that are missing or of the wrong kind
 */
export function followsInstruction(
  name: string,
  kwargs: Readonly<Record<string, unknown>> | null | undefined,
  response: string,
  { mode = "strict", language = builtInLanguage }: InstructionOptions = {},
): boolean {
  const check = Object.hasOwn(checks, name) ? checks[name] : Object.hasOwn(more, name) ? more[name] : undefined;
  if (!check)
    throw new CpmError("bad-input", `${name}: there is no such instruction; known are ${instructionNames.join(", ")}`, {
      field: name,
    });
  const args = new Arguments(name, kwargs ?? {}, language);
  return variants(response, mode === "loose").some((text) => strip(text) !== "" && check(text, args));
}

/**
 * Does the response follow all its instructions (`instruction_id_list` and `kwargs`, as IFEval's rows have them)? A reason for each
 * that it does not follow. Throws as `followsInstruction` does.
 */
export function verifyInstructions(sample: Sample, options: InstructionOptions = {}): Verdict {
  const { instruction_id_list: names, kwargs } = sample;
  if (!names?.length)
    throw new CpmError("bad-input", "the sample has no instruction_id_list; give it one, with kwargs for each", {
      field: "instruction_id_list",
    });
  const response = responseOf(sample);
  return verdict(
    names
      .map((name, i) => [name, kwargs?.[i]] as const)
      .filter(([name, args]) => !followsInstruction(name, args, response, options))
      .map(([name, args]) => `instruction ${name} is not followed ${JSON.stringify(args ?? {})}`),
  );
}
