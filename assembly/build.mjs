// Compiles assembly/ to wasm/decide.wasm and wasm/decide.mt.wasm with the compiler installed in cpp/.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Builds every target of asconfig.json; returns [{ file, bytes }] with paths relative to root. Throws when the compiler does. */
export function buildAssembly(root) {
  const compiler = join(root, "cpp/node_modules/assemblyscript/bin/asc.js");
  if (!existsSync(compiler)) throw new Error("assemblyscript is not installed: run `npm ci --prefix cpp`");
  const { targets } = JSON.parse(readFileSync(join(root, "asconfig.json"), "utf8"));
  return Object.entries(targets).map(([target, { outFile }]) => {
    execFileSync(process.execPath, [compiler, "--config", "asconfig.json", "--target", target], { cwd: root, stdio: "inherit" });
    return { file: outFile, bytes: statSync(join(root, outFile)).size };
  });
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  for (const { file, bytes } of buildAssembly(dirname(dirname(fileURLToPath(import.meta.url)))))
    console.log(`${file} ${bytes} bytes`);
}
