// cpm verify-data: what data are worth, by annealing a trained model with and without them.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { load } from "cpm-wasm";
import type { AnnealResult, AnnealRun } from "cpm-wasm/data";
import { CpmError } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { inputFiles } from "./cleaninput.ts";
import { ResultsFile } from "./evalresults.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { makeFolder, note, plural, printJson, table, write, writeFileWhole } from "./output.ts";
import { besideConfig, readJson } from "./traindata.ts";
import { visibleLine } from "./visible.ts";

export const verifyData: Command = {
  name: "verify-data",
  description: "Tell what data are worth, by annealing a model with and without them",
  args: {
    candidate: { type: "positional", required: true, description: "The data in question: files or folders" },
    default: { type: "string", valueHint: "MIX", description: "Files or folders of the default mix (repeatable)" },
    train: {
      type: "string",
      valueHint: "CONFIG",
      description: "A cpm train configuration: the checkpoint, how it is annealed; its data are replaced",
    },
    command: {
      type: "string",
      valueHint: "CMD",
      description: 'Another trainer: a shell command that trains what $CPM_RUN says and prints { "loss" } or { "score" }',
    },
    text: {
      type: "string",
      alias: "f",
      valueHint: "FILE",
      description: "The text that the annealed models are measured on (with --train)",
    },
    share: { type: "string", valueHint: "X", description: "Weight of the candidate beside the default mix (default 0.3)" },
    pairs: { type: "string", valueHint: "N", description: "Pairs of runs, each with a seed of its own (default 3, at least 2)" },
    seed: { type: "string", valueHint: "N", description: "Seed of the first pair; the others' follow it (default 1)" },
    level: { type: "string", valueHint: "X", description: "Level of the interval (default 0.95)" },
    out: {
      type: "string",
      alias: "o",
      valueHint: "DIR",
      description: "Folder of the experiment, which goes on where it was (default verify-data)",
    },
    force: { type: "boolean", description: "Begin the results in the folder anew" },
    ...jsonArg,
  },
  repeated: ["default"],
  more: "inputs",
  async run(args) {
    const { verifyData: verify } = await import("cpm-wasm/data");
    const [candidate, mix] = [[...args.positionals, ...args.list("inputs")], args.list("default")];
    if (candidate.length === 0) throw new UsageError("cpm verify-data: give the data in question");
    if (mix.length === 0) throw new UsageError("cpm verify-data: give the default mix with --default");
    const out = resolve(args.text("out") ?? "verify-data");
    const trainer = await trainerOf(args, out);
    const plan = {
      candidate: await found(candidate),
      default: await found(mix),
      share: args.number("share"),
      pairs: args.number("pairs"),
      seed: args.number("seed"),
    };
    await makeFolder(out, "--out");
    const settings = [trainer.settings, await facts(plan.candidate), await facts(plan.default), plan.share ?? 0.3];
    await using results = await ResultsFile.open<{ id: string; score: number; lower: boolean }>(
      join(out, "results.jsonl"),
      settings,
      args.flag("force"),
    );
    const json = args.flag("json");
    let lower = results.known.find(({ lower }) => !lower) === undefined;
    const result = await verify(plan, {
      known: new Map(results.known.map(({ id, score }) => [id, score])),
      level: args.number("level"),
      signal: interrupt.signal,
      get lower() {
        return lower;
      },
      run: async (run, signal) => {
        if (!json) note(`${run.name}: training`);
        const measured = await trainer.run(run, signal ?? interrupt.signal);
        lower = measured.lower;
        await results.add({ id: run.name, score: measured.value, lower });
        return measured.value;
      },
      onRun: (done, total, { name }, value) => {
        if (!json) note(`${name}: ${value.toFixed(5)} (${done} of ${total})`);
      },
    });
    await (json ? printJson(result) : write(told(result, lower, plan.seed ?? 1)));
  },
};

interface Measured {
  readonly value: number;
  readonly lower: boolean;
}

interface Trainer {
  /** All of it that decides results. */
  readonly settings: unknown;
  run(run: AnnealRun, signal: AbortSignal): Promise<Measured>;
}

async function trainerOf(args: Parsed, out: string): Promise<Trainer> {
  const [config, command, text] = [args.text("train"), args.text("command"), args.text("text")];
  if ((config === undefined) === (command === undefined))
    throw new UsageError("cpm verify-data: give either --train or --command");
  if (command !== undefined)
    return { settings: command, run: (run, signal) => byCommand(command, join(out, run.name), run, signal) };
  if (text === undefined) throw new UsageError("cpm verify-data: give the text to measure on with --text");
  const held = await readFile(text, "utf8").catch((cause) => {
    throw new CpmError("io", `${text}: could not be read (${reasonOf(cause)}); check --text`, { file: text }, { cause });
  });
  const given = await readJson(config!);
  const { readConfig } = await import("cpm-wasm/train");
  const { length } = readConfig({ ...(given as object), data: [{ files: "x" }] }, config);
  const template = withPaths(config!, given) as Record<string, unknown>;
  return {
    settings: [template, createHash("sha256").update(held).digest("hex")],
    run: async (run, signal) => {
      const folder = join(out, run.name);
      const model = join(folder, "model.gguf");
      const file = join(folder, "train.json");
      const data = run.sources.map(({ files, weight }) => ({ files, weight }));
      const whole = {
        ...template,
        data,
        out: folder,
        seed: run.seed,
        heldOut: 0,
        samples: undefined,
        export: [{ to: model, type: "F32" }],
      };
      await makeFolder(folder, "--out");
      await writeFileWhole(file, JSON.stringify(whole), "--out");
      await child(
        process.execPath,
        [...process.execArgv, fileURLToPath(new URL("./main.js", import.meta.url)), "train", file],
        {},
        signal,
      );
      const { perplexity } = await import("cpm-wasm/evaluate");
      await using annealed = await load(model, { contextSize: length, draft: false, signal });
      const { perplexity: found } = await perplexity(annealed, held, { contextSize: length, signal });
      return { value: Math.log(found.value), lower: true };
    },
  };
}

/** A configuration with its paths as seen from anywhere. */
function withPaths(config: string, value: unknown, key = ""): unknown {
  if (Array.isArray(value)) return value.map((one) => withPaths(config, one, key));
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, withPaths(config, one, name)]));
  return typeof value === "string" && ["model", "tokenizer", "config", "teacher", "vocabulary"].includes(key)
    ? besideConfig(config, value)
    : value;
}

/** Runs another trainer: a file says what to train, its last line of output says what came of it. */
async function byCommand(command: string, folder: string, run: AnnealRun, signal: AbortSignal): Promise<Measured> {
  await makeFolder(folder, "--out");
  const file = join(folder, "run.json");
  await writeFileWhole(file, JSON.stringify({ ...run, out: folder }), "--out");
  const output = await child(command, undefined, { CPM_RUN: file }, signal);
  const last = output.trimEnd().split("\n").at(-1) ?? "";
  let told: unknown;
  try {
    told = JSON.parse(last);
  } catch {}
  const { loss, score } = (typeof told === "object" && told !== null ? told : {}) as { loss?: unknown; score?: unknown };
  if (typeof loss === "number") return { value: loss, lower: true };
  if (typeof score === "number") return { value: score, lower: false };
  throw new CpmError(
    "bad-input",
    `${run.name}: the command's last line is ${visibleLine(JSON.stringify(last.slice(0, 200)))}, and no JSON with "loss" or "score"`,
    { field: "--command" },
  );
}

/** Bytes of a child's output that are kept: its end. */
const KEPT = 1 << 16;

/** Runs a program (`args`) or a shell's line, its output on stderr; the end of what it wrote on stdout. It ends with the signal. */
function child(
  program: string,
  args: readonly string[] | undefined,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<string> {
  return new Promise((done, fail) => {
    const options = {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"] as ["ignore", "pipe", "inherit"],
      detached: process.platform !== "win32",
    };
    const running = args ? spawn(program, args, options) : spawn(program, { ...options, shell: true });
    let text = "";
    running.stdout.setEncoding("utf8").on("data", (part: string) => {
      text = (text + part).slice(-KEPT);
    });
    const end = () => {
      try {
        if (running.pid !== undefined && options.detached) process.kill(-running.pid, "SIGINT");
        else running.kill("SIGINT");
      } catch {}
    };
    signal.addEventListener("abort", end, { once: true });
    const settle = (error?: Error) => {
      signal.removeEventListener("abort", end);
      if (signal.aborted) fail(signal.reason);
      else if (error) fail(error);
      else done(text);
    };
    running.on("error", (cause) =>
      settle(new CpmError("io", `${program}: could not be started (${reasonOf(cause)})`, {}, { cause })),
    );
    running.on("close", (code, by) => {
      settle(
        code === 0
          ? undefined
          : new CpmError("io", `the trainer ended with ${by ?? `status ${code}`}; what it said stands above`, {
              found: String(by ?? code),
            }),
      );
    });
  });
}

/** Absolute paths of the files that are meant. */
async function found(inputs: readonly string[]): Promise<string[]> {
  const files = (await inputFiles(inputs)).map((file) => resolve(file));
  if (files.length === 0) throw new CpmError("io", `${inputs.join(", ")}: no files are there; check the paths`);
  return files;
}

const facts = (files: readonly string[]) =>
  Promise.all(
    files.map(async (file) => {
      const { size, mtimeMs } = await stat(file);
      return [file, size, mtimeMs];
    }),
  );

function told(result: AnnealResult, lower: boolean, seed: number): string {
  const { pairs, mean, low, high, level, p, verdict, values } = result;
  const rows = Array.from({ length: pairs }, (_, i) => {
    const [a, b] = [values[`default-${seed + i}`]!, values[`candidate-${seed + i}`]!];
    return [`seed ${seed + i}`, a.toFixed(5), b.toFixed(5), (lower ? a - b : b - a).toFixed(5)];
  });
  const what = {
    better: "the candidate is better than the default mix",
    worse: "the candidate is worse than the default mix",
    none: "no verdict: the interval crosses zero",
  }[verdict];
  return `${table([["", "default", "candidate", "gain"], ...rows])}
gain ${mean.toFixed(5)}, ${(100 * level).toFixed(0)} % interval ${low.toFixed(5)} to ${high.toFixed(5)}, p = ${p.toPrecision(2)}, ${plural(pairs, "pair")}
${what}
`;
}
