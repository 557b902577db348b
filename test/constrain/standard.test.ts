// Schemas of the libraries that follow Standard Schema, by their own conversion.
import { toStandardJsonSchema } from "@valibot/to-json-schema";
import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { compileConstraint } from "../../src/constrain/compile.ts";
import { runs } from "./rig.ts";

const schemas: Readonly<Record<string, unknown>> = {
  zod: z.object({ age: z.int().min(0).max(150), kind: z.enum(["cat", "dog"]), name: z.string().min(1).max(9) }),
  valibot: toStandardJsonSchema(
    v.object({
      age: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(150)),
      kind: v.picklist(["cat", "dog"]),
      name: v.pipe(v.string(), v.minLength(1), v.maxLength(9)),
    }),
  ),
  arktype: type({ age: "0 <= number.integer <= 150", kind: "'cat' | 'dog'", name: "1 <= string <= 9" }),
};

describe("Standard Schema", () => {
  test.each(Object.keys(schemas))("%s", (name) => {
    const { machine } = compileConstraint({ schema: schemas[name] });
    expect(runs(machine, '{"age":7,"kind":"cat","name":"Tom"}')).toBe("yes");
    for (const text of [
      '{"age":151,"kind":"cat","name":"Tom"}',
      '{"age":7,"kind":"cow","name":"Tom"}',
      '{"age":7,"kind":"cat","name":""}',
      "{}",
    ])
      expect(runs(machine, text), text).not.toBe("yes");
  });

  test("zod's formats and recursion", () => {
    const node = z.object({
      id: z.uuid(),
      get children() {
        return z.array(node);
      },
    });
    const { machine } = compileConstraint({ schema: node });
    const id = "c9bf9e57-1685-4c89-bafb-ff5af830be8a";
    expect(runs(machine, JSON.stringify({ id, children: [{ id, children: [] }] }))).toBe("yes");
    expect(runs(machine, JSON.stringify({ id: "x", children: [] }))).not.toBe("yes");
    expect(runs(compileConstraint({ schema: z.email() }).machine, '"a@b.cd"')).toBe("yes");
  });

  test("one that does not convert itself is told so", () => {
    expect(() => compileConstraint({ schema: v.object({ a: v.string() }) })).toThrow(/valibot does not convert itself/);
    expect(() => compileConstraint({ schema: z.object({ a: z.date() }) })).toThrow(/zod has no JSON Schema/);
  });
});
