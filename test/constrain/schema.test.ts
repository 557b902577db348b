// JSON Schema: what is enforced, what is refused and how it is told.
import { describe, expect, test } from "vitest";
import { UnsupportedSchemaError } from "../../src/constrain/limits.ts";
import { schemaGrammar } from "../../src/constrain/schema/compile.ts";
import { takes } from "./rig.ts";

/** schema, texts that it takes, texts that it does not. */
type Case = readonly [schema: unknown, yes: readonly string[], no: readonly string[]];

const cases: Readonly<Record<string, Case>> = {
  anything: [
    {},
    ["1", '"a"', "[]", "{}", '{"a":[1,null,{"b":""}]}', "-0.5e+10", "true"],
    ["", "tru", "01", "[1,]", "{a:1}", "'a'", "nan"],
  ],
  types: [{ type: ["integer", "null"] }, ["1", "-7", "null"], ["1.5", '"1"', "true", "-"]],
  strings: [{ type: "string" }, ['"\\u00e9\\n"', '"\\ud83d\\ude00"', '"\u007f"'], ['"\\ud83d"', '"\\x"', '"\n"', '"a']],
  "lengths in code points": [
    { type: "string", minLength: 2, maxLength: 3 },
    ['"éa"', '"😀😀😀"', '"\\n\\u0041"'],
    ['"é"', '"😀😀😀😀"'],
  ],
  "long lengths": [{ type: "string", minLength: 300, maxLength: 70000 }, [`"${"x".repeat(300)}"`], [`"${"x".repeat(299)}"`]],
  patterns: [{ pattern: "b\\d" }, ['"ab1c"', "7", "[]"], ['"ab"', '"b"']],
  "a pattern with characters that JSON escapes": [
    { type: "string", pattern: '^["\\\\\\n]+$' },
    ['"\\"\\\\\\n"', '"\\u000a"'],
    ['"n"', '""'],
  ],
  formats: [{ type: "string", format: "date" }, ['"2024-02-29"', '"1999-12-31"'], ['"2023-02-29"', '"2024-13-01"', '"2024-1-1"']],
  "words and numbers": [
    { enum: ["a", "ab", 1, 1.5, null, { x: [1] }] },
    ['"a"', '"ab"', "1", "1.5", "null", '{"x":[1]}', '{"x": [1]}'],
    ['"b"', "2", '{"x":[2]}', "[1]"],
  ],
  "a constant": [{ const: { a: 1, b: ["x"] } }, ['{"a":1,"b":["x"]}'], ['{"a":1}', '{"b":["x"],"a":1}']],
  "members in order": [
    {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" }, c: {} },
      required: ["b"],
      additionalProperties: false,
    },
    ['{"b":1}', '{"a":1,"b":2}', '{"a":1, "b": 2, "c":{}}'],
    ["{}", '{"a":1}', '{"b":1,"a":2}', '{"b":1,"d":2}', '{"b":1,}', '{"b":"x"}'],
  ],
  "other members come when all that are needed have": [
    { properties: { a: {} }, required: ["a"], additionalProperties: { type: "null" } },
    ['{"a":1,"x":null}', '{"a":1,"ab":null,"\\n":null}'],
    ['{"x":null,"a":1}', '{"a":1,"x":1}', '{"a":1,"a":null}', '{"a":1,"\\u0061":null}'],
  ],
  "members by pattern": [
    { patternProperties: { "^s_": { type: "string" }, _n$: { type: "string", maxLength: 1 } }, additionalProperties: false },
    ['{"s_a":"xx","s_n":"x"}', "{}"],
    ['{"s_n":"xx"}', '{"q":1}', '{"s_a":1}'],
  ],
  "names of members": [
    { propertyNames: { pattern: "^[a-z]{1,3}$" }, maxProperties: 2 },
    ['{"abc":1,"d":2}', "{}"],
    ['{"abcd":1}', '{"A":1}', '{"a":1,"b":2,"c":3}'],
  ],
  "how many members": [
    { type: "object", properties: { a: {}, b: {} }, minProperties: 2 },
    ['{"a":1,"b":2}', '{"b":2,"z":3}'],
    ["{}", '{"a":1}'],
  ],
  "required but not described": [
    { type: "object", required: ["x"], additionalProperties: { type: "integer" } },
    ['{"x":1}', '{"x":1,"y":2}'],
    ["{}", '{"x":"a"}'],
  ],
  lists: [
    { type: "array", items: { type: "integer" }, minItems: 1, maxItems: 3 },
    ["[1]", "[1, 2,3]"],
    ["[]", "[1,2,3,4]", '["a"]'],
  ],
  "lists with a beginning": [
    { prefixItems: [{ type: "integer" }, { type: "string" }], items: { type: "null" }, minItems: 1 },
    ['[1,"a",null,null]', "[1]"],
    ["[]", '["a"]', '[1,"a",2]'],
  ],
  "lists with a beginning alone": [{ prefixItems: [{ type: "integer" }], items: false }, ["[]", "[1]"], ["[1,2]", "[null]"]],
  "draft 7's lists": [
    { $schema: "http://json-schema.org/draft-07/schema#", items: [{ type: "integer" }], additionalItems: { type: "null" } },
    ["[1,null]", "[]"],
    ["[null]", "[1,1]"],
  ],
  "whole numbers": [
    { type: "integer", minimum: -12, exclusiveMaximum: 105 },
    ["-12", "0", "104", "99"],
    ["-13", "105", "1.0", "-0"],
  ],
  decimals: [
    { type: "number", minimum: -1.5, maximum: 2.25 },
    ["-1.5", "0.01", "2.25", "2.2", "-1.49", "0"],
    ["-1.51", "2.26", "3", "-2"],
  ],
  "draft 4's bounds": [{ minimum: 0, exclusiveMinimum: true, type: "number" }, ["0.1", "7"], ["0", "-1"]],
  multiples: [{ type: "integer", multipleOf: 7, minimum: 0 }, ["0", "7", "700"], ["1", "71"]],
  "multiples of decimals": [{ type: "number", multipleOf: 0.05 }, ["0.15", "1", "2.50", "-0.1"], ["0.01", "0.151"]],
  "any of": [{ anyOf: [{ type: "string", maxLength: 1 }, { type: "integer" }] }, ['"a"', "4"], ['"ab"', "1.5"]],
  "all of": [
    {
      allOf: [{ properties: { a: { type: "integer" } } }, { required: ["a"], properties: { a: { minimum: 3 } } }],
      type: "object",
    },
    ['{"a":3}'],
    ['{"a":2}', "{}", "3"],
  ],
  "one of, disjoint": [
    {
      oneOf: [
        { properties: { t: { const: "a" }, x: { type: "integer" } }, required: ["t"], type: "object" },
        { properties: { t: { const: "b" } }, required: ["t"], type: "object" },
      ],
    },
    ['{"t":"a","x":1}', '{"t":"b","x":"y"}'],
    ['{"t":"a","x":"y"}', '{"t":"c"}', "{}"],
  ],
  "one of, overlapping": [
    {
      oneOf: [
        { type: "integer", minimum: 5 },
        { type: "integer", maximum: 9 },
      ],
    },
    ["4", "10"],
    ["5", "7", "9"],
  ],
  not: [{ type: "string", not: { enum: ["a", "b"] } }, ['"c"', '"ab"', '""'], ['"a"', '"b"', "1"]],
  "not required": [
    { type: "object", properties: { a: {}, b: {} }, not: { required: ["a", "b"] } },
    ['{"a":1}', '{"b":1}', "{}"],
    ['{"a":1,"b":1}'],
  ],
  "if, then, else": [
    {
      type: "object",
      properties: { k: { enum: ["i", "s"] }, v: {} },
      required: ["k", "v"],
      if: { properties: { k: { const: "i" } } },
      // As in a file: a property of this name makes an object look like a promise.
      ...(JSON.parse(`{"then":{"properties":{"v":{"type":"integer"}}},"else":{"properties":{"v":{"type":"string"}}}}`) as object),
    },
    ['{"k":"i","v":1}', '{"k":"s","v":"x"}'],
    ['{"k":"i","v":"x"}', '{"k":"s","v":1}'],
  ],
  "dependent members": [
    { type: "object", properties: { a: {}, b: {} }, dependentRequired: { a: ["b"] }, additionalProperties: false },
    ['{"b":1}', '{"a":1,"b":1}', "{}"],
    ['{"a":1}'],
  ],
  references: [
    {
      $defs: {
        node: {
          type: "object",
          properties: { v: { type: "integer" }, next: { $ref: "#/$defs/node" } },
          required: ["v"],
          additionalProperties: false,
        },
      },
      $ref: "#/$defs/node",
    },
    ['{"v":1,"next":{"v":2}}'],
    ['{"v":1,"next":{}}'],
  ],
  "references by name": [{ $ref: "other", $defs: { x: { $id: "other", type: "integer" } } }, ["1"], ['"a"']],
  never: [{ type: "object", properties: { a: false, b: {} } }, ['{"b":1}', "{}"], ['{"a":1}']],
};

describe("enforced", () => {
  for (const [name, [schema, yes, no]] of Object.entries(cases))
    test(name, () => {
      for (const text of yes) expect(takes(schema, text), text).toBe("yes");
      for (const text of no) expect(takes(schema, text), text).not.toBe("yes");
    });
});

describe("white space", () => {
  const schema = { type: "object", properties: { a: { type: "array", items: { type: "integer" } } } };
  test("none, single (default) and indented", () => {
    expect(takes(schema, '{"a": [1, 2]}')).toBe("yes");
    expect(takes(schema, '{"a":  [1]}')).not.toBe("yes");
    expect(takes(schema, '{"a": [1]}', { whitespace: "none" })).not.toBe("yes");
    expect(takes(schema, '{"a":[1,2]}', { whitespace: "none" })).toBe("yes");
    expect(takes(schema, '{\n  "a": [\n    1,\n    2\n  ]\n}', { whitespace: "indented" })).toBe("yes");
    expect(takes(schema, '{"a":[1]}', { whitespace: "indented" })).toBe("yes");
    expect(takes(schema, '{\n\n"a":[1]}', { whitespace: "indented" })).not.toBe("yes");
  });
});

/** schema, keyword and path of its refusal. */
const refusals: Readonly<Record<string, readonly [schema: unknown, keyword: string, path: string]>> = {
  uniqueItems: [{ properties: { a: { uniqueItems: true } } }, "uniqueItems", "/properties/a"],
  contains: [{ contains: { type: "integer" } }, "contains", ""],
  unevaluatedProperties: [{ unevaluatedProperties: false }, "unevaluatedProperties", ""],
  "a remote reference": [{ items: { $ref: "https://example.com/x.json" } }, "$ref", "/items"],
  "an unresolved reference": [{ $ref: "#/$defs/none" }, "$ref", ""],
  "a reference to itself": [{ $ref: "#" }, "$ref", ""],
  "a dynamic reference": [{ $dynamicRef: "#x" }, "$dynamicRef", ""],
  "an unknown format": [{ type: "string", format: "colour" }, "format", ""],
  "look-around": [{ pattern: "a(?=b)" }, "pattern", ""],
  "a misspelt keyword": [{ properties: { n: { type: "string", maxLenght: 3 } } }, "maxLenght", "/properties/n"],
  "a keyword in other letters": [{ additionalproperties: false }, "additionalproperties", ""],
  "an unknown type": [{ type: "text" }, "type", ""],
};

describe("refused, with path and keyword", () => {
  for (const [name, [schema, keyword, path]] of Object.entries(refusals))
    test(name, () => {
      try {
        schemaGrammar(schema);
      } catch (error) {
        expect(error).toBeInstanceOf(UnsupportedSchemaError);
        const { message } = error as Error;
        expect([(error as UnsupportedSchemaError).keyword, (error as UnsupportedSchemaError).path], message).toEqual([
          keyword,
          path,
        ]);
        return;
      }
      expect.fail("was taken");
    });

  test("lenient: refusals become a list, and the rest is enforced", () => {
    const schema = { type: "array", uniqueItems: true, items: { type: "string", format: "colour" }, "x-note": 1 };
    const { refused, ignored } = schemaGrammar(schema, { lenient: true });
    expect(refused.map((r) => [r.path, r.keyword])).toEqual([
      ["", "uniqueItems"],
      ["/items", "format"],
    ]);
    expect(ignored.map((r) => r.keyword)).toEqual(["x-note"]);
    expect(takes(schema, '["a","a"]', { lenient: true })).toBe("yes");
    expect(takes(schema, "[1]", { lenient: true })).not.toBe("yes");
  });

  test("what contradicts itself is bad input", () => {
    expect(() => takes({ type: "integer", minimum: 5, maximum: 4 }, "5")).toThrow(/nothing matches/);
    expect(() => takes({ type: "object", required: ["a"], properties: { a: false } }, "{}")).toThrow(/nothing matches/);
  });
});
