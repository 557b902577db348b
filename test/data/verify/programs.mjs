// Programs in Python's sandbox: what one may try is contained, reference solutions pass, mutants of one operator fail.
//   node test/data/verify/programs.mjs [--all]     needs a build; --all: every program of HumanEval and MBPP, where they are there
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { createSandbox, sampleOf, verifyCode } from "../../../dist/host/verify.node.js";

const suites = fileURLToPath(new URL("../../../../shared/suites/", import.meta.url));
const all = process.argv.includes("--all");
const counts = { passed: 0, failed: 0 };
const sandbox = createSandbox({ timeMs: 10_000 });

function check(name, ok, found) {
  counts[ok ? "passed" : "failed"]++;
  if (!ok) console.log(`FAILED ${name}: ${JSON.stringify(found)}`);
}

/** Programs and how they must end. */
const attempts = [
  ["a program with its test", "def f(x):\n  return x + 1", "passed", "assert f(1) == 2"],
  ["a test that fails", "def f(x):\n  return x", "failed", "assert f(1) == 2"],
  ["tests that are never reached", "raise SystemExit(0)", "failed", "assert False"],
  ["the process's end", "import posix\nposix._exit(0)", "died", "assert False"],
  ["an endless loop", "while True: pass", "timeout"],
  ["4 GB", "x = []\nwhile True: x.append('x' * 10**7)", "memory"],
  ["deep calls", "def f(): return f()\nf()", "failed"],
  ["JavaScript", "import js", "failed"],
  [
    "JavaScript by a trick",
    "import sys\nsys.meta_path.pop(0)\nimport _pyodide_core as c\nc.to_js([]).constructor.constructor('return process')()",
    "failed",
  ],
  ["a command", "import os\nos.system('true')", "failed"],
  ["a process", "import subprocess\nsubprocess.run(['true'])", "failed"],
  ["a fork", "import os\nos.fork()", "failed"],
  ["the host's files", "open('/etc/passwd').read()", "failed"],
  ["the network", "import socket\nsocket.create_connection(('127.0.0.1', 9))", "failed"],
  ["what others will use is changed", "import math, builtins\nmath.sqrt = lambda x: 7\nbuiltins.len = lambda x: 3", "passed"],
  ["and is as it was", "import math", "passed", "assert math.sqrt(4) == 2 and len([1]) == 1"],
];
for (const [name, code, outcome, tests] of attempts) {
  const result = await sandbox.run({ language: "python", code, tests });
  check(name, result.outcome === outcome, result);
}

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
await sandbox.close();
console.log(`\n${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed ? 1 : 0);
