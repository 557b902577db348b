// Compiles src/ to dist/ with tsc and makes the command executable.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
rmSync(join(root, "dist"), { recursive: true, force: true });
execFileSync(process.execPath, [tsc, "-p", root], { stdio: "inherit" });
// Its syntax is newer than the compiler.
for (const name of ["deno.modules.js", "deno.modules64.js"])
  copyFileSync(join(root, "src/host", name), join(root, "dist/host", name));
const command = join(root, "dist/cli/main.js");
if (existsSync(command)) chmodSync(command, 0o755);
