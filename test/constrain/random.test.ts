// Text drawn at random under the mask ends valid, whatever the schema: random schemas, a hot model, and a validator that is not ours.
// CPM_RUNS sets how many texts are drawn (over 200 schemas from 1,000 on); 5,000 take about ten minutes.
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import { newConstraint } from "../../src/door/constraint.ts";
import { greedy, say, stories } from "../draft/rig.ts";
import { load } from "../support/engine.ts";
import { random } from "../text/vocabularies.ts";

const RUNS = Number(process.env["CPM_RUNS"] ?? 120);
const SCHEMAS = Math.min(200, Math.max(40, RUNS >> 1));
const HOT = 1.5;

type Schema = Record<string, unknown>;
type Below = (n: number) => number;

const WORDS = ["name", "age", "dog's", "größe", "a/b", "x y", "id", "tags", "漢字", 'say "hi"', "n~1", "\\"];
const PATTERNS = ["^[a-z]{1,6}$", "^(red|green|blue)$", "^[A-Z][a-z]{0,5}\\d$", "^\\d{3}-\\d{2}$", "[0-9]$", "^x+$"];

/** Short values only, so that a text ends well before the context does. */
function anySchema(below: Below, depth: number): Schema {
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const leaves: (() => Schema)[] = [
    () => ({ type: "string", minLength: below(3), maxLength: 3 + below(6) }),
    () => ({ type: "string", pattern: pick(PATTERNS), maxLength: 10 }),
    () => ({ type: "string", format: pick(["date", "time", "ipv4", "uuid"]) }),
    () => ({ enum: [pick(WORDS), below(1000), null, true, [1, "a"], { k: pick(WORDS) }].slice(0, 2 + below(5)) }),
    () => ({ const: pick<unknown>([pick(WORDS), -below(50), { a: [null] }]) }),
    () => {
      const least = below(2000) - 1000;
      return { type: "integer", minimum: least, maximum: least + below(500) };
    },
    () => ({ type: "integer", exclusiveMinimum: -below(9) - 1, exclusiveMaximum: below(300) + 1 }),
    () => ({ type: pick(["boolean", "null"]) }),
    () => ({ type: ["boolean", "null", "integer"], maximum: 99, minimum: -99 }),
  ];
  const inner = () => anySchema(below, depth - 1);
  const branches: (() => Schema)[] = [
    () => {
      const names = [...new Set(Array.from({ length: 1 + below(4) }, () => pick(WORDS)))];
      return {
        type: "object",
        properties: Object.fromEntries(names.map((name) => [name, inner()])),
        required: names.filter(() => below(2)),
        additionalProperties: false,
      };
    },
    () => {
      const least = below(3);
      return { type: "array", items: inner(), minItems: least, maxItems: least + below(3) };
    },
    () => ({ type: "array", prefixItems: [inner(), inner()], items: false, minItems: below(3) }),
    () => ({ anyOf: [inner(), inner()] }),
    () => ({ $ref: "#/$defs/shared" }),
  ];
  return pick(depth > 0 && below(3) ? branches : leaves)();
}

function schemaFrom(seed: number): Schema {
  const below = random(seed);
  return { ...anySchema(below, 3), $defs: { shared: anySchema(below, 0) } };
}

const formats: Readonly<Record<string, RegExp>> = {
  date: /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/,
  time: /^\d\d:\d\d:\d\d(\.\d+)?(z|[+-]\d\d:\d\d)$/i,
  ipv4: /^(\d{1,3}\.){3}\d{1,3}$/,
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
};

test(`${RUNS} texts over ${SCHEMAS} random schemas at temperature ${HOT} are whole, parse, and are valid`, {
  timeout: 7_200_000,
}, async () => {
  const engine = await load(stories, { contextSize: 512 });
  let [cut, done] = [0, 0];
  for (let s = 0; s < SCHEMAS; s++) {
    const schema = schemaFrom(s);
    const constraint = newConstraint({ schema }, {}, engine.info.tokenizer).request("none");
    const validate = new Ajv2020({ strict: false, formats }).compile(schema);
    for (let run = s; run < RUNS; run += SCHEMAS) {
      const sampling = { ...greedy, temperature: HOT, seed: 1000 * s + run };
      const { text, finishReason } = await say(engine, "Once upon a time", { sampling, constraint, maxTokens: 480 });
      done++;
      // Cut off by the context: a beginning, which says so.
      if (finishReason !== "stop") {
        expect(finishReason).toBe("length");
        cut++;
        continue;
      }
      const value: unknown = JSON.parse(text);
      expect(validate(value), `schema ${s}, ${text}: ${JSON.stringify(validate.errors)}\n${JSON.stringify(schema)}`).toBe(true);
    }
  }
  console.log(`${done} texts, ${cut} of them cut off by the limit of tokens`);
  expect(done).toBe(RUNS);
  expect(cut).toBeLessThan(RUNS / 20);
});
