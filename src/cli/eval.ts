// cpm eval: needles in haystacks, long texts of RULER's kinds, and tasks of one's own.
import { stat } from "node:fs/promises";
import process from "node:process";
import type {
  EvalProgress,
  EvalTask,
  Evaluation,
  LongKind,
  LongResult,
  LongTasks,
  MatchName,
  NeedleGrid,
  NeedleValue,
  TaskResult,
  TaskScore,
} from "cpm-wasm/evaluate";
import { CpmError, type Model } from "../index.ts";
import { reasonOf } from "../shown.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { recordsOf } from "./cleaninput.ts";
import { ResultsFile } from "./evalresults.ts";
import { interrupt } from "./interrupt.ts";
import { noteLength, openModel } from "./model.ts";
import { jsonArg, loadArgs, loadOptions, modelArg, networkArgs } from "./options.ts";
import { checkPlace, note, plural, printJson, table, write, writeFileWhole } from "./output.ts";
import { duration } from "./perplexity.ts";
import { ProgressBar } from "./progress.ts";
import { readText } from "./textfile.ts";
import { visibleLine } from "./visible.ts";

const WHAT = ["needle", "ruler", "tasks"] as const;

export const evaluation: Command = {
  name: "eval",
  description: "What a model finds in long texts (needle, ruler), or tasks of your own (tasks)",
  args: {
    what: { type: "positional", required: true, description: "needle: a grid of lengths and depths; ruler: ten kinds; tasks" },
    ...modelArg,
    file: { type: "string", alias: "f", valueHint: "TASKS", description: "tasks: a file of JSON lines (.jsonl, .gz, .zst)" },
    lengths: { type: "string", valueHint: "LIST", description: "Tokens of the prompts: 4096,8192 (default 1024,2048,4096)" },
    depths: { type: "string", valueHint: "LIST", description: "needle: percent of the text before it (default 0,25,50,75,100)" },
    kinds: { type: "string", valueHint: "LIST", description: "ruler: which kinds (default: all)" },
    value: { type: "string", valueHint: "V", description: "needle: number (default), word or uuid" },
    others: { type: "string", valueHint: "N", description: "needle: needles about other keys in the text (default 0)" },
    haystack: { type: "string", valueHint: "FILE", description: "A text whose sentences are the hay" },
    samples: { type: "string", valueHint: "N", description: "Texts of each cell or kind; programs of each task (default 1)" },
    "max-tokens": { type: "string", valueHint: "N", description: "Tokens of an answer, at most" },
    temperature: { type: "string", valueHint: "T", description: "tasks: of several programs (default 0.8)" },
    match: { type: "string", valueHint: "M", description: "tasks: plain (default), strict, contains or math" },
    raw: { type: "boolean", description: "Plain text for the model to go on with, no chat template" },
    "time-ms": { type: "string", valueHint: "N", description: "tasks: milliseconds that a program may take (default 10000)" },
    seed: { type: "string", valueHint: "S", description: "Other texts, other draws (default 0)" },
    results: { type: "string", valueHint: "FILE", description: "Write each result as it comes, and go on from there" },
    force: { type: "boolean", description: "Begin the file of --results anew" },
    svg: { type: "string", valueHint: "FILE", description: "needle, ruler: draw a heat map" },
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["header"],
  async run(args) {
    const [what, name] = args.positionals;
    if (!WHAT.some((one) => one === what))
      throw new UsageError(
        `cpm eval: expected ${WHAT.slice(0, -1).join(", ")} or ${WHAT.at(-1)}, then a model, found ${what === undefined ? "nothing" : `"${what}"`}`,
      );
    checkUse(args, what as (typeof WHAT)[number]);
    if (what === "tasks") return evalTasks(args, name);
    return evalLong(args, what as "needle" | "ruler", name);
  },
};

const ONLY: Readonly<Record<string, readonly string[]>> = {
  file: ["tasks"],
  match: ["tasks"],
  temperature: ["tasks"],
  "time-ms": ["tasks"],
  lengths: ["needle", "ruler"],
  haystack: ["needle", "ruler"],
  svg: ["needle", "ruler"],
  depths: ["needle"],
  value: ["needle"],
  others: ["needle"],
  kinds: ["ruler"],
};

function checkUse(args: Parsed, what: string): void {
  for (const [option, of] of Object.entries(ONLY))
    if (args.text(option) !== undefined && !of.includes(what))
      throw new UsageError(`--${option}: only with cpm eval ${of.join(" or ")}`);
  if (what === "tasks" && args.text("file") === undefined)
    throw new UsageError("cpm eval tasks: give a file of tasks with --file (-f)");
  if (args.flag("force") && args.text("results") === undefined)
    throw new UsageError("--force: only with --results, whose file it begins anew");
}

const numbers = (args: Parsed, name: string): number[] | undefined =>
  args
    .text(name)
    ?.split(",")
    .map((part) => {
      const value = Number(part);
      if (part.trim() === "" || Number.isNaN(value))
        throw new UsageError(`--${name}: expected numbers like 1024,2048, found "${part}"`);
      return value;
    })
    .map((value, i, all) => {
      if (all.indexOf(value) < i) throw new UsageError(`--${name}: ${value} is given twice`);
      return value;
    });

const common = (args: Parsed) => ({
  samples: args.number("samples"),
  seed: args.number("seed"),
  maxTokens: args.number("max-tokens"),
  ...(args.flag("raw") ? { chat: false } : {}),
});

/** All of a model and of the options that decides a result. */
const settingsOf = (model: Model, args: Parsed, more: unknown) => {
  const { config, tokenizer, packed, kvType, sparse, contextSize } = model.info;
  const { vocab, layers, hidden, name } = config;
  const decides = [
    "lengths",
    "depths",
    "kinds",
    "value",
    "others",
    "samples",
    "max-tokens",
    "temperature",
    "match",
    "seed",
    "time-ms",
  ];
  const options = [...decides.map((option) => args.text(option)), args.flag("raw"), args.text("rope-factors")];
  return [
    args.positionals,
    { vocab, layers, hidden, name, packed, kvType, sparse, contextSize },
    tokenizer.chatTemplate,
    options,
    more,
  ];
};

async function evalLong(args: Parsed, what: "needle" | "ruler", name: string | undefined): Promise<void> {
  const evaluate = await import("cpm-wasm/evaluate");
  const [lengths, depths, json] = [numbers(args, "lengths"), numbers(args, "depths"), args.flag("json")];
  // Told here in the command's own units, and before a model is loaded with a context that follows from them.
  for (const length of lengths ?? [])
    if (!(Number.isSafeInteger(length) && length >= 64))
      throw new UsageError(`--lengths: expected whole numbers of tokens, 64 or more, found ${length}`);
  for (const depth of depths ?? [])
    if (!(depth >= 0 && depth <= 100)) throw new UsageError(`--depths: expected percent, from 0 to 100, found ${depth}`);
  const [file, ctx] = [args.text("haystack"), args.number("ctx")];
  const longest = Math.max(0, ...(lengths ?? []));
  if (ctx !== undefined && longest > ctx)
    throw new UsageError(`--lengths: ${longest} tokens do not fit --ctx ${ctx}; leave --ctx out, or make it larger`);
  await checkPlace(args.text("svg"), "--svg");
  await checkPlace(args.text("results"), "--results");
  const haystack = file === undefined ? undefined : await readText(file, "--haystack");
  const contextSize = ctx ?? (lengths ? longest : undefined);
  await using model = await openModel(name, { ...loadOptions(args), contextSize, draft: false }, json);
  await using out = await resultsFile<LongResult>(args, settingsOf(model, args, haystack));
  noteLength(model, longest, args);
  const shown = new Shown(json, `${what} of ${model.info.config.name}`);
  const options = {
    ...common(args),
    lengths,
    haystack,
    signal: interrupt.signal,
    onProgress: shown.progress,
    ...(out ? { known: out.known, onResult: (result: LongResult) => out.add(result) } : {}),
  };
  const { contextLength } = model.info.config;
  const title = `${model.info.config.name}, ${model.info.sparse ? "sparse" : "dense"} attention`;
  if (what === "needle") {
    const found = await evaluate.needleGrid(model, {
      ...options,
      depths: depths?.map((depth) => depth / 100),
      value: args.text("value") as NeedleValue | undefined,
      others: args.number("others"),
    });
    shown.close();
    await draw(args, evaluate.heatMap(gridOf(found, `Needles: ${title}`)));
    return json ? printJson({ ...found, contextLength }) : tell(gridTable(found), found.results, found.score);
  }
  const found = await evaluate.longTasks(model, { ...options, kinds: args.text("kinds")?.split(",") as LongKind[] | undefined });
  shown.close();
  await draw(args, evaluate.heatMap(kindsOf(found, `Long texts: ${title}`)));
  return json ? printJson({ ...found, contextLength }) : tell(kindsTable(found), found.results, found.score);
}

const percent = (depth: number): string => `${Number((100 * depth).toFixed(1))} %`;

const gridOf = ({ lengths, depths, cells }: NeedleGrid, title: string) => ({
  title,
  across: "tokens",
  down: "depth",
  columns: lengths.map(String),
  rows: depths.map(percent),
  scores: depths.flatMap((depth) => lengths.map((length) => cells.find((c) => c.length === length && c.depth === depth)?.score)),
});

function kindsOf({ scores }: LongTasks, title: string) {
  const [lengths, kinds] = [[...new Set(scores.map(({ length }) => length))], [...new Set(scores.map(({ kind }) => kind))]];
  return {
    title,
    across: "tokens",
    down: "kind",
    columns: lengths.map(String),
    rows: kinds,
    scores: kinds.flatMap((kind) => lengths.map((length) => scores.find((s) => s.length === length && s.kind === kind)?.score)),
  };
}

function scoreTable(map: ReturnType<typeof gridOf>): string {
  const score = (value: number | undefined) => (value === undefined ? "" : (100 * value).toFixed(1));
  const rows = map.rows.map((row, r) => [row, ...map.columns.map((_, c) => score(map.scores[r * map.columns.length + c]))]);
  return table([[`${map.down} \\ ${map.across}`, ...map.columns], ...rows]);
}
const gridTable = (found: NeedleGrid): string => scoreTable(gridOf(found, ""));
const kindsTable = (found: LongTasks): string => scoreTable(kindsOf(found, ""));

async function draw(args: Parsed, svg: string): Promise<void> {
  const path = args.text("svg");
  if (path !== undefined) await writeFileWhole(path, svg, "--svg");
}

/** The table, then what was missed and why. */
async function tell(rows: string, results: readonly LongResult[], score: number): Promise<void> {
  await write(`${rows}\n\n${(100 * score).toFixed(1)} % right of ${results.length}\n`);
  const missed = results.filter((result) => result.score < 1);
  for (const { id, answers, output, miss } of missed.slice(0, 20)) {
    const lacking = answers.filter((answer) => !output.toLowerCase().includes(answer.toLowerCase()));
    const said = JSON.stringify(output.length > 60 ? `${output.slice(0, 60)}…` : output);
    note(visibleLine(`${id}: without ${lacking.join(", ")}, it said ${said}${miss ? `; ${miss.why}` : ""}`));
  }
  if (missed.length > 20) note(`… and ${missed.length - 20} more; --json tells all`);
}

async function evalTasks(args: Parsed, name: string | undefined): Promise<void> {
  const evaluate = await import("cpm-wasm/evaluate");
  const [file, json] = [args.text("file")!, args.flag("json")];
  const tasks = await tasksIn(file, evaluate.taskOf);
  const timeMs = args.number("time-ms");
  if (!tasks.some(({ kind }) => kind === "code"))
    for (const option of ["samples", "temperature", "time-ms"])
      if (args.text(option) !== undefined)
        throw new UsageError(`--${option}: only for tasks of code, and ${file} has none; leave it out`);
  if (args.text("temperature") !== undefined && (args.number("samples") ?? 1) === 1)
    throw new UsageError("--temperature: one program is drawn greedily; ask for more with --samples, or leave it out");
  await using model = await openModel(name, { ...loadOptions(args), draft: false }, json);
  await using out = await resultsFile<TaskResult>(args, settingsOf(model, args, tasks));
  const shown = new Shown(json, `${plural(tasks.length, "task")} for ${model.info.config.name}`);
  const sandbox = tasks.some(({ kind }) => kind === "code")
    ? (await import("cpm-wasm/data/verify")).createSandbox({ timeMs })
    : undefined;
  try {
    const found = await evaluate.evaluateTasks(model, tasks, {
      ...common(args),
      temperature: args.number("temperature"),
      match: args.text("match") as MatchName | undefined,
      sandbox,
      signal: interrupt.signal,
      onProgress: shown.progress,
      ...(out ? { known: out.known, onResult: (result: TaskResult) => out.add(result) } : {}),
    });
    shown.close();
    await (json ? printJson(found) : write(`${tasksTable(found)}\n`));
  } finally {
    await sandbox?.close();
  }
}

function tasksTable({ exact, choice, choiceNormalised, passAt1 }: Evaluation): string {
  const row = (what: string, score: TaskScore | undefined) =>
    score ? [[what, (100 * score.value).toFixed(2), (100 * score.error).toFixed(2), String(score.count)]] : [];
  return table([
    ["", "percent", "±", "tasks"],
    ...row("exact match", exact),
    ...row("choice, log-likelihood", choice),
    ...row("choice, by character", choiceNormalised),
    ...row("pass@1", passAt1),
  ]);
}

/** The tasks of a file: all are read before a model is loaded, and the first that is wrong is told with its line. */
async function tasksIn(
  file: string,
  taskOf: (fields: Readonly<Record<string, unknown>>, where: string, line: number) => EvalTask,
): Promise<EvalTask[]> {
  const tasks: EvalTask[] = [];
  const refuse = (code: "io" | "bad-input", why: string) => {
    const wanted = "give --file (-f) a file with a task a line, as JSON (.jsonl, .gz, .zst)";
    throw new CpmError(code, `${file}: ${why}; ${wanted}`, { file, expected: "JSON lines" });
  };
  const there = file === "-" ? undefined : await stat(file).catch((cause: NodeJS.ErrnoException) => cause);
  if (there instanceof Error) refuse("io", there.code === "ENOENT" ? "there is no such file" : reasonOf(there));
  else if (there?.isDirectory()) refuse("io", "this is a folder");
  // By their names these are texts as a whole.
  if (/\.(txt|md|html?)$/i.test(file)) refuse("bad-input", "by its name this is a text");
  try {
    for await (const { line, record, error } of recordsOf(file, { field: "", mostBytes: 1 << 26 })) {
      const where = `${file}:${line}`;
      if (!record) throw new CpmError("bad-input", `${where}: ${error}; give a JSON object a line`, { file: where });
      tasks.push(taskOf(record.fields, where, line));
    }
  } catch (cause) {
    if (cause instanceof CpmError || interrupt.signal.aborted) throw cause;
    throw new CpmError("io", `${file}: could not be read (${reasonOf(cause)}); check --file`, { file }, { cause });
  }
  if (tasks.length === 0) throw new CpmError("bad-input", `${file}: there are no tasks in it; check --file`, { file });
  return tasks;
}

async function resultsFile<T extends { readonly id: string }>(
  args: Parsed,
  settings: unknown,
): Promise<ResultsFile<T> | undefined> {
  const path = args.text("results");
  return path === undefined ? undefined : ResultsFile.open<T>(path, settings, args.flag("force"));
}

/** A bar where a person watches, nothing for a program. */
class Shown {
  readonly #bar: ProgressBar | undefined;

  constructor(json: boolean, what: string) {
    this.#bar = !json && process.stderr.isTTY ? new ProgressBar(process.stderr) : undefined;
    if (!json && !process.stderr.isTTY) note(what);
  }

  readonly progress = ({ done, total, score, secondsLeft }: EvalProgress): void => {
    const left = Number.isFinite(secondsLeft) ? [`${duration(secondsLeft)} left`] : [];
    this.#bar?.show({
      what: "measuring",
      done,
      total,
      more: [`${(100 * score).toFixed(1)} % right`, ...left, `${done} of ${total}`],
    });
  };

  close(): void {
    this.#bar?.close();
  }
}
