// IFEval's 25 classes on rows with odd values, beside the published rules read anew in Python (ifeval_rows.py), on Python's own strings, patterns,
// JSON and langdetect. Every disagreement is printed.
//   node test/data/verify/ifeval-rows.mjs [--seed N] [--count N]      needs a build, python3 and Debian's python3-langdetect
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { followsInstruction, loadLanguageDetector } from "../../../dist/host/verify.node.js";

const value = (name, other) => (process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : other);
const [seed, count] = [value("--seed", 1), value("--count", 40)];
const packages = "/usr/lib/python3/dist-packages/langdetect";
const python = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : "python3";
if (!existsSync(packages)) {
  console.log(`not run: ${packages} is not there (Debian: python3-langdetect)`);
  console.log("0 passed, 1 failed");
  process.exit(1);
}
const script = fileURLToPath(new URL("./ifeval_rows.py", import.meta.url));
const text = execFileSync(python, [script, String(seed), String(count)], { encoding: "utf8", maxBuffer: 1 << 28 });
const rows = text
  .split("\n")
  .filter(Boolean)
  .map((line) => JSON.parse(line));
const language = await loadLanguageDetector(`${packages}/profiles`);
const counts = new Map();
for (const row of rows) {
  const names = row.instruction_id_list;
  const key = names.length > 1 ? "two or three classes" : names[0];
  const of = counts.get(key) ?? counts.set(key, { verdicts: 0, followed: 0, wrong: 0 }).get(key);
  for (const mode of ["strict", "loose"]) {
    if (row[mode] === null) continue;
    const found = names.every((name, i) => followsInstruction(name, row.kwargs[i], row.response, { mode, language }));
    of.verdicts++;
    if (row[mode]) of.followed++;
    if (found === row[mode]) continue;
    of.wrong++;
    console.log(
      `WRONG ${names} ${mode}: ${found}, the rules say ${row[mode]}: ${JSON.stringify(row.kwargs)} ${JSON.stringify(row.response)}`,
    );
  }
}
let [passed, failed] = [0, 0];
for (const [name, { verdicts, followed, wrong }] of counts) {
  // A class whose rows all go one way shows nothing.
  const good = wrong === 0 && followed > 0 && followed < verdicts;
  console.log(`${good ? "ok" : "FAILED"}: ${name}: ${verdicts} verdicts, ${followed} followed, ${wrong} differ`);
  if (good) passed++;
  else failed++;
}
console.log(`seed ${seed}: ${rows.length} rows`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
