// Looks at the package as it is packed: publint (its exports) and attw (its types under every resolution that knows ES modules).
//   node test/packed.mjs
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "test/node_modules");
const folder = mkdtempSync(join(tmpdir(), "cpm-packed-"));

/** Runs a program; shows its output when it fails. */
function quietly(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    shell: process.platform === "win32" && command === "npm",
  });
  if (error) throw error;
  if (status !== 0) console.error(`${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return { failed: status !== 0, stdout };
}

try {
  const { stdout } = quietly("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder, "--loglevel=error"]);
  const tarball = join(folder, JSON.parse(stdout)[0].filename);
  const failed = [
    quietly(process.execPath, [join(modules, "publint/src/cli.js"), tarball, "--strict", "--level", "warning"]),
    quietly(process.execPath, [
      join(modules, "@arethetypeswrong/cli/dist/index.js"),
      tarball,
      "--profile",
      "esm-only",
      "--no-color",
      "--format",
      "ascii",
    ]),
  ].some((result) => result.failed);
  console.log(failed ? "publint or attw found mistakes" : "publint and attw found nothing");
  process.exitCode = failed ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
