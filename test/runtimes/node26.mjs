// Runs the test suite on Node 26, which has relaxed SIMD. Arguments go to vitest.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install } from "../run.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
install(join(here, "..").replace(/[/\\]$/, ""));
install(here.replace(/[/\\]$/, ""));
const { status, error } = spawnSync(
  join(here, "node_modules/node/bin/node"),
  [join(here, "../run.mjs"), ...process.argv.slice(2)],
  { stdio: "inherit" },
);
if (error) throw error;
process.exitCode = status ?? 1;
