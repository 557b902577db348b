// Masks against trying every token, in states that random texts lead to: for any runtime.
import {
  alt,
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
} from "../../src/constrain/grammar.ts";
import { compileMachine } from "../../src/constrain/machine.ts";
import { schemaGrammar } from "../../src/constrain/schema/compile.ts";
import { type Automaton, DEAD } from "../../src/decode/constrain.ts";
import { random } from "../text/vocabularies.ts";
import { bit, type Vocabulary } from "./vocabulary.ts";

/** Nested brackets with words, where rules end inside tokens. */
function brackets(): Part {
  const value = new Rule("value");
  const word = new Rule("word", repeat(chars([0x61, 0x7a]), 1));
  value.body = alt(call(word), seq(literal("["), repeat(seq(call(value), optional(literal(","))), 0), literal("]")));
  return call(value);
}

const json = {};
export const person = {
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
export const grammars: Readonly<Record<string, () => Part>> = {
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
export function compare(
  a: Automaton,
  { table, stop }: Pick<Vocabulary, "table" | "stop">,
  part: Part,
  states: number,
  seed: number,
  see?: (mask: Uint32Array) => void,
): number {
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
          throw new Error(
            `token ${id} ${JSON.stringify(new TextDecoder().decode(table.bytes.slice(table.offsets[id], table.offsets[id + 1])))}`,
          );
        if (next !== DEAD && !stop.includes(id)) allowed.push(id);
      }
      if (!stop.every((id) => bit(mask, id) === a.accepting(state))) throw new Error("an end token, where the text is not whole");
      if (allowed.length === 0 && !a.accepting(state)) throw new Error("nothing may follow what is not whole");
      see?.(mask);
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
