// Runs the tests, or (--check) format, lint and types. Installs the test packages on first use.
//   node test/run.mjs [vitest arguments]   the tests
//   node test/run.mjs --check              biome and tsc over everything, publint and attw over what is packed
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "test/node_modules");

function run(command, args, cwd = root, env = process.env) {
  const { status, error } = spawnSync(command, args, { cwd, env, stdio: "inherit", shell: process.platform === "win32" });
  if (error) throw error;
  return status ?? 1;
}

/** Installs a folder's packages unless its lock file is the one that was installed. */
export function install(folder) {
  const lock = join(folder, "package-lock.json");
  const mark = join(folder, "node_modules/.installed-lock");
  if (existsSync(mark) && readFileSync(mark, "utf8") === readFileSync(lock, "utf8")) return;
  console.log(`installing the packages of ${folder.slice(root.length + 1)}/ (first use)`);
  if (run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], folder) !== 0)
    throw new Error(`npm ci failed in ${folder}`);
  if (statSync(join(folder, "node_modules")).isDirectory()) writeFileSync(mark, readFileSync(lock));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  install(join(root, "test"));
  // Tests of the command and the examples' types look into dist/.
  if (run(process.execPath, [join(root, "src/build.mjs"), "--if-stale"]) !== 0) process.exit(1);
  const args = process.argv.slice(2);
  if (args[0] === "--check") {
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const bin = join(modules, ".bin");
    const typed = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
    const failed = [
      run(process.execPath, [join(modules, "@biomejs/biome/bin/biome"), "check", "."]),
      // By types: no value of unknown make becomes text but through shown().
      run(
        process.execPath,
        [join(modules, "oxlint/bin/oxlint"), "-c", "test/lint/oxlint.json", "--type-aware", "src"],
        root,
        typed,
      ),
      run(process.execPath, [join(root, "test/lint/cpp.mjs")]),
      run(process.execPath, [tsc, "--noEmit", "-p", root]),
      run(process.execPath, [tsc, "--noEmit", "-p", join(root, "test")]),
      run(process.execPath, [tsc, "--noEmit", "-p", join(root, "examples")]),
      run(process.execPath, [join(root, "test/packed.mjs")]),
    ].filter((status) => status !== 0).length;
    process.exitCode = failed ? 1 : 0;
  } else {
    process.exitCode = run(process.execPath, [
      join(modules, "vitest/vitest.mjs"),
      "run",
      "--root",
      root,
      "--config",
      join(root, "test/vitest.config.mjs"),
      ...args,
    ]);
  }
}
