// The whole of npm test, several times, beside loops that keep every core busy: no test may depend on how fast the machine is.
//   node test/busy.mjs [--times 3] [--loops CORES] [FILE…]
import { spawn, spawnSync } from "node:child_process";
import { availableParallelism, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { times: { type: "string", default: "3" }, loops: { type: "string", default: String(availableParallelism()) } },
});
const [times, loops] = [Number(values.times), Number(values.loops)];
if (!(times >= 1 && loops >= 0)) throw new Error("--times: at least 1; --loops: at least 0");

const busy = Array.from({ length: loops }, () => spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }));
process.on("exit", () => {
  for (const child of busy) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

const run = fileURLToPath(new URL("run.mjs", import.meta.url));
const counts = { passed: 0, failed: 0 };
for (let time = 1; time <= times; time++) {
  const began = process.hrtime.bigint();
  const { status, stdout } = spawnSync(process.execPath, [run, ...positionals], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = stdout.replaceAll(/\x1b\[[0-9;]*m/g, "").split("\n");
  const seconds = Number((process.hrtime.bigint() - began) / 1_000_000_000n);
  for (const line of lines.filter((text) => /^ *(FAIL|×|Tests |Test Files )/.test(text))) console.log(line);
  console.log(
    `run ${time} of ${times}: ${status === 0 ? "green" : `exit ${status}`}, ${seconds} s beside ${loops} busy loops, load ${loadavg()[0].toFixed(1)}`,
  );
  counts[status === 0 ? "passed" : "failed"]++;
}
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 ? 0 : 1);
