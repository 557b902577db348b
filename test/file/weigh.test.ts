// JSON is weighed before it is parsed: what it would take is bounded by its length, and the weighing is linear in it.
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { parseObject } from "../../src/file/json.ts";
import { BASE_BYTES, BYTES_A_CHARACTER, weigh } from "../../src/file/weigh.ts";
import { noise } from "../support/noise.ts";

const list = (item: string, count: number): string => `{"model":[${new Array(count).fill(item).join(",")}]}`;
const amplifying = ["[]", "{}", "[[]]", '{"a":{}}', "[1]", '{"":0}'];

test("texts that grow when parsed are refused by count, before anything is parsed", () => {
  for (const item of amplifying) {
    const text = list(item, Math.ceil((20 << 20) / (item.length + 1)));
    const parse = JSON.parse;
    let parsed = 0;
    JSON.parse = ((...args: Parameters<typeof parse>) => {
      parsed++;
      return parse(...args);
    }) as typeof parse;
    try {
      expect(() => parseObject(text, "tokenizer.json"), item).toThrow(CpmError);
      expect(parsed).toBe(0);
    } finally {
      JSON.parse = parse;
    }
  }
});

test("at n, 2n and 4n the weighing looks at each character once, and bytes grow as the text does", () => {
  for (const item of [...amplifying, '"a"', "1", '"\\u001b\\""', '["a","b"]', '"abc":12']) {
    const at = (count: number) => {
      const text = item.includes('":1') ? `{${new Array(count).fill(item).join(",")}}` : list(item, count);
      const { steps, bytes } = weigh(text, ["model"]);
      expect(steps, item).toBeLessThanOrEqual(text.length);
      expect(bytes).toBeLessThanOrEqual(60 * text.length + 200);
      return bytes;
    };
    const [one, two, four] = [at(1000), at(2000), at(4000)] as [number, number, number];
    expect(four - two, item).toBe(2 * (two - one));
  }
});

test("what vocabularies and merges are made of stays well below the bound, however large", () => {
  const vocab = Array.from({ length: 20_000 }, (_, i) => `"${i.toString(36)}":${i}`).join(",");
  const merges = Array.from({ length: 20_000 }, (_, i) => `["${i.toString(36)}","e"]`).join(",");
  for (const text of [`{"model":{"vocab":{${vocab}},"merges":[${merges}]}}`, `{"merges":[${merges}]}`, `{"vocab":{${vocab}}}`]) {
    expect(weigh(text).bytes).toBeLessThan(BYTES_A_CHARACTER * text.length);
    expect(BASE_BYTES).toBeGreaterThan(0);
    expect(() => parseObject(text, "tokenizer.json")).not.toThrow();
  }
});

test("skipped members cost nothing, wherever they stand and whatever they hold; those kept are as they were", () => {
  const junk = `[${new Array(3_000_000).fill("[]").join(",")}]`;
  const kept = { model: { a: [1, { model: "}" }], "b,": '"]' }, version: null };
  const inside = JSON.stringify(kept).slice(1, -1);
  for (const text of [
    `{"junk":${junk},${inside}}`,
    `{${inside},"junk":${junk}}`,
    ` { "jun\\u006b" : ${junk} , ${inside} , "x" : "{[\\"" } \n`,
  ]) {
    expect(parseObject(text, "t.json", 0, ["model", "version"])).toEqual(kept);
    expect(() => parseObject(text, "t.json")).toThrow(/at most \d+ bytes/);
  }
  expect(parseObject('{"mod\\u0065l":1,"x":2}', "t.json", 0, ["model"])).toEqual({ model: 1 });
  expect(parseObject("{}", "t.json", 0, ["model"])).toEqual({});
  expect(parseObject('{"x":[1]}', "t.json", 0, ["model"])).toEqual({});
});

test("broken texts are typed errors with and without names to keep: 4,000 mutants of a text", () => {
  const whole = '{"version":"1.0","x":{"y":[1,2,{"z":"a\\"b"}]},"model":{"vocab":{"a":0},"merges":[["a","b"]]},"n":-1.5e3}';
  const random = noise(23);
  const signs = '{}[]",:\\ 01e\u0000é';
  let refused = 0;
  for (let i = 0; i < 4000; i++) {
    const letters = [...whole];
    for (let j = 0; j <= random() * 3; j++) {
      const at = Math.floor(random() * letters.length);
      const sign = signs[Math.floor(random() * signs.length)]!;
      const kind = random();
      if (kind < 0.3) letters.splice(at, 1);
      else if (kind < 0.6) letters.splice(at, 0, sign);
      else if (kind < 0.9) letters[at] = sign;
      else letters.length = at;
    }
    const text = letters.join("");
    let plain: unknown;
    try {
      plain = parseObject(text, "t.json");
    } catch (error) {
      expect(error, text).toBeInstanceOf(CpmError);
      refused++;
    }
    for (const keep of [["model", "version"], []]) {
      let some: Record<string, unknown> | undefined;
      try {
        some = parseObject(text, "t.json", 0, keep);
      } catch (error) {
        expect(error, text).toBeInstanceOf(CpmError);
        expect(plain, text).toBeUndefined();
      }
      // A text that is JSON as a whole gives the same members.
      if (plain !== undefined)
        expect(some, text).toEqual(Object.fromEntries(Object.entries(plain as object).filter(([name]) => keep.includes(name))));
    }
  }
  expect(refused).toBeGreaterThan(1000);
});
