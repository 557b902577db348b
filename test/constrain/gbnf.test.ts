// GBNF: texts that grammars take and refuse, and grammars that are none.
import { describe, expect, test } from "vitest";
import { compileConstraint } from "../../src/constrain/compile.ts";
import { DEAD } from "../../src/decode/constrain.ts";
import { automaton, callToken, runs, tiny } from "./rig.ts";

const cases: Readonly<Record<string, readonly [grammar: string, yes: readonly string[], no: readonly string[]]>> = {
  "texts, groups and repetition": ['root ::= "a"+ ("b" | "c"){2} "d"?', ["abb", "aacbd"], ["ab", "abbb", ""]],
  "classes and escapes": [
    'root ::= [a-c\\x41-\\x43] [^0-9\\n] "\\u00e9\\t\\"" [\\]-]',
    ['aBé\t"]', 'Bxé\t"-'],
    ['a1é\t"]', 'dxé\t"]'],
  ],
  "any character": ['root ::= . "x"', ["😀x", "\nx"], ["x", "aax"]],
  "rules over lines and comments": [
    '# a comment\nroot ::= # another\n  item (\n  "," item\n  )*\n  | "none"\nitem ::= [0-9]+ # digits\n',
    ["1,22,3", "none"],
    ["1,", ",1", "nonE"],
  ],
  recursion: ['root ::= "(" root ")" | "x"', ["x", "((x))"], ["((x)", "()"]],
  "long counts": ['root ::= [ab]{3,5000} "."', [`${"ab".repeat(1500)}.`], ["ab.", `${"a".repeat(5001)}.`]],
  "counts of groups that may be empty": ['root ::= ("a"? "b"?){3,900} "."', [".", "ab.", `${"ab".repeat(900)}.`], ["ac."]],
};

describe("GBNF", () => {
  for (const [name, [grammar, yes, no]] of Object.entries(cases))
    test(name, () => {
      const { machine } = compileConstraint({ grammar });
      for (const text of yes) expect(runs(machine, text), text).toBe("yes");
      for (const text of no) expect(runs(machine, text), text).not.toBe("yes");
    });

  test("tokens by id and by name, and all others", async () => {
    const grammar = `root ::= "a" <[${callToken}]> !<[65]> <|call|>`;
    const a = await automaton(tiny);
    a.load(compileConstraint({ grammar }, { tokenId: (name) => (name === "<|call|>" ? callToken : undefined) }).machine);
    const walk = (ids: number[]) => ids.reduce((s, id) => (s === DEAD ? s : a.advance(s, id)), a.start());
    expect(a.accepting(walk([97, callToken, 66, callToken]))).toBe(true);
    expect(walk([97, callToken, 65])).toBe(DEAD);
    expect(walk([97, 98])).toBe(DEAD);
  });

  const wrong: Readonly<Record<string, RegExp>> = {
    'a ::= "x"': /no rule root/,
    "root ::= b": /rule b is used but not defined/,
    'root ::= "x': /line 1, column 12: a text that does not end/,
    'root = "x"': /line 1, column 6: expected ::=/,
    'root ::= root "x" | "y"': /left recursion/,
    'root ::= "a"{4,2}': /wrong way round/,
    'root ::= ("a"': /expected \)/,
    "root ::= <think>": /no special token/,
    'root ::= "\\q"': /unknown escape/,
  };
  test.each(Object.keys(wrong))("%s is refused", (grammar) => {
    expect(() => compileConstraint({ grammar })).toThrow(wrong[grammar]);
  });
});

describe("other constraints", () => {
  test("an expression matches the whole text", () => {
    const { machine } = compileConstraint({ regex: /a+b?/ });
    expect(["aa", "ab"].map((t) => runs(machine, t))).toEqual(["yes", "yes"]);
    expect(["xab", "abc", ""].map((t) => runs(machine, t))).not.toContain("yes");
    expect(() => compileConstraint({ regex: /a/i })).toThrow(/flags/);
  });

  test("a choice of texts", () => {
    const { machine } = compileConstraint({ choices: ["yes", "no", "not sure", "no"] });
    for (const t of ["yes", "no", "not sure"]) expect(runs(machine, t)).toBe("yes");
    for (const t of ["not", "ye", "yesno", ""]) expect(runs(machine, t)).not.toBe("yes");
    expect(() => compileConstraint({ choices: [] })).toThrow(/choices/);
  });

  test("one of several kinds must be said", () => {
    expect(() => compileConstraint({ regex: "a", choices: ["b"] } as never)).toThrow(/one of/);
    expect(() => compileConstraint({} as never)).toThrow(/one of/);
  });

  test("objects of Standard Schema are taken by their own conversion", () => {
    const jsonSchema = { type: "integer", minimum: 3 };
    const standard = {
      "~standard": { version: 1, vendor: "own", validate: () => ({ value: 1 }), jsonSchema: { input: () => jsonSchema } },
    };
    expect(runs(compileConstraint({ schema: standard }).machine, "4")).toBe("yes");
    const method = Object.assign(() => {}, { "~standard": { version: 1, vendor: "own" }, toJsonSchema: () => jsonSchema });
    expect(runs(compileConstraint({ schema: method }).machine, "2")).not.toBe("yes");
    expect(() => compileConstraint({ schema: { "~standard": { version: 1, vendor: "own" } } })).toThrow(
      /own does not convert itself/,
    );
  });
});
