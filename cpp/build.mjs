// Builds wasm/ by the table in modules.mjs, and a manifest that says from which sources each module was made.
// Emscripten compiles, wasm-ld links; no JavaScript is emitted and env.memory is the only import. Binaryen stays away from
// the kernels: it sinks sums into the expressions that use them, which costs V8 a third of their speed, and saves no bytes.
//   node cpp/build.mjs           builds what changed
//   node cpp/build.mjs --check   tells whether wasm/ was built from these sources
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildAssembly } from "../assembly/build.mjs";
import { ASSEMBLY, CPP } from "./modules.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const llvm = process.env.CPM_LLVM ?? "/usr/lib/llvm-22/bin";
const emscripten = process.env.CPM_EMSCRIPTEN ?? "/usr/share/emscripten";
const work = join(root, "build");

/** Files of a row's `sources`: files, folders with all below them, or `folder/*.ext`. */
function filesOf(sources) {
  return sources
    .flatMap((source) => {
      const star = /^(.*)\/\*(\.\w+)$/.exec(source);
      if (star) return readdirSync(join(root, star[1])).flatMap((n) => (n.endsWith(star[2]) ? [`${star[1]}/${n}`] : []));
      if (statSync(join(root, source)).isFile()) return [source];
      return readdirSync(join(root, source), { recursive: true }).flatMap((name) =>
        /\.(cpp|h|ts)$/.test(name) ? [`${source}/${name.replaceAll("\\", "/")}`] : [],
      );
    })
    .sort();
}

/** Hash of everything that a module is made from: its sources, its row of the table, the tools' versions. */
function sourceHash(sources, settings) {
  const hash = createHash("sha256");
  for (const file of [...filesOf(sources), "cpp/package.json"])
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update("\0");
  return hash.update(JSON.stringify(settings)).digest("hex");
}

/** Every module by file name, with the hash of its sources. */
function sourcesOfModules() {
  const { options, targets } = JSON.parse(readFileSync(join(root, "asconfig.json"), "utf8"));
  return Object.fromEntries([
    ...CPP.flatMap(({ sources, compile, global, stack, variants }) =>
      variants.map((variant) => [`${variant.name}.wasm`, sourceHash(sources, { compile, global, stack, variant })]),
    ),
    ...ASSEMBLY.flatMap(({ entry, sources, targets: names }) =>
      names.map((name) => [basename(targets[name].outFile), sourceHash(sources, { entry, options, target: targets[name] })]),
    ),
  ]);
}

let version;
/** The compiler's first line about itself. */
const clang = () => (version ??= execFileSync(join(llvm, "clang"), ["--version"], { encoding: "utf8" }).split("\n")[0]);

const sha256 = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");

/** Runs a program; what it says goes to the terminal. */
function run(command, args) {
  const env = { ...process.env, EM_CONFIG: join(work, "emscripten.config") };
  return new Promise((done, failed) => {
    spawn(command, args, { stdio: ["ignore", "inherit", "inherit"], env })
      .on("error", failed)
      .on("close", (code) => (code === 0 ? done() : failed(new Error(`${command} ${args.join(" ")}: exit status ${code}`))));
  });
}

/** Runs tasks, as many at once as there are processors; the first that fails ends it, when those that run have ended. */
async function inParallel(tasks) {
  const rest = [...tasks];
  const lane = async () => {
    for (let task = rest.shift(); task; task = rest.shift())
      try {
        await task();
      } catch (error) {
        rest.length = 0;
        throw error;
      }
  };
  const ended = await Promise.allSettled(Array.from({ length: availableParallelism() }, lane));
  for (const { status, reason } of ended) if (status === "rejected") throw reason;
}

/** What a variant needs compiled, as tasks, and the task that links it after those. */
function variantTasks({ sources: own, compile, global, stack }, { name, flags, link, pages }) {
  const folder = join(work, name);
  mkdirSync(folder, { recursive: true });
  const all = filesOf(own);
  // An object's key is what it was made from: a checkout that touches files makes nothing anew.
  const headers = createHash("sha256");
  for (const file of all) if (file.endsWith(".h")) headers.update(`${file}\0`).update(readFileSync(join(root, file)));
  const shared = headers.digest("hex");
  const objects = all
    .filter((file) => file.endsWith(".cpp"))
    .map((source) => {
      const args = [...compile, ...flags, "-c", join(root, source)];
      const key = createHash("sha256")
        .update(JSON.stringify([clang(), args, shared]))
        .update(readFileSync(join(root, source)));
      return { args, key: key.digest("hex"), object: join(folder, source.replaceAll("/", "_").replace(/cpp$/, "o")) };
    });
  const stale = objects.filter(
    ({ key, object }) => !existsSync(object) || !existsSync(`${object}.key`) || readFileSync(`${object}.key`, "utf8") !== key,
  );
  const layout = [
    "--no-entry",
    "--no-stack-first",
    `--global-base=${global}`,
    "-z",
    `stack-size=${stack}`,
    "--export=__stack_pointer",
    "--export=__heap_base",
  ];
  const wasm = join(root, "wasm", `${name}.wasm`);
  return {
    compile: stale.map(({ args, key, object }) => async () => {
      rmSync(`${object}.key`, { force: true });
      await run(process.env.CPM_EMXX ?? "em++", [...args, "-o", object]);
      writeFileSync(`${object}.key`, key);
    }),
    link: async () => {
      await run(join(llvm, "wasm-ld"), [
        ...layout,
        "--import-memory",
        `--max-memory=${65536 * pages}`,
        "--strip-all",
        "--gc-sections",
        ...link,
        ...objects.map(({ object }) => object),
        "-o",
        wasm,
      ]);
      // The linker makes what it takes for a program executable.
      chmodSync(wasm, 0o644);
    },
  };
}

async function build() {
  if (!existsSync(join(root, "cpp/node_modules/assemblyscript")))
    execFileSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: join(root, "cpp"), stdio: "inherit" });
  mkdirSync(work, { recursive: true });
  mkdirSync(join(root, "wasm"), { recursive: true });
  writeFileSync(
    join(work, "emscripten.config"),
    `EMSCRIPTEN_ROOT='${emscripten}'\nLLVM_ROOT='${llvm}'\nBINARYEN_ROOT='/usr'\nNODE_JS='${process.execPath}'\nFROZEN_CACHE=True\n`,
  );
  const variants = CPP.flatMap((row) => row.variants.map((variant) => variantTasks(row, variant)));
  await inParallel(variants.flatMap(({ compile }) => compile));
  await inParallel(variants.map(({ link }) => link));
  for (const row of ASSEMBLY) buildAssembly(root, row);
  const made = sourcesOfModules();
  for (const name of readdirSync(join(root, "wasm")))
    if (name.endsWith(".wasm") && !(name in made)) rmSync(join(root, "wasm", name));
  const modules = Object.keys(made).sort();
  const tools = { clang: clang(), ...JSON.parse(readFileSync(join(root, "cpp/package.json"), "utf8")).devDependencies };
  const manifest = {
    tools,
    modules: Object.fromEntries(
      modules.map((name) => [
        name,
        { bytes: statSync(join(root, "wasm", name)).size, sha256: sha256(join(root, "wasm", name)), sources: made[name] },
      ]),
    ),
  };
  writeFileSync(join(root, "wasm/manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const [name, { bytes }] of Object.entries(manifest.modules)) console.log(`${basename(name).padEnd(26)} ${bytes} bytes`);
}

/** Says what is wrong with wasm/, or undefined when it was built from these sources. */
export function stale() {
  const manifest = JSON.parse(readFileSync(join(root, "wasm/manifest.json"), "utf8"));
  const made = sourcesOfModules();
  for (const name of new Set([...Object.keys(made), ...Object.keys(manifest.modules)])) {
    const built = manifest.modules[name];
    if (!built || !made[name]) return `wasm/${name} is in ${built ? "the manifest" : "the table"} alone: run \`npm run wasm\``;
    if (built.sources !== made[name]) return `the sources of wasm/${name} changed since it was built: run \`npm run wasm\``;
    if (sha256(join(root, "wasm", name)) !== built.sha256)
      return `wasm/${name} is not the file that the manifest names: run \`npm run wasm\``;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--check")) {
    const problem = stale();
    if (problem) throw new Error(problem);
  } else await build();
}
