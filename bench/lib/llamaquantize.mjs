// llama.cpp's quantiser, from what node-llama-cpp carries: its library, and the sources of the same release for the headers.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const packages = join(here, "../node_modules");
const out = join(here, "../out/llama");

/** enum llama_ftype of files whose linears all have one type; enum ggml_type. */
const FTYPES = { F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q4_K: 15, Q5_K: 17, Q6_K: 18 };
const F16 = 1;

/** Builds the program once; needs git and a C++ compiler. */
function program() {
  const path = join(out, "llamaquantize");
  const libraries = join(packages, `@node-llama-cpp/linux-${process.arch}/bins/linux-${process.arch}`);
  if (!existsSync(libraries)) throw new Error(`no libraries in ${libraries}: npm ci in bench/, on Linux`);
  if (!existsSync(path)) {
    const sources = join(out, "sources");
    mkdirSync(out, { recursive: true });
    if (!existsSync(sources)) {
      const bundle = join(packages, "node-llama-cpp/llama/gitRelease.bundle");
      execFileSync("git", ["clone", "-q", "--no-checkout", bundle, sources]);
      const head = execFileSync("git", ["bundle", "list-heads", bundle], { encoding: "utf8" }).split(" ")[0];
      execFileSync("git", ["checkout", "-q", head, "--", "include", "ggml/include", "common"], { cwd: sources });
    }
    const version = JSON.parse(readFileSync(join(libraries, "_nlcBuildMetadata.json"), "utf8"));
    const llama = `libllama.${version.buildOptions.llamaCpp.release}.so`;
    const ggml = `libggml.${version.buildOptions.llamaCpp.release}.so`;
    const include = ["include", "ggml/include", "common"].flatMap((folder) => ["-I", join(sources, folder)]);
    const link = [llama, ggml, "libllama-common.so", "libggml-base.so"].map((name) => join(libraries, name));
    const flags = ["-O2", "-std=c++17", "-Wl,--allow-shlib-undefined", `-Wl,-rpath,${libraries}`];
    execFileSync("g++", [...flags, ...include, join(here, "llamaquantize.cpp"), ...link, "-o", path], { stdio: "inherit" });
  }
  return { path, libraries };
}

/** Quantises every linear of `input` to `type` as llama.cpp does, with or without its weights of importance; the embedding becomes F16. */
export function llamaQuantize(input, output, type, imatrix) {
  const { path, libraries } = program();
  const args = [input, output, String(FTYPES[type]), String(F16), ...(imatrix ? [imatrix] : [])];
  execFileSync(path, args, { env: { ...process.env, GGML_LIBRARIES: libraries }, stdio: ["ignore", "ignore", "pipe"] });
}
