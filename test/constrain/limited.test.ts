// Texts of an automaton with bounds on their length, in characters of any number of bytes.
import { expect, test } from "vitest";
import { regexDfa } from "../../src/constrain/regex.ts";
import { anyText, limited, matches } from "../../src/constrain/strings.ts";

/** All texts over four characters, of one to four bytes each, up to a length. */
function texts(most: number): string[] {
  const all = [""];
  for (let from = 0, length = 0; length < most; length++) {
    const to = all.length;
    for (; from < to; from++) for (const c of ["a", "é", "€", "😀"]) all.push(all[from]! + c);
  }
  return all;
}
const all = texts(5);

test.each([
  ["any text", undefined],
  ["a*(é|€a)*", "^a*(é|€a)*$"],
  ["[a-€]+😀?", "^[a-€]+😀?$"],
  ["(a|😀😀)*", "^(a|😀😀)*$"],
])("%s: between every two bounds it takes what the automaton takes of that length, and nothing else", (_, source) => {
  const dfa = source === undefined ? anyText : regexDfa(source, "", true, "regex")!;
  for (const [least, most] of [
    [0, 0],
    [0, 3],
    [1, 1],
    [2, 4],
    [3, Number.POSITIVE_INFINITY],
    [0, Number.POSITIVE_INFINITY],
  ] as const) {
    const found = limited(dfa, least, most, "");
    const wrong = all.filter((text) => {
      const length = [...text].length;
      return (found ? matches(found, text) : false) !== (matches(dfa, text) && length >= least && length <= most);
    });
    expect({ least, most, wrong }).toEqual({ least, most, wrong: [] });
  }
});

test("what has no text of that length is nothing", () => {
  expect(limited(regexDfa("^(aa)+$", "", true, "regex")!, 1, 1, "")).toBeUndefined();
});
