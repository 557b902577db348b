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
  textUntil,
  textWithout,
  token,
} from "../../src/constrain/grammar.ts";
import { compileMachine } from "../../src/constrain/machine.ts";
import { schemaGrammar } from "../../src/constrain/schema/compile.ts";
import { type Automaton, DEAD } from "../../src/decode/constrain.ts";
import { shared } from "../support/golden.ts";
import { random } from "../text/vocabularies.ts";
import { automaton, bit, callToken, embedded, tiny, type Vocabulary, vocabularyOf } from "./rig.ts";

/** Nested brackets with words, where rules end inside tokens. */
function brackets(): Part {
  const value = new Rule("value");
  const word = new Rule("word", repeat(chars([0x61, 0x7a]), 1));
  value.body = alt(call(word), seq(literal("["), repeat(seq(call(value), optional(literal(","))), 0), literal("]")));
  return call(value);
}

const json = {};
const person = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 3, maxLength: 70 },
    age: { type: "integer", minimum: 0, maximum: 130 },
    tags: { type: "array", items: { enum: ["a", "abc", "é", "漢字", 'q"'] }, maxItems: 400 },
    code: { type: "string", pattern: "^[a-z]+\\d*$" },
    next: { $ref: "#" },
  },
  required: ["name"],
};

/** Grammars without special tokens, for any vocabulary. */
const grammars: Readonly<Record<string, () => Part>> = {
  "any JSON": () => schemaGrammar(json).part,
  "an object with bounds": () => schemaGrammar(person).part,
  "indented JSON": () => schemaGrammar(person, { whitespace: "indented" }).part,
  "rules that end inside tokens": brackets,
  "ambiguous calls": () => {
    const a = new Rule("a", repeat(chars([0x61, 0x63]), 1));
    const b = new Rule("b", seq(literal("a"), repeat(chars([0x20, 0x7e]), 0, 12)));
    return repeat(alt(call(a), call(b), literal(" ")), 1);
  },
  "a counted string with more behind it": () =>
    seq(literal('"'), repeat(chars([0x20, 0x21, 0x23, 0x5b, 0x5d, 0x10ffff]), 100, 300), optional(literal("abc")), literal('"')),
  "text until a call": () => seq(textUntil("<tool>"), schemaGrammar(person).part),
  "text without a mark": () => seq(textWithout("</te"), literal("\n")),
};

/** Compares masks with trying every token along random texts; how many states were compared. */
function compare(a: Automaton, { table, stop }: Vocabulary, part: Part, states: number, seed: number): number {
  a.load(compileMachine(part));
  const below = random(seed);
  const count = table.special.length;
  let compared = 0;
  while (compared < states) {
    let state = a.start(below(4) === 0);
    for (let step = 0; step < 40 && compared < states; step++, compared++) {
      const mask = a.mask(state).slice();
      const allowed: number[] = [];
      for (let id = 0; id < count; id++) {
        const next = a.advance(state, id);
        if ((next !== DEAD) !== bit(mask, id))
          expect.fail(
            `token ${id} ${JSON.stringify(new TextDecoder().decode(table.bytes.slice(table.offsets[id], table.offsets[id + 1])))}`,
          );
        if (next !== DEAD && !stop.includes(id)) allowed.push(id);
      }
      expect(stop.every((id) => bit(mask, id) === a.accepting(state))).toBe(true);
      expect(allowed.length > 0 || a.accepting(state)).toBe(true);
      if (allowed.length === 0) break;
      // Longer tokens more often, or texts would be single bytes.
      const pick = () => allowed[below(allowed.length)]!;
      const [x, y] = [pick(), pick()];
      const length = (id: number) => table.offsets[id + 1]! - table.offsets[id]!;
      state = a.advance(state, below(3) && length(y) > length(x) ? y : x);
    }
  }
  return compared;
}

describe("masks equal trying every token", async () => {
  const large = shared("data/minicpm4/minicpm4-vocab.gguf");
  const byteLevel = shared("data/deepseek-llm/deepseek-llm-vocab.gguf");
  const vocabularies: [Vocabulary, number][] = [
    [tiny, 1000],
    [embedded, 240],
  ];
  for (const path of [large, byteLevel]) if (path) vocabularies.push([await vocabularyOf(path), 6]);
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
