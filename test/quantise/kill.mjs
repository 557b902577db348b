// Ten times SIGKILL at random moments of cpm quantize, each time started again: the same bytes as a run that was left alone.
//   node test/quantise/kill.mjs [MODEL.gguf] [SEED]
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const model = process.argv[2] ?? here("../golden/sparse-f32.gguf");
let state = Number(process.argv[3] ?? 1);
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const folder = mkdtempSync(join(tmpdir(), "cpm-kill-"));
const lines = Array.from({ length: 8 }, (_, s) =>
  JSON.stringify({ tokens: Array.from({ length: 200 }, (_, i) => 3 + ((i * 31 + s * 97) % 250)) }),
);
writeFileSync(join(folder, "calibration.jsonl"), lines.join("\n"));

/** Runs the command; kills it after `ms`. Resolves with its exit status, null when it was killed. */
const run = (out, ms) =>
  new Promise((resolve) => {
    const args = [
      "quantize",
      model,
      out,
      "--type",
      "Q4_0",
      "--method",
      "awq+p-gptq",
      "--calibration",
      join(folder, "calibration.jsonl"),
      "--json",
    ];
    const child = spawn(process.execPath, [here("../../dist/cli/main.js"), ...args], { stdio: ["ignore", "ignore", "inherit"] });
    const timer = ms === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), ms);
    child.on("exit", (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });

let failed = 0;
const begun = performance.now();
const whole = join(folder, "whole.gguf");
if ((await run(whole)) !== 0) failed++;
const length = performance.now() - begun;
const out = join(folder, "killed.gguf");
let kills = 0;
// A run that ends before its time counts for none: there is nothing to kill any more.
for (let tries = 0; kills < 10 && tries < 40; tries++) {
  const code = await run(out, (0.15 + 0.8 * random()) * length);
  if (code === null) {
    kills++;
    if (existsSync(out)) failed++;
  } else if (code !== 0) failed++;
  else rmSync(out);
}
if ((await run(out)) !== 0) failed++;
const same = existsSync(out) && readFileSync(out).equals(readFileSync(whole));
const left = readdirSync(folder).filter((name) => name.startsWith("."));
if (!same || left.length) failed++;
console.log(`killed ${kills} times; ${same ? "the same bytes" : "other bytes"}; left behind: ${left.length ? left : "nothing"}`);
rmSync(folder, { recursive: true, force: true });
console.log(`${failed ? 0 : 1} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
