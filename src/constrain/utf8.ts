// Sets of code points, and their bytes.
import type { CodePoints } from "./grammar.ts";

export const MAX_CODE_POINT = 0x10ffff;
/** All that UTF-8 can write: no surrogates. */
export const ALL: CodePoints = [0, 0xd7ff, 0xe000, MAX_CODE_POINT];

/** Sorted and joined; surrogates left out, which no text has. */
export function normalised(pairs: readonly number[]): number[] {
  const list: [number, number][] = [];
  for (let i = 0; i < pairs.length; i += 2) if (pairs[i]! <= pairs[i + 1]!) list.push([pairs[i]!, pairs[i + 1]!]);
  list.sort((a, b) => a[0] - b[0]);
  const joined: number[] = [];
  for (const [low, high] of list) {
    const last = joined.length - 1;
    if (last > 0 && low <= joined[last]! + 1) joined[last] = Math.max(joined[last]!, high);
    else joined.push(low, high);
  }
  const out: number[] = [];
  for (let i = 0; i < joined.length; i += 2) {
    const low = joined[i]!;
    const high = joined[i + 1]!;
    if (low < 0xd800) out.push(low, Math.min(high, 0xd7ff));
    if (high > 0xdfff) out.push(Math.max(low, 0xe000), high);
  }
  return out;
}

/** All code points that are not in a normalised set. */
export function inverted(set: CodePoints): number[] {
  const out: number[] = [];
  let from = 0;
  for (let i = 0; i < set.length; i += 2) {
    if (set[i]! > from) out.push(from, set[i]! - 1);
    from = set[i + 1]! + 1;
  }
  if (from <= MAX_CODE_POINT) out.push(from, MAX_CODE_POINT);
  return normalised(out);
}

/** Byte ranges, first byte first, whose product is a part of the set: calls `use` for each. */
export function byteRanges(set: CodePoints, use: (ranges: readonly number[]) => void): void {
  for (let i = 0; i < set.length; i += 2) {
    let low = set[i]!;
    const high = set[i + 1]!;
    for (const last of [0x7f, 0x7ff, 0xd7ff, 0xffff, MAX_CODE_POINT]) {
      if (low > high) break;
      const end = Math.min(high, last);
      if (low <= end) {
        split(low, end, use);
        low = end + 1;
      }
    }
  }
}

/** A range of code points of one length, cut so that each byte runs over a range of its own. */
function split(low: number, high: number, use: (ranges: readonly number[]) => void): void {
  const length = low < 0x80 ? 1 : low < 0x800 ? 2 : low < 0x10000 ? 3 : 4;
  for (let n = 1; n < length; n++) {
    const mask = (1 << (6 * n)) - 1;
    if ((low & ~mask) === (high & ~mask)) continue;
    if (low & mask) {
      split(low, low | mask, use);
      split((low | mask) + 1, high, use);
      return;
    }
    if ((high & mask) !== mask) {
      split(low, (high & ~mask) - 1, use);
      split(high & ~mask, high, use);
      return;
    }
  }
  const ranges: number[] = [];
  const lead = length === 1 ? 0 : length === 2 ? 0xc0 : length === 3 ? 0xe0 : 0xf0;
  for (let n = length - 1; n >= 0; n--) {
    const mark = n === length - 1 ? lead : 0x80;
    const bits = n === length - 1 ? 0x7f : 0x3f;
    ranges.push(mark | ((low >> (6 * n)) & bits), mark | ((high >> (6 * n)) & bits));
  }
  use(ranges);
}
