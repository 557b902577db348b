// The benchmark table: our engine in every runtime, beside llama.cpp and wllama, on the same files in the same minutes.
//   npm run bench -- [--quick] [--append] [--model default,q4_0,tq2_0] [--runtime llama,llama-avx2,node20,node26,deno,bun,chromium,workerd,wllama2,wllama3]
//                    [--threads 1,2] [--variant base,relaxed,turbo] [--rounds 3] [--prompt 512] [--decode 64]
// Every measurement is a process of its own. A round visits every cell of a table in turn, odd rounds backwards, so that what the
// machine does meanwhile touches all cells alike. --append adds the tables to bench/RESULTS.md and drops earlier provisional ones.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { install } from "../test/run.mjs";
import { libraryArguments } from "./lib/libraries.mjs";
import { runOne } from "./lib/processes.mjs";
import { busy, machine, table } from "./lib/report.mjs";
import { synthetic } from "./synthetic.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const runtimes = join(root, "test/runtimes");
const binary = (name) => join(runtimes, "node_modules/.bin", name);

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    append: { type: "boolean", default: false },
    model: { type: "string", default: "default,q4_0,tq2_0" },
    runtime: { type: "string", default: "llama,llama-avx2,node20,node26,deno,bun,chromium,workerd,wllama2,wllama3" },
    threads: { type: "string", default: "1,2" },
    variant: { type: "string", default: "base,relaxed,turbo" },
    rounds: { type: "string" },
    prompt: { type: "string" },
    decode: { type: "string" },
  },
});
const list = (text) => text.split(",").filter(Boolean);
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));

// Lengths: the story model's context is 256. wllama is slow, so it gets shorter prompts, which flatters it: a shorter context is
// faster to attend to.
const large = values.quick ? { prompt: 128, decode: 16 } : { prompt: 512, decode: 64 };
const MODELS = {
  default: {
    title: "default model (stories, Q4_0, 3.5 M parameters)",
    prompt: 128,
    decode: 64,
    repetitions: 10,
    path: () => join(root, "models/stories-q4_0.gguf"),
  },
  q4_0: {
    title: "synthetic MiniCPM4-0.5B, Q4_0, embedding Q6_K",
    ...large,
    repetitions: 1,
    path: () => synthetic({ type: "q4_0" }).path,
  },
  tq2_0: {
    title: "synthetic MiniCPM4-0.5B, TQ2_0, embedding Q6_K",
    ...large,
    repetitions: 1,
    path: () => synthetic({ type: "tq2_0" }).path,
  },
  ...Object.fromEntries(
    Object.entries({ "qwen3-0.6b": "Q6_K", "llama3.2-1b": "Q6_K", "gemma3-1b": "Q8_0" }).map(([shape, embedding]) => [
      shape,
      {
        title: `synthetic ${shape}, Q4_0, embedding ${embedding}`,
        ...large,
        repetitions: 1,
        path: () => synthetic({ type: "q4_0", shape }).path,
      },
    ]),
  ),
  f16: { title: "synthetic MiniCPM4-0.5B, F16", ...large, repetitions: 1, path: () => synthetic({ type: "f16" }).path },
};
const SLOW = { wllama2: { prompt: 64, decode: 16 }, wllama3: { prompt: 32, decode: 8 } };

const flags = (o) =>
  Object.entries(o).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));
const page = (engine) => (model, o) =>
  runOne(process.execPath, [join(here, "browser.mjs"), model, "--engine", engine, ...flags(o)], { hold: false });
const script =
  (command, ...before) =>
  (model, o) =>
    runOne(command, [...before, join(here, "ours.mjs"), model, ...flags(o)], { cwd: root });
const ENGINES = {
  llama: {
    engine: "llama.cpp (node-llama-cpp)",
    runtime: `Node ${process.versions.node}`,
    run: (model, o) => runOne(process.execPath, [join(here, "llama.mjs"), model, ...flags(o)]),
  },
  "llama-avx2": {
    engine: "llama.cpp, AVX2 library",
    runtime: `Node ${process.versions.node}`,
    run: (model, o) =>
      avx2 ? runOne(process.execPath, [...avx2, model, ...flags(o)]) : { error: "no AVX2 library for this platform" },
  },
  node20: { ours: true, runtime: `Node ${process.versions.node}`, run: script(process.execPath) },
  node26: { ours: true, runtime: "Node 26", run: script(binary("node")) },
  deno: { ours: true, runtime: "Deno", run: script(binary("deno"), "run", "--allow-read") },
  bun: { ours: true, runtime: "Bun", run: script(binary("bun")) },
  chromium: { ours: true, runtime: "Chromium", run: page("ours") },
  workerd: {
    ours: true,
    single: true,
    runtime: "workerd",
    run: (model, o) => runOne(process.execPath, [join(here, "edge.mjs"), model, ...flags(o)], { hold: false }),
  },
  wllama2: { engine: "wllama 2.2.1", runtime: "Chromium", run: page("wllama2") },
  wllama3: { engine: "wllama 3.13.0", runtime: "Chromium", run: page("wllama3") },
};

function cellsOf(model, threads) {
  return list(values.runtime).flatMap((name) => {
    const { ours, single, ...about } = ENGINES[name] ?? {};
    if (!about.run) throw new Error(`--runtime: ${name} is none of ${Object.keys(ENGINES).join(", ")}`);
    if (single && threads > 1) return [];
    const wanted = {
      prompt: Number(values.prompt ?? model.prompt),
      decode: Number(values.decode ?? model.decode),
      repetitions: model.repetitions,
    };
    if (ours)
      return list(values.variant)
        .flatMap((build) => (build === "turbo" && name !== "node26" ? [] : [build]))
        .map((build) => ({
          ...about,
          engine: "cpm-wasm",
          build,
          o: { ...wanted, threads, ...(build === "turbo" ? { variant: "relaxed", turbo: true } : { variant: build }) },
          samples: [],
          times: rounds,
        }));
    const cell = { ...about, o: { ...wanted, threads }, samples: [], times: rounds };
    const lengths = SLOW[name];
    if (!lengths) return [cell];
    // Slow peers are loaded once, for as many repetitions as others get rounds.
    const prompt = model.repetitions === 1 ? Math.min(wanted.prompt, lengths.prompt) : wanted.prompt;
    const decode = model.repetitions === 1 ? Math.min(wanted.decode, lengths.decode) : wanted.decode;
    const note = prompt < wanted.prompt ? `${prompt} + ${decode} tokens` : "";
    return [{ ...cell, note, o: { prompt, decode, threads, repetitions: rounds }, times: 1 }];
  });
}

function sameTokens(cells) {
  const seen = new Set(
    cells
      .filter((c) => c.engine === "cpm-wasm")
      .flatMap((c) => c.samples.filter((s) => !s.error).map((s) => JSON.stringify(s.first))),
  );
  if (seen.size === 0) return "";
  return seen.size === 1
    ? "Our runs all gave the same tokens."
    : `OUR RUNS GAVE ${seen.size} DIFFERENT CONTINUATIONS, which they must not.`;
}

install(here);
const avx2 = libraryArguments("AVX2");
install(runtimes);
if (!existsSync(join(root, "dist/host/node.js")))
  spawnSync("npm", ["run", "-s", "build"], { cwd: root, stdio: "inherit", shell: process.platform === "win32" });

const PROVISIONAL = "**The machine was busy with other work: provisional.**";
const started = Date.now();
const loadBefore = busy();
const sections = [];
const raw = [];
for (const name of list(values.model)) {
  const model = MODELS[name];
  if (!model) throw new Error(`--model: ${name} is none of ${Object.keys(MODELS).join(", ")}`);
  const path = model.path();
  for (const threads of list(values.threads).map(Number)) {
    const cells = cellsOf(model, threads);
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 ? [...cells].reverse() : cells;
      for (const cell of order) {
        if (cell.samples.length >= cell.times || cell.samples[0]?.error) continue;
        const sample = await cell.run(path, cell.o);
        cell.samples.push(sample);
        const seconds = Math.round((Date.now() - started) / 1000);
        const what =
          sample.error?.split("\n")[0] ??
          `${sample.prefillTokensPerSecond.at(-1).toFixed(1)} / ${sample.decodeTokensPerSecond.at(-1).toFixed(1)}`;
        console.error(
          `${seconds} s: ${name}, ${threads} thread${threads > 1 ? "s" : ""}, round ${round + 1}, ${cell.engine} ${cell.runtime} ${cell.build ?? ""}: ${what}`,
        );
      }
    }
    sections.push(
      `### ${model.title}: ${values.prompt ?? model.prompt} + ${values.decode ?? model.decode} tokens, ${threads} thread${threads > 1 ? "s" : ""}\n\n${table(cells)}\n\n${sameTokens(cells)}`,
    );
    raw.push(...cells.map(({ run, ...cell }) => ({ model: name, threads, ...cell })));
  }
}
const command = `npm run bench -- ${process.argv.slice(2).join(" ")}`.replace(/ -- $/, "");
const minutes = ((Date.now() - started) / 60000).toFixed(0);
const quiet = loadBefore < 0.5 ? "" : ` ${PROVISIONAL}`;
const text = `
## ${new Date(started).toISOString().slice(0, 10)}

${machine()}. Load average ${loadBefore.toFixed(2)} before the run, which took ${minutes} minutes.${quiet}
Command: \`${command}\`

${sections.join("\n\n")}
`;
console.log(text);
mkdirSync(join(here, "out"), { recursive: true });
writeFileSync(
  join(here, "out/last.json"),
  JSON.stringify({ date: new Date(started).toISOString(), machine: machine(), command, cells: raw }, null, 1),
);
if (values.append) {
  const path = join(here, "RESULTS.md");
  const parts = readFileSync(path, "utf8").split(/^(?=## )/m);
  // Only tables of its own: other sections of the page may be provisional too.
  const kept = parts.filter((part) => !(/^## \d{4}-/.test(part) && part.includes(PROVISIONAL))).join("");
  writeFileSync(path, `${kept.trimEnd()}\n${text}`);
  // The page's format is checked like that of all files.
  install(join(root, "test"));
  const biome = join(root, "test/node_modules/@biomejs/biome/bin/biome");
  spawnSync(process.execPath, [biome, "format", "--write", path], { cwd: root, stdio: "ignore" });
}
