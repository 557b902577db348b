// Cutting by the engine's own regular expressions: what the published patterns mean, which run in linear time there.
import type { Splitter } from "../../../src/text/split.ts";

const expressions = new Map<string, RegExp>();

/** Matches of `text` in order, empty ones too. */
function* matchesOf(text: string, pattern: string): Generator<readonly [number, number], void> {
  let native = expressions.get(pattern);
  if (native === undefined) expressions.set(pattern, (native = new RegExp(translate(pattern.replace(/\\z$/, "$")), "gu")));
  for (let at = 0; at <= text.length; ) {
    native.lastIndex = at;
    const match = native.exec(text);
    if (match === null) return;
    const end = match.index + match[0].length;
    yield [match.index, end];
    at = end > match.index ? end : end + (text.codePointAt(end)! > 0xffff ? 2 : 1);
  }
}

/** The words of `text` by one cut, in order. */
function* parts(text: string, { behaviour, invert, matcher }: Splitter): Generator<string, void> {
  if (behaviour === "Isolated" || behaviour === "Removed") {
    for (const [begin, end, match] of spans(text, matcher, invert))
      if (behaviour === "Isolated" || !match) yield text.slice(begin, end);
    return;
  }
  const list = [...spans(text, matcher, invert)];
  const next = behaviour === "MergedWithNext";
  if (next) list.reverse();
  const joined: [number, number][] = [];
  let previous: boolean | undefined;
  for (const [begin, end, match] of list) {
    const last = joined.at(-1);
    const joins = behaviour === "Contiguous" ? match === previous : match && !previous;
    if (last !== undefined && joins) last[next ? 0 : 1] = next ? begin : end;
    else joined.push([begin, end]);
    previous = match;
  }
  if (next) joined.reverse();
  for (const [begin, end] of joined) if (end > begin) yield text.slice(begin, end);
}

function* spans(
  text: string,
  matcher: Splitter["matcher"],
  invert: boolean,
): Generator<readonly [number, number, boolean], void> {
  let at = 0;
  for (const [begin, end] of matchesOf(text, matcher.pattern)) {
    if (begin > at) yield [at, begin, invert];
    if (end > begin) yield [begin, end, !invert];
    at = end;
  }
  if (at < text.length) yield [at, text.length, invert];
}

/** The words of `text`, each cut by every splitter in turn. */
export function cut(text: string, splits: readonly Splitter[]): string[] {
  let words = [text];
  for (const split of splits) words = words.flatMap((word) => [...parts(word, split)]);
  return words;
}

const classes: Readonly<Record<string, string>> = { s: "\\p{White_Space}", S: "\\P{White_Space}", d: "\\p{Nd}", D: "\\P{Nd}" };

function translate(pattern: string): string {
  let out = "";
  let inClass = false;
  /** Per open group: whether letters in it match both cases. */
  const folds: boolean[] = [false];
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i]!;
    if (c === "\\") {
      const next = pattern[++i] ?? "";
      const kept = "pPbBnrtfvuxk123456789wW^$\\.*+?()[]{}|/".includes(next) || (inClass && next === "-");
      out += classes[next] ?? (kept ? `\\${next}` : next);
      if (next === "p" || next === "P" || next === "u" || next === "x") {
        const rest = /^\{[^}]*\}|^[0-9a-fA-F]{2,4}/.exec(pattern.slice(i + 1))?.[0] ?? "";
        out += rest === "{Han}" ? "{Script=Han}" : rest;
        i += rest.length;
      }
    } else if (inClass) {
      inClass = c !== "]";
      out += folds.at(-1) ? bothCases(c, true) : c;
    } else if (c === "[") {
      inClass = true;
      out += c;
    } else if (c === "(") {
      const fold = pattern.startsWith("(?i:", i);
      folds.push(fold || folds.at(-1)!);
      out += fold ? "(?:" : c;
      if (fold) i += 3;
    } else {
      if (c === ")") folds.pop();
      out += folds.at(-1) ? bothCases(c, false) : c;
    }
  }
  return out;
}

function bothCases(c: string, inClass: boolean): string {
  if (!/[a-zA-Z]/.test(c)) return c;
  const both = c.toLowerCase() + c.toUpperCase();
  return inClass ? both : `[${both}]`;
}
