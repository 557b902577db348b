// Programs with one operator or number changed: mistakes to find, and a test of tests. Strings and comments stay as they are.
import type { SandboxLanguage } from "../data/verify/code.ts";

export interface Mutant {
  readonly code: string;
  /** From 1. */
  readonly line: number;
  readonly from: string;
  readonly to: string;
}

const STRINGS: Readonly<Record<SandboxLanguage, RegExp>> = {
  python: /(#[^\n]*)|"""(?:\\[\s\S]|[^\\])*?"""|'''(?:\\[\s\S]|[^\\])*?'''|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'/g,
  // A slash begins a pattern where no value stands before it.
  javascript:
    /(\/\/[^\n]*|\/\*[\s\S]*?\*\/)|`(?:\\[\s\S]|[^`\\])*`|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'|(?<=(?:^|[=(,:;!&|?{}[\n]|\breturn)[ \t]*)\/(?![/*])(?:\\[^\n]|\[(?:\\[^\n]|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/g,
};

/** A program of the same length whose strings are `"`s and whose comments are blanks, and how many comments there were. */
export function bare(code: string, language: SandboxLanguage): { readonly code: string; readonly comments: number } {
  let comments = 0;
  const out = code.replace(STRINGS[language], (whole, comment: string | undefined) => {
    if (comment !== undefined) comments++;
    return whole.replace(/[^\n]/g, comment === undefined ? '"' : " ");
  });
  return { code: out, comments };
}

type Change = readonly [pattern: RegExp, to: string | ((found: string) => string)];

/** Behind a value: an operator between two, not a sign. */
const BETWEEN = '(?<=[\\w)\\]}"]\\s*)(?<!\\b(?:return|in|and|or|not|if|else|yield|lambda|of|case|typeof|print)\\s*)';
const binary = (operator: string): RegExp => new RegExp(`${BETWEEN}(?<![*/+\\-])${operator}(?![*/+=\\->])`, "g");
const number: Change = [/(?<![\w.])\d+(?![\w.])/g, (found) => (found.length > 15 ? `${found}0` : String(Number(found) + 1))];
const [less, most, more, least] = [/(?<!<)<(?![<=])/g, /(?<!<)<=/g, /(?<![>=-])>(?![>=])/g, /(?<!>)>=/g];
const shared: readonly Change[] = [
  // The edge, which some tests miss, and the other way round.
  [less, "<="],
  [most, "<"],
  [more, ">="],
  [least, ">"],
  [less, ">"],
  [most, ">="],
  [more, "<"],
  [least, "<="],
  [/(?<![!=<>])==(?!=)/g, "!="],
  [/!=(?!=)/g, "=="],
  [/\+=/g, "-="],
  [/-=/g, "+="],
  [binary("\\+"), "-"],
  [binary("-"), "+"],
  [binary("\\*"), "+"],
  [binary("%"), "*"],
  number,
];
const CHANGES: Readonly<Record<SandboxLanguage, readonly Change[]>> = {
  python: [
    ...shared,
    [/\band\b/g, "or"],
    [/\bor\b/g, "and"],
    [/\bnot in\b/g, "in"],
    [/\bTrue\b/g, "False"],
    [/\bFalse\b/g, "True"],
    [new RegExp(`${BETWEEN}//(?!=)`, "g"), "*"],
  ],
  javascript: [
    ...shared,
    [/===/g, "!=="],
    [/!==/g, "==="],
    [/&&/g, "||"],
    [/\|\|/g, "&&"],
    [/\btrue\b/g, "false"],
    [/\bfalse\b/g, "true"],
  ],
};

/** All mutants of a program, in the order of their places. */
export function mutantsOf(code: string, language: SandboxLanguage): Mutant[] {
  const { code: seen } = bare(code, language);
  const found: (Mutant & { readonly at: number })[] = [];
  for (const [pattern, change] of CHANGES[language])
    for (const { 0: from, index: at } of seen.matchAll(pattern)) {
      const to = typeof change === "string" ? change : change(from);
      const line = code.slice(0, at).split("\n").length;
      found.push({ at, code: `${code.slice(0, at)}${to}${code.slice(at + from.length)}`, line, from, to });
    }
  return found.sort((a, b) => a.at - b.at).map(({ at: _, ...mutant }) => mutant);
}
