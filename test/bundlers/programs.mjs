// Bundlers for programs: what they build is run in a folder of its own, where no file of the package is near.
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../runtimes/process.mjs";
import { bin, folderOf, must } from "./given.mjs";

const program = (entry, { prompt, tokens }, options = {}) => `import { load } from "${entry}";
async function main() {
  const model = await load(process.argv.at(-1), ${JSON.stringify(options)});
  const { text } = await model.generate(${JSON.stringify(prompt)}, { temperature: 0, maxTokens: ${tokens.length} });
  console.log(JSON.stringify({ text, threads: model.info.threads, note: model.info.threadsNote }));
  await model.dispose();
}
main().catch((error) => {
  console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message }));
  process.exitCode = 3;
});
`;

/** Runs what was built, alone with a model, and gives what it printed. */
async function alone(project, file, command, beside = []) {
  const folder = mkdtempSync(join(tmpdir(), "cpm-alone-"));
  try {
    cpSync(file, join(folder, file.split("/").at(-1)));
    cpSync(join(project, "node_modules/cpm-wasm/models/stories-q4_0.gguf"), join(folder, "model.gguf"));
    for (const other of beside) cpSync(other, join(folder, other.split("/").at(-1)));
    const [name, ...args] = command(join(folder, file.split("/").at(-1)));
    const { output } = await run(name, [...args, join(folder, "model.gguf")], { cwd: folder });
    const line = output.split("\n").find((text) => text.startsWith("{"));
    if (!line) throw new Error(output);
    return JSON.parse(line);
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function right(seen, { text }, threads = 2) {
  if (seen.text !== text || seen.threads !== threads)
    throw new Error(`expected "${text}" and ${threads} threads, found ${JSON.stringify(seen)}`);
  return `${seen.threads} ${seen.threads === 1 ? "thread" : "threads"}`;
}

const TWO = { threads: 2 };

async function node({ project, expected, test }) {
  const folder = folderOf(project, "node-bundles", {
    "embedded.js": program("cpm-wasm/embedded", expected, TWO),
    "default.js": program("cpm-wasm", expected),
  });
  const esbuild = (entry, out, format) =>
    must(bin("esbuild"), [entry, "--bundle", "--platform=node", `--format=${format}`, `--outfile=${out}`, "--log-level=error"], {
      cwd: folder,
    });
  for (const [format, extension] of [
    ["esm", "mjs"],
    ["cjs", "cjs"],
  ]) {
    await test(`one ${extension} file for Node, by esbuild`, async () => {
      await esbuild("embedded.js", `one.${extension}`, format);
      return right(await alone(project, join(folder, `one.${extension}`), (file) => [process.execPath, file]), expected);
    });
    await test(`the default entry in one ${extension} file says which line to change`, async () => {
      await esbuild("default.js", `left.${extension}`, format);
      const seen = await alone(project, join(folder, `left.${extension}`), (file) => [process.execPath, file]);
      if (seen.name !== "CpmError" || seen.code !== "io" || !/cpm-wasm\/embedded/.test(seen.message))
        throw new Error(JSON.stringify(seen));
      return seen.message.slice(0, 100);
    });
  }
  await test("a worker's script that was taken along without its imports says which line to change", async () => {
    // As Turbopack does with a route handler's packages.
    const script = join(project, "node_modules/cpm-wasm/dist/host/node.worker.js");
    const seen = await alone(project, join(folder, "left.mjs"), (file) => [process.execPath, file], [script]);
    if (seen.name !== "CpmError" || !/serverExternalPackages/.test(seen.message)) throw new Error(JSON.stringify(seen));
    return seen.message.slice(0, 100);
  });
}

async function bunPrograms({ project, here, expected, test }) {
  const bun = join(here, "node_modules/.bin/bun");
  const folder = folderOf(project, "bun-bundles", { "embedded.js": program("cpm-wasm/embedded", expected, TWO) });
  await test("bun build: one file for Bun", async () => {
    await must(bun, ["build", "embedded.js", "--target=bun", "--outfile=one.js"], { cwd: folder });
    return right(await alone(project, join(folder, "one.js"), (file) => [bun, file]), expected);
  });
  await test("bun build --compile: one executable", async () => {
    await must(bun, ["build", "--compile", "embedded.js", "--outfile", "program"], { cwd: folder });
    return right(await alone(project, join(folder, "program"), (file) => [file]), expected);
  });
}

/** Node's permission model: without workers the engine runs in the caller's thread, as in Deno without --allow-read. */
async function permission({ project, expected, test }) {
  const folder = folderOf(project, "permission", { "main.mjs": program("cpm-wasm", expected) });
  const model = join(project, "node_modules/cpm-wasm/models/stories-q4_0.gguf");
  const flag = Number(process.versions.node.split(".")[0]) >= 24 ? "--permission" : "--experimental-permission";
  const seen = async (...flags) => {
    const { output } = await run(process.execPath, [flag, ...flags, join(folder, "main.mjs"), model], { cwd: folder });
    const line = output.split("\n").find((text) => text.startsWith("{"));
    if (!line) throw new Error(output);
    return JSON.parse(line);
  };
  await test("without --allow-worker it runs in the caller's thread, and says why", async () => {
    const result = await seen("--allow-fs-read=*");
    if (!/--allow-worker/.test(result.note)) throw new Error(JSON.stringify(result));
    return right(result, expected, 1);
  });
  await test("with --allow-worker it has its worker", async () => {
    const result = await seen("--allow-fs-read=*", "--allow-worker");
    if (result.text !== expected.text || /--allow-worker/.test(result.note ?? "")) throw new Error(JSON.stringify(result));
    return `${result.threads} threads`;
  });
}

export const programs = { node, "bun-program": bunPrograms, permission };
