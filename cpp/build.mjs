// Builds wasm/: C++ kernels in {single, threads} x {base, relaxed}, the AssemblyScript module, and a manifest.
// Emscripten compiles, wasm-ld links; no JavaScript is emitted and env.memory is the only import. Binaryen stays away from
// the kernels: it sinks sums into the expressions that use them, which costs V8 a third of their speed, and saves no bytes.
//   node cpp/build.mjs           builds what changed
//   node cpp/build.mjs --check   tells whether wasm/ was built from these sources
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildAssembly } from "../assembly/build.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const llvm = process.env.CPM_LLVM ?? "/usr/lib/llvm-22/bin";
const emscripten = process.env.CPM_EMSCRIPTEN ?? "/usr/share/emscripten";
const work = join(root, "build");

// AssemblyScript's statics lie in [1 KiB, 64 KiB). C++ data begins at 64 KiB, then the stack of lane 0.
const STACK_BYTES = 256 * 1024;
const VARIANTS = [
  { name: "kernels", flags: [], link: [] },
  { name: "kernels.relaxed", flags: ["-mrelaxed-simd"], link: [] },
  { name: "kernels.mt", flags: ["-pthread"], link: ["--shared-memory"] },
  { name: "kernels.relaxed.mt", flags: ["-mrelaxed-simd", "-pthread"], link: ["--shared-memory"] },
  // Models beyond 4 GiB. Runtimes that have memory64 have relaxed SIMD and threads.
  {
    name: "kernels64.relaxed.mt",
    flags: ["-sMEMORY64=1", "-mrelaxed-simd", "-pthread"],
    link: ["--shared-memory", "-mwasm64"],
    pages: 262144,
  },
];
// Contraction off: a*b + c must round twice in every build, or variants would disagree.
const COMPILE = [
  "-O3",
  "-std=c++20",
  "-msimd128",
  "-mbulk-memory",
  "-fno-exceptions",
  "-fno-rtti",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fno-slp-vectorize",
  "-Wall",
  "-Wextra",
  "-Werror",
];

const files = (folder, pattern) =>
  readdirSync(join(root, folder), { recursive: true })
    .map((name) => `${folder}/${name}`)
    .filter((name) => pattern.test(name) && !name.includes("node_modules"))
    .sort();

/** Hash of everything the modules are made from. */
function sourceHash() {
  const hash = createHash("sha256");
  for (const file of [
    ...files("cpp", /\.(cpp|h|mjs)$/),
    ...files("assembly", /\.(ts|mjs)$/),
    "asconfig.json",
    "cpp/package.json",
  ])
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update("\0");
  return hash.digest("hex");
}

const sha256 = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");
const run = (command, args) =>
  execFileSync(command, args, {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, EM_CONFIG: join(work, "emscripten.config") },
  });

function buildVariant({ name, flags, link, pages = 65536 }) {
  const folder = join(work, name);
  mkdirSync(folder, { recursive: true });
  const sources = files("cpp", /\.cpp$/);
  const newest = Math.max(
    ...files("cpp", /\.h$/).map((h) => statSync(join(root, h)).mtimeMs),
    statSync(join(root, "cpp/build.mjs")).mtimeMs,
  );
  const objects = sources.map((source) => {
    const object = join(folder, source.replaceAll("/", "_").replace(/cpp$/, "o"));
    const stale = !existsSync(object) || statSync(object).mtimeMs < Math.max(newest, statSync(join(root, source)).mtimeMs);
    if (stale) run(process.env.CPM_EMXX ?? "em++", [...COMPILE, ...flags, "-c", join(root, source), "-o", object]);
    return object;
  });
  const layout = [
    "--no-entry",
    "--no-stack-first",
    "--global-base=65536",
    "-z",
    `stack-size=${STACK_BYTES}`,
    "--export=__stack_pointer",
    "--export=__heap_base",
  ];
  run(join(llvm, "wasm-ld"), [
    ...layout,
    "--import-memory",
    `--max-memory=${65536 * pages}`,
    "--strip-all",
    "--gc-sections",
    ...link,
    ...objects,
    "-o",
    join(root, "wasm", `${name}.wasm`),
  ]);
  // The linker makes what it takes for a program executable.
  chmodSync(join(root, "wasm", `${name}.wasm`), 0o644);
}

function build() {
  if (!existsSync(join(root, "cpp/node_modules/assemblyscript")))
    execFileSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: join(root, "cpp"), stdio: "inherit" });
  mkdirSync(work, { recursive: true });
  mkdirSync(join(root, "wasm"), { recursive: true });
  writeFileSync(
    join(work, "emscripten.config"),
    `EMSCRIPTEN_ROOT='${emscripten}'\nLLVM_ROOT='${llvm}'\nBINARYEN_ROOT='/usr'\nNODE_JS='${process.execPath}'\nFROZEN_CACHE=True\n`,
  );
  for (const variant of VARIANTS) buildVariant(variant);
  buildAssembly(root);
  const modules = readdirSync(join(root, "wasm"))
    .filter((name) => name.endsWith(".wasm"))
    .sort();
  const clang = execFileSync(join(llvm, "clang"), ["--version"], { encoding: "utf8" }).split("\n")[0];
  const tools = { clang, ...JSON.parse(readFileSync(join(root, "cpp/package.json"), "utf8")).devDependencies };
  const manifest = {
    sources: sourceHash(),
    tools,
    modules: Object.fromEntries(
      modules.map((name) => [name, { bytes: statSync(join(root, "wasm", name)).size, sha256: sha256(join(root, "wasm", name)) }]),
    ),
  };
  writeFileSync(join(root, "wasm/manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const [name, { bytes }] of Object.entries(manifest.modules)) console.log(`${basename(name).padEnd(26)} ${bytes} bytes`);
}

/** Says what is wrong with wasm/, or undefined when it was built from these sources. */
export function stale() {
  const manifest = JSON.parse(readFileSync(join(root, "wasm/manifest.json"), "utf8"));
  if (manifest.sources !== sourceHash()) return "cpp/ or assembly/ changed since wasm/ was built: run `npm run wasm`";
  for (const [name, { sha256: expected }] of Object.entries(manifest.modules))
    if (sha256(join(root, "wasm", name)) !== expected)
      return `wasm/${name} is not the file that the manifest names: run \`npm run wasm\``;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--check")) {
    const problem = stale();
    if (problem) throw new Error(problem);
  } else build();
}
