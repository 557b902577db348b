// Programs: what is made of a problem, each kept sample checked by running it, each fault of a model dropped with its reason.
import { afterAll, describe, expect, test } from "vitest";
import { createSandbox } from "../../dist/host/verify.node.js";
import type { ChatAnswer, ChatModel } from "../../src/chat/model.ts";
import { verifyCode } from "../../src/data/verify/code.ts";
import { sampleOf } from "../../src/data/verify/samples.ts";
import { bare, mutantsOf } from "../../src/synth/mutants.ts";
import { callsOf, casesOf, functionsOf, literal, renamed, resultTest, testsOf } from "../../src/synth/programs.ts";
import { synthesise } from "../../src/synth/run.ts";
import type { CodeVariant, Entry, ReasoningConfig } from "../../src/synth/types.ts";
import { reply } from "../agent/rig.ts";

const sandbox = createSandbox({ timeMs: 20_000 });
afterAll(() => sandbox.close());

const javascript = `// Keeps x within a < b.
function clamp(x, low, high) {
  if (x < low) return low;
  return x > high ? high : x;
}`;
const python = `def clamp(x, low, high):
    """Keeps x within: low <= x."""
    if x < low:
        return low
    return high if x > high else x`;
const testsJs =
  'for (const [x, want] of [[5, 5], [-1, 0], [11, 10], [0, 0], [10, 10]]) if (clamp(x, 0, 10) !== want) throw new Error("clamp(" + x + ")");';
const seed = {
  id: "clamp",
  question: "Write clamp(x, low, high): x, but at least low and at most high.",
  tests: testsJs,
  language: "javascript",
  solution: javascript,
};
const block = (code: string, language = "javascript") => `Here it is, as it should be.\n\n\`\`\`${language}\n${code}\n\`\`\``;

/** A model that answers prompts by what stands in them: the n-th time with the n-th answer, at last with the last. */
function script(answers: readonly (readonly [mark: string | RegExp, ...texts: (string | object)[]])[]) {
  const asked = new Map<string | RegExp, number>();
  const prompts: string[] = [];
  const model: ChatModel = {
    chat(messages) {
      const prompt = String(messages.at(-1)!.content);
      prompts.push(prompt);
      const found = answers.find(([mark]) => (typeof mark === "string" ? prompt.includes(mark) : mark.test(prompt)));
      if (!found) throw new Error(`no answer to ${prompt}`);
      const n = asked.get(found[0]) ?? 0;
      asked.set(found[0], n + 1);
      const text = found[Math.min(n + 1, found.length - 1)]!;
      const answer: ChatAnswer = {
        text: typeof text === "string" ? text : JSON.stringify(text),
        reasoning: "",
        tokens: [],
        usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 1 },
        finishReason: "stop",
      };
      return reply(Promise.resolve(answer));
    },
  };
  return { model, prompts };
}

async function made(
  variants: readonly CodeVariant[] | undefined,
  answers: Parameters<typeof script>[0],
  more: Partial<ReasoningConfig> = {},
) {
  const { model, prompts } = script(answers);
  const reasoning = { kind: "code", count: 1, samples: 3, seeds: [seed], ...(variants ? { variants } : {}), ...more } as const;
  const config = { seed: 5, concurrency: 1, families: { reasoning } };
  const run = await synthesise({ config, model, modelName: "script", verify: { sandbox } });
  const entries: Entry[] = [];
  for await (const entry of run.entries("reasoning")) entries.push(entry);
  const outcomes = entries.flatMap((entry) => entry.outcomes);
  const records = outcomes.flatMap((one) => (one.kept ? [one.record] : []));
  // As cpm verify --with code judges the file's lines.
  for (const record of records) expect(await verifyCode(sampleOf(record), sandbox)).toEqual({ ok: true, reasons: [] });
  return { records, prompts, reasons: outcomes.flatMap((one) => (one.kept ? [] : [one.reason])) };
}

describe("mutants", () => {
  test("change one operator or number each, and nothing in strings and comments", () => {
    for (const [code, language, wanted] of [
      ["if (a <= b && c !== 'x <= 1') return -1; // 1 < 2", "javascript", ["<= <", "<= >=", "&& ||", "!== ===", "1 2"]],
      [
        "const f = (x) => x >= 10 || /a+b/.test(x) ? x - 1 : -x;",
        "javascript",
        [">= >", ">= <=", "10 11", "|| &&", "- +", "1 2"],
      ],
      ["n += 1\nm = n ** 2 if not n == 0 else -n  # n > 3", "python", ["+= -=", "1 2", "2 3", "== !=", "0 1"]],
      ['s = """a < 1"""\nif a in b and c not in d: x = a // 2', "python", ["1", "and or", "not in in", "// *", "2 3"]],
      ["def f(a: int) -> int:\n    return True or f(*a)", "python", ["True False", "or and"]],
      ["x = 0.5 + y1", "python", ["+ -"]],
      ["a <<= 1", "python", ["1 2"]],
    ] as const) {
      const mutants = mutantsOf(code, language);
      const found = mutants.map(({ from, to }) => `${from} ${to}`);
      expect(found, code).toEqual(wanted.filter((one) => one.includes(" ")));
      for (const mutant of mutants) {
        expect(mutant.code).not.toBe(code);
        expect(mutant.code.split("\n")[mutant.line - 1]).not.toBe(code.split("\n")[mutant.line - 1]);
        expect(bare(mutant.code, language).comments).toBe(bare(code, language).comments);
      }
      expect(new Set(mutants.map((one) => one.code)).size).toBe(mutants.length);
    }
  });
});

describe("what calls give", () => {
  const inputs = [
    [5, 0, 10],
    [-1, 0, 10],
    ["b", "a", "c"],
    [null, 0, 1],
  ] as const;
  const wanted = { javascript: [5, 0, "b", null], python: [5, 0, "b"] };

  test.each([
    ["javascript", javascript],
    ["python", python],
  ] as const)("is found by running %s, and told as tests that hold in both languages", async (language, code) => {
    const { output, outcome } = await sandbox.run({ language, code, tests: callsOf("clamp", inputs, language) });
    expect(outcome).toBe("passed");
    const found = casesOf(output, inputs);
    expect(found.map((one) => one.output)).toEqual(wanted[language]);
    const some = found.slice(0, 3);
    for (const [other, program] of [
      ["javascript", javascript],
      ["python", python],
    ] as const) {
      const tests = testsOf("clamp", some, other);
      expect(await sandbox.run({ language: other, code: program, tests })).toMatchObject({ outcome: "passed" });
      for (const { code: mutant } of mutantsOf(program, other).filter(({ to }) => to === ">="))
        expect((await sandbox.run({ language: other, code: mutant, tests })).outcome).toBe("passed");
      const wrong = program.replace("return low", "return high");
      expect(await sandbox.run({ language: other, code: wrong, tests })).toMatchObject({ outcome: "failed" });
    }
  });

  test.each([
    ["javascript", "const give = (x) => x;"],
    ["python", "def give(x): return (tuple(x) if isinstance(x, list) else x)"],
  ] as const)("a value written out in %s is what the call gives, and no other", async (language, program) => {
    const value = { "a \u2028\ud83d\ude00": [1.5, true, null, "'\"\\\n"], b: { c: [] } };
    for (const [input, right, wrong] of [
      [value, value, { ...value, b: { c: [0] } }],
      [
        [[1], 2],
        [[1], 2],
        [[1], 3],
      ],
      [0.1 + 0.2, 0.3, 0.31],
      ["1", "1", 1],
      [true, true, 1],
      [[], [], {}],
      [null, null, false],
    ] as const) {
      const tests = resultTest(program, "give", [input], language);
      const run = (given: unknown) => sandbox.run({ language, code: `result = ${literal(given as never, language)}`, tests });
      expect(await run(right), JSON.stringify(input)).toMatchObject({ outcome: "passed" });
      expect(await run(wrong), JSON.stringify(input)).toMatchObject({ outcome: "failed" });
      // The function is not there yet.
      const call = { language, code: "result = give(1)", tests };
      expect(await sandbox.run(call)).toMatchObject({ outcome: "failed" });
    }
  });

  test("what is no value of JSON gives nothing, and a program that prints the mark of its own is not believed", async () => {
    const code = "function f(x) { return [undefined, NaN, () => 1, new Map(), { a: undefined }, [1n], Infinity, 7][x]; }";
    const eight = [0, 1, 2, 3, 4, 5, 6, 7].map((x) => [x]);
    const { output } = await sandbox.run({ language: "javascript", code, tests: callsOf("f", eight, "javascript") });
    expect(casesOf(output, eight)).toEqual([{ input: [7], output: 7 }]);
    expect(casesOf("~~calls gave [[1]]\n", eight)).toEqual([]);
    expect(casesOf("~~calls gave nothing\n", eight)).toEqual([]);
    expect(casesOf("", eight)).toEqual([]);
  });

  test("functions and names", () => {
    expect(functionsOf("import math\ndef a(x):\n    def inner(): pass\nasync def b(): pass", "python")).toEqual(["a", "b"]);
    const list = "const a = (x) => x;\nfunction b() {}\nlet c = x => x, d = 4;\nconst e = 5;";
    expect(functionsOf(list, "javascript")).toEqual(["a", "b", "c"]);
    expect(renamed("clamp(x) + myclamp + clamp2 + a.clamp", "clamp", "$&")).toBe("$&(x) + myclamp + clamp2 + a.$&");
  });
});

test("renamed: other words and another name; the old name, a taken one and a name that is not in the exercise are dropped", async () => {
  const told = { question: "Write keep(t, cold, hot): the oven's heat t within what it stands.", name: "keep" };
  const right = block(javascript.replaceAll("clamp", "keep"));
  const { records, prompts } = await made(
    ["renamed"],
    [
      ["Tell the same exercise", told],
      ["Write keep", block(javascript), right],
    ],
  );
  expect(records).toHaveLength(1);
  expect(records[0]!.messages[0]!.content).toContain(told.question);
  expect(String((records[0] as unknown as { tests: string }).tests)).toBe(
    testsJs.replaceAll("clamp(x", "keep(x").replace('"clamp(', '"keep('),
  );
  expect(records[0]!.provenance.facts).toMatchObject({ variant: "renamed", name: "keep", right: 1 });
  expect(records[0]!.provenance.stages.map(({ stage }) => stage)).toEqual(["renamed", "code"]);
  expect(prompts[0]).toContain("The function clamp gets another name");
  for (const [answer, reason] of [
    [{ ...told, name: "low" }, /name that is taken: low/],
    [{ ...told, question: "Write hold(t, cold, hot)." }, /not in the exercise/],
    [{ ...told, question: "Write keep(t), which was clamp." }, /not in the exercise/],
    [{ ...told, name: "a b" }, /malformed/],
  ] as const)
    expect((await made(["renamed"], [["Tell the same exercise", answer]])).reasons).toEqual([expect.stringMatching(reason)]);
});

test.each(["changed", "extended"] as const)(
  "%s: the old program must fail the new tests, answers must agree, tests must find mutants",
  async (variant) => {
    const mark = variant === "changed" ? "Write a similar exercise" : "Write a harder exercise";
    const question = "Write clamp(x, low, high), where low and high may come in either order.";
    const tests = `${testsJs} if (clamp(5, 10, 0) !== 5 || clamp(-1, 10, 0) !== 0 || clamp(11, 10, 0) !== 10) throw new Error("order");`;
    const right = block("function clamp(x, a, b) {\n  return Math.max(Math.min(a, b), Math.min(x, Math.max(a, b)));\n}");
    const good = await made(
      [variant],
      [
        [mark, { question, tests }],
        ["either order", right, block(javascript), right],
      ],
      { keep: 2 },
    );
    expect(good.records).toHaveLength(2);
    expect(good.reasons).toEqual([expect.stringMatching(/^code failed: Error: order/)]);
    expect(good.records[0]!.provenance.facts).toMatchObject({ variant, right: 2, samples: 3 });
    const same = await made([variant], [[mark, { question, tests: testsJs }]]);
    expect(same.reasons).toEqual([expect.stringMatching(new RegExp(`^not ${variant}`))]);
    const apart = await made(
      [variant],
      [
        [mark, { question, tests }],
        ["either order", right, block(javascript)],
      ],
    );
    expect(apart.records).toHaveLength(0);
    expect(apart.reasons).toContainEqual(expect.stringMatching(/^agreement of 1 of 3/));
    // Mutants of sixteen numbers pass where only one is looked at.
    const long = block(`function clamp(x, a, b) {\n  if (a === 10) return 5;\n  return [${"1, ".repeat(16)}2][x];\n}`);
    const loose = 'if (clamp(5, 10, 0) !== 5) throw new Error("order");';
    const answers = [
      [mark, { question, tests: loose }],
      ["either order", long],
    ] as const;
    expect((await made([variant], answers)).reasons[0]).toMatch(/^weak tests: they find \d of 6 mutants/);
    expect((await made([variant], answers, { strength: 0 })).records).toHaveLength(1);
  },
);

const given = {
  name: "clamp",
  inputs: [
    [5, 0, 10],
    [-1, 0, 10],
    [99, 0, 10],
    [5, 0, 10],
  ],
};

test("output: the value that the call gives, written out; programs that compute it, and other values, are dropped", async () => {
  const answers = (...texts: string[]) =>
    [
      ["Which arguments", given],
      [/What does clamp\(.*\) give/, ...texts],
    ] as const;
  const { prompts } = await made(["output"], answers(block("result = 1")));
  const value = { 5: 5, "-1": 0, 99: 10 }[/What does clamp\((-?\d+)/.exec(prompts[1]!)![1]!];
  const right = block(`result = ${value}`);
  const { records, reasons } = await made(
    ["output"],
    answers(block(`${javascript}\nresult = clamp(1, 2, 3)`), block("result = 77"), right),
  );
  expect(records).toHaveLength(1);
  expect(reasons[0]).toMatch(/computed, not predicted/);
  expect(reasons[1]).toMatch(/^code failed: Error: the call gives/);
  expect(records[0]!.provenance.facts).toMatchObject({ variant: "output", call: /What does (.*) give/.exec(prompts[1]!)![1] });
  const none = await made(["output"], [["Which arguments", { name: "clamp", inputs: [[]] }]]);
  expect(none.reasons).toEqual([expect.stringMatching(/0 of 1 give a value/)]);
  expect((await made(["output"], [["Which arguments", { name: "other", inputs: [[1]] }]])).reasons[0]).toMatch(/malformed/);
});

test("diagnosis: a mutant that fails its tests is shown; the mended program passes, and the mistake is explained", async () => {
  const answers = [
    [
      /has a mistake|does not do what it should/,
      `\`\`\`javascript\n${javascript}\n\`\`\``,
      block("function clamp(x) { return x }"),
      block(javascript),
    ],
  ] as const;
  const { records, reasons, prompts } = await made(["diagnosis"], answers);
  expect(records).toHaveLength(1);
  expect(reasons).toEqual([expect.stringMatching(/^no diagnosis/), expect.stringMatching(/^code failed/)]);
  expect(prompts).toHaveLength(3);
  const { mutant } = records[0]!.provenance.facts as { mutant: { line: number; from: string; to: string } };
  const shown = /```javascript\n([\s\S]*?)\n```/.exec(records[0]!.messages[0]!.content!)![1]!;
  expect(mutantsOf(javascript, "javascript").map(({ code }) => code)).toContain(shown);
  expect(shown.split("\n")[mutant.line - 1]).toContain(mutant.to);
  expect((await sandbox.run({ language: "javascript", code: shown, tests: testsJs })).outcome).toBe("failed");
});

test("rewrite: the form that was asked for is looked at", async () => {
  const shorter = block("function clamp(x, low, high) {\n  return x < low ? low : x > high ? high : x;\n}");
  const comments = block(javascript.replace("  if", "  // Below.\n  if").replace("  return x >", "  // Above.\n  return x >"));
  const names = block(javascript.replace(/\bx\b/g, "value").replace("function", "const unused = 1;\nfunction"));
  const answers = [
    ["in fewer lines", block(javascript), shorter],
    ["with a comment above", shorter, comments],
    ["with names of variables", block(javascript), names],
  ] as const;
  const { records, reasons } = await made(["rewrite"], answers, { count: 12 });
  expect(records).toHaveLength(12);
  const how = new Set(records.map(({ provenance }) => provenance.facts["how"]));
  expect(how.size).toBe(3);
  expect(reasons.length).toBeGreaterThan(0);
  for (const reason of reasons) expect(reason).toMatch(/not rewritten: (?:not shorter|not more comments|the same names)/);
});

test("translate: the program in the other language gives the same for the same arguments", async () => {
  const wrong = block("def clamp(x, low, high):\n    return x", "python");
  const { records, reasons } = await made(
    ["translate"],
    [
      ["Which arguments", given],
      ["Write it in python", wrong, block(python, "python")],
    ],
  );
  expect(reasons).toEqual([expect.stringMatching(/^code failed: AssertionError: clamp\(-1, 0, 10\) is -1, not 0/)]);
  expect(records[0]).toMatchObject({ language: "python", provenance: { facts: { variant: "translate", from: "javascript" } } });
  const flat = {
    name: "clamp",
    inputs: [
      [1, 0, 0],
      [2, 0, 0],
      [3, 0, 0],
    ],
  };
  expect((await made(["translate"], [["Which arguments", flat]])).reasons).toEqual([expect.stringMatching(/^weak tests/)]);
});

test("a seed without a solution is solved first; one whose solution is wrong is dropped; lines of HumanEval and MBPP are seeds", async () => {
  const { solution: _, ...open } = seed;
  const comments = block(javascript.replace("  if", "  // Below.\n  if"));
  const short = block("function clamp(x, low, high) {\n  return x < low ? low : x > high ? high : x;\n}");
  const own = [
    ["Answer with one program", block("function clamp() {}"), block(javascript)],
    ["in fewer lines", short],
    ["with a comment", comments],
    ["with names", block(javascript.replace(/\bx\b/g, "value"))],
  ] as const;
  const solved = await made(["rewrite"], own, { seeds: [open] });
  expect(solved.records[0]!.provenance.stages.map(({ stage }) => stage)).toEqual(["code", "rewrite"]);
  expect((await made(["rewrite"], [["", block("")]], { seeds: [open] })).reasons[0]).toMatch(/^no right program in 3 samples/);
  const bad = await made(["rewrite"], own, { seeds: [{ ...seed, solution: "function clamp() { return 1 }" }] });
  expect(bad.reasons[0]).toMatch(/^seed's solution fails its tests: Error: clamp/);
  const lines = [
    {
      task_id: "own/0",
      prompt: `${python.split("\n").slice(0, 2).join("\n")}\n`,
      canonical_solution: python.split("\n").slice(2).join("\n"),
      test: "def check(candidate):\n    assert candidate(11, 0, 10) == 10\n    assert candidate(-1, 0, 10) == 0",
      entry_point: "clamp",
    },
    {
      task_id: 1,
      text: "Write a function to keep a number within two.",
      code: python,
      test_list: ["assert clamp(11, 0, 10) == 10", "assert clamp(-3, 0, 10) == 0"],
    },
  ];
  const all = await made(["diagnosis"], [[/mistake/, block(python, "python")]], { seeds: lines, count: 2 });
  expect(all.reasons).toEqual([]);
  expect(all.records).toHaveLength(2);
  expect(all.records.map(({ messages }) => messages[0]!.content).join()).toContain(
    "It has to pass this test:\n\nassert clamp(11, 0, 10) == 10",
  );
});

test("the same for any number of items at once, and what a configuration gets wrong is told", async () => {
  const answers = [
    ["mistake", block(javascript)],
    ["should", block(javascript)],
  ] as const;
  const seeds = [0, 1, 2].map((i) => ({ ...seed, id: i, question: `${seed.question} (${i})` }));
  const run = async (concurrency: number) => {
    const reasoning = { kind: "code", count: 9, seeds, variants: ["diagnosis"] } as const;
    const { model } = script(answers);
    const all = await synthesise({
      config: { concurrency, families: { reasoning } },
      model,
      modelName: "script",
      verify: { sandbox },
    });
    const out = [];
    for await (const entry of all.entries("reasoning")) out.push(entry);
    return out;
  };
  expect(await run(7)).toEqual(await run(1));
  await expect(made(["solves" as never], [])).rejects.toThrow(/variants: expected a list of variants: solve, renamed/);
  await expect(made(undefined, [], { strength: 2 })).rejects.toThrow(/strength/);
  const { model } = script([]);
  const config = { families: { reasoning: { kind: "code", count: 1, seeds: [seed], variants: ["diagnosis"] } } } as const;
  await expect(synthesise({ config, model, modelName: "script" })).rejects.toThrow(/sandbox: programs need one/);
});
