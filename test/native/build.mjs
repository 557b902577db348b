// Builds the kernels as a native program with a sanitizer: SIMDe computes WebAssembly's instructions, futexes its waits.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const clang = process.env.CPM_CLANGXX ?? "/usr/lib/llvm-22/bin/clang++";
export const out = join(root, "build/native");

export const SANITIZERS = {
  // Alignment: kernels load vectors from any address, as WebAssembly allows; SIMDe's loads are unaligned ones.
  // Floats to integers: the modules use the instructions that saturate, for which a NaN is 0.
  asan: ["-fsanitize=address,undefined", "-fno-sanitize=alignment,float-cast-overflow", "-fno-sanitize-recover=all"],
  tsan: ["-fsanitize=thread"],
  fuzz: ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize=alignment,float-cast-overflow", "-fno-sanitize-recover=all"],
  // No sanitizers: what the same programs come to, for `run.mjs --coverage`.
  cover: ["-fprofile-instr-generate", "-fcoverage-mapping"],
  coverfuzz: ["-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"],
};

/** A copy of cpp/ in which `pin` names a vector register as x86 spells it: in WebAssembly every register is "r". */
function copied() {
  const folder = join(out, "cpp");
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(root, "cpp"), folder, { recursive: true, filter: (path) => !path.includes("node_modules") });
  const file = join(folder, "simd.h");
  const before = 'static inline void pin(v128_t& a) { asm volatile("" : "+r"(a)); }';
  const text = readFileSync(file, "utf8");
  if (!text.includes(before)) throw new Error("cpp/simd.h: pin() is spelled otherwise; change test/native/build.mjs with it");
  writeFileSync(file, text.replace(before, before.replace("+r", process.arch === "arm64" ? "+w" : "+x")));
  return folder;
}

/** How the C++ below `cpp` is compiled natively, sanitizers apart. */
export function compiler(cpp) {
  // The export attribute is WebAssembly's; a file is held to its warnings where modules are built.
  const quiet = ["-Wno-unknown-attributes", "-Wno-ignored-attributes", "-Wno-attributes", "-w"];
  const machine = process.arch === "x64" ? ["-msse4.1"] : [];
  const shim = ["-include", join(root, "test/native/shim/atomics.h"), `-I${join(root, "test/native/shim")}`, `-I${cpp}`];
  return ["-std=c++20", "-O1", "-ffp-contract=off", "-pthread", "-D__wasm_atomics__", ...machine, ...shim, ...quiet];
}

/** Compiles all of the kernels' C++ with test/native/<program>.cpp; gives the program's path. */
export function build(program, sanitizer) {
  mkdirSync(out, { recursive: true });
  const cpp = copied();
  const sources = readdirSync(cpp, { recursive: true })
    .filter((name) => name.endsWith(".cpp") && /^(kernels\/|model\/|exports\.cpp|held\.cpp|pool\.cpp)/.test(name))
    .map((name) => join(cpp, name));
  const to = join(out, `${program}-${sanitizer}`);
  const flags = ["-g", "-fno-omit-frame-pointer", ...SANITIZERS[sanitizer]];
  const all = [...sources, join(root, `test/native/${program}.cpp`)];
  execFileSync(clang, [...compiler(cpp), ...flags, ...all, "-o", to], { stdio: "inherit" });
  return to;
}
