// Experiments on data: pairs of runs, Student's interval of what they gave, and the command around any trainer.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { annealRuns, comparePairs, studentQuantile, studentTail, verifyData } from "../../src/data/anneal.ts";
import { CpmError } from "../../src/index.ts";
import { random, root, temporary } from "./rig.ts";

test("Student's distribution: values of published tables", () => {
  // Two-sided 95 % and 99 %, from Abramowitz and Stegun, table 26.10.
  for (const [freedom, t95, t99] of [
    [1, 12.706, 63.657],
    [2, 4.303, 9.925],
    [3, 3.182, 5.841],
    [9, 2.262, 3.25],
    [10, 2.228, 3.169],
    [30, 2.042, 2.75],
    [120, 1.98, 2.617],
  ] as const) {
    expect(studentQuantile(0.95, freedom)).toBeCloseTo(t95, 3);
    expect(studentQuantile(0.99, freedom)).toBeCloseTo(t99, 3);
    expect(studentTail(studentQuantile(0.9, freedom), freedom)).toBeCloseTo(0.1, 10);
  }
  expect(studentTail(0, 5)).toBe(1);
  // Integrated numerically: the density's sum beyond t.
  for (const freedom of [1, 4, 7]) {
    const density = (x: number) => (1 + (x * x) / freedom) ** (-(freedom + 1) / 2);
    let [inside, all] = [0, 0];
    for (let x = -2000; x <= 2000; x += 0.01) {
      all += density(x);
      if (Math.abs(x) <= 1.5) inside += density(x);
    }
    expect(studentTail(1.5, freedom)).toBeCloseTo(1 - inside / all, 2);
  }
});

test("pairs are compared by their differences, and an interval that crosses zero is no verdict", () => {
  const found = comparePairs([3, 4, 5, 6], [2.9, 3.88, 4.92, 5.9]);
  expect(found).toMatchObject({ pairs: 4, verdict: "better", level: 0.95 });
  expect(found.mean).toBeCloseTo(0.1, 12);
  // sd of .1, .12, .08, .1 is .016330; t of three degrees is 3.1824.
  expect(found.high - found.mean).toBeCloseTo((3.182446 * 0.0163299) / 2, 6);
  expect(found.p).toBeCloseTo(studentTail(0.1 / (0.0163299316 / 2), 3), 6);
  expect(comparePairs([2.9, 3.88, 4.92, 5.9], [3, 4, 5, 6]).verdict).toBe("worse");
  expect(comparePairs([3, 4, 5, 6], [2.9, 3.88, 4.92, 5.9], { lower: false }).verdict).toBe("worse");
  expect(comparePairs([1, 2, 3], [1.1, 1.8, 3.05]).verdict).toBe("none");
  expect(comparePairs([1, 2], [1, 2])).toMatchObject({ mean: 0, p: 1, verdict: "none" });
  expect(comparePairs([1, 2], [0.5, 1.5])).toMatchObject({ p: 0, verdict: "better" });
  for (const [a, b] of [
    [[1], [2]],
    [
      [1, 2],
      [1, Number.NaN],
    ],
    [
      [1, 2],
      [1, 2, 3],
    ],
  ] as const)
    expect(() => comparePairs(a, b)).toThrow(CpmError);
});

test("of no difference 5 % of experiments find one", () => {
  const next = random(11);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  let found = 0;
  for (let i = 0; i < 4000; i++) {
    const base = [1, 2, 3].map((x) => x + normal());
    if (
      comparePairs(
        base,
        base.map((x) => x + 0.3 * normal()),
      ).verdict !== "none"
    )
      found++;
  }
  // 3 sigma of a binomial.
  expect(Math.abs(found - 200)).toBeLessThan(3 * Math.sqrt(4000 * 0.05 * 0.95));
});

test("a plan is pairs side by side; what is known is not run again; a run that gives no number is named", async () => {
  const plan = { candidate: ["c.jsonl"], default: ["a.jsonl", "b.jsonl"], pairs: 2 };
  expect(annealRuns(plan)).toEqual([
    { name: "default-1", arm: "default", seed: 1, sources: [{ files: ["a.jsonl", "b.jsonl"], weight: 1 }] },
    {
      name: "candidate-1",
      arm: "candidate",
      seed: 1,
      sources: [
        { files: ["a.jsonl", "b.jsonl"], weight: 0.7 },
        { files: ["c.jsonl"], weight: 0.3 },
      ],
    },
    { name: "default-2", arm: "default", seed: 2, sources: [{ files: ["a.jsonl", "b.jsonl"], weight: 1 }] },
    expect.objectContaining({ name: "candidate-2", seed: 2 }),
  ]);
  expect(annealRuns({ ...plan, seed: 7 }).map(({ name, seed }) => [name, seed])).toEqual([
    ["default-7", 7],
    ["candidate-7", 7],
    ["default-8", 8],
    ["candidate-8", 8],
  ]);
  for (const wrong of [
    { share: 0 },
    { share: 1.1 },
    { pairs: 1 },
    { pairs: 2.5 },
    { candidate: [] },
    { default: [] },
    { seed: -1 },
  ])
    expect(() => annealRuns({ ...plan, ...wrong })).toThrow(CpmError);
  const ran: string[] = [];
  const result = await verifyData(plan, {
    known: new Map([["default-1", 2]]),
    run: async ({ name, arm, seed }) => {
      ran.push(name);
      return 2 + seed - (arm === "candidate" ? 0.5 : 0);
    },
  });
  expect(ran).toEqual(["candidate-1", "default-2", "candidate-2"]);
  expect(result.values).toEqual({ "default-1": 2, "candidate-1": 2.5, "default-2": 4, "candidate-2": 3.5 });
  await expect(verifyData(plan, { run: async () => Number.NaN })).rejects.toThrow(/default-1.*NaN/);
  const control = new AbortController();
  const stopping = verifyData(plan, {
    signal: control.signal,
    run: async () => {
      control.abort(new Error("enough"));
      return 1;
    },
  });
  await expect(stopping).rejects.toThrow("enough");
});

const cli = join(root, "dist/cli/main.js");
const cpm = async (args: readonly string[], cwd: string) => {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [cli, ...args], { cwd, encoding: "utf8" })) };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
};

/** Sentences that a small model learns to foretell, and the same words in no order. */
function texts(): { text: string; shuffled: string; held: string } {
  const next = random(3);
  const pick = (list: readonly string[]) => list[Math.floor(next() * list.length)]!;
  const sentence = () =>
    `The ${pick(["big", "small", "red", "old"])} ${pick(["dog", "cat", "bird", "girl", "boy"])} ${pick(["saw", "liked", "found"])} the ${pick(["ball", "tree", "house", "cake"])} and was ${pick(["happy", "sad", "tired"])}.`;
  const story = () => Array.from({ length: 6 }, sentence).join(" ");
  const mixed = (line: string) =>
    line
      .split(" ")
      .map((word) => [next(), word] as const)
      .sort((a, b) => a[0] - b[0])
      .map(([, word]) => word)
      .join(" ");
  const lines = Array.from({ length: 60 }, story);
  const jsonl = (list: readonly string[]) => list.map((line) => `${JSON.stringify({ text: line })}\n`).join("");
  return { text: jsonl(lines), shuffled: jsonl(lines.map(mixed)), held: Array.from({ length: 40 }, story).join("\n") };
}

test("cpm verify-data with another trainer: what it is told, goes on after a kill, says what is wrong", {
  timeout: 600_000,
}, async () => {
  const folder = temporary();
  const at = (name: string) => join(folder, name);
  for (const name of ["good.jsonl", "mix.jsonl"]) writeFileSync(at(name), '{"text":"x"}\n');
  // Notes each run, and dies once in the middle.
  writeFileSync(
    at("trainer.mjs"),
    `import { readFileSync, appendFileSync, existsSync, writeFileSync } from "node:fs";
const run = JSON.parse(readFileSync(process.env.CPM_RUN, "utf8"));
appendFileSync(${JSON.stringify(at("runs.txt"))}, run.name + "\\n");
if (run.name === "candidate-2" && !existsSync(${JSON.stringify(at("died"))})) { writeFileSync(${JSON.stringify(at("died"))}, ""); process.kill(process.pid, "SIGKILL"); }
console.log("training …");
console.log(JSON.stringify({ score: run.seed + (run.arm === "candidate" ? 0.1 * run.sources[1].weight + 0.001 * run.seed : 0) }));`,
  );
  const args = [
    "verify-data",
    "good.jsonl",
    "--default",
    "mix.jsonl",
    "--command",
    `node ${at("trainer.mjs")}`,
    "--pairs",
    "3",
    "--json",
  ];
  const died = await cpm(args, folder);
  expect(died.code).toBe(1);
  expect(died.stderr).toMatch(/the trainer ended with/);
  const done = await cpm(args, folder);
  expect(done.code, done.stderr).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ pairs: 3, verdict: "better" });
  expect(JSON.parse(done.stdout).mean).toBeCloseTo(0.032, 9);
  const names = readFileSync(at("runs.txt"), "utf8").trim().split("\n");
  expect(names).toEqual(["default-1", "candidate-1", "default-2", "candidate-2", "candidate-2", "default-3", "candidate-3"]);
  expect(readdirSync(at("verify-data")).sort()).toContain("results.jsonl");
  // Another experiment in the same folder is refused; a line that is no result is shown.
  expect((await cpm([...args, "--share", "0.5"], folder)).stderr).toMatch(/--force/);
  const silent = await cpm(
    ["verify-data", "good.jsonl", "--default", "mix.jsonl", "--command", "echo nothing", "--out", "other"],
    folder,
  );
  expect(silent.stderr).toMatch(/last line is .*nothing/);
  for (const wrong of [
    ["verify-data", "good.jsonl", "--command", "x"],
    ["verify-data", "good.jsonl", "--default", "mix.jsonl"],
    ["verify-data", "good.jsonl", "--default", "mix.jsonl", "--command", "x", "--train", "y"],
    ["verify-data", "good.jsonl", "--default", "mix.jsonl", "--command", "x", "--pairs", "1", "--out", "third"],
  ])
    expect((await cpm(wrong, folder)).code).toBe(2);
});

test("cpm verify-data with cpm train: sentences are worth more than their words in no order", {
  timeout: 1_200_000,
}, async () => {
  const folder = temporary();
  const at = (name: string) => join(folder, name);
  const { text, shuffled, held } = texts();
  writeFileSync(at("text.jsonl"), text);
  writeFileSync(at("shuffled.jsonl"), shuffled);
  writeFileSync(at("held.txt"), held);
  mkdirSync(at("configs"));
  writeFileSync(
    at("configs/anneal.json"),
    JSON.stringify({
      model: {
        tokenizer: join(root, "models/stories-q4_0.gguf"),
        config: {
          hidden_size: 32,
          intermediate_size: 64,
          num_hidden_layers: 1,
          num_attention_heads: 2,
          num_key_value_heads: 1,
          max_position_embeddings: 128,
          tie_word_embeddings: true,
        },
      },
      data: [{ files: "replaced" }],
      length: 64,
      rows: 4,
      updates: 30,
      schedule: { peak: 0.02 },
      threads: 1,
    }),
  );
  const args = [
    "verify-data",
    "text.jsonl",
    "--default",
    "shuffled.jsonl",
    "--train",
    "configs/anneal.json",
    "--text",
    "held.txt",
    "--share",
    "0.9",
    "--pairs",
    "2",
    "--level",
    "0.6",
    "--json",
  ];
  const { code, stdout, stderr } = await cpm(args, folder);
  expect(code, stderr).toBe(0);
  const result = JSON.parse(stdout);
  expect(result.mean).toBeGreaterThan(0.1);
  expect(result.verdict).toBe("better");
  expect(existsSync(at("verify-data/candidate-2/model.gguf"))).toBe(true);
  // Nothing is trained again.
  const again = await cpm(args, folder);
  expect(JSON.parse(again.stdout)).toEqual(result);
});
