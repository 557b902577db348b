// The kernels under sanitizers: `node test/native/run.mjs [--rounds n] [--seeds n] [--runs n] [--coverage]`. Ends with
// "N passed, N failed". `--coverage`: no sanitizers; tells which lines of each file these programs come to.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build, out } from "./build.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "12" },
    seeds: { type: "string", default: "2" },
    runs: { type: "string", default: "8000" },
    coverage: { type: "boolean", default: false },
  },
});
if (values.coverage) {
  coverage();
  process.exit();
}
let [passed, failed] = [0, 0];
const [rounds, seeds] = [Number(values.rounds), Number(values.seeds)];
for (const sanitizer of ["asan", "tsan"]) {
  const program = build("drive", sanitizer);
  for (let seed = 1; seed <= seeds; seed++)
    for (const lanes of sanitizer === "asan" ? [1, 3] : [2]) {
      // Under TSan, which is slower, a few rounds: races do not depend on shapes.
      const count = String(sanitizer === "asan" ? rounds : Math.ceil(rounds / 4));
      const { status, signal, stdout, stderr } = spawnSync(program, [count, String(seed), String(lanes)], { encoding: "utf8" });
      const good = status === 0 && /^lanes \d+: boundaries \d+ packs \d+/m.test(stdout);
      if (good) passed++;
      else failed++;
      console.log(`${sanitizer}, seed ${seed}: ${good ? stdout.trim() : `FAILED (${status ?? signal})\n${stderr.slice(-6000)}`}`);
    }
}
// libFuzzer on what the exports check, with a corpus that stays in build/ between runs.
const corpus = join(out, "corpus");
mkdirSync(corpus, { recursive: true });
const fuzzer = build("fuzz", "fuzz");
// The model that all inputs share is kept to the end, which is no leak.
const env = { ...process.env, ASAN_OPTIONS: "detect_leaks=0" };
const args = [corpus, `-runs=${values.runs}`, "-max_len=600", "-detect_leaks=0", `-artifact_prefix=${out}/`];
const { status, stderr } = spawnSync(fuzzer, args, { encoding: "utf8", maxBuffer: 1 << 28, env });
const done = /^Done \d+ runs.*$/m.exec(stderr)?.[0];
if (status === 0 && done) passed++;
else failed++;
console.log(
  `exports under libFuzzer: ${status === 0 && done ? `${done} (${/cov: \d+ ft: \d+/g.exec(stderr)?.[0]})` : `FAILED (${status})\n${stderr.slice(-6000)}`}`,
);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

/** Runs the same programs with counters in place of sanitizers, and prints the lines of each file that ran. */
function coverage() {
  const run = (command, args, env = {}) => {
    const { status, stdout, stderr } = spawnSync(command, args, {
      encoding: "utf8",
      maxBuffer: 1 << 28,
      env: { ...process.env, ...env },
    });
    if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr.slice(-2000)}`);
    return stdout;
  };
  const profiles = [];
  const profiled = (program, args) => {
    profiles.push(join(out, `cover-${profiles.length}.profraw`));
    run(program, args, { LLVM_PROFILE_FILE: profiles.at(-1) });
  };
  const drive = build("drive", "cover");
  for (let seed = 1; seed <= Number(values.seeds); seed++)
    for (const lanes of [1, 3]) profiled(drive, [values.rounds, String(seed), String(lanes)]);
  const fuzzer = build("fuzz", "coverfuzz");
  profiled(fuzzer, [`-runs=${values.runs}`, "-max_len=600", "-detect_leaks=0", `-artifact_prefix=${out}/`]);
  const merged = join(out, "cover.profdata");
  run("/usr/lib/llvm-22/bin/llvm-profdata", ["merge", "-sparse", ...profiles, "-o", merged]);
  const summary = ["export", "-summary-only", `-instr-profile=${merged}`, drive, `-object=${fuzzer}`];
  const { data } = JSON.parse(run("/usr/lib/llvm-22/bin/llvm-cov", summary));
  const files = data[0].files
    .map(({ filename, summary: { lines } }) => ({ name: filename.split("/native/cpp/")[1], lines }))
    .filter(({ name }) => name !== undefined);
  const sum = (key) => files.reduce((total, { lines }) => total + lines[key], 0);
  for (const { name, lines } of files)
    console.log(`${String(Math.round(lines.percent)).padStart(4)} %  ${name} (${lines.covered} of ${lines.count})`);
  console.log(
    `${((100 * sum("covered")) / sum("count")).toFixed(1)} % of ${sum("count")} lines in ${files.length} files of cpp/`,
  );
}
