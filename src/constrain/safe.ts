// States inside JSON strings: where any safe character, one that needs no escape, leads to the same place.
import type { Builder } from "./builder.ts";

type Edges = readonly (readonly number[])[];

function target(edges: Edges, state: number, byte: number): number {
  const own = edges[state]!;
  for (let e = 0; e < own.length; e += 3) if (byte >= own[e]! && byte <= own[e + 1]!) return own[e + 2]!;
  return 0;
}

/** Byte ranges of each safe character of two and more bytes; U+2028 and U+2029 are none, which `.` leaves out. */
const SEQUENCES = [
  [0xc2, 0xdf, 0x80, 0xbf],
  [0xe0, 0xe0, 0xa0, 0xbf, 0x80, 0xbf],
  [0xe1, 0xe1, 0x80, 0xbf, 0x80, 0xbf],
  [0xe2, 0xe2, 0x80, 0x80, 0x80, 0xa7],
  [0xe2, 0xe2, 0x80, 0x80, 0xaa, 0xbf],
  [0xe2, 0xe2, 0x81, 0xbf, 0x80, 0xbf],
  [0xe3, 0xec, 0x80, 0xbf, 0x80, 0xbf],
  [0xed, 0xed, 0x80, 0x9f, 0x80, 0xbf],
  [0xee, 0xef, 0x80, 0xbf, 0x80, 0xbf],
  [0xf0, 0xf0, 0x90, 0xbf, 0x80, 0xbf, 0x80, 0xbf],
  [0xf1, 0xf3, 0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf],
  [0xf4, 0xf4, 0x80, 0x8f, 0x80, 0xbf, 0x80, 0xbf],
];

/** Whether every safe character leads from `state` to a state that `ok` takes. */
function afterSafe(edges: Edges, state: number, ok: (to: number) => boolean): boolean {
  for (let byte = 0x20; byte < 0x80; byte++) if (byte !== 0x22 && byte !== 0x5c && !ok(target(edges, state, byte))) return false;
  return SEQUENCES.every((ranges) => {
    let now = new Set([state]);
    for (let i = 0; i < ranges.length; i += 2) {
      const next = new Set<number>();
      for (const s of now) for (let byte = ranges[i]!; byte <= ranges[i + 1]!; byte++) next.add(target(edges, s, byte));
      now = next;
    }
    return [...now].every(ok);
  });
}

/** Safe characters lead back to the state itself. */
export const isFree = (edges: Edges, state: number): boolean =>
  target(edges, state, 0x61) === state && afterSafe(edges, state, (to) => to === state);

/** The rule from `start` on takes any one safe character, and what else begins with no safe one. */
export function isCharacter(b: Builder, start: number): boolean {
  const ends = (s: number) => s > 0 && b.accepts[s]! && b.edges[s]!.length === 0 && !b.calls.has(s) && !b.tokens.has(s);
  return !b.accepts[start] && !b.calls.has(start) && !b.tokens.has(start) && afterSafe(b.edges, start, ends);
}

/** A state that takes no safe character, by itself or by returning. */
export function endsStrings(b: Builder, state: number): boolean {
  if (b.accepts[state] || b.calls.has(state) || b.otherwise[state]) return false;
  const edges = b.edges[state]!;
  for (let e = 0; e < edges.length; e += 3) if (edges[e] !== 0x22 || edges[e + 1] !== 0x22) return false;
  return true;
}
