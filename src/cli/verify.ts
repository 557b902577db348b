// cpm verify: records of a file against verifiers (--with), a table and the exit status; or a pulled model against its hashes.
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import process from "node:process";
import type { Sample, SuiteOptions, Verdict, VerifierName } from "cpm-wasm/data/verify";
import type { CpmError } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { inputFiles, recordsOf } from "./cleaninput.ts";
import { verifyPulled } from "./hub.ts";
import { interrupt } from "./interrupt.ts";
import { jsonArg } from "./options.ts";
import { note, printJson, table, write } from "./output.ts";
import { visibleLine } from "./visible.ts";

interface Tally {
  passed: number;
  failed: number;
  readonly reasons: Map<string, number>;
}

interface Failure {
  readonly file: string;
  readonly line: number;
  readonly id?: unknown;
  readonly verifier?: string;
  readonly reasons: readonly string[];
}

export const verify: Command = {
  name: "verify",
  description: "Compare a pulled model with its hashes; or, --with, samples: instructions, tool calls, answers, code, text",
  args: {
    input: {
      type: "positional",
      required: false,
      description:
        "The name of a pulled model; with --with, files or folders: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; - for stdin",
    },
    with: {
      type: "string",
      valueHint: "LIST",
      description: "Verifiers: instructions, instructions-loose, tools, reasoning, answer, code, text",
    },
    dialect: { type: "string", valueHint: "D", description: "How texts write tool calls (default hermes-json)" },
    "language-profiles": {
      type: "string",
      valueHint: "FOLDER",
      description: "Profiles of langdetect, to tell languages as IFEval's checker does",
    },
    tolerance: {
      type: "string",
      valueHint: "R",
      description: "Relative difference of numbers that still counts as equal (default 0)",
    },
    "time-ms": { type: "string", valueHint: "N", description: "Milliseconds that a program may take (default 10000)" },
    "memory-mb": {
      type: "string",
      valueHint: "N",
      description: "MiB that a program may take (default 64; Python as a whole 512)",
    },
    fresh: { type: "boolean", description: "Start Python anew for every program" },
    verdicts: {
      type: "string",
      valueHint: "FILE",
      description: "Write a JSON line for each record: file, line, id, ok, verdicts",
    },
    show: { type: "string", valueHint: "N", description: "Failures to print (default 10)" },
    ...jsonArg,
  },
  async run(args) {
    const [first] = args.positionals;
    // A name, unless it is a file or nothing is given.
    if (args.text("with") === undefined && first !== undefined && first !== "-" && !existsSync(first)) return verifyPulled(args);
    const { createSandbox, loadLanguageDetector, verifierName } = await import("cpm-wasm/data/verify");
    const names = (args.text("with") ?? "")
      .split(",")
      .filter((name) => name !== "")
      .map(verifierName);
    if (names.length === 0) throw new UsageError("cpm verify: --with is missing: give verifiers, as --with tools,text");
    const files = await inputFiles(args.positionals);
    if (files.length === 0) throw new UsageError("cpm verify: give a file of JSON lines, or - for standard input");
    const profiles = args.text("language-profiles");
    const memory = args.number("memory-mb");
    const sandbox = names.includes("code")
      ? createSandbox({
          timeMs: args.number("time-ms"),
          memoryBytes: memory === undefined ? undefined : memory * 2 ** 20,
          fresh: args.flag("fresh"),
        })
      : undefined;
    try {
      await verifyFiles(args, names, files, {
        language: profiles === undefined ? undefined : await loadLanguageDetector(profiles),
        dialect: args.text("dialect") as SuiteOptions["dialect"],
        answer: { tolerance: args.number("tolerance") },
        sandbox,
      });
    } finally {
      await sandbox?.close();
    }
  },
};

async function verifyFiles(args: Parsed, names: readonly VerifierName[], files: readonly string[], options: SuiteOptions) {
  const { runVerifiers, sampleOf } = await import("cpm-wasm/data/verify");
  const tallies = new Map(names.map((name) => [name, { passed: 0, failed: 0, reasons: new Map() } as Tally]));
  const failures: Failure[] = [];
  const most = args.number("show") ?? 10;
  const path = args.text("verdicts");
  const out = path === undefined ? undefined : await open(path, "w");
  let [records, passed, errors] = [0, 0, 0];
  const fail = (failure: Failure) => {
    if (failures.length < (args.flag("json") ? 1000 : most)) failures.push(failure);
  };
  try {
    for (const file of files)
      for await (const { line, record, error } of recordsOf(file, { field: "", mostBytes: 1 << 26 })) {
        interrupt.signal.throwIfAborted();
        records++;
        let verdicts: Readonly<Partial<Record<VerifierName, Verdict>>>;
        let sample: Sample;
        try {
          if (!record) throw new Error(error);
          sample = sampleOf(record.fields);
          verdicts = await runVerifiers(names, sample, options, interrupt.signal);
        } catch (cause) {
          interrupt.signal.throwIfAborted();
          if ((cause as CpmError).code === "unsupported" || (cause as CpmError).code === "bad-option") throw cause;
          errors++;
          fail({ file, line, reasons: [(cause as Error).message] });
          await out?.write(`${JSON.stringify({ file, line, ok: false, error: (cause as Error).message })}\n`);
          continue;
        }
        const ok = names.every((name) => verdicts[name]!.ok);
        if (ok) passed++;
        for (const name of names) {
          const [tally, verdict] = [tallies.get(name)!, verdicts[name]!];
          tally[verdict.ok ? "passed" : "failed"]++;
          for (const reason of verdict.reasons) {
            const short = reason.split(/[:({"]|\d/)[0]!.trim();
            tally.reasons.set(short, (tally.reasons.get(short) ?? 0) + 1);
          }
          if (!verdict.ok) fail({ file, line, id: sample.id, verifier: name, reasons: verdict.reasons });
        }
        await out?.write(`${JSON.stringify({ file, line, id: sample.id, ok, verdicts })}\n`);
      }
  } finally {
    await out?.close();
  }
  const failed = records - passed;
  if (args.flag("json"))
    await printJson({
      records,
      passed,
      failed,
      errors,
      verifiers: Object.fromEntries([...tallies].map(([name, t]) => [name, { ...t, reasons: Object.fromEntries(t.reasons) }])),
      failures,
    });
  else {
    const top = ({ reasons }: Tally) =>
      [...reasons]
        .sort(([, a], [, b]) => b - a)
        .slice(0, 3)
        .map(([reason, n]) => `${reason} ${n}`)
        .join("; ");
    const rows = [...tallies].map(([name, t]) => [name, String(t.passed), String(t.failed), top(t)]);
    await write(`${table([["verifier", "passed", "failed", "most often"], ...rows])}\n`);
    for (const { file, line, verifier = "record", reasons } of failures)
      note(visibleLine(`${file}:${line}: ${verifier}: ${reasons.join("; ").slice(0, 400)}`));
    note(`${records} records: ${passed} passed, ${failed} failed${errors ? ` (${errors} could not be judged)` : ""}`);
  }
  if (failed > 0) process.exitCode = 1;
}
