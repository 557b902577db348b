// Tasks of one's own: how they are read and refused, and that scores are what the model's own logits say.
import { expect, test } from "vitest";
import { createSandbox } from "../../dist/host/verify.node.js";
import type { Sandbox, SandboxJob } from "../../src/data/verify/code.ts";
import { type ChoiceTask, CpmError, evaluateTasks, readTasks } from "../../src/evaluate/index.ts";
import { bestOf } from "../../src/evaluate/tasks/choice.ts";
import { matches } from "../../src/evaluate/tasks/run.ts";
import { doors, open } from "../support/door.ts";
import { tinyGguf } from "../support/tiny.ts";

const door = doors["in the caller's thread"];
const lines = (...records: readonly object[]): string => records.map((record) => JSON.stringify(record)).join("\n");

test("records become tasks: by their fields, or by kind", async () => {
  const tasks = await readTasks(
    `\n${lines(
      { prompt: "1 + 1 =", answer: 2 },
      { id: "q", question: "Who?", answers: ["a", "b"], match: "contains", stop: "." },
      { prompt: "The sky is", choices: ["blue", "green"], answer: "green" },
      { prompt: "def f():\n", test: "def check(f): pass", entry_point: "f" },
      { text: "Write g.", test_list: ["assert g() == 1"], test_setup_code: "import math" },
      { kind: "code", prompt: "x", language: "javascript", tests: "1;" },
    )}\r\n`,
  );
  expect(tasks.map(({ id, line, kind }) => [id, line, kind])).toEqual([
    ["2", 2, "exact"],
    ["q", 3, "exact"],
    ["4", 4, "choice"],
    ["5", 5, "code"],
    ["6", 6, "code"],
    ["7", 7, "code"],
  ]);
  expect(tasks[0]).toMatchObject({ answers: ["2"], match: undefined });
  expect(tasks[1]).toMatchObject({ prompt: "Who?", answers: ["a", "b"], match: "contains", stop: ["."] });
  expect(tasks[2]).toMatchObject({ right: 1 });
  expect(tasks[3]).toMatchObject({ entry: "f", tests: "def check(f): pass\ncheck(f)\n" });
  expect(tasks[4]).toMatchObject({
    tests: "import math\nassert g() == 1",
    prompt: expect.stringContaining("assert g() == 1") as string,
  });
});

test("what is wrong is told with its line", async () => {
  const good = JSON.stringify({ prompt: "a", answer: "b" });
  const refusals: readonly (readonly [string | object, RegExp])[] = [
    ["{", /not JSON/],
    ["[1]", /not a JSON object/],
    [{ answer: "b" }, /prompt: expected a text, found none/],
    [{ prompt: " ", answer: "b" }, /prompt: expected a text, found an empty text/],
    [{ prompt: "a" }, /answer: expected a text, a number, or a list/],
    [{ prompt: "a", answer: [] }, /answer: .* found an empty list/],
    [{ prompt: "a", answers: [null] }, /answers: /],
    [{ prompt: "a", answer: "b", match: "loose" }, /match: expected "plain"/],
    [{ prompt: "a", choices: ["x"], answer: 0 }, /choices: expected two or more/],
    [{ prompt: "a", choices: ["x", ""], answer: 0 }, /choices/],
    [{ prompt: "a", choices: ["x", "y"], answer: 2 }, /answer: expected one of the choices, or its index from 0 to 1, found 2/],
    [{ prompt: "a", choices: ["x", "y"], answer: "z" }, /answer/],
    [{ prompt: "a", tests: "x", language: "perl" }, /language/],
    [{ prompt: "a", test: "x", entry_point: "f()" }, /entry_point/],
    [{ prompt: "a", kind: "essay" }, /kind/],
    [{ prompt: "a", answer: "b", id: {} }, /id/],
    [{ prompt: "a", answer: "b", stop: [1] }, /stop/],
    [{ prompt: "a", answer: "b", id: 1 }, /id: "1" is the task of line 1 as well/],
  ];
  for (const [record, message] of refusals) {
    const text = `${good}\n${typeof record === "string" ? record : JSON.stringify(record)}\n`;
    const error = await readTasks(text, "my.jsonl").catch((cause: unknown) => cause as CpmError);
    expect(error, String(message)).toBeInstanceOf(CpmError);
    expect((error as CpmError).code).toBe("bad-input");
    expect((error as CpmError).message).toMatch(/^my\.jsonl:2: /);
    expect((error as CpmError).message).toMatch(message);
  }
  await expect(readTasks("\n")).rejects.toThrow(/there are no tasks/);
  await expect(readTasks(Uint8Array.of(0xff, 10))).rejects.toThrow(/tasks:1: not UTF-8/);
});

test("the likelihood of a choice is that of its tokens behind the prompt's", async () => {
  const model = await open(door, tinyGguf(), { contextSize: 128 });
  const tasks = await readTasks(
    lines(
      { prompt: "abc", choices: ["d", "efg hi", "xyzzy"], answer: 0 },
      { prompt: "a b ", choices: ["cat", "do"], answer: 1 },
      { prompt: "what", choices: ["ever", " ever", "\u00e9"], answer: 2 },
    ),
  );
  const found = await evaluateTasks(model, tasks);
  const { tokenizer } = model;
  for (const [i, result] of found.results.entries()) {
    const task = tasks[i] as ChoiceTask;
    const prompt = tokenizer.encode(task.prompt, { special: false });
    for (const [k, choice] of task.choices.entries()) {
      const space = /\s$/.test(task.prompt) || /^\s/.test(choice) ? "" : " ";
      const whole = tokenizer.encode(task.prompt + space + choice, { special: false });
      let start = 0;
      while (start < prompt.length && prompt[start] === whole[start]) start++;
      const session = await model.session();
      const logits = await session.forward(whole, { logits: "all" });
      const vocab = model.info.config.vocab;
      let sum = 0;
      for (let t = start; t < whole.length; t++) {
        const row = logits.subarray((t - 1) * vocab, t * vocab);
        const total = row.reduce((all, x) => all + Math.exp(x), 0);
        sum += row[whole[t]!]! - Math.log(total);
      }
      expect(result.sums![k]!).toBeCloseTo(sum, 4);
      expect(result.normalised![k]!).toBeCloseTo(sum / [...choice].length, 4);
      await session.dispose();
    }
    expect(result.chosen).toBe(bestOf(result.sums!));
    expect(result.score).toBe(result.chosen === task.right ? 1 : 0);
    expect(result.scoreNormalised).toBe(bestOf(result.normalised!) === task.right ? 1 : 0);
  }
  expect(found.choice!.count).toBe(3);
  expect(found.choice!.value).toBeCloseTo(found.results.reduce((sum, { score }) => sum + score, 0) / 3);
});

test("answers are compared as asked", () => {
  expect(matches("plain", " The Cat!\n", ["the  cat"])).toBe(true);
  expect(matches("plain", "the cats", ["the cat"])).toBe(false);
  expect(matches("plain", "?", ["?"])).toBe(true);
  expect(matches("strict", " The Cat!\n", ["The Cat!"])).toBe(true);
  expect(matches("strict", "the Cat!", ["The Cat!"])).toBe(false);
  expect(matches("contains", "I say: THE cat.", ["dog", "the cat"])).toBe(true);
  expect(matches("contains", "I say: THE bat.", ["dog", "the cat"])).toBe(false);
  expect(matches("math", "So it is \\boxed{\\frac{1}{2}}", ["0.5"])).toBe(true);
  expect(matches("math", "So it is \\boxed{2}", ["0.5"])).toBe(false);
});

test("what a model writes is the answer, and greedy answers are generate()'s", async () => {
  const model = await open(door, tinyGguf(), { contextSize: 128 });
  const said = (await model.generate("hello", { temperature: 0, maxTokens: 8, draft: false })).text;
  const tasks = await readTasks(
    lines({ prompt: "hello", answer: said.trim(), match: "strict", stop: ["\u0000"] }, { prompt: "hello", answer: "~" }),
  );
  const found = await evaluateTasks(model, tasks, { maxTokens: 8 });
  expect(found.results[0]!.outputs).toEqual([said]);
  expect(found.results.map(({ score }) => score)).toEqual([1, 0]);
  expect(found.exact).toMatchObject({ value: 0.5, count: 2, error: 0.5 });
  const long = await readTasks(lines({ prompt: "x".repeat(200), answer: "a" }));
  await expect(evaluateTasks(model, long)).rejects.toThrow(/line 1: the prompt has \d+ tokens, and the context holds 128/);
});

test("programs: what the sandbox gets, pass@1 over samples, and the real sandbox", async () => {
  const model = await open(door, tinyGguf(), { contextSize: 256 });
  const jobs: SandboxJob[] = [];
  const half: Sandbox = {
    run: async (job) => {
      jobs.push(job);
      return { outcome: jobs.length % 2 ? "passed" : "failed", error: "no", output: "" };
    },
    close: async () => {},
  };
  const tasks = await readTasks(lines({ id: "h", prompt: "def f():\n", test: "def check(f): pass", entry_point: "f" }));
  const options = { sandbox: half, samples: 4, temperature: 4, maxTokens: 5, seed: 3 };
  const found = await evaluateTasks(model, tasks, options);
  expect(found.passAt1).toMatchObject({ value: 0.5, count: 1 });
  const { outputs, reasons } = found.results[0]!;
  expect(outputs!.length).toBe(4);
  expect(new Set(outputs).size).toBeGreaterThan(1);
  expect(reasons).toEqual(["code failed: no", "code failed: no"]);
  expect(jobs.map(({ code }) => code)).toEqual(outputs!.map((text) => `def f():\n${text}`));
  expect(jobs[0]!.tests).toBe("def check(f): pass\ncheck(f)\n");
  expect((await evaluateTasks(model, tasks, options)).results[0]!.outputs).toEqual(outputs);
  await expect(evaluateTasks(model, tasks)).rejects.toThrow(/sandbox: expected createSandbox\(\)/);

  // Whatever the model writes stands behind a comment: one of the programs is right, the other is not.
  const sandbox = createSandbox();
  try {
    const program = (value: number) => ({
      prompt: `function f() { return ${value} } //`,
      language: "javascript",
      test: "function check(f) { if (f() !== 2) throw new Error('wrong') }",
      entry_point: "f",
      stop: ["\n", "\u2028", "\u2029", "\r"],
    });
    const real = await evaluateTasks(model, await readTasks(lines(program(2), program(3))), { sandbox, maxTokens: 3 });
    expect(real.results.map(({ score }) => score)).toEqual([1, 0]);
    expect(real.results[1]!.reasons![0]).toMatch(/code failed: .*wrong/);
  } finally {
    await sandbox.close();
  }
});
