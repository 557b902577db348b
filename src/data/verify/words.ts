// Words of English texts as NLTK's word_tokenize gives them. Definition: its NLTKWordTokenizer, after R. MacIntyre's Treebank tokenizer.
import { pythonPattern, splitSpaces } from "./python.ts";
import { sentences } from "./sentences.ts";

type Rule = readonly [pattern: RegExp, replacement: string];
const rule = (source: string, replacement: string, ignoreCase = false): Rule => [
  pythonPattern(source, { ignoreCase }),
  replacement,
];

const rules: readonly Rule[] = [
  rule("([«“‘„]|[`]+)", " $1 "),
  rule('^"', "``"),
  rule("(``)", " $1 "),
  rule("([ \\(\\[{<])(\"|\\'{2})", "$1 `` "),
  rule("(\\')(?!re|ve|ll|m|t|s|d|n)(\\w)\\b", "$1 $2", true),
  rule("([^\\.])(\\.)([\\]\\)}>\"\\'»”’ ]*)\\s*$", "$1 $2 $3 "),
  rule("([:,])([^\\d])", " $1 $2"),
  rule("([:,])$", " $1 "),
  rule("\\.{2,}", " $& "),
  rule("[;@#$%&]", " $& "),
  rule("([^\\.])(\\.)([\\]\\)}>\"\\']*)\\s*$", "$1 $2$3 "),
  rule("[?!]", " $& "),
  rule("([^'])' ", "$1 ' "),
  rule("[*]", " $& "),
  rule("[\\]\\[\\(\\)\\{\\}\\<\\>]", " $& "),
  rule("--", " -- "),
];
const endings: readonly Rule[] = [
  rule("([»”’])", " $1 "),
  rule("''", " '' "),
  rule('"', " '' "),
  rule("([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
  rule("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
  ...["(can)(not)", "(d)('ye)", "(gim)(me)", "(gon)(na)", "(got)(ta)", "(lem)(me)", "(more)('n)"].map((two) =>
    rule(`\\b${two}\\b`, " $1 $2 ", true),
  ),
  rule("\\b(wan)(na)(?=\\s)", " $1 $2 ", true),
  rule(" ('t)(is)\\b", " $1 $2 ", true),
  rule(" ('t)(was)\\b", " $1 $2 ", true),
];

const apply = (text: string, list: readonly Rule[]): string =>
  list.reduce((changed, [pattern, replacement]) => changed.replace(pattern, replacement), text);

/** The words of one sentence. */
export const sentenceWords = (sentence: string): string[] => splitSpaces(apply(` ${apply(sentence, rules)} `, endings));

/** The words of a text, sentence by sentence. */
export const treebankWords = (text: string): string[] => sentences(text).flatMap(sentenceWords);
