// Texts as Python's str and re treat them: white space, words and case by Python's definitions, patterns translated.

/** str.isspace, as the inside of a class. */
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
/** str.isalnum and the low line, as the inside of a class. */
const WORD = "\\p{L}\\p{N}_";

const leading = new RegExp(`^[${SPACE}]+`, "u");
const spaces = new RegExp(`[${SPACE}]+`, "u");
const space = new RegExp(`[${SPACE}]`, "u");
const words = new RegExp(`[${WORD}]+`, "gu");

/** str.rstrip(). */
export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && space.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/** str.strip(). */
export const strip = (text: string): string => stripEnd(text.replace(leading, ""));

/** str.strip(chars). */
export function stripOf(text: string, chars: string): string {
  let [begin, end] = [0, text.length];
  while (begin < end && chars.includes(text[begin]!)) begin++;
  while (end > begin && chars.includes(text[end - 1]!)) end--;
  return text.slice(begin, end);
}

/** str.split(). */
export const splitSpaces = (text: string): string[] => text.split(spaces).filter((word) => word !== "");

/** re.findall(r"\w+"). */
export const wordsOf = (text: string): string[] => text.match(words) ?? [];

const anyUpper = /[\p{Uppercase}\p{Lt}]/u;
const anyLower = /[\p{Lowercase}\p{Lt}]/u;

/** str.isupper(): something has case, and nothing is lower. */
export const isUpper = (text: string): boolean => /\p{Uppercase}/u.test(text) && !anyLower.test(text);
/** str.islower(). */
export const isLower = (text: string): boolean => /\p{Lowercase}/u.test(text) && !anyUpper.test(text);

const isWord = `[${WORD}]`;
const classes: Readonly<Record<string, string>> = {
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  s: SPACE,
  w: WORD,
};
const outside: Readonly<Record<string, string>> = {
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  s: `[${SPACE}]`,
  S: `[^${SPACE}]`,
  w: isWord,
  W: `[^${WORD}]`,
  b: `(?:(?<=${isWord})(?!${isWord})|(?<!${isWord})(?=${isWord}))`,
  B: `(?:(?<=${isWord})(?=${isWord})|(?<!${isWord})(?!${isWord}))`,
  A: "(?<![\\s\\S])",
  Z: "(?![\\s\\S])",
  a: "\\x07",
};

/** Letters that Python takes for one without regard to case, and Unicode's simple folding for three. */
const DOTTED = "iI\u0130\u0131";

class BadPattern extends Error {}

export interface PatternOptions {
  readonly ignoreCase?: boolean;
  readonly multiline?: boolean;
}

/**
 * A pattern of Python's re as a RegExp with the flags g and u.
 * @throws Error saying what it holds that is not understood (conditional groups, flags inside, \S and \W in classes)
 */
export function pythonPattern(source: string, { ignoreCase = false, multiline = false }: PatternOptions = {}): RegExp {
  let flags = ignoreCase ? "giu" : "gu";
  const anyCase = ignoreCase || /^\(\?[sm]*i/.test(source);
  const chars = [...source];
  let out = "";
  let i = 0;
  /** An escape, after its backslash. */
  const escaped = (inClass: boolean): string => {
    const c = chars[i++];
    if (c === undefined) throw new BadPattern("it ends in a backslash");
    const known = inClass ? (c === "b" ? "\\x08" : classes[c]) : outside[c];
    if (known !== undefined) return known;
    if (/[nrtfv]/.test(c)) return `\\${c}`;
    if (c === "0") return "\\x00";
    if (/[1-9]/.test(c) && !inClass) return `\\${c}`;
    const digits = { x: 2, u: 4, U: 8 }[c];
    if (digits !== undefined) {
      const hex = chars.slice(i, i + digits).join("");
      if (!/^[0-9a-fA-F]+$/.test(hex) || hex.length !== digits) throw new BadPattern(`\\${c} without ${digits} digits`);
      i += digits;
      return `\\u{${hex.replace(/^0+(?=.)/, "")}}`;
    }
    if (/[\p{L}\p{N}]/u.test(c)) throw new BadPattern(`the escape \\${c}`);
    return literal(c);
  };
  while (i < chars.length) {
    const c = chars[i++]!;
    if (c === "\\") out += escaped(false);
    else if (c === ".") out += "[^\\n]";
    else if (c === "^") out += multiline ? "(?<![^\\n])" : "(?<![\\s\\S])";
    else if (c === "$") out += multiline ? "(?![^\\n])" : "(?=\\n?(?![\\s\\S]))";
    else if (c === "[") {
      const begin = out.length;
      out += "[";
      if (chars[i] === "^") out += chars[i++];
      for (let first = true; chars[i] !== "]" || first; first = false) {
        const inner = chars[i++];
        if (inner === undefined) throw new BadPattern("a class without its end");
        // One at the end is itself, whatever is put behind it.
        const dash = chars[i] === "]" ? "\\-" : "-";
        out += inner === "\\" ? escaped(true) : inner === "-" ? dash : literal(inner);
      }
      i++;
      const inside = out.slice(begin + (out[begin + 1] === "^" ? 2 : 1));
      if (anyCase && [...DOTTED].some((one) => new RegExp(`[${inside}]`, "iu").test(one))) out += DOTTED;
      out += "]";
    } else if (c === "(" && chars[i] === "?") {
      const rest = chars.slice(i).join("");
      const [opener] = /^\?(?:P<\w+>|P=\w+\)|:|=|!|<=|<!|#[^)]*\)|[ism]+\))/.exec(rest) ?? [];
      if (opener === undefined) throw new BadPattern(`the group (${rest.slice(0, 4)}`);
      i += [...opener].length;
      if (opener.startsWith("?P<")) out += `(?${opener.slice(2)}`;
      else if (opener.startsWith("?P=")) out += `\\k<${opener.slice(3, -1)}>`;
      else if (opener.startsWith("?#")) out += "";
      else if (opener.endsWith(")")) {
        if (opener.includes("i") && !ignoreCase) flags = "giu";
        if (/[sm]/.test(opener)) throw new BadPattern(`the flags (${opener}`);
      } else out += `(${opener}`;
    } else if (c === "{") {
      const [whole, low, comma, high] = /^(\d*)(,?)(\d*)\}/.exec(chars.slice(i).join("")) ?? [];
      if (whole === undefined || whole === "}" || whole === ",}") out += "\\{";
      else {
        out += `{${low || 0}${comma}${high}}`;
        i += whole.length;
      }
    } else if (c === "}" || c === "]" || c === "/") out += literal(c);
    else if (c === "+" && /(?:^|[^\\])(?:[*+?]|\{\d+(?:,\d*)?\})$/.test(out)) {
      // A possessive quantifier takes what the greedy one takes, and gives nothing back.
    } else if (anyCase && DOTTED.includes(c)) out += `[${DOTTED}]`;
    else out += c;
  }
  return new RegExp(out, flags);
}

const literal = (char: string): string => (/[\\^$.*+?()[\]{}|/-]/.test(char) ? `\\${char}` : char);
