// clang-tidy over all of cpp/, as .clang-tidy has it: `node test/native/tidy.mjs [FILE ...]`. Ends with "N passed, N failed".
// It reads the sources as native programs, through SIMDe, as the sanitizers do; what only WebAssembly has is in the shim.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { compiler, root } from "./build.mjs";

const tidy = process.env.CPM_CLANG_TIDY ?? "clang-tidy-22";
const named = process.argv.slice(2);
const files = named.length
  ? named
  : readdirSync(join(root, "cpp"), { recursive: true })
      .filter((name) => name.endsWith(".cpp") && !name.includes("node_modules"))
      .map((name) => join("cpp", name))
      .sort();
const flags = ["-fno-exceptions", "-fno-rtti", ...compiler(join(root, "cpp"))];

/** What clang-tidy says of a file; nothing where all is well. */
const look = (file) =>
  new Promise((done, failed) => {
    const child = spawn(tidy, ["--quiet", file, "--", ...flags], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let [said, errors] = ["", ""];
    child.stdout.on("data", (text) => (said += text));
    child.stderr.on("data", (text) => (errors += text));
    child.on("error", () => failed(new Error(`${tidy} is not installed (Debian: clang-tidy-22)`)));
    child.on("close", (code) => done(code === 0 ? said : said || errors));
  });

let [passed, failed] = [0, 0];
const rest = [...files];
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let file = rest.shift(); file; file = rest.shift()) {
      const said = await look(file);
      if (said) failed++;
      else passed++;
      if (said) console.log(`FAILED: ${file}\n${said}`);
    }
  }),
);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
