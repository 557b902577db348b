// Programs in Python's sandbox: reference solutions pass, mutants of one operator fail. What programs may try: escapes.mjs.
//   node test/data/verify/programs.mjs [--all]     needs a build; --all: every program of HumanEval and MBPP, where they are there
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { createSandbox, sampleOf, verifyCode } from "../../../dist/host/verify.node.js";

const suites = fileURLToPath(new URL("../../../../shared/suites/", import.meta.url));
const all = process.argv.includes("--all");
const counts = { passed: 0, failed: 0 };

function check(name, ok, found) {
  counts[ok ? "passed" : "failed"]++;
  if (!ok) console.log(`FAILED ${name}: ${JSON.stringify(found)}`);
}

const own = createSandbox({ timeMs: 60_000 });
for (const [by, ok] of [
  ["*", true],
  ["+", false],
]) {
  const sample = {
    language: "python",
    code: `def twice(x):\n    return 2 ${by} x`,
    tests: ["assert twice(3) == 6", "assert twice('a') == 'aa'"],
  };
  const verdict = await verifyCode(sample, own);
  check(`a program that is ${ok ? "right" : "wrong"}`, verdict.ok === ok, verdict);
}
await own.close();

const files = ["humaneval/HumanEval.jsonl.gz", "mbpp/mbpp-test-11-260.jsonl.gz"].map((file) => join(suites, file));
const operators = [
  [/ == /, " != "],
  [/ <= /, " > "],
  [/ < /, " >= "],
  [/ > /, " <= "],
  [/ \+ /, " - "],
  [/ % /, " * "],
  [/ and /, " or "],
  [/ \+= /, " -= "],
];
for (const file of files) {
  if (!existsSync(file)) {
    console.log(`not run: ${file} is not there`);
    continue;
  }
  const rows = gunzipSync(readFileSync(file))
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const chosen = all ? rows : rows.filter((_, i) => i % 8 === 0);
  let [right, killed, mutants] = [0, 0, 0];
  // Some solutions compute for seconds, and on a busy machine for many.
  const patient = createSandbox({ timeMs: 120_000 });
  const fast = createSandbox({ timeMs: 10_000 });
  for (const row of chosen) {
    const sample = sampleOf(row);
    if ((await verifyCode(sample, patient)).ok) right++;
    else console.log(`a reference solution fails: ${row.task_id}`);
    // Behind the last line of the description: mutants change the program, not its text.
    const head = row.prompt?.length ?? 0;
    const [pattern, by] = operators.find(([operator]) => operator.test(sample.code.slice(head))) ?? [];
    if (!pattern || (!all && mutants >= 12)) continue;
    mutants++;
    const code = sample.code.slice(0, head) + sample.code.slice(head).replace(pattern, by);
    if (!(await verifyCode({ ...sample, code }, fast)).ok) killed++;
  }
  await fast.close();
  await patient.close();
  console.log(`${file.slice(suites.length)}: ${right} of ${chosen.length} solutions pass, ${killed} of ${mutants} mutants fail`);
  check("reference solutions pass", right >= 0.99 * chosen.length, { right });
  check("mutants fail", killed >= 0.9 * mutants, { killed, mutants });
}
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed ? 1 : 0);
