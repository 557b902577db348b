// The verifiers and their sandboxes in Node, Deno and Bun: anywhere.mjs on each.
//   node test/data/verify/runtimes.mjs [--short]     short: in Deno and Bun one in three of Python's escapes, each of which takes seconds
import { spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install } from "../../run.mjs";

const root = fileURLToPath(new URL("../../../", import.meta.url));
install(join(root, "test/runtimes"));
const bin = (name) => join(root, "test/runtimes/node_modules/.bin", name);
const file = "test/data/verify/anywhere.mjs";
const every = process.argv.includes("--short") ? "3" : "1";
let [passed, failed] = [0, 0];
for (const [name, command, args] of [
  ["Node", process.execPath, [file]],
  ["Deno", bin("deno"), ["run", "-A", file, every]],
  ["Bun", bin("bun"), [file, every]],
]) {
  let text = "";
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.setEncoding("utf8").on("data", (piece) => (text += piece));
  const timer = setTimeout(() => child.kill("SIGKILL"), 1_200_000);
  const code = await new Promise((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  const results = text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
  for (const { title, ok, error } of results) {
    console.log(`${ok ? "ok" : "FAILED"}: ${name}: ${title}${error ? `: ${error}` : ""}`);
    if (ok) passed++;
    else failed++;
  }
  if (code !== 0 || results.length === 0) {
    failed++;
    console.log(`FAILED: ${name} comes to its end: exit code ${code}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
