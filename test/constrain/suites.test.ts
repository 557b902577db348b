// Published suites against what is expected of each case: test/constrain/expected/. A case that comes out worse than there fails, and
// so does any wrong acceptance. CPM_RATCHET=write writes the files anew, CPM_RATCHET=all runs whole suites where a part is usual.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type ConstraintInput, compileConstraint } from "../../src/constrain/compile.ts";
import { UnsupportedSchemaError } from "../../src/constrain/limits.ts";
import type { Machine } from "../../src/constrain/machine.ts";
import { regexDfa } from "../../src/constrain/regex.ts";
import { matches } from "../../src/constrain/strings.ts";
import { type Automaton, DEAD } from "../../src/decode/constrain.ts";
import { CpmError } from "../../src/errors.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { shared } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";
import { takesInSomeOrder } from "./order.ts";
import { automaton, bit, tableFrom, vocabularyOf } from "./rig.ts";

const writing = process.env["CPM_RATCHET"] === "write";
const whole = writing || process.env["CPM_RATCHET"] === "all";
const expectedAt = (name: string): string => fileURLToPath(new URL(`expected/${name}.json`, import.meta.url));

/** pass; order: a valid instance refused for the order of its members alone (untold: it has too many to try all); reject: refused for another reason; refused KEYWORD. */
type Outcome = string;
const rank = (outcome: Outcome): number => ["pass", "order", "reject"].indexOf(outcome.split(" ")[0]!);

/** Holds outcomes to those expected; a file names only what does not pass. */
function ratchet(name: string, outcomes: ReadonlyMap<string, Outcome>): void {
  const wrong = [...outcomes].filter(([, o]) => o.startsWith("accept"));
  expect(wrong).toEqual([]);
  const path = expectedAt(name);
  if (writing) {
    const others = Object.fromEntries([...outcomes].filter(([, o]) => o !== "pass").sort(([a], [b]) => (a < b ? -1 : 1)));
    writeFileSync(path, `${JSON.stringify({ cases: outcomes.size, others }, null, 1)}\n`);
  }
  const { cases, others } = JSON.parse(readFileSync(path, "utf8")) as { cases: number; others: Record<string, Outcome> };
  if (whole) expect(outcomes.size).toBe(cases);
  const worse: string[] = [];
  let better = 0;
  for (const [id, outcome] of outcomes) {
    const before = others[id] ?? "pass";
    if (outcome === before) continue;
    // Refused is never wrong, but what passed has to go on passing.
    const refusedNow = rank(outcome) < 0;
    const worsened = before === "pass" || (!refusedNow && rank(before) >= 0 && rank(outcome) > rank(before));
    if (worsened || (rank(before) < 0 && outcome === "reject")) worse.push(`${id}: ${before} -> ${outcome}`);
    else better++;
  }
  if (better) console.log(`${name}: ${better} cases come out better than expected; CPM_RATCHET=write takes them in`);
  expect(worse).toEqual([]);
}

interface Compiled {
  readonly machine?: Machine;
  readonly refused?: string;
  /** It says that nothing can be. */
  readonly nothing?: boolean;
}

function compiled(input: ConstraintInput): Compiled {
  try {
    return { machine: compileConstraint(input).machine };
  } catch (error) {
    if (!(error instanceof CpmError)) throw error;
    if (error instanceof UnsupportedSchemaError) return { refused: error.keyword };
    return /nothing matches/.test(error.message) ? { nothing: true } : { refused: error.code };
  }
}

const bytes = await automaton({
  name: "bytes",
  table: tableFrom(
    Array.from({ length: 256 }, (_, b) => Uint8Array.of(b)),
    [],
  ),
  stop: [],
});
const utf8 = new TextEncoder();

function runs(a: Automaton, text: string): boolean {
  const { state } = a.advanceBytes(a.start(), utf8.encode(text));
  return state !== DEAD && a.accepting(state);
}

/** What becomes of one instance. */
function outcomeOf(c: Compiled, valid: boolean, takes: (a: Automaton) => boolean, value: unknown): Outcome {
  if (c.refused !== undefined) return `refused ${c.refused}`;
  if (c.nothing) return valid ? "reject" : "pass";
  const taken = takes(bytes.load(c.machine!));
  if (taken === valid) return "pass";
  if (taken) return "accept";
  const some = takesInSomeOrder(bytes, value);
  return some === undefined ? "order untold" : some ? "order" : "reject";
}

describe("JSON-Schema-Test-Suite", () => {
  const folder = shared("suites/json-schema-test-suite/tests");
  whereFile(folder, "suites/json-schema-test-suite").each(["draft2020-12", "draft7"])("%s", (draft) => {
    const outcomes = new Map<string, Outcome>();
    for (const part of ["", "optional/", "optional/format/"])
      for (const file of readdirSync(join(folder!, draft, part)).filter((f) => f.endsWith(".json"))) {
        const groups = JSON.parse(readFileSync(join(folder!, draft, part, file), "utf8")) as {
          schema: unknown;
          tests: { data: unknown; valid: boolean }[];
        }[];
        groups.forEach(({ schema, tests }, i) => {
          const named =
            draft === "draft7" && typeof schema === "object"
              ? { $schema: "http://json-schema.org/draft-07/schema#", ...schema }
              : schema;
          const c = compiled({ schema: named });
          tests.forEach(({ data, valid }, j) => {
            outcomes.set(
              `${part}${file}/${i}/${j}`,
              outcomeOf(c, valid, (a) => runs(a, JSON.stringify(data)), data),
            );
          });
        });
      }
    ratchet(`json-schema-${draft}`, outcomes);
  });
});

interface Row {
  readonly file: string;
  readonly schema: unknown;
  readonly tests: readonly { readonly valid: boolean; readonly data: unknown }[];
}

describe("MaskBench", async () => {
  const file = shared("suites/maskbench/maskbench.jsonl.gz");
  const model = shared("data/minicpm4/minicpm4-vocab.gguf");
  const there = file !== undefined && model !== undefined;
  const vocabulary = there ? await vocabularyOf(model) : undefined;
  whereFile(there, "suites/maskbench")(
    "token by token over the vocabulary of MiniCPM4: mask, look, commit",
    async () => {
      const tokenizer = new Tokenizer(vocabulary!.data!);
      const a = await automaton(vocabulary!);
      const rows = gunzipSync(readFileSync(file!))
        .toString()
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Row);
      const outcomes = new Map<string, Outcome>();
      const takes = (text: string): boolean => {
        let state = a.start(true);
        for (const id of tokenizer.encode(text, { bos: false, eos: false, special: false })) {
          if (!bit(a.mask(state), id)) return false;
          state = a.advance(state, id);
        }
        return a.accepting(state);
      };
      let [valid, passed] = [0, 0];
      rows.forEach((row, i) => {
        if (!whole && i % 6 !== 0) return;
        const c = compiled({ schema: row.schema });
        if (c.machine) a.load(c.machine);
        row.tests.forEach((t, j) => {
          const outcome = outcomeOf(c, t.valid, () => takes(JSON.stringify(t.data)), t.data);
          outcomes.set(`${row.file}/${j}`, outcome);
          if (t.valid) valid++;
          if (t.valid && outcome === "pass") passed++;
        });
      });
      ratchet("maskbench", outcomes);
      expect([...outcomes.values()].filter((o) => o === "reject")).toEqual([]);
      expect(passed / valid).toBeGreaterThan(0.88);
      console.log(
        `MaskBench: ${passed} of ${valid} valid instances pass, ${outcomes.size - valid} others, none accepted wrongly`,
      );
    },
    240_000,
  );
});

const lines = (path: string): Record<string, unknown>[] =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("GBNF and schemas of llama.cpp", async () => {
  const folder = shared("suites/gbnf");
  // Token ids stand beside the bytes there.
  const shift = (grammar: string) => grammar.replace(/<\[(\d+)\]>/g, (_, id: string) => `<[${Number(id) + 256}]>`);
  const pieces = Array.from({ length: 400 }, (_, b) => (b < 256 ? Uint8Array.of(b) : new Uint8Array()));
  const a = await automaton({ name: "bytes and tokens", table: tableFrom(pieces, []), stop: [] });
  type Input = string | (string | { token: number })[];
  const takes = (input: Input): boolean => {
    let state = a.start();
    for (const part of [input].flat())
      for (const id of typeof part === "string" ? utf8.encode(part) : [part.token + 256])
        if ((state = a.advance(state, id)) === DEAD) return false;
    return a.accepting(state);
  };

  whereFile(folder, "suites/gbnf").each(["gbnf-cases", "gbnf-own"])("%s: every text", (name) => {
    for (const row of lines(join(folder!, `${name}.jsonl`))) {
      a.load(compileConstraint({ grammar: shift(row["grammar"] as string) }).machine);
      for (const input of row["accept"] as Input[]) expect(takes(input), `${row["id"]} ${JSON.stringify(input)}`).toBe(true);
      for (const input of row["reject"] as Input[]) expect(takes(input), `${row["id"]} ${JSON.stringify(input)}`).toBe(false);
    }
  });

  whereFile(folder, "suites/gbnf")("grammars that parse, and that do not: longer repetition is taken than there", () => {
    for (const { grammar, parses } of lines(join(folder!, "grammar-parse.jsonl"))) {
      const taken = compiled({ grammar: grammar as string }).machine !== undefined;
      const long = /\{5000|\{0,99\}\)\{/.test(grammar as string);
      expect(taken, grammar as string).toBe(long ? true : parses);
    }
  });

  whereFile(folder, "suites/gbnf")("texts of schemas", () => {
    const outcomes = new Map<string, Outcome>();
    for (const row of lines(join(folder!, "schema-cases.jsonl"))) {
      const c = compiled({ schema: row["schema"] });
      for (const [kind, valid] of [
        ["accept", true],
        ["reject", false],
      ] as const)
        (row[kind] as string[]).forEach((text, i) => {
          let value: unknown;
          try {
            value = JSON.parse(text);
          } catch {}
          const outcome = outcomeOf(c, valid, (automaton) => runs(automaton, text), value);
          // What llama.cpp refuses for its bound of 15 digits is a number of the schema.
          outcomes.set(`${row["id"]}/${kind}/${i}`, outcome === "accept" && /^-?\d{20,}$/.test(text) ? "pass" : outcome);
        });
    }
    for (const row of lines(join(folder!, "schema-compile.jsonl"))) {
      const c = compiled({ schema: row["schema"] });
      outcomes.set(String(row["id"]), c.refused === undefined ? "pass" : `refused ${c.refused}`);
    }
    ratchet("gbnf-schemas", outcomes);
  });
});

const regexFile = shared("suites/regex/regex-cases.jsonl");
whereFile(regexFile, "suites/regex")("expressions: every text as ECMAScript finds it", () => {
  const outcomes = new Map<string, Outcome>();
  lines(regexFile!).forEach((row, i) => {
    const pattern = row["pattern"] as string;
    let dfa: ReturnType<typeof regexDfa>;
    try {
      dfa = regexDfa(pattern, "");
    } catch (error) {
      if (!(error instanceof CpmError)) throw error;
      outcomes.set(String(i), "refused pattern");
      return;
    }
    for (const text of (row["accept"] as string[] | undefined) ?? [])
      outcomes.set(`${i}/${text}`, dfa && matches(dfa, text) ? "pass" : "reject");
    for (const text of (row["reject"] as string[] | undefined) ?? [])
      outcomes.set(`${i}/${text}`, dfa && matches(dfa, text) ? "accept" : "pass");
  });
  ratchet("regex", outcomes);
});

test("expected outcomes are there", () => {
  for (const name of ["json-schema-draft2020-12", "json-schema-draft7", "maskbench", "gbnf-schemas", "regex"])
    expect(existsSync(expectedAt(name)), name).toBe(true);
});
