// cpm eval: tables, pictures, results that a later run takes up, and what is refused.
import { appendFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cpm, json, start, story, temporary } from "./command.ts";

const folder = temporary();
const file = (name: string): string => join(folder, name);
const lines = (...records: readonly object[]): string => `${records.map((record) => JSON.stringify(record)).join("\n")}\n`;
const small = ["--threads", "1", "--lengths", "200", "--max-tokens", "4"];

test("a needle grid: a table, a picture, and why it missed", async () => {
  const svg = file("grid.svg");
  const { status, out, err } = await cpm(["eval", "needle", story, ...small, "--depths", "0,50", "--svg", svg]);
  expect(status, err).toBe(0);
  expect(out).toMatch(/^depth \\ tokens +200\n0 % +\d+\.\d\n50 % +\d+\.\d\n\n[\d.]+ % right of 2\n$/);
  expect(err).toMatch(/needle\/200\/0\.5\/0: without \d{7}, it said ".*; attention is dense/);
  expect(readFileSync(svg, "utf8")).toMatch(/^<svg [\s\S]*Needles: [\s\S]*<\/svg>\n$/);
  expect(err).not.toMatch(/was made for/);
  const ruler = await json<{ scores: { kind: string }[]; contextLength: number }>([
    "eval",
    "ruler",
    story,
    "--threads",
    "1",
    "--lengths",
    "400",
    "--kinds",
    "single,variables",
    "--max-tokens",
    "4",
  ]);
  // Longer than the model's context: said before the work, and to a program in what it gets.
  expect(ruler.contextLength).toBe(256);
  const long = await cpm(["eval", "needle", story, "--threads", "1", "--lengths", "400", "--depths", "0", "--max-tokens", "1"]);
  expect(long.err).toMatch(/^stories-q4_0 was made for 256 tokens, and texts have 400: [^\n]*--rope-factors[^\n]*\n/);
  expect(ruler.scores.map(({ kind }) => kind)).toEqual(["single", "variables"]);
});

test("results are taken up by the same command after a kill, and by no other", async () => {
  const results = file("results.jsonl");
  const args = ["eval", "needle", story, ...small, "--results", results];
  const running = start(args);
  // Killed when the first result is there.
  while (!existsSync(results) || readFileSync(results, "utf8").split("\n").length < 3) {
    if (running.child.exitCode !== null) break;
    await new Promise((done) => setImmediate(done));
  }
  running.child.kill("SIGKILL");
  await running.ended;
  const written = readFileSync(results, "utf8");
  truncateSync(results, written.lastIndexOf("\n") + 1);
  appendFileSync(results, '{"id":"needle/200/0.5/0","sc');
  const whole = await json<{ results: { id: string }[] }>(args);
  const fresh = await json<{ results: { id: string }[] }>(["eval", "needle", story, ...small]);
  expect(whole).toEqual(fresh);
  const kept = readFileSync(results, "utf8").trim().split("\n");
  expect(kept.length).toBe(6);
  expect(kept.slice(0, 2)).toEqual(written.split("\n").slice(0, 2));
  const other = await cpm([...args, "--seed", "2"]);
  expect(other.status).toBe(1);
  expect(other.err).toMatch(/results of another model, other tasks or other options; .*--force/);
  writeFileSync(results, "a diary\n");
  expect((await cpm(args)).err).toMatch(/this is no file of results/);
  expect(readFileSync(results, "utf8")).toBe("a diary\n");
  expect((await cpm([...args, "--force"])).status).toBe(0);
});

test("tasks of one's own: a table of each kind", async () => {
  const tasks = file("tasks.jsonl");
  writeFileSync(
    tasks,
    lines(
      { prompt: "Once upon a", choices: ["time", "xylophone"], answer: "time" },
      { prompt: "One day, a little", choices: ["girl", "Qatar"], answer: 0 },
      { prompt: "Once upon a", answer: "time, there was a", stop: [" little"] },
      {
        prompt: "function f() { return 2 } //",
        language: "javascript",
        tests: "if (f() !== 2) throw 1",
        test: "function check() {}",
        entry_point: "f",
        stop: ["\n"],
      },
    ),
  );
  const found = await json<Record<string, { value: number; count: number }>>([
    "eval",
    "tasks",
    story,
    "-f",
    tasks,
    "--threads",
    "1",
    "--max-tokens",
    "8",
  ]);
  expect(found["choice"]).toMatchObject({ value: 1, count: 2 });
  expect(found["passAt1"]).toMatchObject({ value: 1, count: 1 });
  const { out } = await cpm(["eval", "tasks", story, "-f", tasks, "--threads", "1", "--max-tokens", "8"]);
  expect(out).toMatch(/^ +percent +± +tasks$/m);
  expect(out).toMatch(/^choice, log-likelihood +100\.00 +0\.00 +2$/m);
  expect(out).toMatch(/^pass@1 +100\.00 +0\.00 +1$/m);
});

test("bad input is one line and a status", async () => {
  const bad = file("bad.jsonl");
  writeFileSync(bad, lines({ prompt: "a", answer: "b" }, { prompt: "a" }));
  const [plain, words] = [file("plain.jsonl"), file("words.txt")];
  writeFileSync(plain, lines({ prompt: "a", answer: "b" }));
  writeFileSync(words, "Once upon a time.");
  const refusals: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["eval"], 2, /expected needle, ruler or tasks, then a model/],
    [["eval", "poems", story], 2, /found "poems"/],
    [["eval", "tasks", story], 2, /give a file of tasks with --file/],
    [["eval", "tasks", story, "-f", bad], 1, /bad\.jsonl:2: answer: expected a text/],
    [["eval", "tasks", story, "-f", file("none.jsonl")], 1, /none\.jsonl: there is no such file; give --file .* a task a line/],
    [["eval", "tasks", story, "-f", folder], 1, /this is a folder; give --file/],
    [["eval", "tasks", story, "-f", words], 1, /by its name this is a text; give --file/],
    [["eval", "tasks", story, "-f", plain, "--time-ms", "5"], 2, /--time-ms: only for tasks of code/],
    [["eval", "tasks", story, "-f", plain, "--temperature", "1"], 2, /--temperature: only for tasks of code/],
    [["eval", "tasks", story, "-f", plain, "--force"], 2, /--force: only with --results/],
    [["eval", "needle", story, "--lengths", "300", "--ctx", "200"], 2, /--lengths: 300 tokens do not fit --ctx 200/],
    [["eval", "needle", story, "--lengths", "200.5"], 2, /--lengths: expected whole numbers of tokens/],
    [["eval", "needle", story, "--lengths", "200,300,200"], 2, /--lengths: 200 is given twice/],
    [["eval", "needle", story, "--lengths", "200", "--max-tokens", "200"], 2, /--max-tokens: expected fewer than the 200 tokens/],
    [["eval", "needle", story, "--lengths", "200", "--svg", file("no/x.svg")], 1, /there is no folder .*check --svg/],
    [["eval", "needle", story, "--lengths", "200", "--results", file("no/x")], 1, /there is no folder .*check --results/],
    [["eval", "needle", story, "--lengths", "200", "--results", "/dev/null"], 1, /this is no ordinary file; check --results/],
    [["eval", "needle", story, "--kinds", "single"], 2, /--kinds: only with cpm eval ruler/],
    [["eval", "needle", story, "--lengths", "a"], 2, /--lengths: expected numbers/],
    [["eval", "needle", story, "--lengths", "200", "--depths", "200"], 2, /depths/],
    [["eval", "ruler", story, "--lengths", "200", "--kinds", "poems"], 2, /kinds/],
    [["eval", "needle", story, "--lengths", "200", "--haystack", file("none.txt")], 1, /check --haystack/],
  ];
  for (const [args, wanted, message] of refusals) {
    const { status, out, err } = await cpm([...args, "--threads", "1"]);
    expect([status, out], err).toEqual([wanted, ""]);
    expect(err).toMatch(message);
  }
});
