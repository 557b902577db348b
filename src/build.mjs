// Compiles src/ to dist/ with tsc and makes the command executable.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
textModules();
const command = join(root, "dist/cli/main.js");
if (existsSync(command)) chmodSync(command, 0o755);

/**
 * Writes wasm/NAME.wasm.js beside every wasm/NAME.wasm: the module as text, for what has to carry it in its own script (wings, and the
 * embedded entry). Kernels for memories beyond 4 GiB are left out: what needs them loads files anyway.
 */
function textModules() {
  const folder = join(root, "wasm");
  const names = readdirSync(folder).filter((name) => name.endsWith(".wasm") && !name.includes("64"));
  for (const name of readdirSync(folder)) if (name.endsWith(".js")) rmSync(join(folder, name));
  for (const name of names)
    writeFileSync(join(folder, `${name}.js`), `export default "${readFileSync(join(folder, name)).toString("base64")}";\n`);
}
