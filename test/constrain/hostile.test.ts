// Grammars that are meant to harm: bounded time and memory, and a typed error or a right answer.
import { describe, expect, test } from "vitest";
import { type ConstraintInput, compileConstraint } from "../../src/constrain/compile.ts";
import { Automaton, DEAD } from "../../src/decode/constrain.ts";
import { CpmError } from "../../src/errors.ts";
import { automaton, constrainModule, runs, tiny } from "./rig.ts";

/** Cpu time that compiling took, in milliseconds: the clock would count what else the machine does. */
function cpuOf(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** What compiling gives: an error's code, or the machine. */
function compiled(input: ConstraintInput) {
  try {
    return compileConstraint(input).machine;
  } catch (error) {
    if (!(error instanceof CpmError)) throw error;
    return error;
  }
}

const deep = (depth: number, wrap: (inner: unknown) => unknown, inner: unknown = {}): unknown => {
  for (let i = 0; i < depth; i++) inner = wrap(inner);
  return inner;
};
const many = (n: number): string[] => Array.from({ length: n }, (_, i) => `value ${i * 7919}`);

/** Each with the code of its error, or "taken". */
const inputs: Readonly<Record<string, readonly [ConstraintInput, string]>> = {
  "a schema of 4 MB of names": [
    { schema: { properties: Object.fromEntries(many(150_000).map((n) => [`${n} of the names`, {}])) } },
    "unsupported",
  ],
  "a schema of 9 MB of text": [{ schema: { description: "x".repeat(9 << 20) } }, "unsupported"],
  "a schema 10,000 levels deep": [{ schema: deep(10_000, (s) => ({ items: s })) }, "unsupported"],
  "allOf 10,000 levels deep": [{ schema: deep(10_000, (s) => ({ allOf: [s] })) }, "unsupported"],
  "allOf of anyOf, many times": [
    {
      schema: {
        allOf: Array.from({ length: 30 }, (_, i) => ({
          anyOf: [
            { type: "object", required: [`a${i}`] },
            { type: "object", required: [`b${i}`] },
          ],
        })),
      },
    },
    "unsupported",
  ],
  "10,000 values of an enum": [{ schema: { enum: many(10_000) } }, "taken"],
  "100,000 values of an enum": [{ schema: { enum: many(100_000) } }, "unsupported"],
  "a billion items": [{ schema: { type: "array", items: { type: "integer" }, minItems: 3, maxItems: 1_000_000_000 } }, "taken"],
  "a string of a billion": [{ schema: { type: "string", minLength: 1_000_000, maxLength: 1_000_000_000 } }, "taken"],
  "a billion members": [{ schema: { type: "object", maxProperties: 1_000_000_000, properties: { a: {} } } }, "unsupported"],
  "a reference to itself": [{ schema: { $ref: "#" } }, "unsupported"],
  "references in a circle": [
    { schema: { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { allOf: [{ $ref: "#/$defs/a" }] } } } },
    "unsupported",
  ],
  "recursion without end": [{ schema: { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] } }, "bad-input"],
  "an expression of stars": [{ schema: { type: "string", pattern: "^(a|a)*(a|a)*((a*)*)*$" } }, "taken"],
  "an expression that doubles": [{ regex: "(a|b)*a(a|b){25}" }, "unsupported"],
  "an expression that multiplies": [{ regex: "((x{500}){500}){500}" }, "unsupported"],
  "a long expression": [{ regex: "(a?){3000}a{3000}" }, "unsupported"],
  "groups 10,000 deep": [{ regex: `${"(".repeat(10_000)}a${")".repeat(10_000)}` }, "unsupported"],
  "a large multipleOf": [{ schema: { type: "integer", multipleOf: 999_999_937 } }, "unsupported"],
  "a left-recursive grammar": [{ grammar: 'root ::= root "a" | "b"' }, "bad-input"],
  "an empty grammar": [{ grammar: "" }, "bad-input"],
  "a grammar that matches nothing": [{ grammar: 'root ::= "a" root' }, "bad-input"],
  "a grammar of many rules": [
    {
      grammar: `root ::= r0\n${Array.from({ length: 20_000 }, (_, i) => `r${i} ::= "a" r${(i + 1) % 20_000} | "b"`).join("\n")}`,
    },
    "taken",
  ],
  "a grammar of groups": [{ grammar: `root ::= ${"(".repeat(10_000)}"a"${")".repeat(10_000)}` }, "bad-input"],
  "repetition of repetition": [{ grammar: 'root ::= (((((("a"?){0,99}){0,99}){0,99}){0,99}){0,99}){0,99}' }, "taken"],
  "choices that are one": [{ choices: Array.from({ length: 100_000 }, () => "same") }, "taken"],
};

describe("compiling", () => {
  for (const [name, [input, wanted]] of Object.entries(inputs))
    test(name, () => {
      let result: ReturnType<typeof compiled> | undefined;
      const ms = cpuOf(() => {
        result = compiled(input);
      });
      expect(result instanceof CpmError ? result.code : "taken", String((result as Error).message ?? "")).toBe(wanted);
      // What it should take is well below a second; a machine that is ten times slower passes, one that hangs does not.
      expect(ms).toBeLessThan(10_000);
    });
});

describe("running", () => {
  test("what was taken is right", () => {
    const schemaOf = (name: string) => runs(compiled(inputs[name]![0]) as Parameters<typeof runs>[0], texts[name]![0]);
    const texts: Record<string, readonly [string, string]> = {
      "10,000 values of an enum": ['"value 7919"', "yes"],
      "a billion items": ["[1,2,3,4]", "yes"],
      "an expression of stars": ['"aaaaaaaa"', "yes"],
      "a string of a billion": ['"short"', 'refused after "short'],
      "a grammar of many rules": ["aaab", "yes"],
      "repetition of repetition": ["aaa", "yes"],
    };
    for (const [name, [, wanted]] of Object.entries(texts)) expect(schemaOf(name), name).toBe(wanted);
  });

  test("nesting and ambiguity end in errors, and the automaton goes on with another grammar", async () => {
    const a = await automaton(tiny);
    a.load(compileConstraint({ schema: {} }).machine);
    let state = a.start();
    expect(() => {
      for (let i = 0; i < 100_000; i++) state = a.advance(state, "[".charCodeAt(0));
    }).toThrow(/256 levels/);
    // The middle of a text of one letter may be anywhere.
    a.load(compileConstraint({ grammar: 'root ::= "x" root "x" | "x"' }).machine);
    expect(() => {
      state = a.start();
      for (let i = 0; i < 500 && state !== DEAD; i++) {
        a.mask(state);
        state = a.advance(state, "x".charCodeAt(0));
      }
    }).toThrow(/too ambiguous/);
    a.load(compileConstraint({ choices: ["a"] }).machine);
    expect(a.accepting(a.advance(a.start(), 97))).toBe(true);
  });

  test("memory is bounded", async () => {
    const small = await Automaton.create(constrainModule, tiny.table, tiny.stop, tiny.table.special.length, 4_000_000);
    small.load(compileConstraint({ schema: { type: "string", minLength: 10_000_000, maxLength: 20_000_000 } }).machine);
    let state = small.advance(small.start(), 0x22);
    expect(() => {
      for (let i = 0; i < 1_000_000; i++) state = small.advance(state, 97);
    }).toThrow(/do not fit into memory/);
    await expect(Automaton.create(constrainModule, tiny.table, tiny.stop, tiny.table.special.length, 70_000)).rejects.toThrow(
      /do not fit/,
    );
    small.load(compileConstraint({ choices: ["a"] }).machine);
    expect(small.accepting(small.advance(small.start(), 97))).toBe(true);
    expect(() => small.load(compileConstraint({ schema: { enum: many(10_000) } }).machine)).toThrow(/do not fit/);
  });
});
