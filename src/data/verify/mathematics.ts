// Is the answer to a problem of mathematics right? Numbers, fractions, units, LaTeX, choices, lists: compared in a normal form, numbers
// exactly. There is no algebra: x+1 and 1+x differ.
import { responseOf, type Sample, type Verdict, verdict } from "./types.ts";

export interface AnswerOptions {
  /** Relative difference of numbers that still counts as equal. Default 0: exactly equal, but for what is rounded as `digits` says. */
  readonly tolerance?: number | undefined;
  /** Units count: "5 cm" is not 5. Default false: a unit that one side leaves out is no mistake; two different ones are. */
  readonly units?: boolean | undefined;
}

/** A fraction in lowest terms. */
interface Rational {
  readonly top: bigint;
  readonly bottom: bigint;
}

const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? (a < 0n ? -a : a) : gcd(b, a % b));

function rational(top: bigint, bottom: bigint): Rational | undefined {
  if (bottom === 0n) return undefined;
  const by = gcd(top, bottom) * (bottom < 0n ? -1n : 1n) || 1n;
  return { top: top / by, bottom: bottom / by };
}

/** The text of the braces that open at `at`, and where it ends. */
function braced(text: string, at: number): { readonly inner: string; readonly end: number } | undefined {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return { inner: text.slice(at + 1, i), end: i + 1 };
  }
  return undefined;
}

/**
 * The final answer of a response: the last \boxed{…}, else what follows the last "####", else what "the answer is" (or 答案) gives, else
 * the last number or choice; undefined where there is none.
 */
export function finalAnswer(response: string): string | undefined {
  const text = response.replace(/<think>[\s\S]*?<\/think>/g, "");
  for (let at = text.lastIndexOf("\\boxed"); at >= 0; at = at === 0 ? -1 : text.lastIndexOf("\\boxed", at - 1)) {
    const open = /^\\boxed\s*/.exec(text.slice(at))![0].length + at;
    const inner = text[open] === "{" ? braced(text, open)?.inner : /^\\boxed\s+([^\s$]+)/.exec(text.slice(at))?.[1];
    if (inner !== undefined) return inner.trim();
  }
  const marked = [...text.matchAll(/####[ \t]*([^\n]+)/g)].at(-1)?.[1];
  if (marked !== undefined) return marked.trim();
  const said = [...text.matchAll(/(?:answer|result|答案)\s*(?:is|are|was|equals|为|是|:|：|=)\s*[:：]?\s*([^\n]+)/gi)].at(
    -1,
  )?.[1];
  if (said !== undefined) {
    const bare = said
      .replace(/^\s*(?:\*\*|option\b|choice\b|therefore|simply)\s*/i, "")
      .replace(/\*\*/g, "")
      .trim();
    const choice = /^\(?([A-Z])(?:\)|[.:](?=\s|$)|(?=\s*$|\s*[.]))/.exec(bare)?.[1];
    if (choice) return choice;
    const math = /^(?:\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\])/.exec(bare);
    if (math) return (math[1] ?? math[2] ?? math[3])!.trim();
    return bare.split(/(?<!\d)[.。](?:\s|$)|[.。]$|(?<=\d)[.](?=\s|$)|,\s+(?:since|because|so|which|as)\b/)[0]!.trim();
  }
  const last = [...text.matchAll(/-?(?:\\frac\{[^{}]+\}\{[^{}]+\}|\$?\d[\d,]*(?:\.\d+)?(?:\s*\/\s*\d+)?%?)/g)].at(-1)?.[0];
  return last?.replace(/,$/, "") ?? [...text.matchAll(/\(([A-Z])\)/g)].at(-1)?.[1];
}

const greek = "alpha|beta|gamma|delta|theta|lambda|mu|pi|sigma|phi|omega|infty";

/** LaTeX and plain writing in one form: no spaces, sizes, text commands, dollars; fractions as (a)/(b), roots as sqrt(a). */
export function normalForm(answer: string): string {
  let out = answer
    .normalize("NFKC")
    .trim()
    .replace(/^\$+|\$+$/g, "")
    .trim();
  out = out.replace(/^\\[([]|\\[)\]]$/g, "").replace(/\\(?:left|right|big|Big|bigg|Bigg)[lrm]?(?![a-zA-Z])\.?/g, "");
  out = out.replace(/\\(?:[!,;:> ]|quad(?![a-z])|qquad(?![a-z]))|~/g, " ").replace(/\\displaystyle|\\textstyle|\\limits/g, "");
  out = out.replace(/\\(?:text|textbf|textrm|mathrm|mathbf|mathit|mbox|operatorname|boldsymbol)\s*\{([^{}]*)\}/g, " $1 ");
  out = out
    .replace(/\\([$%#&_])/g, "$1")
    .replace(/\\[{]/g, "⦃")
    .replace(/\\[}]/g, "⦄");
  out = out
    .replace(/\\(?:cdot|times|ast)(?![a-z])|[·×]/g, "*")
    .replace(/\\div(?![a-z])|÷/g, "/")
    .replace(/[−–]/g, "-");
  out = out.replace(/\\(?:le|leq|leqslant)(?![a-z])|≤/g, "<=").replace(/\\(?:ge|geq|geqslant)(?![a-z])|≥/g, ">=");
  out = out
    .replace(/\\(?:ne|neq)(?![a-z])|≠/g, "!=")
    .replace(/\\pm(?![a-z])|±/g, "+-")
    .replace(/\\cup(?![a-z])/g, "∪");
  out = out
    .replace(/\\in(?![a-z])/g, "∈")
    .replace(/\\infty|∞/g, "infty")
    .replace(/π/g, "pi")
    .replace(/√\s*(\w+)/g, "sqrt($1)");
  out = out
    .replace(/\^\s*(?:\\circ|\{\s*\\circ\s*\})|°/g, " degrees ")
    .replace(new RegExp(`\\\\(${greek})(?![a-z])`, "g"), " $1 ");
  out = commands(out);
  out = out.replace(/\\[a-zA-Z]+/g, (name) => ` ${name.slice(1)} `);
  out = out
    .replace(/\^\{([^{}]*)\}/g, "^($1)")
    .replace(/_\{([^{}]*)\}/g, "_$1")
    .replace(/[{}]/g, "");
  // 1,234 is a number; 1, 234 is a list.
  out = out.replace(/(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])/g, (number) => number.replaceAll(",", ""));
  return out
    .replace(/\s+/g, " ")
    .replace(/ ?([-+*/^=<>!(),|[\]⦃⦄∪∈]) ?/g, "$1")
    .trim()
    .replaceAll("⎵", " ")
    .replace(/(?<![\w)^])\(([\w.]+(?:\([^()]*\))?)\)\//g, "$1/")
    .replace(/\/\(([\d.]+|[a-z])\)/gi, "/$1")
    .replace(/\^\((-?[\w.]+)\)/g, "^$1")
    .replace(/\.$/, "");
}

/** \frac, \dfrac, \tfrac and \sqrt with what follows them, inside out. */
function commands(text: string): string {
  const name = /\\(?:[dtc]?frac|sqrt)(?![a-zA-Z])/.exec(text);
  if (!name) return text;
  let at = name.index + name[0].length;
  let index: string | undefined;
  const argument = (): string => {
    while (text[at] === " ") at++;
    const inside = text[at] === "{" ? braced(text, at) : undefined;
    if (inside) {
      at = inside.end;
      return inside.inner;
    }
    const one = /^\\[a-zA-Z]+|^[\s\S]/.exec(text.slice(at))?.[0] ?? "";
    at += one.length;
    return one;
  };
  if (name[0] === "\\sqrt") {
    const given = /^\s*\[([^\]]*)\]/.exec(text.slice(at));
    if (given) [index, at] = [given[1], at + given[0].length];
    const inner = commands(argument());
    return commands(`${text.slice(0, name.index)}${index ? `root${index}` : "sqrt"}(${inner})${text.slice(at)}`);
  }
  const before = /\d\s*$/.test(text.slice(0, name.index)) ? "⎵" : "";
  const [top, bottom] = [commands(argument()), commands(argument())];
  return commands(`${text.slice(0, name.index)}${before}(${top})/(${bottom})${text.slice(at)}`);
}

const DECIMAL = String.raw`[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4}|\*10\^\(?[-+]?\d{1,4}\)?)?`;

/** A decimal number, exactly. */
function decimal(text: string): Rational | undefined {
  const [, sign, whole = "", part = "", e1, e2] =
    /^([-+]?)(\d*)(?:\.(\d*))?(?:[eE]([-+]?\d{1,4})|\*10\^\(?([-+]?\d{1,4})\)?)?$/.exec(text) ?? [];
  if (sign === undefined || whole + part === "" || whole.length + part.length > 4000) return undefined;
  const power = Number(e1 ?? e2 ?? 0) - part.length;
  const digits = BigInt(whole + part) * (sign === "-" ? -1n : 1n);
  return power >= 0 ? rational(digits * 10n ** BigInt(power), 1n) : rational(digits, 10n ** BigInt(-power));
}

/** A number, fraction, mixed number or percentage in normal form. */
function numberOf(text: string): Rational | undefined {
  let bare = text.replace(/^[$€£¥]|(?<=^[-+])[$€£¥]/, "");
  while (/^\(.*\)$/.test(bare) && !/[()]/.test(bare.slice(1, -1))) bare = bare.slice(1, -1);
  const percent = bare.endsWith("%");
  if (percent) bare = bare.slice(0, -1).trim();
  const part = (p: string) => decimal(p.replace(/^\((.*)\)$/, "$1"));
  const piece = String.raw`(?:${DECIMAL}|\(${DECIMAL}\))`;
  const fraction = new RegExp(`^([-+]?)(?:(\\d+) )?(${piece})/(${piece})$`).exec(bare);
  let value = decimal(bare);
  if (fraction) {
    const [, sign, whole = "0", top, bottom] = fraction;
    const [a, b] = [part(top!), part(bottom!)];
    const below = a && b && rational(a.top * b.bottom, a.bottom * b.top);
    const negative = sign === "-" || (whole !== "0" && top!.startsWith("-"));
    value = below && rational((BigInt(whole) * below.bottom + below.top) * (negative ? -1n : 1n), below.bottom);
  }
  return value && percent ? rational(value.top, value.bottom * 100n) : value;
}

const toNumber = ({ top, bottom }: Rational): number => {
  const scale = 10n ** 20n;
  return Number((top * scale) / bottom) / 1e20;
};

function sameNumber(a: Rational, b: Rational, tolerance: number): boolean {
  if (a.top === b.top && a.bottom === b.bottom) return true;
  if (tolerance === 0) return false;
  const [x, y] = [toNumber(a), toNumber(b)];
  return Math.abs(x - y) <= tolerance * Math.max(Math.abs(x), Math.abs(y));
}

const UNIT = /^(.*?[\d)])\s*([a-zA-Z°µ][a-zA-Z°µ ]*(?:\^\(?-?\d\)?)?(?:\/[a-zA-Z]+(?:\^\(?-?\d\)?)?)?)$/;
const words: Readonly<Record<string, string>> = {
  percent: "%",
  degrees: "degree",
  dollars: "$",
  dollar: "$",
  cents: "cent",
  meters: "m",
  meter: "m",
  metres: "m",
  centimeters: "cm",
  centimeter: "cm",
  kilometers: "km",
  kilometer: "km",
  seconds: "s",
  second: "s",
  sec: "s",
  minutes: "min",
  minute: "min",
  hours: "h",
  hour: "h",
  hr: "h",
  hrs: "h",
  grams: "g",
  gram: "g",
  kilograms: "kg",
  kilogram: "kg",
  inches: "in",
  inch: "in",
  feet: "ft",
  foot: "ft",
  miles: "mi",
  mile: "mi",
  liters: "l",
  liter: "l",
  days: "day",
  years: "year",
  units: "unit",
};

/** A value and the unit behind it. */
function withUnit(text: string): { readonly value: string; readonly unit: string } {
  const [, value, unit] = UNIT.exec(text) ?? [];
  if (value === undefined || unit === undefined || numberOf(value) === undefined) return { value: text, unit: "" };
  const name = unit.trim().toLowerCase();
  return { value, unit: words[name] ?? name.replace(/s$/, "") };
}

/** Parts of a list, set, tuple or interval between commas that stand in no brackets. */
function partsOf(text: string): readonly string[] {
  const parts: string[] = [];
  let [depth, from] = [0, 0];
  for (let i = 0; i < text.length; i++) {
    if ("([⦃".includes(text[i]!)) depth++;
    else if (")]⦄".includes(text[i]!)) depth--;
    else if (depth === 0 && text[i] === ",") {
      parts.push(text.slice(from, i));
      from = i + 1;
    }
  }
  return [...parts, text.slice(from)];
}

/** Without case, spaces and multiplication signs, but those between digits. */
const bare = (text: string): string => text.replace(/(?<!\d)[ *]|[ *](?!\d)/g, "").toLowerCase();

function equal(a: string, b: string, options: AnswerOptions): boolean {
  if (a === b) return true;
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x && y) return sameNumber(x, y, options.tolerance ?? 0);
  if (bare(a) === bare(b)) return true;
  const [p, q] = [withUnit(a), withUnit(b)];
  if (p.unit !== "" || q.unit !== "") {
    if (p.unit !== q.unit && (options.units || (p.unit !== "" && q.unit !== ""))) return false;
    const percent = (unit: string, value: string) => (unit === "%" ? `${value}%` : value);
    return equal(percent(p.unit, p.value), percent(q.unit, q.value), { ...options, units: false });
  }
  // A set's order does not count; that of a tuple does, and the kind of an interval's brackets.
  const bracket = (text: string) => /^([([⦃])(.*)([)\]⦄])$/.exec(text);
  const [m, n] = [bracket(a), bracket(b)];
  if (m && n && m[1] === n[1] && m[3] === n[3]) return lists(partsOf(m[2]!), partsOf(n[2]!), m[1] === "⦃", options);
  const [left, right] = [partsOf(a), partsOf(b)];
  if (left.length > 1 && right.length > 1) return lists(left, right, true, options);
  // x=5 and 5 are the same answer.
  const side = (text: string) => /^[a-zA-Z](?:_\w)?=(.+)$/.exec(text)?.[1] ?? text;
  if (side(a) !== a || side(b) !== b) return (side(a) === a) === (side(b) === b) ? false : equal(side(a), side(b), options);
  return false;
}

function lists(a: readonly string[], b: readonly string[], anyOrder: boolean, options: AnswerOptions): boolean {
  if (a.length !== b.length) return false;
  if (!anyOrder) return a.every((item, i) => equal(item, b[i]!, options));
  const left = [...b];
  return a.every((item) => {
    const at = left.findIndex((other) => equal(item, other, options));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

/** Are two answers the same? */
export function sameAnswer(given: string, right: string, options: AnswerOptions = {}): boolean {
  const [a, b] = [normalForm(given), normalForm(right)];
  // A choice: a letter, alone or before its text.
  const choice = /^\(?([A-Z])\)?[.:]?$/.exec(b)?.[1];
  if (choice) return new RegExp(`^\\(?${choice}(?:\\)|[.:]|$)`, "i").test(a);
  return equal(a, b, options);
}

/** Is the response's final answer the right one (`answer`; of a list, any)? */
export function verifyAnswer(sample: Sample, options: AnswerOptions = {}): Verdict {
  const { answer } = sample;
  const right = (Array.isArray(answer) ? answer : [answer]).filter((a) => a !== undefined).map(String);
  if (right.length === 0) return verdict(["answer: the sample has none to compare with"]);
  const given = finalAnswer(responseOf(sample));
  if (given === undefined) return verdict(["answer: the response gives none"]);
  return verdict(
    right.some((one) => sameAnswer(given, one, options)) ? [] : [`answer: ${given.slice(0, 100)} is not ${right.join(" or ")}`],
  );
}
