// cpm clean: a corpus through heuristics, deduplication and a quality classifier.
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { Classifier, CleanOptions, CleanReport, Deduplicator, QualityFilter, Verdict } from "cpm-wasm/data";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { inputFiles, type Placed, recordsOf } from "./cleaninput.ts";
import { firstLine, Outputs, replace } from "./cleanoutput.ts";
import { interrupt } from "./interrupt.ts";
import { modelOf } from "./model.ts";
import { makeFolder, note, printJson, write } from "./output.ts";
import { type Shard, shardOf, suffixOf } from "./shards.ts";
import { Signer } from "./signatures.ts";

/** Records between two states written down. */
const SAVE = 5000;
/** Records between two looks at the world: signals, the terminal. */
const BREATH = 256;

export const clean: Command = {
  name: "clean",
  description: "Clean a corpus: heuristics, duplicates, quality classifier",
  args: {
    input: {
      type: "positional",
      required: false,
      description: "Files or folders: .jsonl, .jsonl.gz, .jsonl.zst, .parquet, .txt; - for stdin",
    },
    output: { type: "string", alias: "o", valueHint: "FOLDER", description: "Where kept records, errors, report and picture go" },
    also: { type: "string", valueHint: "INPUT", description: "A further input; may be repeated" },
    classifier: {
      type: "string",
      valueHint: "MODEL",
      description: "Quality classifier with labels __label__pos and __label__neg",
    },
    "classifier-zh": { type: "string", valueHint: "MODEL", description: "The classifier of Chinese texts" },
    tokenizer: {
      type: "string",
      valueHint: "FILE",
      description: "Tokenizer of the published preprocessing (a .gguf or tokenizer.json)",
    },
    threshold: { type: "string", valueHint: "P", description: "Keep what scores at least this (default: what is labelled pos)" },
    field: { type: "string", valueHint: "NAME", description: "Where the text is (default: text, content, raw_content or body)" },
    "source-field": {
      type: "string",
      valueHint: "NAME",
      description: "Where a record's source is, for the report (default source; else the file)",
    },
    dropped: { type: "boolean", description: "Write dropped records, too, with the reason" },
    dedup: {
      type: "string",
      valueHint: "KINDS",
      description: "exact, near, or exact,near (MinHash), in memory, within this run",
    },
    signatures: { type: "boolean", description: "Write what cpm dedup finds duplicates of all shards by, as Parquet" },
    "no-heuristics": { type: "boolean", description: "No rules before the classifier" },
    "min-chars": { type: "string", valueHint: "N", description: "Shortest text (default 50)" },
    "max-chars": { type: "string", valueHint: "N", description: "Longest text (default: any)" },
    "max-repetition": { type: "string", valueHint: "S", description: "Largest share of repeated lines (default 0.3)" },
    "max-symbols": { type: "string", valueHint: "S", description: "Largest share of symbols (default 0.3)" },
    language: { type: "string", valueHint: "LIST", description: "Keep these languages only: en, zh" },
    "max-record": { type: "string", valueHint: "BYTES", description: "Longer records are errors (default 67108864)" },
    shard: { type: "string", valueHint: "I/N", description: "Only the records of shard I of N, from 0" },
    stdio: {
      type: "boolean",
      description: "One JSON line in, one out: for Spark's pipe, Hadoop streaming, GNU parallel, ClickHouse",
    },
    json: { type: "boolean", description: "Print the report as JSON" },
  },
  repeated: ["also"],
  more: "inputs",
  async run(args) {
    const options = await cleaning(args);
    if (args.flag("stdio")) return await stdio(args, options);
    const folder = args.text("output");
    if (folder === undefined) throw new UsageError("cpm clean: --output (-o) is missing");
    const report = await cleanFolder(args, folder, options);
    if (args.flag("json")) return printJson(report);
    note(`${report.records} records: ${report.kept} kept, ${report.dropped} dropped, ${report.errors} errors`);
    if (report.errors > 0) await noteErrors(join(folder, `errors${suffixOf(shardOf(args))}.jsonl`));
  },
};

/** What is wrong may be one thing: the first error tells. */
async function noteErrors(path: string): Promise<void> {
  // Of a job that had ended before, the file may be gone.
  const first = await firstLine(path).catch(() => "");
  if (first === "") return;
  const { file, line, error } = JSON.parse(first) as { file: string; line: number; error: string };
  note(`the first error: ${file}, record ${line}: ${error}; all are in ${path}`);
}

async function cleaning(args: Parsed): Promise<CleanOptions> {
  const data = await import("cpm-wasm/data");
  const languages = args.text("language")?.split(",");
  for (const language of languages ?? [])
    if (language !== "en" && language !== "zh") throw new UsageError(`--language: expected en or zh, found "${language}"`);
  const heuristics = args.flag("no-heuristics")
    ? (false as const)
    : {
        minChars: args.number("min-chars"),
        maxChars: args.number("max-chars"),
        maxRepetition: args.number("max-repetition"),
        maxSymbols: args.number("max-symbols"),
        languages,
      };
  const kinds = args.text("dedup")?.split(",") ?? [];
  for (const kind of kinds)
    if (kind !== "exact" && kind !== "near") throw new UsageError(`--dedup: expected exact or near, found "${kind}"`);
  const dedup: Deduplicator | undefined = kinds.length ? await data.createDeduplicator(kinds as ("exact" | "near")[]) : undefined;
  return { heuristics, dedup, quality: await qualityFilter(args) };
}

async function qualityFilter(args: Parsed): Promise<QualityFilter | undefined> {
  const { loadClassifier, QualityFilter } = await import("cpm-wasm/data");
  const [english, chinese] = [args.text("classifier"), args.text("classifier-zh")];
  const { signal } = interrupt;
  const load = async (path: string): Promise<Classifier> => await loadClassifier(path, { signal });
  if (english === undefined && chinese === undefined) return undefined;
  const file = args.text("tokenizer");
  const tokenizer =
    file === undefined ? undefined : await (await import("cpm-wasm")).loadTokenizer(await modelOf(file, true), { signal });
  const classifier =
    english !== undefined && chinese !== undefined
      ? { en: await load(english), zh: await load(chinese) }
      : await load((english ?? chinese)!);
  return new QualityFilter({ classifier, tokenizer, threshold: args.number("threshold") });
}

/** All that decides the output: a run goes on from a state, or is skipped for a manifest, only where this is the same. */
async function settingsOf(args: Parsed, files: readonly string[], shard: Shard): Promise<string> {
  const facts = await Promise.all(
    [...files, args.text("classifier"), args.text("classifier-zh"), args.text("tokenizer")].map(async (file) => {
      const found = file === undefined || file === "-" ? undefined : await stat(file).catch(() => undefined);
      return [file, found?.size, found?.mtimeMs];
    }),
  );
  const names = Object.keys(clean.args).filter((name) => !["output", "json", "input", "also", "shard"].includes(name));
  const given = names.map((name) => [name, args.text(name)]);
  return createHash("sha256")
    .update(JSON.stringify([facts, given, shard]))
    .digest("hex");
}

async function cleanFolder(args: Parsed, folder: string, options: CleanOptions): Promise<CleanReport> {
  const { emptyReport, reportPicture } = await import("cpm-wasm/data");
  const shard = shardOf(args);
  const files = await inputFiles([...args.positionals, ...args.list("inputs"), ...args.list("also")]);
  if (files.length === 0) throw new UsageError("cpm clean: give files or folders, or - for standard input");
  const suffix = suffixOf(shard);
  const settings = await settingsOf(args, files, shard);
  await makeFolder(folder, "--output");
  const finished = await Outputs.finished(folder, suffix, settings);
  if (finished && !files.includes("-")) return { ...finished.report, samples: { kept: [], dropped: [] } };
  const signer = args.flag("signatures") ? await Signer.create() : undefined;
  const names = ["kept", ...(args.flag("dropped") ? ["dropped"] : []), "errors", ...(signer ? ["signatures"] : [])];
  const { outputs, state } = await Outputs.open(folder, suffix, settings, names);
  const report = state?.report ?? emptyReport();
  await cleanRecords(args, { files, shard, outputs, report, options, signer, skip: state?.done ?? 0 });
  await outputs.finish(report, signer && { signatures: (from, to) => signer.table(from, to) });
  await replace(join(folder, `report${suffix}.json`), `${JSON.stringify(report, null, 2)}\n`);
  await replace(join(folder, `report${suffix}.svg`), reportPicture(report));
  return report;
}

interface Job {
  readonly files: readonly string[];
  readonly shard: Shard;
  readonly outputs: Outputs;
  readonly report: CleanReport;
  readonly options: CleanOptions;
  readonly signer: Signer | undefined;
  /** Records that an earlier run dealt with. */
  readonly skip: number;
}

async function cleanRecords(args: Parsed, { files, shard, outputs, report, options, signer, skip }: Job): Promise<void> {
  const { count, earlyVerdict, verdictOf, withFields } = await import("cpm-wasm/data");
  const sourceField = args.text("source-field") ?? "source";
  const pace = await progress(files);
  let [done, index] = [0, 0];
  /** Records whose outcome is written. */
  let settled = skip;
  const wanted = () => index++ % shard.count === shard.index;
  try {
    for (const file of files)
      for await (const placed of recordsOf(file, { ...inputOptions(args), read: pace.read, wanted })) {
        done++;
        if (done % BREATH === 0) {
          await new Promise((resolve) => setImmediate(resolve));
          interrupt.signal.throwIfAborted();
          pace.show(done);
        }
        const { record } = placed;
        if (done <= skip) {
          if (record) earlyVerdict(record.text, options);
          continue;
        }
        if (!record) {
          report.errors++;
          await outputs.write("errors", JSON.stringify({ file, line: placed.line, error: placed.error }));
        } else {
          const verdict = verdictOf(record.text, options);
          const named = record.fields[sourceField];
          count(report, record, typeof named === "string" ? named : file, verdict);
          const line = withFields(record, outcome(verdict));
          if (verdict.keep) report.keptBytes += Buffer.byteLength(line) + 1;
          await outputs.write(verdict.keep ? "kept" : "dropped", line);
          if (signer && judged(verdict))
            await outputs.writeBytes("signatures", signer.row(index - 1, verdict.keep ? report.kept - 1 : -1, record.text));
        }
        settled = done;
        if (done % SAVE === 0) await outputs.save(done, report);
      }
  } catch (error) {
    // What was done is kept: the same command goes on from here.
    await outputs.save(settled, report).catch(() => {});
    throw error;
  } finally {
    pace.close();
  }
}

/** Whether the rules before duplicates let a record through: later ones may repeat it. */
const judged = ({ keep, reason }: Verdict): boolean => keep || reason === "quality" || reason?.startsWith("duplicate") === true;

const inputOptions = (args: Parsed) => ({ field: args.text("field"), mostBytes: args.number("max-record") ?? 1 << 26 });

const outcome = ({ score, reason }: Verdict): Record<string, unknown> => ({
  ...(score === undefined ? {} : { cpm_score: Number(score.toPrecision(6)) }),
  ...(reason === undefined ? {} : { cpm_reason: reason }),
});

/** One line on a terminal: share, rate, time left. */
async function progress(files: readonly string[]) {
  const sizes = await Promise.all(files.map(async (file) => (file === "-" ? Number.NaN : (await stat(file)).size)));
  const total = sizes.reduce((a, b) => a + b, 0);
  const started = performance.now();
  const shows = process.stderr.isTTY;
  let bytes = 0;
  let shown = 0;
  return {
    read: (more: number) => {
      bytes += more;
    },
    show(records: number) {
      const now = performance.now();
      if (!shows || now - shown < 200) return;
      shown = now;
      const seconds = (now - started) / 1000;
      const left = Number.isNaN(total) ? "" : `, ${Math.ceil((seconds * (total - bytes)) / Math.max(1, bytes))} s left`;
      process.stderr.write(`\r\u001b[K${records} records, ${(bytes / 1e6 / seconds).toFixed(1)} MB/s${left}`);
    },
    close() {
      if (shows && shown > 0) process.stderr.write("\r\u001b[K");
    },
  };
}

/** One line in, one line out, in order; a bad line becomes an object that says so. Waits for a slow reader. */
async function stdio(args: Parsed, options: CleanOptions): Promise<void> {
  const { linesOf, parseRecord, verdictOf, withFields } = await import("cpm-wasm/data");
  const { field, mostBytes } = inputOptions(args);
  for await (const { number, bytes, length } of linesOf(process.stdin as AsyncIterable<Uint8Array>, mostBytes, true)) {
    let answer: string;
    try {
      if (bytes === undefined) throw new Error(`a record of ${length} bytes; at most ${mostBytes} are read`);
      const record = parseRecord(bytes, field);
      const verdict = verdictOf(record.text, options);
      answer = withFields(record, { cpm_keep: verdict.keep, ...outcome(verdict) });
    } catch (error) {
      answer = JSON.stringify({ cpm_error: (error as Error).message, cpm_line: number });
    }
    await write(`${answer}\n`);
  }
}

export type { Placed };
