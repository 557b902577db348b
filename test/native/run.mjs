// The kernels under sanitizers: `node test/native/run.mjs [--rounds n] [--seeds n] [--runs n]`. Ends with "N passed, N failed".
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
  },
});
let [passed, failed] = [0, 0];
const [rounds, seeds] = [Number(values.rounds), Number(values.seeds)];
for (const sanitizer of ["asan", "tsan"]) {
  const program = build("drive", sanitizer);
  for (let seed = 1; seed <= seeds; seed++)
    for (const lanes of sanitizer === "asan" ? [1, 3] : [2]) {
      // Under TSan, which is slower, a few rounds: races do not depend on shapes.
      const count = String(sanitizer === "asan" ? rounds : Math.ceil(rounds / 4));
      const { status, signal, stdout, stderr } = spawnSync(program, [count, String(seed), String(lanes)], { encoding: "utf8" });
      const good = status === 0 && /^lanes \d+: packs \d+/m.test(stdout);
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
