// Compiles src/ to dist/ with tsc, makes the workers' scripts whole and the command executable.
//   node src/build.mjs [--if-stale]
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
const mark = join(root, "dist/.built");
/** Packages whose code is in whole scripts: name -> folder. */
const carried = new Map();

if (!process.argv.includes("--if-stale") || stale()) await build();

/** Whether a source is newer than what was built, or nothing was. */
function stale() {
  if (!existsSync(mark)) return true;
  const built = statSync(mark).mtimeMs;
  const sources = ["src", "wasm"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((name) => join(root, folder, name)),
  );
  return [...sources, join(root, "package.json"), join(root, "tsconfig.json")].some(
    (file) => !file.endsWith(".wasm.js") && statSync(file).mtimeMs > built,
  );
}

async function build() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  execFileSync(process.execPath, [tsc, "-p", root], { stdio: "inherit" });
  // Its syntax is newer than the compiler.
  for (const name of ["deno.modules.js", "deno.modules64.js"])
    copyFileSync(join(root, "src/host", name), join(root, "dist/host", name));
  portableTypes();
  textModules();
  await scripts();
  const command = join(root, "dist/cli/main.js");
  if (existsSync(command)) chmodSync(command, 0o755);
  writeFileSync(mark, "");
}

/**
 * Writes wasm/NAME.wasm.js beside every wasm/NAME.wasm: the module as text, for what has to carry it in its own script (wings, and the
 * embedded entry). Kernels for memories beyond 4 GiB are left out: what needs them loads files anyway.
 */
function textModules() {
  const folder = join(root, "wasm");
  const names = readdirSync(folder).filter((name) => name.endsWith(".wasm") && !name.includes("64"));
  for (const name of readdirSync(folder)) if (name.endsWith(".js")) rmSync(join(folder, name));
  for (const name of names)
    writeFileSync(join(folder, `${name}.js`), `export default "${readFileSync(join(folder, name)).toString("base64")}";\n`);
}

/** One script with everything that `file` of dist/host/ imports but Node's own modules, as text. */
async function whole(file, minify) {
  const bundle = await rolldown({ input: join(root, "dist/host", file), external: /^node:/, treeshake: true });
  try {
    const { output } = await bundle.generate({ format: "esm", minify, comments: false });
    if (output.length !== 1) throw new Error(`${file} was split into ${output.map(({ fileName }) => fileName).join(", ")}`);
    for (const id of output[0].moduleIds) {
      const found = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(id.replaceAll("\\", "/"));
      if (found) carried.set(found[2], found[1]);
    }
    return output[0].code;
  } finally {
    await bundle.close();
  }
}

/**
 * Makes the workers' scripts whole: on a page a worker has no import map, and a dev server or a bundler that leaves its files where they
 * are must find one file and no more. The embedded entry carries its workers as texts.
 */
async function scripts() {
  const texts = [
    "data.lane.js",
    "data.browser.lane.js",
    "train.lane.js",
    "embedded.browser.worker.js",
    "browser.lane.js",
    "embedded.node.worker.js",
    "threads.lane.js",
  ];
  for (const file of texts) {
    const code = await whole(file, true);
    writeFileSync(join(root, "dist/host", file.replace(/js$/, "text.js")), `export default ${JSON.stringify(code)};\n`);
  }
  for (const file of ["browser.worker.js", "browser.lane.js"])
    writeFileSync(join(root, "dist/host", file), await whole(file, false));
  const licences = [...carried].sort().map(([name, folder]) => {
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
  });
  writeFileSync(
    join(root, "dist/licences.txt"),
    `The workers' scripts in dist/host/ carry code of these packages.\n\n${licences.join(`\n${"-".repeat(80)}\n\n`)}`,
  );
}

/** Declarations name src/wasm/js.ts where sources say WebAssembly, whose types only lib "dom" and its like declare. */
function portableTypes() {
  const dist = join(root, "dist");
  for (const name of readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".d.ts"))) {
    const file = join(dist, name);
    const text = readFileSync(file, "utf8");
    const from = relative(dirname(file), join(dist, "wasm/js.js")).replaceAll("\\", "/");
    const path = from.startsWith(".") ? from : `./${from}`;
    const portable = text.replace(/\bWebAssembly\.(Module|Instance|Memory|Table|Global)\b/g, `import("${path}").Wasm$1`);
    if (portable !== text) writeFileSync(file, portable);
    if (/\bWebAssembly\.\w/.test(portable.replace(/\/\*[\s\S]*?\*\//g, "")))
      throw new Error(`${name} names a WebAssembly type that src/wasm/js.ts lacks`);
  }
}
