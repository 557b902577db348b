// cpm verify: its table, its JSON, its exit status, and records that cannot be judged.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "cpm-verify-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const file = join(folder, "samples.jsonl");
const cpm = (...args: string[]) => spawnSync(process.execPath, [main, "verify", ...args], { encoding: "utf8" });

const good = { id: "a", response: "Fine. It is 4.", answer: "4", instruction_id_list: ["punctuation:no_comma"], kwargs: [{}] };
const bad = { id: "b", response: "Well, it is 5.", answer: "4", instruction_id_list: ["punctuation:no_comma"], kwargs: [{}] };

test("all pass: status 0; one fails: status 1 and a line that says where and why", () => {
  writeFileSync(file, `${JSON.stringify(good)}\n`);
  const fine = cpm(file, "--with", "instructions,answer,text");
  expect(fine.stderr).toContain("1 records: 1 passed, 0 failed");
  expect(fine.status).toBe(0);
  writeFileSync(file, `${JSON.stringify(good)}\n${JSON.stringify(bad)}\n`);
  const mixed = cpm(file, "--with", "instructions,answer");
  expect(mixed.status).toBe(1);
  expect(mixed.stdout).toMatch(/^instructions +1 +1 /m);
  expect(mixed.stderr).toContain(`${file}:2: answer: answer: 5 is not 4`);
});

test("JSON, verdicts for each record, and records that cannot be judged", () => {
  writeFileSync(file, `${JSON.stringify(good)}\n{"response": 7}\nnot json\n${JSON.stringify(bad)}\n`);
  const verdicts = join(folder, "verdicts.jsonl");
  const { status, stdout } = cpm(file, "--with", "answer", "--json", "--verdicts", verdicts);
  expect(status).toBe(1);
  const report = JSON.parse(stdout) as Record<string, unknown>;
  expect(report).toMatchObject({ records: 4, passed: 1, failed: 3, errors: 2, verifiers: { answer: { passed: 1, failed: 1 } } });
  const lines = readFileSync(verdicts, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { line: number; ok: boolean });
  expect(lines.map(({ line, ok }) => [line, ok])).toEqual([
    [1, true],
    [2, false],
    [3, false],
    [4, false],
  ]);
});

test("what is asked wrongly is told: no verifier, one that there is not, no file", () => {
  for (const [args, text] of [
    [[file], "--with is missing"],
    [[file, "--with", "tool"], "did you mean tools?"],
    [["--with", "text"], "give a file"],
    [[join(folder, "none.jsonl"), "--with", "text"], "none.jsonl"],
  ] as const) {
    const { status, stderr } = cpm(...args);
    expect(stderr).toContain(text);
    expect(status).not.toBe(0);
  }
});
