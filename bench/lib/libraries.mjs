// llama.cpp as on a machine with less than this one: folders in which node-llama-cpp finds one of its libraries alone.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const bench = dirname(dirname(fileURLToPath(import.meta.url)));
const platform = `${process.platform}-${process.arch}`;

const LIBRARIES = { AVX2: "haswell", "AVX-512": "icelake" };

/** Arguments of Node, before a model's, that run bench/llama.mjs with a library alone; undefined where it is not there or does not run. */
export function libraryArguments(instructions) {
  const library = LIBRARIES[instructions];
  const binaries = join(bench, "node_modules/@node-llama-cpp", platform);
  if (!existsSync(join(binaries, "bins", platform, `libggml-cpu-${library}.so`))) return undefined;
  if (instructions === "AVX-512" && !/\bavx512_?vnni\b/.test(flags())) return undefined;
  const folder = join(bench, "out", library);
  const modules = join(folder, "node_modules");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(modules, "@node-llama-cpp"), { recursive: true });
  for (const name of readdirSync(join(bench, "node_modules")))
    if (name !== "@node-llama-cpp" && !name.startsWith(".")) symlinkSync(join(bench, "node_modules", name), join(modules, name));
  const other = new RegExp(`libggml-cpu-(?!${library})`);
  cpSync(binaries, join(modules, "@node-llama-cpp", platform), { recursive: true, filter: (path) => !other.test(path) });
  for (const name of ["llama.mjs", "lib"]) symlinkSync(join(bench, name), join(folder, name));
  return ["--preserve-symlinks", "--preserve-symlinks-main", join(folder, "llama.mjs")];
}

const flags = () => (existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "");
