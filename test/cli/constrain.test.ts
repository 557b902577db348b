// cpm constrain and cpm run under a constraint: lines, the last line, exit statuses.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cpm, json, story, temporary } from "./command.ts";

const folder = temporary();
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const schema = file(
  "schema.json",
  JSON.stringify({
    type: "object",
    properties: { a: { type: "string", maxLength: 5 }, b: { type: "integer" } },
    required: ["a"],
    additionalProperties: false,
    "x-note": 1,
  }),
);
const linesOf = (out: string): unknown[] =>
  out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);

test("a line an instance, in the order of the file, and what it took at the end", async () => {
  const instances = file("i.jsonl", '{"a":"é","b":3}\n\n{"a":"toolong","b":3}\n{"b":3,"a":"x"}\n{}\n');
  const { status, out, err } = await cpm(["constrain", story, "--schema", schema, "--instances", instances, "--json"]);
  expect([status, err]).toEqual([0, ""]);
  const lines = linesOf(out);
  expect(lines.slice(0, 4)).toEqual([
    { accepted: true, refusedAt: null },
    { accepted: false, refusedAt: 11 },
    { accepted: false, refusedAt: 2 },
    { accepted: false, refusedAt: 1 },
  ]);
  expect(lines.length).toBe(5);
  const last = lines[4] as { compileMs: number; maskMicros: object; states: number; ignored: object[] };
  expect(Object.keys(last)).toEqual(["compileMs", "maskMicros", "states", "ignored"]);
  expect(Object.keys(last.maskMicros)).toEqual(["mean", "p50", "p99", "max"]);
  expect(last.states).toBeGreaterThan(10);
});

test("texts as they are, for expressions and grammars", async () => {
  const instances = file("raw.jsonl", '"ab12"\n"ab"\n"  ab1"\n""\n');
  const regex = await cpm(["constrain", "--regex", "[a-z]+\\d+", "--instances", instances, "--raw", "--json"]);
  expect(linesOf(regex.out).slice(0, 4)).toEqual([
    { accepted: true, refusedAt: null },
    { accepted: false, refusedAt: 2 },
    { accepted: false, refusedAt: 0 },
    { accepted: false, refusedAt: 0 },
  ]);
  const grammar = file("g.gbnf", 'root ::= " "* [a-z]+ [0-9]*\n');
  const { out } = await cpm(["constrain", "--grammar", grammar, "--instances", instances, "--raw"]);
  expect(out).toBe("accepted\naccepted\naccepted\nrefused at byte 0\n");
});

test("what cannot be enforced is exit status 3, with keyword and path; lenient lists it", async () => {
  const unique = file("u.json", '{"properties":{"a":{"uniqueItems":true}}}');
  const { status, out, err } = await cpm(["constrain", "--schema", unique, "--json"]);
  expect([status, out]).toEqual([3, ""]);
  expect(JSON.parse(err)).toMatchObject({ error: { code: "unsupported", keyword: "uniqueItems", path: "/properties/a" } });
  const lenient = await cpm(["constrain", "--schema", unique, "--lenient", "--json"]);
  expect(lenient.status).toBe(0);
  expect(linesOf(lenient.out)[0]).toMatchObject({ refused: [{ path: "/properties/a", keyword: "uniqueItems" }] });
  for (const args of [
    ["constrain"],
    ["constrain", "--schema", unique, "--regex", "a"],
    ["constrain", "--regex", "a", "--whitespace", "wide"],
  ])
    expect((await cpm(args)).status, args.join(" ")).toBe(2);
  expect((await cpm(["constrain", "--schema", join(folder, "none.json")])).err).toMatch(/no such file.*--schema/);
});

test("run holds its text to a schema", async () => {
  const { text, finishReason } = await json<{ text: string; finishReason: string }>([
    ...["run", "--schema", file("s.json", '{"enum":["one",{"two":[2]}]}'), "--seed", "3", "-p", "Count:"],
  ]);
  expect(finishReason).toBe("stop");
  expect(["one", { two: [2] }]).toContainEqual(JSON.parse(text));
});
