// Where English sentences end: the decisions of Punkt (T. Kiss and J. Strunk 2006, Unsupervised Multilingual Sentence Boundary
// Detection) with lists of our own instead of a trained model, and the simpler splitter of IFEval's key sentences.
import { ABBREVIATIONS, COMMON, STARTERS } from "./english.ts";
import { isLower, isUpper, pythonPattern, stripEnd } from "./python.ts";

const NON_WORD = "[)\";}\\]*:@'({\\[?!]";
const MULTI = "(?:-{2,}|\\.{2,}|(?:\\.\\s){2,}\\.)";
const period = pythonPattern(`[.?!](?=(?P<after>${NON_WORD}|\\s+(?P<next>\\S+)))`);
const token = pythonPattern(
  `${MULTI}|(?=[^\\("\`{\\[:;&#*@\\)}\\]\\-,])\\S+?(?=\\s|$|${NON_WORD}|${MULTI}|,(?=$|\\s|${NON_WORD}|${MULTI}))|\\S`,
);
const NUMBER = /^-?[.,]?\p{Nd}[\p{Nd},.-]*\.?$/u;
const INITIAL = /^\p{L}\.$/u;
const closing = /^["')\]}]+?(?:\s+|(?=--)|(?![^\n]))/u;

const first = (text: string): string => String.fromCodePoint(text.codePointAt(0) ?? 32);

/** Does a token end a sentence before the next one? Sections of the paper: 4.1 first pass, 4.2 and 4.3 second pass. */
function ends(word: string, next: string): boolean {
  if (word === "." || word === "?" || word === "!") return true;
  const ellipsis = /^\.\.+$/.test(word);
  if (!ellipsis && (!word.endsWith(".") || word.endsWith(".."))) return false;
  const lower = word.toLowerCase();
  const type = lower.slice(0, -1);
  const abbreviation = !ellipsis && (ABBREVIATIONS.has(type) || ABBREVIATIONS.has(type.split("-").at(-1)!));
  const initial = INITIAL.test(word);
  const upper = isUpper(first(next));
  const name = next.toLowerCase().replace(/\.$/, "");
  const common = COMMON.has(name) || STARTERS.has(name);
  if ((abbreviation || ellipsis) && !initial) return upper && common;
  if (initial || NUMBER.test(word)) {
    if (isLower(first(next))) return false;
    if (initial && upper && !common) return false;
  }
  return !abbreviation;
}

/** Is there an end of a sentence in a context: a word, its end and what follows? */
function breaks(context: string): boolean {
  const found = context.split("\n").flatMap((line) => line.match(token) ?? []);
  return found.some((word, i) => i + 1 < found.length && ends(word, found[i + 1]!));
}

interface Candidate {
  readonly word: string;
  readonly at: number;
  readonly end: number;
  readonly context: string;
  readonly next: number;
}

/** Where a sentence may end; of marks in one word only the last. */
function* candidates(text: string): Generator<Candidate> {
  let [from, stop] = [0, 0];
  let held: Candidate | undefined;
  for (const match of text.matchAll(period)) {
    const before = text.slice(stop, match.index);
    const blank = before.search(/[ \t-\r][^ \t-\r]*$/);
    const begin = blank > 0 ? stop + blank + 1 : from;
    if (held && stop <= begin) yield held;
    const { after = "", next } = match.groups ?? {};
    const end = match.index + 1;
    held = {
      word: text.slice(begin, match.index),
      at: match.index,
      end,
      context: text.slice(begin, end) + after,
      next: next === undefined ? end : end + after.length - next.length,
    };
    [from, stop] = [begin, match.index];
  }
  if (held) yield held;
}

/** The sentences of an English text. */
export function sentences(text: string): string[] {
  const slices: [begin: number, end: number][] = [];
  let last = 0;
  for (const { context, end, next } of candidates(text)) {
    if (!breaks(context)) continue;
    slices.push([last, end]);
    last = next;
  }
  slices.push([last, stripEnd(text).length]);
  const out: string[] = [];
  let moved = 0;
  for (const [i, [begin, end]] of slices.entries()) {
    const following = slices[i + 1];
    let close = end;
    const start = begin + moved;
    moved = 0;
    // Closing marks behind an end belong to the sentence before.
    const tail = following && closing.exec(text.slice(...following))?.[0];
    if (following && tail) {
      close = following[0] + stripEnd(tail).length;
      moved = tail.length;
      out.push(text.slice(start, close));
    } else if (start < close) out.push(text.slice(start, close));
  }
  return out;
}

/** Sentences as IFEval splits them for its key sentences: by marks, after protecting what looks like none. */
export function plainSentences(text: string): string[] {
  const starters =
    "(Mr|Mrs|Ms|Dr|Prof|Capt|Cpt|Lt|He\\s|She\\s|It\\s|They\\s|Their\\s|Our\\s|We\\s|But\\s|However\\s|That\\s|This\\s|Wherever)";
  const rules: readonly (readonly [string, string])[] = [
    ["(Mr|St|Mrs|Ms|Dr)[.]", "$1<prd>"],
    ["[.](com|net|org|io|gov|edu|me)", "<prd>$1"],
    ["([0-9])[.]([0-9])", "$1<prd>$2"],
  ];
  let out = ` ${text}  `.replaceAll("\n", " ");
  for (const [source, to] of rules) out = out.replace(pythonPattern(source), to);
  out = out.replace(/\.{2,}/g, (dots) => `${"<prd>".repeat(dots.length)}<stop>`);
  out = out.replaceAll("Ph.D.", "Ph<prd>D<prd>");
  const later: readonly (readonly [string, string])[] = [
    ["\\s([A-Za-z])[.] ", " $1<prd> "],
    [`([A-Z][.][A-Z][.](?:[A-Z][.])?) ${starters}`, "$1<stop> $2"],
    ["([A-Za-z])[.]([A-Za-z])[.]([A-Za-z])[.]", "$1<prd>$2<prd>$3<prd>"],
    ["([A-Za-z])[.]([A-Za-z])[.]", "$1<prd>$2<prd>"],
    [` (Inc|Ltd|Jr|Sr|Co)[.] ${starters}`, " $1<stop> $2"],
    [" (Inc|Ltd|Jr|Sr|Co)[.]", " $1<prd>"],
    [" ([A-Za-z])[.]", " $1<prd>"],
  ];
  for (const [source, to] of later) out = out.replace(pythonPattern(source), to);
  out = out.replaceAll(".”", "”.").replaceAll('."', '".').replaceAll('!"', '"!').replaceAll('?"', '"?');
  out = out.replace(/[.?!]/g, "$&<stop>").replaceAll("<prd>", ".");
  const list = out.split("<stop>").map((part) => part.trim());
  return list.at(-1) === "" ? list.slice(0, -1) : list;
}
