// Runs tokens through a stream, for the tests of what comes out.
import { expect } from "vitest";
import { type GeneratedPiece, type StreamOptions, TextStream } from "../../src/text/stream.ts";
import type { PieceTable } from "../../src/text/vocabulary.ts";

/** What a stream of tokens gives, up to the stop string; checks that every token is attributed once and in order. */
export function streamed(table: PieceTable, tokens: readonly number[], options: Partial<StreamOptions> = {}) {
  const stream = new TextStream(table, { stop: [], thinking: "none", special: false, ...options });
  const pieces: GeneratedPiece[] = [];
  const pushed: number[] = [];
  for (const token of tokens) {
    pushed.push(token);
    pieces.push(...stream.push(token));
    if (stream.stopped !== undefined) break;
  }
  const last = stream.finish();
  expect(stream.finish()).toEqual([]);
  const all = [...pieces, ...last];
  expect(all.flatMap((piece) => piece.tokens)).toEqual(pushed);
  for (const piece of pieces) expect(piece.text).not.toBe("");
  const join = (type: GeneratedPiece["type"]) =>
    all
      .filter((piece) => piece.type === type)
      .map((piece) => piece.text)
      .join("");
  return { text: join("text"), reasoning: join("reasoning"), pieces: all, stopped: stream.stopped, pushed: pushed.length };
}
