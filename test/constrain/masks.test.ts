// Masks are what trying every token gives, in states that random texts lead to.
import { describe, expect, test } from "vitest";
import {
  alt,
  anyTokenBut,
  call,
  chars,
  literal,
  optional,
  type Part,
  Rule,
  repeat,
  seq,
  token,
} from "../../src/constrain/grammar.ts";
import { compileMachine } from "../../src/constrain/machine.ts";
import { schemaGrammar } from "../../src/constrain/schema/compile.ts";
import { DEAD } from "../../src/decode/constrain.ts";
import { shared } from "../support/golden.ts";
import { byteLevel } from "./bytelevel.ts";
import { automaton, callToken, embedded, tiny, type Vocabulary, vocabularyOf } from "./rig.ts";
import { compare, grammars, person } from "./states.ts";

describe("masks equal trying every token", async () => {
  const large = shared("data/minicpm4/minicpm4-vocab.gguf");
  const deepseek = shared("data/deepseek-llm/deepseek-llm-vocab.gguf");
  const vocabularies: [Vocabulary, number][] = [
    [tiny, 1000],
    [embedded, 240],
    [byteLevel(), 130],
  ];
  for (const path of [large, deepseek]) if (path) vocabularies.push([await vocabularyOf(path), 6]);
  for (const [vocabulary, states] of vocabularies) {
    const a = await automaton(vocabulary);
    for (const [name, make] of Object.entries(grammars))
      test(`${vocabulary.name}: ${name}`, () => {
        expect(compare(a, vocabulary, make(), states, 7)).toBe(states);
      });
  }
  test("tiny: token edges", async () => {
    const a = await automaton(tiny);
    const part = seq(repeat(anyTokenBut(callToken, 0x61), 0), token(callToken), alt(literal("ab"), token(callToken)));
    expect(compare(a, tiny, part, 300, 3)).toBe(300);
  });
});

describe("states", async () => {
  const a = await automaton(tiny);

  test("are values: advancing from one twice, or after others, gives the same", () => {
    a.load(compileMachine(schemaGrammar(person).part));
    const path = [..."{"].map((c) => c.charCodeAt(0));
    const one = path.reduce((s, id) => a.advance(s, id), a.start());
    const mask = a.mask(one).slice();
    let other = one;
    for (const c of '"name":"abcdefghij"') other = a.advance(other, c.charCodeAt(0));
    expect(other).not.toBe(DEAD);
    expect(path.reduce((s, id) => a.advance(s, id), a.start())).toBe(one);
    expect(a.mask(one).slice()).toEqual(mask);
  });

  test("tell what must come next", () => {
    a.load(compileMachine(schemaGrammar({ ...person, additionalProperties: false }, { whitespace: "none" }).part));
    expect(new TextDecoder().decode(a.forced(a.start()))).toBe('{"name":"');
    let state = a.start();
    for (const c of '{"name":"abc","a') state = a.advance(state, c.charCodeAt(0));
    expect(new TextDecoder().decode(a.forced(state))).toBe('ge":');
    expect(a.forced(DEAD).length).toBe(0);
  });

  test("of loops over what may be empty in part", () => {
    const empty = new Rule("empty", optional(literal("x")));
    a.load(compileMachine(seq(repeat(seq(call(empty), literal("x")), 2, 1_000_000_000), literal("."))));
    let state = a.start();
    for (const c of "xx.") state = a.advance(state, c.charCodeAt(0));
    expect(a.accepting(state)).toBe(true);
  });
});

describe("grammars that cannot be run", () => {
  test("left recursion, direct and through what may be empty", () => {
    const left = new Rule("left");
    left.body = alt(seq(call(left), literal("a")), literal("b"));
    expect(() => compileMachine(left)).toThrow(/left.*left recursion/);
    const hidden = new Rule("hidden");
    hidden.body = seq(optional(literal("x")), call(hidden), literal("y"));
    expect(() => compileMachine(hidden)).toThrow(/left recursion/);
  });

  test("nothing, and recursion without end", () => {
    expect(() => compileMachine(alt())).toThrow(/nothing matches/);
    const endless = new Rule("endless");
    endless.body = seq(literal("a"), call(endless));
    expect(() => compileMachine(endless)).toThrow(/nothing matches/);
  });

  test("nesting beyond the cap is told with the rule's path", async () => {
    const a = await automaton(tiny);
    a.load(
      compileMachine(
        schemaGrammar({
          properties: { a: { $ref: "#/$defs/list" } },
          $defs: { list: { type: "array", items: { $ref: "#/$defs/list" } } },
        }).part,
      ),
    );
    let state = a.start();
    expect(() => {
      for (const c of `{"a":${"[".repeat(400)}`) state = a.advance(state, c.charCodeAt(0));
    }).toThrow(/\/\$defs\/list.*256 levels/);
  });

  test("ambiguity beyond the cap is told, not guessed", async () => {
    const a = await automaton(tiny);
    const rules = Array.from(
      { length: 80 },
      (_, i) => new Rule(`r${i}`, seq(literal("aa"), chars([0x30 + (i % 10), 0x30 + (i % 10)]))),
    );
    expect(() => a.load(compileMachine(alt(...rules.map((r, i) => seq(call(r), literal(`x${i}`))))))).toThrow(/too ambiguous/);
  });
});

describe("loops", async () => {
  const a = await automaton(tiny);
  /** Every text of up to `most` letters: what the grammar takes against an expression of the runtime. */
  const same = (part: Part, own: RegExp, most: number, letters = "xy."): void => {
    a.load(compileMachine(part));
    const visit = (text: string, state: number): void => {
      expect(state !== DEAD && a.accepting(state), JSON.stringify(text)).toBe(own.test(text));
      if (text.length < most) for (const c of letters) visit(text + c, state === DEAD ? DEAD : a.advance(state, c.charCodeAt(0)));
    };
    visit("", a.start());
  };
  const x = chars([0x78, 0x79]);
  /** Written out by no means: bodies count from 300 on. */
  const long = (part: Part, least: number): Part => repeat(part, least, 300);

  test("that begin again while one of them runs", () => {
    const b = new Rule("b", seq(literal("x"), long(x, 0)));
    const c = new Rule("c", seq(long(x, 2), optional(call(b))));
    same(repeat(alt(call(b), call(c)), 1), /^(x[xy]{0,300}|[xy]{2,300}(x[xy]{0,300})?)+$/, 7);
    same(repeat(seq(call(b), optional(literal("."))), 0), /^(x[xy]{0,300}\.?)*$/, 7);
  });

  test("of bodies that may be empty", () => {
    same(seq(long(seq(optional(literal("x")), optional(literal("y"))), 3), literal(".")), /^(x?y?){3,300}\.$/, 7);
    same(seq(long(repeat(literal("x"), 0, 2), 5), literal(".")), /^x{0,600}\.$/, 7);
    same(repeat(long(seq(literal("x"), optional(literal("y"))), 2), 0), /^((xy?){2,300})*$/, 7);
    const maybe = new Rule("maybe", optional(call(new Rule("z", literal("x")))));
    expect(() => compileMachine(seq(long(call(maybe), 1), literal(".")))).toThrow(/counted repetition/);
  });

  test("with both bounds close", () => {
    a.load(compileMachine(seq(repeat(seq(literal("x"), optional(literal("y"))), 299, 301), literal("."))));
    const run = (n: number) =>
      [..."xy".repeat(n), "."].reduce((s, c) => (s === DEAD ? s : a.advance(s, c.charCodeAt(0))), a.start());
    expect([298, 299, 300, 301, 302].map((n) => run(n) !== DEAD)).toEqual([false, true, true, true, false]);
  });
});
