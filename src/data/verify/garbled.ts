// Is a text broken: stuck in a loop, full of broken characters, or noise? Needs no model.
import { responseOf, type Sample, type Verdict, verdict } from "./types.ts";

export interface GarbledOptions {
  /** Share of the words in runs of `repeatWords` that stood before, at most. Default 0.5. */
  readonly maxRepetition?: number | undefined;
  /** Times that a piece of text may stand right behind itself, at the end or anywhere. Default 8. */
  readonly maxLoops?: number | undefined;
  /** Share of broken characters: U+FFFD, lone surrogates, controls, noncharacters, private use, at most. Default 0.002. */
  readonly maxBroken?: number | undefined;
  /** How many times smaller compression may make a text of 400 bytes and more. Default 6. */
  readonly maxCompression?: number | undefined;
  /** How many times smaller it must make one of 2,000 bytes and more, which noise does not become. Default 1.25. */
  readonly minCompression?: number | undefined;
}

const utf8 = new TextEncoder();

/**
 * How many times smaller a compressor of the LZ77 family (32 KiB window, matches from 4 bytes) makes a text, by its own estimate: a
 * literal costs its entropy over the text, a match three bytes. Deterministic on every runtime; about what gzip does.
 */
export function compressionRatio(text: string): number {
  const bytes = utf8.encode(text);
  if (bytes.length === 0) return 1;
  const heads = new Int32Array(1 << 15).fill(-1);
  const literals = new Float64Array(256);
  let [matches, i] = [0, 0];
  while (i < bytes.length) {
    let length = 0;
    if (i + 4 <= bytes.length) {
      const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      const hash = Math.imul(word, 0x9e3779b1) >>> 17;
      const at = heads[hash]!;
      heads[hash] = i;
      if (at >= 0 && i - at <= 32_768)
        while (length < 258 && i + length < bytes.length && bytes[at + length] === bytes[i + length]) length++;
    }
    if (length >= 4) {
      matches++;
      i += length;
    } else literals[bytes[i++]!]!++;
  }
  const sum = literals.reduce((a, b) => a + b, 0);
  const bits = literals.reduce((total, n) => (n === 0 ? total : total - n * Math.log2(n / sum)), 0);
  return bytes.length / Math.max(1, bits / 8 + matches * 3);
}

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
/** Scripts without spaces between words: their characters count as words. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

const units = (text: string): string[] =>
  (text.toLowerCase().match(WORD) ?? []).flatMap((word) => (UNSPACED.test(word) ? [...word] : [word]));

/** Share of the words that stand in runs of four which stood before in the text. */
export function repeatedShare(text: string, run = 4): number {
  const words = units(text);
  if (words.length < 2 * run) return 0;
  const seen = new Set<string>();
  const repeated = new Uint8Array(words.length);
  for (let i = 0; i + run <= words.length; i++) {
    const key = words.slice(i, i + run).join(" ");
    if (seen.has(key)) repeated.fill(1, i, i + run);
    else seen.add(key);
  }
  return repeated.reduce((a, b) => a + b, 0) / words.length;
}

/** The piece that stands most often right behind itself, of up to 60 words, and how often it does. */
export function longestLoop(text: string): { readonly times: number; readonly piece: string } {
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  let best = { times: 1, piece: "" };
  for (let period = 1; period <= Math.min(60, words.length >> 1); period++) {
    let same = 0;
    for (let i = period; i <= words.length; i++) {
      if (i < words.length && words[i] === words[i - period]) {
        same++;
        continue;
      }
      const times = Math.floor(same / period) + 1;
      if (times > best.times) best = { times, piece: words.slice(i - period, i).join(" ") };
      same = 0;
    }
  }
  // Characters without spaces between them: one to twelve again and again.
  for (const [whole, piece] of text.matchAll(/([^\s]{1,12}?)\1{7,}/gu)) {
    const times = whole.length / piece!.length;
    // Rules and dots of tables and lists of contents are no loops.
    if (times > best.times && !/^[-=_*.~#+ \u2500-\u257f]+$/.test(piece!)) best = { times, piece: piece! };
  }
  return best;
}

/** Broken characters of a text. U+FFFD and what can never be a character weigh in whole; private use does as well. */
function broken(text: string): number {
  let count = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    const control = (code < 32 && code !== 9 && code !== 10 && code !== 13) || (code >= 127 && code < 160);
    const never = (code & 0xfffe) === 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
    const hidden = (code >= 0xe000 && code <= 0xf8ff) || code >= 0xf0000;
    if (code === 0xfffd || (code >= 0xd800 && code <= 0xdfff) || control || never || hidden) count++;
  }
  return count;
}

/** UTF-8 that was read as Windows-1252: a letter of its first bytes and one of its following bytes side by side. */
const MOJIBAKE = /[ÂÃ][\u0080-\u00bf]|â(?:€[\u0080-\u2122]|[\u0080-\u00bf]{2})|ð[Ÿ\u009f][\u0080-\u2122]/g;

/** Is the text garbled: repetition, broken Unicode, or compression far from what texts have? */
export function verifyText(sample: Sample, options: GarbledOptions = {}): Verdict {
  const { maxRepetition = 0.5, maxLoops = 8, maxBroken = 0.002, maxCompression = 6, minCompression = 1.25 } = options;
  const text = responseOf(sample);
  const reasons: string[] = [];
  const size = utf8.encode(text).length;
  if (text.trim() === "") return verdict(["empty: there is no text"]);
  const bad = broken(text);
  if (bad > 0 && bad / text.length > maxBroken) reasons.push(`unicode: ${bad} broken characters of ${text.length}`);
  const mojibake = text.match(MOJIBAKE)?.length ?? 0;
  if (mojibake >= 3 || (mojibake > 0 && mojibake / text.length > 0.01))
    reasons.push(`unicode: ${mojibake} characters were decoded wrongly`);
  const loop = longestLoop(text);
  if (loop.times > maxLoops)
    reasons.push(`repetition: ${JSON.stringify(loop.piece.slice(0, 60))} stands ${Math.floor(loop.times)} times in a row`);
  const share = repeatedShare(text);
  if (units(text).length >= 40 && share > maxRepetition)
    reasons.push(`repetition: ${(100 * share).toFixed(0)} % of the words repeat what stood before`);
  const ratio = compressionRatio(text);
  if (size >= 400 && ratio > maxCompression) reasons.push(`compression: ${ratio.toFixed(1)} times smaller`);
  if (size >= 2000 && ratio < minCompression) reasons.push(`compression: only ${ratio.toFixed(2)} times smaller, as noise is`);
  return verdict(reasons);
}
