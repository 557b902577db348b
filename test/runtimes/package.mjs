// The package as a user gets it: packed, looked into, and installed into a project of its own.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));
const here = fileURLToPath(new URL("./", import.meta.url));

const npm = (args, cwd) =>
  execFileSync("npm", [...args, "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd,
    encoding: "utf8",
    shell: process.platform === "win32",
  });

const newest = (folder) =>
  Math.max(
    ...readdirSync(folder, { recursive: true, withFileTypes: true }).map(
      (entry) => statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs,
    ),
  );

/** Builds dist/ when it is missing or older than src/. */
function built() {
  const dist = join(root, "dist");
  if (!existsSync(join(dist, "index.js")) || newest(join(root, "src")) > newest(dist)) npm(["run", "-s", "build"], root);
}

/**
 * Packs the package and installs the tarball in a new project, beside the suite, its expected values, the model as a
 * module of bytes, and the examples, in a new folder of `parent`. Gives { project, files, tarballBytes, unpackedBytes }.
 */
export function installedPackage(parent = tmpdir()) {
  built();
  const project = mkdtempSync(join(parent, "cpm-runtimes-"));
  // Scripts are off: the build ran above, and installing must not need any.
  const [packed] = JSON.parse(npm(["pack", "--ignore-scripts", "--json", "--pack-destination", project], root));
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  npm(["install", "--ignore-scripts", "--prefer-offline", `./${packed.filename}`], project);
  for (const name of ["suite.mjs", "script.mjs", "lifecycle.mjs", "exits.mjs", "worker.mjs", "pull.mjs"])
    cpSync(join(here, name), join(project, name));
  cpSync(join(here, "pages"), join(project, "pages"), { recursive: true });
  cpSync(join(root, "examples"), join(project, "examples"), {
    recursive: true,
    filter: (path) => !/edge[/\\]out|tsconfig\.json/.test(path),
  });
  const model = readFileSync(join(root, "models/stories-q4_0.gguf")).toString("base64");
  const expected = readFileSync(join(here, "expected.json"), "utf8");
  writeFileSync(
    join(project, "given.mjs"),
    `export const expected = ${expected};\nexport const bytes = Uint8Array.from(atob("${model}"), (c) => c.charCodeAt(0));\n`,
  );
  return { project, files: packed.files.map((file) => file.path), tarballBytes: packed.size, unpackedBytes: packed.unpackedSize };
}
