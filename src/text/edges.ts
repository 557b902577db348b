// What an added token does at its edges: it may take the white space beside it, or stand only where no word goes on.
// Source: the tokenizers library's AddedToken (lstrip, rstrip, single_word).
import type { Match } from "./matcher.ts";

export interface Edges {
  /** Takes the white space before it… */
  readonly left: boolean;
  /** …and behind it. */
  readonly right: boolean;
  /** Is found only where neither side is a letter, mark, digit or connector. */
  readonly word: boolean;
}

export type EdgeTable = ReadonlyMap<number, Edges>;

const space = /^\p{White_Space}$/u;
const wordly = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;

/** The code point that ends at `at`; "" at the beginning. */
function before(text: string, at: number): string {
  const pair = at > 1 ? text.codePointAt(at - 2)! : 0;
  return pair > 0xffff ? text.slice(at - 2, at) : text.slice(Math.max(0, at - 1), at);
}

const behind = (text: string, at: number): string => (at < text.length ? String.fromCodePoint(text.codePointAt(at)!) : "");

/** All of the text that a match takes, none of it before `from`; undefined where the token may not stand. */
export function reach(text: string, match: Match, from: number, table: EdgeTable | undefined): Match | undefined {
  const edges = table?.get(match.id);
  if (edges === undefined) return match;
  let { start, end } = match;
  if (edges.word && (wordly.test(before(text, start)) || wordly.test(behind(text, end)))) return undefined;
  // No white space lies beyond the first 65,536 code points.
  if (edges.left) while (start > from && space.test(text[start - 1]!)) start--;
  if (edges.right) while (end < text.length && space.test(text[end]!)) end++;
  return { ...match, start, end };
}

/** The edges that flags named as in a tokenizer.json ask for, if any. */
export function edgesOf(flags: Readonly<Record<string, unknown>>): Edges | undefined {
  const [left, right, word] = [flags["lstrip"] === true, flags["rstrip"] === true, flags["single_word"] === true];
  return left || right || word ? { left, right, word } : undefined;
}
