// Text as Python counts it: in code points, with Unicode's white space.
const SPACE = /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/;
export const isSpace = (c: string): boolean => (c >= "!" && c <= "~" ? false : SPACE.test(c));

const surrogates = /[\ud800-\udfff]/;
export const codePoints = (text: string): string[] => (surrogates.test(text) ? Array.from(text) : text.split(""));
export const lengthOf = (text: string): number => {
  if (!surrogates.test(text)) return text.length;
  let count = 0;
  for (const _ of text) count++;
  return count;
};

/** UTF-16 order is not code point order above U+D7FF. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  if (!surrogates.test(a) && !surrogates.test(b)) return a < b ? -1 : 1;
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (a.charCodeAt(i) === b.charCodeAt(i)) continue;
    const low = (s: string) => i > 0 && /[\udc00-\udfff]/.test(s[i]!) && /[\ud800-\udbff]/.test(s[i - 1]!);
    const at = low(a) || low(b) ? i - 1 : i;
    return a.codePointAt(at)! - b.codePointAt(at)!;
  }
  return a.length - b.length;
}

/** Where `needle` begins in `text` at or after `from`, or -1: in time linear in both (Knuth, Morris and Pratt). */
export function find(text: string, needle: string, from = 0): number {
  if (needle.length <= 16) return text.indexOf(needle, from);
  const borders = new Int32Array(needle.length);
  for (let i = 1, k = 0; i < needle.length; i++) {
    while (k > 0 && needle.charCodeAt(i) !== needle.charCodeAt(k)) k = borders[k - 1]!;
    if (needle.charCodeAt(i) === needle.charCodeAt(k)) k++;
    borders[i] = k;
  }
  for (let i = from, k = 0; i < text.length; i++) {
    while (k > 0 && text.charCodeAt(i) !== needle.charCodeAt(k)) k = borders[k - 1]!;
    if (text.charCodeAt(i) === needle.charCodeAt(k)) k++;
    if (k === needle.length) return i - k + 1;
  }
  return -1;
}

/** All places of `needle` (not empty) in `text` that do not overlap, at most `most`. */
export function findAll(text: string, needle: string, most = Number.POSITIVE_INFINITY): number[] {
  if (needle.length > 16) {
    // One pass with one table: borders would be made again for each place otherwise.
    const places: number[] = [];
    const borders = new Int32Array(needle.length);
    for (let i = 1, k = 0; i < needle.length; i++) {
      while (k > 0 && needle.charCodeAt(i) !== needle.charCodeAt(k)) k = borders[k - 1]!;
      if (needle.charCodeAt(i) === needle.charCodeAt(k)) k++;
      borders[i] = k;
    }
    for (let i = 0, k = 0; i < text.length && places.length < most; i++) {
      while (k > 0 && text.charCodeAt(i) !== needle.charCodeAt(k)) k = borders[k - 1]!;
      if (text.charCodeAt(i) === needle.charCodeAt(k)) k++;
      if (k === needle.length) {
        places.push(i - k + 1);
        k = 0;
      }
    }
    return places;
  }
  const places: number[] = [];
  for (let at = text.indexOf(needle); at >= 0 && places.length < most; at = text.indexOf(needle, at + needle.length))
    places.push(at);
  return places;
}

/** `text` without the characters of `set` (white space when undefined) at its begin and end. */
export function strip(text: string, set: string | undefined, sides: "both" | "left" | "right"): string {
  const chars = set === undefined ? undefined : new Set(codePoints(set));
  const drops = (c: string) => (chars ? chars.has(c) : isSpace(c));
  const points = codePoints(text);
  let [begin, end] = [0, points.length];
  if (sides !== "right") while (begin < end && drops(points[begin]!)) begin++;
  if (sides !== "left") while (end > begin && drops(points[end - 1]!)) end--;
  return begin === 0 && end === points.length ? text : points.slice(begin, end).join("");
}

const letter = /\p{L}/u;
const cased = /[\p{Lu}\p{Ll}\p{Lt}\p{Uppercase}\p{Lowercase}]/u;
/** Python's lower(): with the final sigma, as JavaScript's. */
export const lower = (text: string): string => text.toLowerCase();
export const upper = (text: string): string => text.toUpperCase();
export const capitalize = (text: string): string => {
  const first = codePoints(text)[0];
  return first === undefined ? "" : titleOf(first) + lower(text.slice(first.length));
};
/** Title case differs from upper case for a few letters that are two. */
const titles: Readonly<Record<string, string>> = {
  ß: "Ss",
  ﬀ: "Ff",
  ﬁ: "Fi",
  ﬂ: "Fl",
  ﬃ: "Ffi",
  ﬄ: "Ffl",
  ﬅ: "St",
  ﬆ: "St",
  ǆ: "ǅ",
  Ǆ: "ǅ",
  ǅ: "ǅ",
  ǉ: "ǈ",
  Ǉ: "ǈ",
  ǈ: "ǈ",
  ǌ: "ǋ",
  Ǌ: "ǋ",
  ǋ: "ǋ",
  ǳ: "ǲ",
  Ǳ: "ǲ",
  ǲ: "ǲ",
};
const titleOf = (c: string): string => titles[c] ?? upper(c);

/** str.title(): upper case after every character without case. */
export function title(text: string): string {
  let out = "";
  let inside = false;
  for (const c of text) {
    out += inside ? lower(c) : titleOf(c);
    inside = c <= "\x7f" ? (c >= "a" && c <= "z") || (c >= "A" && c <= "Z") : cased.test(c);
  }
  return out;
}
/** Jinja's own title filter: words begin after white space and opening brackets and dashes. */
export const titleFilter = (text: string): string =>
  text
    .split(/([-\s({[<]+)/)
    .map((part) => {
      const first = codePoints(part)[0];
      return first === undefined ? "" : upper(first) + lower(part.slice(first.length));
    })
    .join("");

export const isLetter = (c: string): boolean => letter.test(c);

/** Lines without their ends, by Python's splitlines(). */
export function splitLines(text: string, keep: boolean): string[] {
  const lines: string[] = [];
  for (const [line, end] of matches(text, /([^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*)(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|$)/g))
    if (line !== "" || end !== "") lines.push(keep ? line + end : line);
  return lines;
}
function* matches(text: string, pattern: RegExp): Generator<[string, string]> {
  for (const match of text.matchAll(pattern)) yield [match[1]!, match[2]!];
}

/** repr() of a text. */
export function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const plain = text.replace(/[\\'"\x00-\x1f\x7f-\xa0\xad]|[\p{C}\p{Zl}\p{Zp}\p{Zs}]/gu, (c) => {
    if (c === " " || (c === '"' && mark === "'") || (c === "'" && mark === '"')) return c;
    if (c === "\\" || c === mark) return `\\${c}`;
    if (c === "\n") return "\\n";
    if (c === "\r") return "\\r";
    if (c === "\t") return "\\t";
    const code = c.codePointAt(0)!;
    const hex = code.toString(16);
    return code < 256 ? `\\x${hex.padStart(2, "0")}` : code < 65536 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
  return mark + plain + mark;
}

/** repr() of a float. */
export function floatText(x: number): string {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  if (Object.is(x, -0)) return "-0.0";
  const size = Math.abs(x);
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) {
    const [digits, power] = x.toExponential().split("e") as [string, string];
    return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  }
  return Number.isInteger(x) ? `${x}.0` : String(x);
}
