// Stop strings and reasoning in the stream, against searching the whole text at the end.
import { expect, test } from "vitest";
import { pieceTable } from "../../src/text/pieces.ts";
import { type StreamOptions, TextStream } from "../../src/text/stream.ts";
import { streamed } from "./streamed.ts";
import { byteTokens, type Piece, random, spm } from "./vocabularies.ts";

// Vocabulary of texts for searching: every token is a piece of a few letters.
const cuts = spm(
  [
    "a",
    "b",
    "<",
    ">",
    "/",
    "t",
    "h",
    "i",
    "n",
    "k",
    "\n",
    " ",
    "ab",
    "ba",
    "aab",
    "<think>",
    "</think>",
    "ink>\n",
    "</th",
    "x</think>\n\ny",
    "\n\n",
    "<think>\n",
    "é",
  ].map((piece): Piece => [piece, 0]),
  {},
  { addSpacePrefix: false },
);
const cutTable = pieceTable(cuts);
const cutTexts = (cuts.vocabulary as { readonly pieces: readonly string[] }).pieces;

/** Where the stop string that is complete first begins; the longest of those. */
function firstStop(text: string, stops: readonly string[]): { readonly at: number; readonly stop: string } | undefined {
  const found = stops.map((stop) => ({ at: text.indexOf(stop), stop })).filter(({ at }) => at >= 0);
  return found.sort((a, b) => a.at + a.stop.length - (b.at + b.stop.length) || a.at - b.at)[0];
}

test("stop strings that span tokens end the text before them, the same however tokens cut it", () => {
  const below = random(22);
  for (let i = 0; i < 3000; i++) {
    const tokens = Array.from({ length: below(14) }, () => [3, 4, 15, 16, 17, 5][below(6)]!);
    const stops = Array.from({ length: 1 + below(3) }, () =>
      Array.from({ length: 1 + below(5) }, () => "ab<"[below(3)]!).join(""),
    );
    const whole = tokens.map((token) => cutTexts[token]!).join("");
    const first = firstStop(whole, stops);
    const { text, stopped, pushed } = streamed(cutTable, tokens, { stop: stops });
    expect([text, stopped], JSON.stringify([whole, stops])).toEqual([first ? whole.slice(0, first.at) : whole, first?.stop]);
    const length = tokens.slice(0, pushed).reduce((sum, token) => sum + cutTexts[token]!.length, 0);
    if (first) expect(length - cutTexts[tokens[pushed - 1]!]!.length).toBeLessThan(first.at + first.stop.length);
  }
});

test("no more is held back than could begin a stop string", () => {
  const below = random(23);
  for (let i = 0; i < 2000; i++) {
    const stop = Array.from({ length: 2 + below(4) }, () => "ab"[below(2)]!).join("");
    const stream = new TextStream(cutTable, { stop: [stop], thinking: "none", special: false });
    let whole = "";
    let given = "";
    for (let n = 0; n < 20 && stream.stopped === undefined; n++) {
      const token = 3 + below(2);
      whole += cutTexts[token];
      for (const piece of stream.push(token)) given += piece.text;
      if (stream.stopped === undefined) {
        const held = whole.slice(given.length);
        expect(stop.startsWith(held) && whole.startsWith(given)).toBe(true);
        for (let longer = held.length + 1; longer < stop.length; longer++)
          expect(whole.endsWith(stop.slice(0, longer))).toBe(false);
      }
    }
  }
});

test("after a stop string nothing is emitted, and empty or ill-formed stop strings never match", () => {
  const stream = new TextStream(cutTable, { stop: ["ab"], thinking: "none", special: false });
  expect(stream.push(4).map((piece) => piece.text)).toEqual(["b"]);
  expect([...stream.push(3), ...stream.push(4)]).toEqual([]);
  expect(stream.stopped).toBe("ab");
  expect([...stream.push(4), ...stream.push(4)]).toEqual([]);
  expect(stream.finish()).toEqual([{ type: "text", text: "", tokens: [3, 4, 4, 4] }]);
  const table = pieceTable(spm(byteTokens));
  expect(streamed(table, [3 + 0xf0, 3 + 0x9f, 3 + 0x98, 3 + 0x80], { stop: ["", "\ude00"] })).toMatchObject({
    text: "😀",
    stopped: undefined,
  });
});

/** The parts by their definition, over the whole text. */
function parts(whole: string, thinking: "split" | "open", stops: readonly string[]) {
  let rest = whole;
  let reasoning = "";
  const opening = thinking === "open" ? /^[\r\n]*/.exec(rest) : /^\s{0,64}<think>[\r\n]*/.exec(rest);
  if (opening) {
    const [inside, ...after] = rest.slice(opening[0].length).split("</think>");
    reasoning = inside!;
    rest = after.length > 0 ? after.join("</think>").replace(/^[\r\n]+/, "") : "";
  }
  const first = firstStop(rest, stops);
  return { reasoning, text: first ? rest.slice(0, first.at) : rest };
}

test("reasoning and answer are parted at the tags, the same however tokens cut them", () => {
  const below = random(24);
  const common = [
    "<think>",
    "</think>",
    "\n",
    " ",
    "a",
    "b",
    "ink>\n",
    "</th",
    "<",
    "/",
    "t",
    "h",
    "i",
    "n",
    "k",
    ">",
    "x</think>\n\ny",
    "<think>\n",
    "\n\n",
  ].map((text) => cutTexts.indexOf(text));
  for (let i = 0; i < 4000; i++) {
    const tokens = Array.from({ length: below(16) }, () => common[below(common.length)]!);
    const whole = tokens.map((token) => cutTexts[token]!).join("");
    for (const thinking of ["split", "open"] as const) {
      const stop = below(2) ? ["ab", "\n"] : [];
      const { text, reasoning } = streamed(cutTable, tokens, { thinking, stop });
      expect({ text, reasoning }, JSON.stringify([whole, thinking, stop])).toEqual(parts(whole, thinking, stop));
    }
    expect(streamed(cutTable, tokens).text).toBe(whole);
  }
});

test("a piece on each side of a tag in one token; the token goes with the second", () => {
  const token = cutTexts.indexOf("x</think>\n\ny");
  expect(streamed(cutTable, [3, token, 4], { thinking: "open" }).pieces).toEqual([
    { type: "reasoning", text: "a", tokens: [3] },
    { type: "reasoning", text: "x", tokens: [] },
    { type: "text", text: "y", tokens: [token] },
    { type: "text", text: "b", tokens: [4] },
  ]);
});

test("tags that a file calls special are still told apart, and stop strings are not looked for in reasoning", () => {
  const data = spm(
    [
      ["a", 0],
      ["<think>", 0, 3],
      ["</think>", 0, 3],
      ["b", 0],
    ],
    {},
    { addSpacePrefix: false },
  );
  expect(streamed(pieceTable(data), [4, 3, 5, 6], { thinking: "split", stop: ["a"] })).toMatchObject({
    reasoning: "a",
    text: "b",
  });
});

test("white space before a tag is not held back for ever", () => {
  const [space, open] = [cutTexts.indexOf(" "), cutTexts.indexOf("<think>")];
  const blanks = (count: number) => Array.from({ length: count }, () => space);
  expect(streamed(cutTable, [...blanks(64), open, 3], { thinking: "split" })).toMatchObject({ reasoning: "a", text: "" });
  expect(streamed(cutTable, [...blanks(65), open, 3], { thinking: "split" })).toMatchObject({
    reasoning: "",
    text: `${" ".repeat(65)}<think>a`,
  });
  const stream = new TextStream(cutTable, { stop: [], thinking: "split", special: false });
  expect(blanks(65).flatMap((token) => stream.push(token)).length).toBe(1);
});

test("the time per token does not grow with the output (printed)", () => {
  const below = random(25);
  for (const [what, options] of Object.entries<Partial<StreamOptions>>({
    plain: {},
    "with stop strings": { stop: ["abab<", "\n\n\n<", `${"b".repeat(200)}<`] },
    reasoning: { thinking: "open" },
  })) {
    const stream = new TextStream(cutTable, { stop: [], thinking: "none", special: false, ...options });
    const time = (count: number) => {
      const started = performance.now();
      for (let i = 0; i < count && stream.stopped === undefined; i++) stream.push([3, 4, 13][below(3)]!);
      return (1e6 * (performance.now() - started)) / count;
    };
    time(2000);
    const first = time(20_000);
    time(100_000);
    const later = time(20_000);
    console.log(
      `stream, ${what}: ${Math.round(first)} ns a token at the beginning, ${Math.round(later)} ns after 120,000 tokens`,
    );
    expect(stream.stopped).toBeUndefined();
  }
});
