// llama.cpp as on a machine without AVX-512: a folder in which node-llama-cpp finds its AVX2 library alone.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const bench = dirname(dirname(fileURLToPath(import.meta.url)));
const platform = `${process.platform}-${process.arch}`;

/** Arguments of Node, before a model's, that run bench/llama.mjs with the AVX2 library; undefined where there is none. */
export function avx2Arguments() {
  const binaries = join(bench, "node_modules/@node-llama-cpp", platform);
  if (!existsSync(join(binaries, "bins", platform, "libggml-cpu-haswell.so"))) return undefined;
  const folder = join(bench, "out/avx2");
  const modules = join(folder, "node_modules");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(modules, "@node-llama-cpp"), { recursive: true });
  for (const name of readdirSync(join(bench, "node_modules")))
    if (name !== "@node-llama-cpp" && !name.startsWith(".")) symlinkSync(join(bench, "node_modules", name), join(modules, name));
  const other = /libggml-cpu-(?!haswell)/;
  cpSync(binaries, join(modules, "@node-llama-cpp", platform), { recursive: true, filter: (path) => !other.test(path) });
  for (const name of ["llama.mjs", "lib"]) symlinkSync(join(bench, name), join(folder, name));
  return ["--preserve-symlinks", "--preserve-symlinks-main", join(folder, "llama.mjs")];
}
