// Compiles the AssemblyScript modules with the compiler installed in cpp/.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Builds the targets of one row of cpp/modules.mjs; returns [{ file, bytes }], relative to root. Throws when the compiler does. */
export function buildAssembly(root, { entry, targets }) {
  const compiler = join(root, "cpp/node_modules/assemblyscript/bin/asc.js");
  if (!existsSync(compiler)) throw new Error("assemblyscript is not installed: run `npm ci --prefix cpp`");
  const { targets: settings } = JSON.parse(readFileSync(join(root, "asconfig.json"), "utf8"));
  return targets.map((target) => {
    const args = [compiler, entry, "--config", "asconfig.json", "--target", target];
    execFileSync(process.execPath, args, { cwd: root, stdio: "inherit" });
    const file = settings[target].outFile;
    return { file, bytes: statSync(join(root, file)).size };
  });
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { ASSEMBLY } = await import("../cpp/modules.mjs");
  for (const row of ASSEMBLY)
    for (const { file, bytes } of buildAssembly(dirname(dirname(fileURLToPath(import.meta.url))), row))
      console.log(`${file} ${bytes} bytes`);
}
