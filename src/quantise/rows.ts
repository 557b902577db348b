// Which rows of calibration are taken where not all are: some of every sequence, evenly spread, the same for a seed whatever runs them.
import { CpmError } from "../errors.ts";

/** Positions of each sequence, ascending. */
export type ChosenRows = readonly Int32Array[];

/**
 * `count` of the rows of sequences of these lengths, none of the first `skip` positions; undefined where that is all of them. Every sequence
 * gives one, and of the others its share by length, as exactly as whole numbers allow: it is cut into so many parts of equal length (within
 * one), and each part gives one row, drawn by `seed`.
 * @throws CpmError "bad-option" for fewer rows than sequences.
 */
export function chooseRows(lengths: readonly number[], skip: number, count: number, seed: number): ChosenRows | undefined {
  const own = lengths.map((length) => Math.max(0, length - skip));
  const all = own.reduce((a, b) => a + b, 0);
  const sequences = own.filter((rows) => rows > 0).length;
  if (count >= all) return undefined;
  if (count < sequences)
    throw new CpmError(
      "bad-option",
      `hessianRows: ${count} rows are fewer than the ${sequences} calibration sequences; take more`,
      {
        field: "hessianRows",
        expected: `at least ${sequences}`,
        found: String(count),
      },
    );
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  /** Below `limit` (xorshift32). */
  const random = (limit: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
  const spare = count - sequences;
  let before = 0;
  /** Of the rows beyond each sequence's first, those of the sequences so far. */
  const share = () => Math.floor((spare * before) / Math.max(1, all - sequences));
  return own.map((rows) => {
    if (rows === 0) return new Int32Array(0);
    const given = share();
    before += rows - 1;
    const some = 1 + share() - given;
    return Int32Array.from({ length: some }, (_, i) => {
      const low = Math.floor((i * rows) / some);
      return skip + low + random(Math.floor(((i + 1) * rows) / some) - low);
    });
  });
}

/** Those of a sequence's chosen positions that lie in [from, from + count), counted from `from`. */
export function chosenWithin(positions: Int32Array, from: number, count: number): Int32Array {
  const first = positions.findIndex((at) => at >= from);
  if (first < 0) return new Int32Array(0);
  const end = positions.findIndex((at) => at >= from + count);
  return positions.subarray(first, end < 0 ? positions.length : end).map((at) => at - from);
}
