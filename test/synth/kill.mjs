// cpm synth killed (SIGKILL) at random moments of a run, started again each time: no sample lost, none doubled, the same bytes as a run
// that was left alone; then two processes in one folder at once, which give them, too.
//   node test/synth/kill.mjs [--kills 20] [--seed 1]
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { startEndpoint } from "./endpoint.mjs";

const value = (name, other) => (process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : other);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
let state = value("--seed", 1);
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const folder = mkdtempSync(join(tmpdir(), "cpm-synth-"));
const kills = value("--kills", 20);
const given = JSON.parse(readFileSync(here("../../examples/synth/config.json"), "utf8"));
for (const name of ["tools.jsonl", "texts.jsonl"]) copyFileSync(here(`../../examples/synth/${name}`), join(folder, name));
const sizes = { tools: 16, instructions: 16, knowledge: 8, reasoning: 8, long: 5 };
for (const [name, each] of Object.entries(sizes)) given.families[name].count = Math.ceil((each * kills) / 4);
const config = join(folder, "config.json");
writeFileSync(config, JSON.stringify(given));

const endpoint = await startEndpoint({ latencyMs: 2 });
let hear = () => {};
/** Runs the command; kills it when `requests` were made and a moment has passed. Resolves with its status, null when it was killed. */
const run = (out, requests) =>
  new Promise((resolve) => {
    const args = ["synth", config, "-o", out, "--api", endpoint.url, "--api-model", "script", "--dropped", "--json"];
    const child = spawn(process.execPath, [here("../../dist/cli/main.js"), ...args], { stdio: ["ignore", "ignore", "inherit"] });
    const until = endpoint.facts.requests + (requests ?? Number.POSITIVE_INFINITY);
    const moment = 4 * random();
    const look = setInterval(() => {
      if (endpoint.facts.requests < until) return;
      clearInterval(look);
      setTimeout(() => child.kill("SIGKILL"), moment);
    }, 1);
    hear = () => child.kill("SIGKILL");
    child.on("exit", (code) => {
      clearInterval(look);
      resolve(code);
    });
  });
process.on("exit", () => hear());

let [passed, failed] = [0, 0];
const check = (what, good) => {
  console.log(`${good ? "ok" : "FAILED"}: ${what}`);
  if (good) passed++;
  else failed++;
};
const bytes = (out) =>
  readdirSync(out)
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map(
      (name) =>
        `${name} ${createHash("sha256")
          .update(readFileSync(join(out, name)))
          .digest("hex")}`,
    )
    .join("\n");
/** Numbers of the items whose lines are whole. */
const items = (path) =>
  readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      const json = line.slice(13);
      const whole = line[12] === " " && createHash("sha256").update(json).digest("hex").startsWith(line.slice(0, 12));
      return whole ? [JSON.parse(json).item].filter((item) => item !== undefined) : [];
    });

const [alone, killed, both] = ["alone", "killed", "both"].map((name) => join(folder, name));
check("a run that is left alone ends well", (await run(alone)) === 0);
const total = endpoint.facts.requests;
let done = 0;
for (; done < kills; ) {
  const code = await run(killed, 1 + Math.floor((random() * total) / (kills + 1)));
  if (code !== null) break;
  done++;
}
check(`killed ${done} of ${kills} times before the end`, done === kills);
check("started again, it ends well", (await run(killed)) === 0);
check("the same files, byte for byte", bytes(killed) === bytes(alone));
for (const [name, { count }] of Object.entries(given.families)) {
  const found = items(join(killed, `${name}.journal`)).sort((a, b) => a - b);
  check(
    `${name}: ${count} items in the journal, none lost, none doubled`,
    JSON.stringify(found) === JSON.stringify([...Array(count).keys()]),
  );
}
console.log(`${endpoint.facts.requests - total} requests instead of ${total}`);
const codes = await Promise.all([run(both), run(both)]);
check(
  "two processes in one folder end well",
  codes.every((code) => code === 0),
);
check("and give the same files", bytes(both) === bytes(alone));
await endpoint.close();
rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
