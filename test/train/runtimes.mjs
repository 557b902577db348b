// Training and adapters in Node, Deno and Bun, on one thread and on two: the same losses, the same adapter, the same logits to the bit.
// Runtimes are those of test/runtimes (npm ci there). Prints "N passed, N failed".
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const bin = (name) => here(`../runtimes/node_modules/.bin/${name}`);
const script = here("portable.mjs");
const runtimes = [
  [`Node ${process.versions.node}`, process.execPath, [script]],
  ["Node 26", bin("node"), [script]],
  ["Deno", bin("deno"), ["run", "--allow-all", script]],
  ["Bun", bin("bun"), [script]],
];
let [passed, failed] = [0, 0];
let first;
for (const [name, command, args] of runtimes) {
  if (!existsSync(command)) {
    console.log(`skipped: ${name}: ${command} is not here (npm ci in test/runtimes)`);
    continue;
  }
  for (const threads of ["1", "2"]) {
    const { stdout, stderr, status } = spawnSync(command, [...args, threads], {
      encoding: "utf8",
      cwd: here("../.."),
      timeout: 300_000,
    });
    const line = /^@@ (.*)$/m.exec(stdout ?? "")?.[1];
    first ??= line;
    const { logits, plain } = line ? JSON.parse(line) : {};
    const good = status === 0 && line !== undefined && line === first && logits !== plain;
    if (good) passed++;
    else failed++;
    console.log(
      `${good ? "ok" : "FAILED"}  ${name}, ${threads} threads${good ? `: ${line}` : `: ${line ?? ""}\n${(stderr ?? "").slice(-1500)}`}`,
    );
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
