// C++ as .clang-format has it: `node test/lint/cpp.mjs` says which files are not; `--write` formats them.
// The formatter is Debian's clang-format-22 (another one by CPM_CLANG_FORMAT): other versions format otherwise, so that without it nothing is checked.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const formatter = process.env.CPM_CLANG_FORMAT ?? "clang-format-22";
const files = ["cpp", "test/native", "bench/arm"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(cpp|c|h)$/.test(name) && !name.includes("node_modules"))
    .map((name) => join(folder, name)),
);
const how = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "-Werror"];
const { status, error, stderr } = spawnSync(formatter, [...how, ...files], { cwd: root, encoding: "utf8" });
if (error) {
  console.log(`format of cpp/ not checked: ${formatter} is not installed`);
  // Where everything is checked, nothing may be left out.
  process.exitCode = process.env.CI ? 1 : 0;
} else if (status !== 0) {
  console.error(`${stderr.split("\n").slice(0, 40).join("\n")}\nRun \`node test/lint/cpp.mjs --write\`.`);
  process.exitCode = 1;
}
