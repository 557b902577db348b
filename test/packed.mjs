// Looks at the package as it is packed: publint (its exports) and attw (its types under every resolution that knows ES modules).
// Licences of everything that installing it brings, or that its scripts carry, must be ones that allow this use.
//   node test/packed.mjs [--sbom FILE]   FILE gets the bill of materials (CycloneDX)
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

const ALLOWED = ["Apache-2.0", "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"];

/** What is wrong with the licences, as lines. */
function licences(sbom) {
  const carried = readFileSync(join(root, "dist/licences.txt"), "utf8");
  const wrong = sbom.components.flatMap(({ name, version, licenses = [] }) => {
    const found = licenses.map(({ license, expression }) => license?.id ?? license?.name ?? expression);
    return found.length && found.every((id) => ALLOWED.includes(id))
      ? []
      : [`${name} ${version}: licence ${found.join(", ") || "unknown"}`];
  });
  const named = [...carried.matchAll(/^(\S+) (\d+\.\d+\.\d+\S*) \(/gm)].map(([, name, version]) => `${name}@${version}`);
  const shipped = sbom.components.map(({ name, version }) => `${name}@${version}`);
  if (!named.length) wrong.push("dist/licences.txt names no package");
  for (const name of named) if (!shipped.includes(name)) wrong.push(`${name} is carried by a script, but is no dependency`);
  return wrong;
}

try {
  const { stdout: listed } = quietly("npm", ["sbom", "--omit=dev", "--sbom-format=cyclonedx", "--package-lock-only"]);
  const sbom = JSON.parse(listed);
  const out = process.argv.indexOf("--sbom");
  if (out > 0) writeFileSync(process.argv[out + 1], `${JSON.stringify(sbom, null, 2)}\n`);
  const wrong = licences(sbom);
  for (const line of wrong) console.error(line);
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
  console.log(`${sbom.components.length} packages are shipped or installed with this one; ${wrong.length} licences are wrong`);
  process.exitCode = failed || wrong.length ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
