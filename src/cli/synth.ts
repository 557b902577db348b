// cpm synth: fine-tuning data of five families, checked while it is made.
import { readFile, rename } from "node:fs/promises";
import { basename, dirname, isAbsolute, join } from "node:path";
import process from "node:process";
import type { FamilyName, SeedRecord, SynthConfig, SynthOptions, SynthProgress, SynthReport } from "cpm-wasm/synth";
import { isRecord, kindOf } from "../brands.ts";
import { CpmError } from "../index.ts";
import { apiArgs, chatModel } from "./agent.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { inputFiles, recordsOf } from "./cleaninput.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg, loadArgs, networkArgs } from "./options.ts";
import { dim, makeFolder, note, plural, printJson, table, write } from "./output.ts";
import { ProgressBar } from "./progress.ts";
import { type Shard, shardOf, suffixOf } from "./shards.ts";
import { type Format, formats, SynthFolder } from "./synthfolder.ts";
import { FileJournal } from "./synthjournal.ts";
import { visibleLine } from "./visible.ts";

/** Generations at once without more of the memory plan, as load() has it. */
const PLANNED = 8;

export const synth: Command = {
  name: "synth",
  description: "Make fine-tuning data of five families with a model, and keep what verifiers pass",
  args: {
    config: { type: "positional", required: true, description: "What to make: JSON, as docs/synth.md has it" },
    output: {
      type: "string",
      alias: "o",
      valueHint: "FOLDER",
      description: "Where samples, journals, reports and the manifest go",
    },
    model: { type: "string", valueHint: "MODEL", description: "A model to load here: a file, folder, URL or name" },
    ...apiArgs,
    family: { type: "string", valueHint: "NAME", description: "Only this family of the configuration" },
    shard: { type: "string", valueHint: "I/N", description: "Only the items of shard I of N, from 0" },
    format: { type: "string", valueHint: "F", description: "messages (default), sharegpt or alpaca" },
    concurrency: { type: "string", valueHint: "N", description: "Items at once (default: the configuration's, else 8)" },
    "max-tokens-total": { type: "string", valueHint: "N", description: "Tokens of prompts and answers, at most, about" },
    "max-minutes": { type: "string", valueHint: "M", description: "Begin no item after this time; the same command goes on" },
    retries: { type: "string", valueHint: "N", description: "Times that an endpoint in trouble is asked again (default 6)" },
    dropped: { type: "boolean", description: "Write dropped samples, too, with the reason" },
    anew: { type: "boolean", description: "Begin anew; the journals of before get the ending .previous" },
    "language-profiles": {
      type: "string",
      valueHint: "FOLDER",
      description: "Profiles of langdetect, to tell languages as IFEval's checker does",
    },
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const [path, out] = [args.positionals[0], args.text("output")];
    if (path === undefined) throw new UsageError("cpm synth: the configuration is missing");
    if (out === undefined) throw new UsageError("cpm synth: --output (-o) is missing: where samples go");
    const format = (args.text("format") ?? "messages") as Format;
    if (!formats.includes(format)) throw new UsageError(`--format: expected one of ${formats.join(", ")}, found "${format}"`);
    const { checkConfig, settingsHash } = await import("cpm-wasm/synth");
    const { config, model } = await configOf(path, args, checkConfig);
    const only = familyOf(args, config);
    const shard = shardOf(args);
    const families = only === undefined ? (Object.keys(config.families) as FamilyName[]) : [only];
    if (format === "alpaca" && families.includes("tools"))
      throw new UsageError(
        "--format alpaca: its columns have no room for tools; choose sharegpt, or leave the family out with --family",
      );
    if (model.api !== undefined && model.name === undefined)
      throw new UsageError("cpm synth: --api-model is missing: what the endpoint calls the model");
    const modelName = model.name ?? (model.load === undefined ? "embedded" : basename(model.load));
    const hashes = families.map((family) => [
      family,
      settingsHash({ config, modelName, shard }, family),
      config.families[family]!.count,
    ]);
    const settings = JSON.stringify([hashes, config.budget?.tokens ?? null, config.dedup ?? null, format, args.flag("dropped")]);
    await makeFolder(out, "--output");
    const folder = new SynthFolder(out, suffixOf(shard), only);
    const quiet = args.flag("json");
    const before = args.flag("anew") ? undefined : await folder.finished(settings);
    if (before) {
      if (!quiet) note(dim("all of it is there already; --anew makes it anew"));
      return show(before, quiet, "done");
    }
    if (args.flag("anew"))
      for (const family of families) await rename(folder.journal(family), `${folder.journal(family)}.previous`).catch(() => {});
    const journals: Partial<Record<FamilyName, FileJournal>> = {};
    try {
      for (const family of families)
        journals[family] = await FileJournal.open(folder.journal(family), settingsHash({ config, modelName, shard }, family));
      const made = await generate(args, { config, model, modelName, only, shard, journals });
      const report = await folder.write(made, config, { settings, format, dropped: args.flag("dropped") });
      await show(report, quiet, made.ended);
    } finally {
      for (const journal of Object.values(journals)) await journal.close();
    }
  },
};

interface ModelChoice {
  readonly api?: string | undefined;
  readonly name?: string | undefined;
  readonly load?: string | undefined;
}

interface Job {
  readonly config: SynthConfig;
  readonly model: ModelChoice;
  readonly modelName: string;
  readonly only: FamilyName | undefined;
  readonly shard: Shard;
  readonly journals: Partial<Record<FamilyName, FileJournal>>;
}

async function generate(args: Parsed, { config, model, modelName, only, shard, journals }: Job) {
  const { needsSandbox, synthesise } = await import("cpm-wasm/synth");
  const { createSandbox, loadLanguageDetector } = await import("cpm-wasm/data/verify");
  const { createDeduplicator } = await import("cpm-wasm/data");
  const quiet = args.flag("json");
  const profiles = args.text("language-profiles");
  const language = profiles === undefined ? undefined : await loadLanguageDetector(profiles);
  const atOnce = config.concurrency ?? PLANNED;
  const more = atOnce > PLANNED ? { parallel: atOnce } : {};
  const choice: Parsed = {
    ...args,
    text: (name) => (name === "api" ? model.api : name === "api-model" ? model.name : args.text(name)),
  };
  if (!quiet && model.api === undefined && model.load === undefined)
    note(dim("no model is named (--api, --model): the embedded one writes, which knows short stories and little else"));
  const opened = await chatModel(choice, model.load, quiet, more);
  const sandbox = needsSandbox(config) ? createSandbox({ parallel: Math.min(4, atOnce) }) : undefined;
  const bar = !quiet && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
  const options: SynthOptions = {
    config,
    model: opened.chat,
    modelName,
    ...(only === undefined ? {} : { only: [only] }),
    shard,
    journals,
    deduplicator: createDeduplicator,
    verify: { language, sandbox },
    signal: interrupt.signal,
    onProgress: (progress) => bar?.show(lineOf(progress)),
    retry: {
      retries: args.number("retries"),
      onRetry: (error, waitMs) => {
        if (quiet) return;
        bar?.close();
        note(dim(visibleLine(`${error.message.slice(0, 300)}; asked again in ${(waitMs / 1000).toFixed(1)} s`)));
      },
    },
  };
  try {
    return await synthesise(options);
  } finally {
    bar?.close();
    await sandbox?.close();
    await opened.close();
  }
}

function lineOf({ done, total, kept, tokens, secondsLeft }: SynthProgress) {
  const left = secondsLeft === undefined ? [] : [`${left60(secondsLeft)} left`];
  return { what: "generating", done, total, more: [`${done} of ${total}`, `${kept} kept`, ...left, `${tokens} tokens`] };
}

const left60 = (seconds: number): string =>
  seconds < 100
    ? `${Math.ceil(seconds)} s`
    : seconds < 6000
      ? `${Math.ceil(seconds / 60)} min`
      : `${(seconds / 3600).toFixed(1)} h`;

async function show(report: SynthReport, quiet: boolean, ended: "done" | "tokens" | "time"): Promise<void> {
  if (quiet) return printJson({ ended, families: report });
  const rows = Object.entries(report).map(([name, { items, samples, kept, reasons }]) => [
    name,
    String(items),
    String(samples),
    String(kept),
    Object.entries(reasons)
      .sort(([, a], [, b]) => b - a)
      .slice(0, 3)
      .map(([reason, n]) => `${reason} ${n}`)
      .join("; "),
  ]);
  await write(`${table([["family", "items", "samples", "kept", "dropped most often"], ...rows])}\n`);
  const tokens = Object.values(report).reduce((n, family) => n + family.promptTokens + family.completionTokens, 0);
  const why = { done: "", tokens: "; the budget of tokens is spent", time: "; the time is over, the same command goes on" }[
    ended
  ];
  note(`${plural(tokens, "token")}${why}`);
  for (const [name, { kept, examples }] of Object.entries(report)) {
    const [first] = examples.dropped;
    if (kept === 0 && first) note(visibleLine(`${name}: nothing was kept; the first sample: ${first.reason}`));
  }
}

function familyOf(args: Parsed, config: SynthConfig): FamilyName | undefined {
  const name = args.text("family");
  if (name === undefined) return undefined;
  const known = Object.keys(config.families);
  if (!known.includes(name)) throw new UsageError(`--family: the configuration has ${known.join(", ")}, not "${name}"`);
  return name as FamilyName;
}

interface Settings {
  readonly config: SynthConfig;
  readonly model: ModelChoice;
}

/** The configuration, checked; what is wrong in it is told with the file's name, not as a flag. */
async function configOf(path: string, args: Parsed, check: (config: SynthConfig) => void): Promise<Settings> {
  try {
    const read = await settingsOf(path, args);
    check(read.config);
    return read;
  } catch (error) {
    if (!(error instanceof CpmError) || error.code !== "bad-option") throw error;
    throw new CpmError("bad-option", `${path}: ${error.message}`, error.detail, { cause: error });
  }
}

/** The configuration with seeds of files read, and with what the command line says instead. */
async function settingsOf(path: string, args: Parsed): Promise<Settings> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new CpmError("io", `${path}: ${(cause as Error).message}; check the configuration's path`, { file: path }, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CpmError("bad-input", `${path}: no JSON (${(cause as Error).message})`, { file: path }, { cause });
  }
  if (!isRecord(value)) throw new CpmError("bad-input", `${path}: expected an object, found ${kindOf(value)}`, { file: path });
  const { model: given, families, ...rest } = value;
  const model = modelChoice(given, args);
  const read: Record<string, unknown> = {};
  if (!isRecord(families))
    throw new CpmError("bad-option", `families: expected an object, found ${kindOf(families)}`, { field: "families" });
  for (const [name, family] of Object.entries(families)) {
    const seeds = isRecord(family) ? family["seeds"] : undefined;
    const isPath =
      typeof seeds === "string" || (Array.isArray(seeds) && seeds.length > 0 && seeds.every((one) => typeof one === "string"));
    read[name] = isPath
      ? { ...(family as object), seeds: await seedsOf(seeds as string | string[], dirname(path), name) }
      : family;
  }
  const budget = { ...(isRecord(rest["budget"]) ? rest["budget"] : {}) };
  const [tokens, minutes, concurrency] = ["max-tokens-total", "max-minutes", "concurrency"].map((name) => args.number(name));
  const config = {
    ...rest,
    families: read,
    ...(tokens !== undefined || minutes !== undefined || rest["budget"] !== undefined
      ? { budget: { ...budget, ...(tokens === undefined ? {} : { tokens }), ...(minutes === undefined ? {} : { minutes }) } }
      : {}),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
  return { config: config as unknown as SynthConfig, model };
}

function modelChoice(given: unknown, args: Parsed): ModelChoice {
  const [api, name, load] = [args.text("api"), args.text("api-model"), args.text("model")];
  if (api !== undefined || name !== undefined || load !== undefined) return { api, name, load };
  if (given === undefined) return {};
  if (!isRecord(given)) throw new CpmError("bad-option", "model: expected { api, name } or { load }", { field: "model" });
  for (const [key, value] of Object.entries(given))
    if (!["api", "name", "load"].includes(key) || typeof value !== "string")
      throw new CpmError("bad-option", `model.${key}: expected the texts api and name, or load`, { field: `model.${key}` });
  return given as ModelChoice;
}

async function seedsOf(paths: string | readonly string[], folder: string, family: string): Promise<SeedRecord[]> {
  const list = (typeof paths === "string" ? [paths] : paths).map((path) => (isAbsolute(path) ? path : join(folder, path)));
  const seeds: SeedRecord[] = [];
  for (const file of await inputFiles(list))
    for await (const { line, record, error } of recordsOf(file, { field: "", mostBytes: 1 << 26 })) {
      interrupt.signal.throwIfAborted();
      if (!record)
        throw new CpmError("bad-input", `${file}:${line}: ${error}; mend this seed of ${family}, or leave it out`, { file });
      seeds.push(record.fields);
    }
  return seeds;
}
